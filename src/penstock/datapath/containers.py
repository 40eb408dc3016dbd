"""Containers with a fixed capacity: rings of packets, hash tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

from penstock.datapath.memory import Array, PacketSlot, Stateful, Struct, StructView, make_struct, size_and_alignment
from penstock.datapath.packet import Packet, take
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u64

__all__ = ["NONE", "PacketRing", "Table"]

#: the index that Table gives where there is no entry
NONE = 0xFFFF_FFFF
_EMPTY, _DELETED, _FIRST_TAG = 0, 1, 2


class PacketRing(Stateful):
    """A first-in, first-out queue of at most ``capacity`` packets (a power of two of places, rounded up)."""

    head: u32
    tail: u32

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.places = 1 << max(1, (capacity - 1).bit_length())
        self.mask = self.places - 1
        self.slots: Array[Any] = Array(cast(Any, PacketSlot), self.places)

    @datapath
    def count(self) -> u32:
        return self.tail - self.head

    @datapath
    def put(self, p: Packet) -> None:
        """Append; the caller has looked that ``count() < capacity``."""
        assert self.tail - self.head < self.places
        self.slots[self.tail & self.mask] = p
        self.tail += 1

    @datapath
    def put_front(self, p: Packet) -> None:
        assert self.tail - self.head < self.places
        self.head -= 1
        self.slots[self.head & self.mask] = p

    @datapath
    def get(self) -> Packet | None:
        if self.head == self.tail:
            return None
        p = take(self.slots[self.head & self.mask])
        self.head += 1
        return p

    @datapath
    def get_last(self) -> Packet | None:
        if self.head == self.tail:
            return None
        self.tail -= 1
        return take(self.slots[self.tail & self.mask])


class Table(Stateful):
    """A hash table from tuples of numbers to structs, for at most ``capacity`` entries.

    Open addressing with linear probing; an entry never moves, so its index stays good until it is removed.
    An entry is one piece of memory (tag, key, value), at most a cache line where that is possible.
    """

    entries: u32
    deleted: u32
    refused: u64

    def __init__(self, key: tuple[Any, ...], value: type[Struct], capacity: int):
        self.capacity = capacity
        self.places = 1 << max(3, (capacity * 3 // 2).bit_length())
        self.mask = self.places - 1
        self.key_kinds = tuple(key)
        self.fields = tuple(f"k{i}" for i in range(len(key)))
        fields: dict[str, Any] = {"tag": u32, **dict(zip(self.fields, key)), "value": value}
        plain = make_struct("Entry", fields)
        rounded = 1 << (plain.SIZE - 1).bit_length() if plain.SIZE <= 64 else (plain.SIZE + 63) & ~63
        self.entry = make_struct("Entry", fields, size=rounded)
        self.value_kind = value
        self.slots: Array[Any] = Array(self.entry, self.places)

    @datapath
    def hash(self, key: tuple[int, ...]) -> u32:
        """A multiplicative hash of the whole key (Knuth's and Fibonacci hashing with 64-bit mixing)."""
        x: u64 = 0x9E3779B97F4A7C15
        for part, kind in zip(key, self.key_kinds):
            if kind.bits == 128:
                x = (x ^ u64(part >> 64)) * 0xFF51AFD7ED558CCD
                x = x ^ (x >> 32)
            x = (x ^ u64(part)) * 0xFF51AFD7ED558CCD
            x = x ^ (x >> 32)
        return u32(x) | _FIRST_TAG

    @datapath
    def matches(self, index: u32, key: tuple[int, ...]) -> bool:
        for part, field in zip(key, self.fields):
            if getattr(self.slots[index], field) != part:
                return False
        return True

    @datapath(inline=False)
    def find(self, key: tuple[int, ...]) -> u32:
        """The index of the entry with this key, or NONE."""
        tag = self.hash(key)
        place = tag & self.mask
        for _ in range(self.places):
            found = self.slots[place].tag
            if found == tag and self.matches(place, key):
                return place
            if found == _EMPTY:
                return NONE
            place = (place + 1) & self.mask
        return NONE

    @datapath(inline=False)
    def insert(self, key: tuple[int, ...]) -> u32:
        """The index of a new entry (the caller found none with this key), or NONE where the table is full."""
        if self.entries >= self.capacity:
            self.refused += 1
            return NONE
        tag = self.hash(key)
        place = tag & self.mask
        for _ in range(self.places):
            found = self.slots[place].tag
            if found < _FIRST_TAG:
                if found == _DELETED:
                    self.deleted -= 1
                self.slots[place].tag = tag
                for part, field in zip(key, self.fields):
                    setattr(self.slots[place], field, part)
                self.entries += 1
                return place
            place = (place + 1) & self.mask
        return NONE

    @datapath(inline=False)
    def remove(self, index: u32) -> None:
        """Free an entry. Where nothing follows it, it and the deleted ones before it become empty again."""
        after = (index + 1) & self.mask
        self.entries -= 1
        if self.slots[after].tag != _EMPTY:
            self.slots[index].tag = _DELETED
            self.deleted += 1
            return
        self.slots[index].tag = _EMPTY
        place = (index - 1) & self.mask
        for _ in range(self.places):
            if self.slots[place].tag != _DELETED:
                break
            self.slots[place].tag = _EMPTY
            self.deleted -= 1
            place = (place - 1) & self.mask

    @datapath
    def used(self, index: u32) -> bool:
        return bool(self.slots[index].tag >= _FIRST_TAG)

    # From Python

    def items(self) -> Iterator[tuple[tuple[int, ...], StructView]]:
        """(key, value) of every entry, in the order of memory."""
        raw = self.slots.view()
        stride = self.slots.stride
        for index in range(self.places):
            if int.from_bytes(raw[index * stride : index * stride + 4], "little") >= _FIRST_TAG:
                view = self.slots[index]
                yield tuple(getattr(view, f) for f in self.fields), view.value

    @property
    def entry_size_bytes(self) -> int:
        return size_and_alignment(self.entry)[0]
