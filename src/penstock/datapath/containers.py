"""Containers with a fixed capacity: rings of packets, hash tables."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, cast

from penstock.datapath.memory import Array, PacketSlot, Stateful, Struct, StructView, make_struct, packer, size_and_alignment
from penstock.datapath.packet import Packet, fence, take
from penstock.datapath.source import datapath
from penstock.packet.integers import IntType, u32, u64, u128

__all__ = ["NONE", "PacketRing", "RingSide", "SharedRing", "Table", "tables_in"]

#: the index that Table gives where there is no entry
NONE = 0xFFFF_FFFF
_EMPTY, _DELETED, _FIRST_NUMBER = 0, 1, 2
#: mark of an entry that was removed; the bits below are the one removed before it, plus one
_FREE, _NEXT = 0x8000_0000, 0x7FFF_FFFF
_MASK64 = 0xFFFF_FFFF_FFFF_FFFF


class PacketRing(Stateful):
    """A first-in, first-out queue of at most ``capacity`` packets (a power of two of places, rounded up)."""

    head: u32
    tail: u32
    def __init__(self, capacity: int):
        self.capacity = capacity
        self.places = 1 << max(1, (capacity - 1).bit_length())
        self.mask = self.places - 1
        self.slots: Array[Any] = Array(cast(Any, PacketSlot), self.places)

    @property
    def span(self) -> tuple[int, int]:
        """The numbers of the first packet, and of the one behind the last."""
        return int(self.head), int(self.tail)

    def set_length(self, count: int) -> None:
        """The packets are those from the first slot on."""
        self.head, self.tail = 0, count

    @datapath
    def count(self) -> u32:
        return self.tail - self.head

    @datapath
    def count_at_most(self, limit: u32) -> u32:
        """For who puts: how many there are, or more; exactly, where that would be ``limit``."""
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
    def drop_all(self) -> None:
        n = self.count()
        for _ in range(n):
            p = self.get()
            if p is not None:
                p.kill()

    @datapath
    def get_last(self) -> Packet | None:
        if self.head == self.tail:
            return None
        self.tail -= 1
        return take(self.slots[self.tail & self.mask])


class RingSide(Stateful):
    """One side's index of a ring between two threads, and what it last saw of the other's: on a cache line of its own."""

    ALIGNMENT = 64

    index: u32
    seen: u32

    def __init__(self) -> None:
        self.rest = Array(u32, 14)


class SharedRing(PacketRing):
    """PacketRing where one thread puts and another one gets, each with an index of its own (``head`` and ``tail`` are not used).

    Each looks at the other's index only when what it saw of it does not do.
    """

    def __init__(self, capacity: int):
        super().__init__(capacity)
        self.writer, self.reader = RingSide(), RingSide()

    @property
    def span(self) -> tuple[int, int]:
        return int(self.reader.index), int(self.writer.index)

    def set_length(self, count: int) -> None:
        self.reader.index, self.writer.index = 0, count

    @datapath
    def count(self) -> u32:
        fence()
        return self.writer.index - self.reader.index

    @datapath
    def count_at_most(self, limit: u32) -> u32:
        if self.writer.index - self.writer.seen >= limit:
            fence()
            self.writer.seen = self.reader.index
        return self.writer.index - self.writer.seen

    @datapath
    def put(self, p: Packet) -> None:
        self.slots[self.writer.index & self.mask] = p
        fence()
        self.writer.index += 1

    @datapath
    def get(self) -> Packet | None:
        if self.reader.index == self.reader.seen:
            fence()
            self.reader.seen = self.writer.index
            if self.reader.index == self.reader.seen:
                return None
            fence()
        p = take(self.slots[self.reader.index & self.mask])
        fence()
        self.reader.index += 1
        return p


def _pack(kinds: tuple[IntType, ...]) -> tuple[tuple[tuple[tuple[int, int, int], ...], ...], ...]:
    """How the parts of a key fill 64-bit words, in pairs of words: for each word (which, right shift, left shift)s."""
    words: list[list[tuple[int, int, int]]] = [[]]
    used = 0
    for i, kind in enumerate(kinds):
        for right in range(0, kind.bits, 64):
            bits = min(kind.bits - right, 64)
            if used + bits > 64:
                words.append([])
                used = 0
            words[-1].append((i, right, used))
            used += bits
    if len(words) % 2:
        words.append([])
    packed = [tuple(w) for w in words]
    return tuple((packed[i], packed[i + 1]) for i in range(0, len(packed), 2))


class Table(Stateful):
    """A hash table from tuples of numbers to structs, for at most ``capacity`` entries.

    Entries lie close together in ``slots``, in the order in which they came, and never move: an entry's index stays good
    until it is removed. What is copied of a table (snapshots, hot swap, migration) is as large as what is in it. Beside
    them ``buckets``, with open addressing and linear probing: a word for each place, in its low bits the entry's number plus
    two, above it as much of the hash as there is room for, so that hardly ever a wrong entry is looked at.
    An entry is one piece of memory (place in the index, key, value), at most a cache line where that is possible.
    """

    seed: u64
    entries: u32
    #: entries beyond this one were never used
    top: u32
    #: the last entry removed, plus one; 0 where none is free below ``top``
    free: u32
    deleted: u32
    refused: u64

    def __init__(self, key: tuple[Any, ...], value: type[Struct], capacity: int):
        self.capacity = capacity
        self.places = 1 << max(3, (capacity * 3 // 2).bit_length())
        self.mask = self.places - 1
        self.number_mask = (1 << (capacity + _FIRST_NUMBER - 1).bit_length()) - 1
        self.tag_mask = 0xFFFF_FFFF ^ self.number_mask
        self.key_kinds = tuple(key)
        self.fields = tuple(f"k{i}" for i in range(len(key)))
        self.words = _pack(self.key_kinds)
        fields: dict[str, Any] = {"home": u32, **dict(zip(self.fields, key)), "value": value}
        plain = make_struct("Entry", fields)
        rounded = 1 << (plain.SIZE - 1).bit_length() if plain.SIZE <= 64 else (plain.SIZE + 63) & ~63
        self.entry = make_struct("Entry", fields, size=rounded)
        self.value_kind = value
        self.buckets: Array[u32] = Array(cast(Any, u32), self.places)
        self.slots: Array[Any] = Array(self.entry, capacity)

    @datapath
    def hash(self, key: tuple[int, ...]) -> u32:
        """A keyed multiplicative hash of the whole key.

        Each step multiplies two 64-bit words, mixed with secrets, to 128 bits and folds these, as wyhash does (Wang Yi
        2019); the seed differs from router to router, so that nobody can send keys that all fall together.
        """
        x: u64 = self.seed
        for first, second in self.words:
            a = self.word(key, first) ^ x ^ 0xA0761D6478BD642F
            b = self.word(key, second) ^ 0xE7037ED1A0B428DB
            product = u128(a) * u128(b)
            x = u64(product) ^ u64(product >> 64)
        return u32(x) ^ u32(x >> 32)

    @datapath
    def word(self, key: tuple[int, ...], part: tuple[tuple[int, int, int], ...]) -> u64:
        """64 bits put together from parts of the key: (which, right shift, left shift)."""
        value: u64 = 0
        for which, right, left in part:
            piece = key[which]
            if right > 0:
                value = value | (u64(piece >> right) << left)
            elif left > 0:
                value = value | (u64(piece) << left)
            else:
                value = value | u64(piece)
        return value

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
            found = self.buckets[place]
            if found == _EMPTY:
                return NONE
            if ((found ^ tag) & self.tag_mask) == 0:
                # A place whose entry was removed has a number below every entry's.
                i = (found & self.number_mask) - _FIRST_NUMBER
                if i < self.capacity and self.matches(i, key):
                    return i
            place = (place + 1) & self.mask
        return NONE

    @datapath(rare=True)
    def insert(self, key: tuple[int, ...]) -> u32:
        """The index of a new entry (the caller found none with this key), or NONE where the table is full."""
        if self.entries >= self.capacity:
            self.refused += 1
            return NONE
        tag = self.hash(key)
        place = tag & self.mask
        for _ in range(self.places):
            found = self.buckets[place]
            if found < _FIRST_NUMBER:
                if found == _DELETED:
                    self.deleted -= 1
                return self.occupy(place, tag, key)
            place = (place + 1) & self.mask
        return NONE

    @datapath
    def occupy(self, place: u32, tag: u32, key: tuple[int, ...]) -> u32:
        i = self.top
        if self.free > 0:
            i = self.free - 1
            self.free = self.slots[i].home & _NEXT
        else:
            self.top += 1
        self.buckets[place] = (tag & self.tag_mask) | (i + _FIRST_NUMBER)
        self.slots[i].home = place + 1
        for part, field in zip(key, self.fields):
            setattr(self.slots[i], field, part)
        self.entries += 1
        return i

    @datapath(rare=True)
    def remove(self, index: u32) -> None:
        """Free an entry. Where nothing follows its place, that and the deleted ones before it become empty again."""
        place = (self.slots[index].home - 1) & self.mask
        self.slots[index].home = _FREE | self.free
        self.free = index + 1
        self.entries -= 1
        if self.buckets[(place + 1) & self.mask] != _EMPTY:
            self.buckets[place] = _DELETED
            self.deleted += 1
            return
        self.buckets[place] = _EMPTY
        place = (place - 1) & self.mask
        for _ in range(self.places):
            if self.buckets[place] != _DELETED:
                break
            self.buckets[place] = _EMPTY
            self.deleted -= 1
            place = (place - 1) & self.mask

    @datapath(rare=True)
    def clear(self) -> None:
        for i in range(self.top):
            if self.used(i):
                self.remove(i)

    @datapath
    def used(self, index: u32) -> bool:
        return bool(self.slots[index].home - 1 < _FREE - 1)

    @datapath
    def after(self, index: u32) -> u32:
        """The entry after this one, round the table: for who looks at all of them, some at a time."""
        return index + 1 if index + 1 < self.top else u32(0)

    # From Python

    def items(self) -> Iterator[tuple[tuple[int, ...], StructView]]:
        """(key, value) of every entry, in the order of memory."""
        return (entry for i in self.indices() if (entry := self.look(i)) is not None)

    def _python_hash(self, key: tuple[int, ...], seed: int) -> int:
        """What :meth:`hash` gives."""
        x = seed
        for first, second in self.words:
            a, b = ((sum((key[which] >> right & _MASK64) << left for which, right, left in part) & _MASK64) for part in (first, second))
            product = (a ^ x ^ 0xA0761D6478BD642F) * (b ^ 0xE7037ED1A0B428DB)
            x = product & _MASK64 ^ product >> 64
        return (x ^ x >> 32) & 0xFFFFFFFF

    def load(self, content: dict[tuple[int, ...], dict[str, int]]) -> None:
        """Set the whole content, from Python: quick enough for large tables. Memory must be there."""
        if len(content) > self.capacity:
            raise ValueError(f"{len(content)} entries in a table for {self.capacity}")
        seed, index = self.seed, [_EMPTY] * self.places
        names = tuple(next(iter(content.values()), ()))
        pack = packer(self.slots.kind, ("home", *self.fields, *(f"value.{name}" for name in names)))
        records = []
        for i, (key, value) in enumerate(content.items()):
            tag = self._python_hash(key, seed)
            place = tag & self.mask
            while index[place]:
                place = (place + 1) & self.mask
            index[place] = tag & self.tag_mask | i + _FIRST_NUMBER
            records.append(pack(place + 1, *key, *(value[name] for name in names)))
        data = b"".join(records)
        self.slots.view()[: len(data)] = data
        self.buckets.view().cast("I")[:] = array("I", index)
        for i in range(len(content), self.top):
            self.slots[i] = {"home": 0}
        self.entries = self.top = len(content)
        self.free = self.deleted = 0

    def indices(self) -> list[int]:
        """Where entries are, at one glance; what changes meanwhile may be in it or not."""
        words, top = self.slots.stride // 4, min(self.top, self.capacity)
        homes = self.slots.view().cast("I")[: top * words : words].tolist()
        return [i for i, home in enumerate(homes) if 0 < home < _FREE]

    def look(self, index: int) -> tuple[tuple[int, ...], StructView] | None:
        """Key and value of an entry; None where there is none."""
        view = self.slots[index]
        if not 0 < view.home < _FREE:
            return None
        return tuple(getattr(view, f) for f in self.fields), view.value

    def index_of(self, key: tuple[int, ...]) -> int | None:
        """The index of the entry with this key, from Python."""
        tag = self._python_hash(key, self.seed)
        for n in range(self.places):
            found = int(self.buckets[(tag + n) & self.mask])
            if found == _EMPTY:
                return None
            i = (found & self.number_mask) - _FIRST_NUMBER
            if (found ^ tag) & self.tag_mask == 0 and 0 <= i < self.capacity and (entry := self.look(i)) is not None and entry[0] == key:
                return i
        return None

    def put(self, key: tuple[int, ...], value: dict[str, int]) -> int | None:
        """Enter a key that is not there, from Python; gives its index, None where the table is full."""
        if self.entries >= self.capacity:
            return None
        tag = self._python_hash(key, self.seed)
        place = tag & self.mask
        while (found := self.buckets[place]) >= _FIRST_NUMBER:
            place = (place + 1) & self.mask
        if found == _DELETED:
            self.deleted -= 1
        if self.free:
            i = self.free - 1
            self.free = self.slots[i].home & _NEXT
        else:
            i = self.top
            self.top += 1
        self.buckets[place] = cast(Any, tag & self.tag_mask | i + _FIRST_NUMBER)
        self.slots[i] = {"home": place + 1, **dict(zip(self.fields, key)), "value": value}
        self.entries += 1
        return i

    def drop(self, index: int) -> None:
        """Remove an entry, from Python."""
        self.buckets[self.slots[index].home - 1] = cast(Any, _DELETED)
        self.slots[index].home = _FREE | self.free
        self.free = index + 1
        self.entries -= 1
        self.deleted += 1

    @property
    def entry_size_bytes(self) -> int:
        return size_and_alignment(self.entry)[0]


def tables_in(owner: Stateful, path: str = "") -> Iterator[tuple[str, Table]]:
    """The tables that an object holds, also within others that it holds, by where they are in it: ``table``, ``cache.table``."""
    for name, item in owner.state_objects():
        if isinstance(item, Table):
            yield path + name, item
        elif isinstance(item, Stateful):
            yield from tables_in(item, f"{path}{name}.")
