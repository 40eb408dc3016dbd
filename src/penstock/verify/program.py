"""The packet code of one configuration, prepared for symbolic execution."""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from typing import Any

from penstock.datapath import ir
from penstock.datapath.checksum import fold
from penstock.datapath.containers import PacketRing, Table
from penstock.datapath.frontend import Translator
from penstock.datapath.lpm import LPM
from penstock.datapath.memory import Array, Stateful
from penstock.datapath.program import Program, return_type
from penstock.datapath.sched import Notifier
from penstock.datapath.source import DatapathFunction
from penstock.verify.primitives import is_primitive

__all__ = ["SymbolicProgram"]

#: abstractions that allow nothing but what the code does
_EXACT = frozenset({"push_by_rule"})
_WHOLE: frozenset[Any] = frozenset({LPM.find, fold, Table.used, Table.after})
#: what the flow that is looked at changes by itself, from how it was installed
_FOLLOWED = (PacketRing, Table)


@functools.cache
def _assigned(cls: Any) -> frozenset[str]:
    """The attributes that packet code of a class assigns to, or copies into."""
    found: set[str] = set()
    for base in cls.__mro__:
        for item in vars(base).values():
            if isinstance(item, DatapathFunction):
                found |= _targets(item)
    return frozenset(found)


@functools.cache
def _targets(function: DatapathFunction[Any, Any]) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(function.tree):
        if isinstance(node, (ast.Assign, ast.AugAssign, ast.AnnAssign)):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found.update(_chain(target))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "store_to" and node.args:
            found.update(_chain(node.args[0]))
    return frozenset(found)


def _chain(node: ast.expr) -> Iterator[str]:
    """The attributes along a target such as ``self.table[i].value``."""
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute):
            yield part.attr


class SymbolicProgram(Program):
    """Entry points as for the other executors; containers are calls, and it is known what packet code changes."""

    def __init__(self, router: Any):
        super().__init__(router.pool, router.driver, router.clock, router.elements)
        self.router = router
        self.memory = router.memory
        #: the methods that an abstraction stood for
        self.abstracted: set[str] = set()
        #: state that may have any value: (id of the element, field)
        self.open: set[tuple[int, str]] = set()
        #: id of a state object -> (the object that holds it, its attribute)
        self.holders: dict[int, tuple[Any, str]] = {}
        for _, root in router.roots:
            self._hold(root)

    def _hold(self, owner: Stateful) -> None:
        for name, item in owner.state_objects():
            self.holders[id(item)] = (owner, name)
            if isinstance(item, Stateful):
                self._hold(item)

    def leave_open(self, text: str) -> None:
        """State (``element.field``) that may have any value. Raises LookupError where there is none of that name."""
        name, _, field = text.rpartition(".")
        element = self.router.by_name.get(name)
        if element is None:
            raise LookupError(f"unknown '{text}': there is no element '{name}'")
        if field not in element.STATE:
            there = ", ".join(f for f in element.STATE if f != "faults") or "none"
            raise LookupError(f"unknown '{text}': {element.class_name} has no state '{field}' (it has {there})")
        self.open.add((id(element), field))

    def meaning(self, function: DatapathFunction[Any, Any]) -> DatapathFunction[Any, Any]:
        if function.abstract is None:
            return function
        if function.abstract.name not in _EXACT:
            self.abstracted.add(function.function.__qualname__)
        return function.abstract

    def function(self, owner: Any, function: DatapathFunction[Any, Any], signature: list[Any], fault_owner: Any) -> ir.Function:
        if not is_primitive(owner, function.name):
            return super().function(owner, function, signature, fault_owner)
        # Its code is not looked at.
        key = (id(owner), function.name)
        if key not in self._functions:
            self._functions[key] = ir.Function(f"f{len(self._functions)}_{function.name}", [], return_type(function), owner=owner)
        return self._functions[key]

    def keeps_whole(self, function: DatapathFunction[Any, Any]) -> bool:
        return function in _WHOLE

    def changes(self, owner: Any, name: str) -> bool:
        """Whether packet code may have changed this state before the packet comes. ``name`` is that of a place."""
        if isinstance(owner, Array):
            holder, attribute = self.holders.get(id(owner), (None, ""))
            if holder is None or isinstance(holder, _FOLLOWED):
                return False
            return attribute.partition("[")[0] in self._assigned_by(holder)
        if isinstance(owner, (*_FOLLOWED, Notifier)):
            return False
        return name.partition(".")[0] in self._assigned_by(owner)

    def _assigned_by(self, owner: Any) -> frozenset[str]:
        """By the object's own code and by that of whoever holds it."""
        kind: Any = type(owner)
        found = _assigned(kind)
        holder = self.holders.get(id(owner))
        return found | self._assigned_by(holder[0]) if holder else found

    def deliver(self, index: int) -> ir.Function:
        """What an element does with a packet that came in through its interface."""
        name = f"e{index}_deliver"
        if name not in self.entries:
            element = self.elements[index]
            function: Any = type(element).deliver
            worker = Translator(self, name, function, element, element)
            self.entries[name] = worker.translate(function, element, [ir.PACKET], returns=None)
        return self.entries[name]
