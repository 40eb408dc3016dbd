"""What containers, clocks and sources of chance mean in the per-flow model.

A table holds what the flow that is looked at put into it, and what was in it when the configuration was installed. Tables,
queues and the packet pool have room: what happens for want of room depends on other flows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from penstock.datapath.clock import Clock, Random
from penstock.datapath.containers import NONE, Table
from penstock.datapath.host import HostRing
from penstock.datapath.lpm import LPM
from penstock.datapath.pool import PacketPool
from penstock.datapath.sched import Driver
from penstock.elements.classification import ClassifyingElement
from penstock.verify import terms
from penstock.verify.errors import NotDecided
from penstock.verify.forwarding import partition_of
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.rules import first_rule
from penstock.verify.state import Entry
from penstock.verify.sums import fold_sum
from penstock.verify.terms import Term, Value

if TYPE_CHECKING:
    from penstock.verify.executor import Executor

__all__ = ["call_primitive", "is_primitive"]


#: entries with keys of several parts that are tried one by one
_MAX_FITTING = 500
#: receivers all of whose functions that are not inlined have a meaning here
_TYPES = (Table, LPM, Random, Clock, Driver, HostRing)


def is_primitive(owner: Any, name: str) -> bool:
    """Whether :func:`call_primitive` gives a call its meaning."""
    return isinstance(owner, _TYPES) or (isinstance(owner, PacketPool) and name == "take_slot") or (owner is None and name == "fold") \
        or (isinstance(owner, ClassifyingElement) and name == "output_for" and owner.tests_words)


def call_primitive(executor: Executor, owner: Any, name: str, args: list[Any]) -> Any:
    """What a call gives. Only for calls that are primitive."""
    if isinstance(owner, Table):
        return _TABLE[name](executor, owner, args)
    if isinstance(owner, LPM):
        return _longest_prefix(executor, owner, args[0])
    if isinstance(owner, ClassifyingElement):
        return first_rule(executor, owner, args[0])
    if isinstance(owner, Random):
        return executor.unknown("random", 32, "random")
    if isinstance(owner, Clock):
        return executor.unknown("time", 64, "time")
    if isinstance(owner, PacketPool):
        return SymbolicPacket.empty()
    if owner is None:
        ranges = executor.path.range
        return terms.extend(fold_sum(args[0], ranges), 32, ranges)
    return 0


# Tables

def _entries(executor: Executor, table: Table) -> tuple[Entry, ...]:
    return executor.state.entries.get(table.slots.offset, ())


def _find(executor: Executor, table: Table, key: list[Value]) -> int:
    parts = tuple(_fit(value, kind.bits) for value, kind in zip(key, table.key_kinds))
    mine = [(_same(executor, table, parts, entry.key), entry) for entry in _entries(executor, table)]
    for condition, entry in mine:
        # Keys differ from one another: where it is surely this one, it is no other one.
        if executor.path.decide(condition):
            return entry.index
    for condition, entry in mine:
        if executor.decide_whole(condition):
            return entry.index
    return _installed(executor, table, parts) if table.entries else NONE


def _same(executor: Executor, table: Table, a: tuple[Value, ...], b: tuple[Value, ...]) -> Value:
    """The condition that two keys are equal."""
    result: Value = 1
    for x, y, kind in zip(a, b, table.key_kinds):
        result = terms.truth("and", result, terms.equal(executor.path.simpler(x), executor.path.simpler(y), kind.bits))
    return executor.path.simpler(result)


def _fit(value: Value, bits: int) -> Value:
    return value if isinstance(value, Term) and value.bits <= bits else terms.piece(value, 0, bits)


def _installed(executor: Executor, table: Table, key: tuple[Value, ...]) -> int:
    """An entry that was there from the start. With one part, keys whose values are alike stay together."""
    if all(isinstance(part, int) for part in key):
        found = table.index_of(key)  # type: ignore[arg-type]
        return NONE if found is None else found
    if len(key) > 1:
        return _one_of(executor, table, key)
    groups = _groups(table)
    domain = executor.path.of(key[0])
    fitting = [(i, numbers) for i, numbers in groups if numbers & domain]
    present = Intervals.of(part for _, numbers in groups for part in numbers.parts)
    absent = domain.without(present)
    options = [*fitting, *([(NONE, absent)] if absent else [])]
    index, numbers = options[executor.choose(len(options))]
    executor.within(key[0], numbers)
    return index


def _one_of(executor: Executor, table: Table, key: tuple[Value, ...]) -> int:
    """Each entry that the key can be is a way of its own."""
    domains = [executor.path.of(part) for part in key]
    fitting = [(i, entry[0]) for i in table.indices() if (entry := table.look(i)) is not None
               and all(number in domain for number, domain in zip(entry[0], domains))]
    if len(fitting) > _MAX_FITTING:
        raise NotDecided(f"{len(fitting):,} entries of a table may be meant (more than {_MAX_FITTING}): ask about fewer packets")
    for i, there in fitting:
        if executor.decide_whole(_same(executor, table, key, there)):
            return i
    return NONE


_grouped: WeakKeyDictionary[Table, list[tuple[int, Intervals]]] = WeakKeyDictionary()


def _groups(table: Table) -> list[tuple[int, Intervals]]:
    """(one of the entries with the same value, all of their keys)."""
    if table not in _grouped:
        found: dict[tuple[tuple[str, int], ...], tuple[int, list[tuple[int, int]]]] = {}
        for i in table.indices():
            entry = table.look(i)
            if entry is not None:
                value = tuple((name, int(getattr(entry[1], name))) for name in table.value_kind.FIELDS)
                found.setdefault(value, (i, []))[1].append((entry[0][0], entry[0][0]))
        _grouped[table] = [(i, Intervals.of(keys)) for i, keys in found.values()]
    return _grouped[table]


def _insert(executor: Executor, table: Table, key: list[Value]) -> int:
    mine = _entries(executor, table)
    index = max([table.top - 1, *(e.index for e in mine)]) + 1
    if index >= table.capacity:
        return NONE
    parts = tuple(_fit(value, kind.bits) for value, kind in zip(key, table.key_kinds))
    for entry in mine:
        # The answer stands among the facts from here on, so that it is not asked again at every look.
        executor.decide_whole(_same(executor, table, parts, entry.key))
    executor.state.entries[table.slots.offset] = (*mine, Entry(parts, index))
    return index


def _remove(executor: Executor, table: Table, args: list[Value]) -> int:
    index = executor.known(args[0], "the entry to remove")
    left = tuple(e for e in _entries(executor, table) if e.index != index)
    executor.state.entries[table.slots.offset] = left
    return 0


def _clear(executor: Executor, table: Table, args: list[Value]) -> int:
    executor.state.entries[table.slots.offset] = ()
    return 0


def _used(executor: Executor, table: Table, args: list[Value]) -> int:
    index = executor.known(args[0], "an entry to look at")
    return int(index < table.top or any(e.index == index for e in _entries(executor, table)))


def _after(executor: Executor, table: Table, args: list[Value]) -> int:
    index = executor.known(args[0], "an entry to look at")
    return (index + 1) % max(table.top + len(_entries(executor, table)), 1)


_TABLE = {"find": _find, "insert": _insert, "remove": _remove, "used": _used, "after": _after, "clear": _clear}


# Routes

def _longest_prefix(executor: Executor, lpm: LPM, address: Value) -> int:
    partition = partition_of(lpm)
    if isinstance(address, int):
        return partition.at(address)
    fitting = executor.remembered(lambda: list(partition.within(executor.path.of(address)).items()))
    result, numbers = fitting[executor.choose(len(fitting))]
    executor.within(address, numbers)
    return int(result)
