"""Which locals of a function are values: assigned in one place that comes before every use.

Those become names in the assembly; the others live in stack slots, for LLVM to sort out. Most are values, and text that
LLVM need not sort out is what compiling is quick by.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from penstock.datapath import ir

__all__ = ["values_of"]


@functools.cache
def _operand_names(cls: Any) -> tuple[str, ...]:
    """The attributes of an operation that can hold expressions, locals, places or addresses; none of what is no operation."""
    if cls.__module__ != ir.__name__ or cls is ir.Function or not is_dataclass(cls):
        return ()
    return tuple(f.name for f in fields(cls) if f.name not in ("line", "type", "op", "name", "owner", "kind", "function"))


def _locals_in(item: Any) -> Iterator[int]:
    """The locals that an expression, or the operands of a statement without its blocks, read."""
    work = [item]
    while work:
        part = work.pop()
        cls: Any = type(part)
        if cls is ir.Local:
            yield part.number
        elif cls is tuple or cls is list:
            work += part
        else:
            for name in _operand_names(cls):
                work.append(getattr(part, name))


def values_of(function: ir.Function) -> frozenset[int]:
    """The numbers of those locals; parameters that are never assigned are among them."""
    assigned: dict[int, int] = {p.number: 1 for p in function.parameters}
    visible: set[int] = set(assigned)
    mixed: set[int] = set()

    def read(item: Any) -> None:
        for number in _locals_in(item):
            if number not in visible:
                mixed.add(number)

    def walk(body: list[ir.Stmt]) -> None:
        mine: list[int] = []
        for s in body:
            match s:
                case ir.Assign():
                    read(s.value)
                    number = s.local.number
                    assigned[number] = assigned.get(number, 0) + 1
                    if number not in visible:
                        visible.add(number)
                        mine.append(number)
                case ir.If():
                    read(s.condition)
                    walk(s.then)
                    walk(s.orelse)
                case ir.Loop():
                    read((s.start, s.stop))
                    # The loop writes its variable anew each round, into a slot.
                    mixed.add(s.variable.number)
                    walk(s.body)
                case ir.Scope():
                    walk(s.body)
                case _:
                    kind: Any = type(s)
                    read([getattr(s, name) for name in _operand_names(kind)])
        visible.difference_update(mine)

    walk(function.body)
    return frozenset(n for n, count in assigned.items() if count == 1 and n not in mixed)
