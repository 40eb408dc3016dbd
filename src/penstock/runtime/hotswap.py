"""Hot swap: a new configuration takes the place of a running one, with the state of elements of the same name.

No element has code for it: what is declared state moves. A class says with ``takes_state`` that it does (Click's list); in a
domain all do that do not say no. Values that the new configuration sets keep what the new configuration says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from penstock.datapath.containers import PacketRing, Table
from penstock.datapath.memory import Array, PacketSlot, Stateful, Struct
from penstock.packet.layout import BUFFER_OFFSET, META

if TYPE_CHECKING:
    from penstock.datapath.pool import PacketPool
    from penstock.elements.element import Element
    from penstock.runtime.router import Router

__all__ = ["take_state", "touch_state"]

#: arrays from this size on are copied once ahead, so that their pages are there when everything stands still
_LARGE_BYTES = 1 << 16


def take_state(new: Router, old: Router, *, every: bool = False) -> None:
    """Move state from ``old`` to ``new``, which has not run yet. ``every``: not of Click's list alone, but of every element
    that does not say that its state belongs to what it was connected with.
    """
    for element, before in _pairs(new, old, every):
        _move(new, old, element, before, element.pool)


def touch_state(new: Router, old: Router, *, every: bool = False) -> None:
    """What makes ``take_state`` quick, while ``old`` still runs: a page's first touch takes longer than copying it."""
    for element, before in _pairs(new, old, every):
        _touch(element, before)


def _pairs(new: Router, old: Router, every: bool) -> Iterator[tuple[Element, Element]]:
    for element in new.elements:
        before = old.by_name.get(element.name)
        wanted = element.takes_state is not False if every else element.takes_state
        if type(before) is type(element) and wanted:
            yield element, before


def _touch(target: Stateful, source: Stateful) -> None:
    mine = dict(target.state_objects())
    for name, item in source.state_objects():
        other = mine.get(name)
        if isinstance(item, Array) and isinstance(other, Array):
            if item.kind is not PacketSlot and item.size_bytes >= _LARGE_BYTES:
                _move_array(other, item, _values_used(source, name))
        elif isinstance(item, Stateful) and isinstance(other, Stateful):
            _touch(other, item)


def _values_used(owner: Stateful, name: str) -> int | None:
    """How many values of an array were ever set, where that is known."""
    return owner.top if isinstance(owner, Table) and name == "slots" else None


def _move(new: Router, old: Router, target: Stateful, source: Stateful, pool: PacketPool) -> None:
    if isinstance(target, PacketRing) and isinstance(source, PacketRing):
        _move_ring(new, old, target, source, pool)
        return
    for name in target.STATE:
        if name not in target._initial and name in source.STATE:
            if target.STATE[name] is PacketSlot:
                setattr(target, name, _move_list(new, old, getattr(source, name), pool))
            elif not isinstance(target.STATE[name], type):
                setattr(target, name, getattr(source, name))
    mine = dict(target.state_objects())
    for name, item in source.state_objects():
        other = mine.get(name)
        if isinstance(item, Array) and isinstance(other, Array):
            if item.kind is PacketSlot:
                for i in range(min(other.length, item.length)):
                    other[i] = _move_packet(new, old, item[i], pool)
            elif _move_array(other, item, used := _values_used(source, name)):
                _move_held(new, old, other, item.length if used is None else used, pool)
        elif isinstance(item, Stateful) and isinstance(other, Stateful):
            _move(new, old, other, item, pool)


def _move_array(target: Array[Any], source: Array[Any], used: int | None) -> bool:
    """Whether they are of one form: then the content is copied as it is."""
    if target.stride != source.stride or target.length != source.length or target.initial:
        return False
    size = source.size_bytes if used is None else used * source.stride
    target.view()[:size] = source.view()[:size]
    return True


def _slots_in(kind: Any, at: int = 0) -> list[int]:
    """Where in a record packets are held."""
    if kind is PacketSlot:
        return [at]
    fields = kind.FIELDS.values() if isinstance(kind, type) and issubclass(kind, Struct) else ()
    return [place for inner, offset in fields for place in _slots_in(inner, at + offset)]


def _move_held(new: Router, old: Router, target: Array[Any], used: int, pool: PacketPool) -> None:
    """The packets that records of an array hold, which was copied: what is there are places in the old memory."""
    slots = _slots_in(target.kind)
    if not slots or new.memory is None:
        return
    for i in range(used):
        for place in slots:
            at = target.offset + i * target.stride + place
            slot = new.memory.load(at, 8)
            if slot:
                new.memory.store(at, 8, _move_list(new, old, slot, pool))


def _move_list(new: Router, old: Router, slot: int, pool: PacketPool) -> Any:
    """A packet and those that are chained to it, in their order; 0 where there is none. What finds no room ends the list."""
    first = last = 0
    while slot and old.memory is not None and new.memory is not None:
        made = _move_packet(new, old, slot, pool)
        if not made:
            break
        if last:
            new.memory.store(last + META["next"].offset, 8, made)
        first, last = first or made, made
        slot = old.memory.load(slot + META["next"].offset, 8)
    return first


def _move_ring(new: Router, old: Router, target: PacketRing, source: PacketRing, pool: PacketPool) -> None:
    """The oldest packets first, as many as the new ring holds."""
    head, tail = source.span
    count = min((tail - head) & 0xFFFFFFFF, target.capacity)
    for i in range(count):
        slot: Any = source.slots[(head + i) & source.mask]
        target.slots[i] = _move_packet(new, old, slot, pool)
    target.set_length(count)


def _move_packet(new: Router, old: Router, slot: int, pool: PacketPool) -> Any:
    """A copy of a packet of the old router in a pool of the new one; 0 where there is none or no room."""
    if not slot or not pool.free or new.memory is None or old.memory is None:
        return 0
    end = old.memory.load(slot + META["data"].offset, 4) + old.memory.load(slot + META["length"].offset, 4)
    if end > pool.stride:
        return 0
    pool.free -= 1
    made = pool.stack[pool.free]
    size = max(end, BUFFER_OFFSET)
    new.memory.view[made : made + size] = old.memory.view[slot : slot + size]
    new.memory.store(made + META["next"].offset, 8, 0)
    return made
