"""Longest-prefix match for IPv4: a trie with strides of 16, 8 and 8 bits, so that a lookup is one to three loads."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from penstock.datapath.memory import Array, Stateful
from penstock.datapath.source import datapath
from penstock.packet.integers import u8, u32

__all__ = ["LPM", "LPMFullError"]

_CHUNK = 0x8000_0000
_CHUNK_PLACES = 256
#: in ``near``: what is there does not fit, and stands in ``chunks``
_FAR = 255
#: from this many prefixes on, arrays are quicker, and worth that NumPy is loaded
_MANY = 20_000


class LPMFullError(ValueError):
    """There is no room for the chunks that these prefixes need."""


class LPM(Stateful):
    """From addresses to numbers below 2^31 - 1. ``capacity`` is how many 256-place chunks longer prefixes may need.

    An entry is 0 (nothing), a number plus one, or a chunk with the top bit set. ``near`` has the entries of ``chunks`` as bytes, where
    they fit: a large table with few next hops is then a quarter as large, and more of it is in the cache (a hundred thousand random
    prefixes: 50 ns a packet instead of 64).
    """

    def __init__(self, capacity: int):
        self.capacity = max(capacity, 1)
        self.top = Array(u32, 1 << 16)
        self.chunks = Array(u32, self.capacity * _CHUNK_PLACES)
        self.near = Array(u8, self.capacity * _CHUNK_PLACES)
        self.prefixes: Mapping[tuple[int, int], int] = {}

    @datapath
    def find(self, address: u32) -> u32:
        """The number of the longest prefix that covers ``address``, plus one; 0 where none does."""
        entry = self.top[address >> 16]
        if (entry & _CHUNK) != 0:
            place = (entry & 0x7FFF_FFFF) * _CHUNK_PLACES + ((address >> 8) & 0xFF)
            near = self.near[place]
            if near != _FAR:
                return u32(near)
            entry = self.chunks[place]
            if (entry & _CHUNK) != 0:
                entry = self.chunks[(entry & 0x7FFF_FFFF) * _CHUNK_PLACES + (address & 0xFF)]
        return entry

    # From Python

    def fill(self, prefixes: Mapping[tuple[int, int], int]) -> None:
        """Set the whole content: (address, prefix length) -> number. LPMFullError changes nothing."""
        top: Any
        chunks: Any
        near: Any
        if len(prefixes) >= _MANY:
            from penstock.datapath.manyprefixes import small, tables

            top, chunks = tables(prefixes)
            near = small(chunks, _FAR)
            if len(chunks) > self.capacity * _CHUNK_PLACES:
                raise LPMFullError(f"the table has room for {self.capacity} chunks of 256 addresses")
        else:
            top, chunks = self._tables(prefixes)
            near = array("B", [min(entry, _FAR) for entry in chunks])
        self._write(self.top, top)
        self._write(self.chunks, chunks)
        self._write(self.near, near)
        self.prefixes = prefixes

    def _tables(self, prefixes: Mapping[tuple[int, int], int]) -> tuple[array[int], array[int]]:
        """Both arrays, a prefix at a time."""
        top = array("I", bytes(4 << 16))
        chunks = array("I")

        def chunk_below(entry: int) -> int:
            """The number of a new chunk whose places all hold ``entry``."""
            if len(chunks) // _CHUNK_PLACES >= self.capacity:
                raise LPMFullError(f"the table has room for {self.capacity} chunks of 256 addresses")
            chunks.extend([entry] * _CHUNK_PLACES)
            return len(chunks) // _CHUNK_PLACES - 1

        # Shorter prefixes first: longer ones paint over them.
        for (address, length), number in sorted(prefixes.items(), key=lambda item: item[0][1]):
            entry = number + 1
            if length <= 16:
                first = address >> 16
                count = 1 << (16 - length)
                top[first : first + count] = array("I", [entry]) * count
                continue
            if not top[address >> 16] & _CHUNK:
                top[address >> 16] = _CHUNK | chunk_below(top[address >> 16])
            base = (top[address >> 16] & ~_CHUNK) * _CHUNK_PLACES
            place = base + (address >> 8 & 0xFF)
            if length <= 24:
                count = 1 << (24 - length)
                chunks[place : place + count] = array("I", [entry]) * count
                continue
            if not chunks[place] & _CHUNK:
                number_below = chunk_below(chunks[place])
                chunks[place] = _CHUNK | number_below
            base = (chunks[place] & ~_CHUNK) * _CHUNK_PLACES
            first = base + (address & 0xFF)
            count = 1 << (32 - length)
            chunks[first : first + count] = array("I", [entry]) * count
        return top, chunks

    @staticmethod
    def _write(target: Array[int], content: Any) -> None:
        data = memoryview(content).cast("B")
        if target.memory is None:
            target.initial = {0: data}
        else:
            target.view()[: len(data)] = data

    @staticmethod
    def chunks_needed(prefixes: Mapping[tuple[int, int], int]) -> int:
        """How many chunks ``fill`` takes for these."""
        if len(prefixes) >= _MANY:
            from penstock.datapath.manyprefixes import chunks_needed

            return chunks_needed(prefixes)
        middle = {address >> 16 for address, length in prefixes if length > 16}
        lower = {address >> 8 for address, length in prefixes if length > 24}
        return len(middle) + len(lower)
