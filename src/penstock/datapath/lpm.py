"""Longest-prefix match for IPv4: a trie with strides of 16, 8 and 8 bits, so that a lookup is one to three loads."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import Any

from penstock.datapath.memory import Array, Stateful
from penstock.datapath.source import datapath
from penstock.packet.integers import u8, u32, u64

__all__ = ["LPM", "LPMFullError"]

_CHUNK = 0x8000_0000
_CHUNK_PLACES = 256
#: in ``near``: what is there does not fit, and stands in ``chunks``
_FAR = 255
#: in ``top``, beside a chunk's number: its first places are also kept as runs
_RUNS = 0x4000_0000
_NUMBER = 0x3FFF_FFFF
#: in ``labels``: what is there does not fit, and stands in ``near``
_OTHER = 15
#: from this many prefixes on, arrays are quicker, and worth that NumPy is loaded
_MANY = 20_000
_MANY_CHUNKS = 8192


class LPMFullError(ValueError):
    """There is no room for the chunks that these prefixes need."""


@datapath
def popcount(bits: u64) -> u32:
    """How many bits are set; the compiler knows the processor's instruction for it."""
    pairs = bits - ((bits >> 1) & 0x5555_5555_5555_5555)
    fours = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333)
    bytes_ = (fours + (fours >> 4)) & 0x0F0F_0F0F_0F0F_0F0F
    return u32((bytes_ * 0x0101_0101_0101_0101) >> 56)


class LPM(Stateful):
    """From addresses to numbers below 2^31 - 1. ``capacity`` is how many 256-place chunks longer prefixes may need.

    An entry is 0 (nothing), a number plus one, or a chunk with the top bit set. ``near`` has the entries of ``chunks`` as bytes, where
    they fit: a large table with few next hops is then a quarter as large, and more of it is in the cache (a hundred thousand random
    prefixes: 50 ns a packet instead of 64). Of a large table the chunks below ``top`` are kept as runs, too, where they have at most 48:
    a bit for each place where another run starts, in ``starts``, and four bits for what is found there, in ``labels``. That is 56 bytes
    instead of 256, and what is looked up does not wait for one load after the other.
    """

    def __init__(self, capacity: int):
        self.capacity = max(capacity, 1)
        self.top = Array(u32, 1 << 16)
        self.chunks = Array(u32, self.capacity * _CHUNK_PLACES)
        self.near = Array(u8, self.capacity * _CHUNK_PLACES)
        #: how many chunks may be runs; below 2 MB, ``near`` is in the caches as it is
        self.upper = min(self.capacity, 1 << 16) if self.capacity >= _MANY_CHUNKS else 1
        self.starts = Array(u64, self.upper * 4, alignment=64)
        self.labels = Array(u64, self.upper * 3, alignment=64)
        self.prefixes: Mapping[tuple[int, int], int] = {}

    @datapath
    def find(self, address: u32) -> u32:
        """The number of the longest prefix that covers ``address``, plus one; 0 where none does."""
        entry = self.top[address >> 16]
        if (entry & _CHUNK) != 0:
            if (entry & _RUNS) != 0:
                label = self.run_at(entry & _NUMBER, (address >> 8) & 0xFF)
                if label != _OTHER:
                    return label
            place = (entry & _NUMBER) * _CHUNK_PLACES + ((address >> 8) & 0xFF)
            near = self.near[place]
            if near != _FAR:
                return u32(near)
            entry = self.chunks[place]
            if (entry & _CHUNK) != 0:
                entry = self.chunks[(entry & 0x7FFF_FFFF) * _CHUNK_PLACES + (address & 0xFF)]
        return entry

    @datapath
    def run_at(self, chunk: u32, place: u32) -> u32:
        """What is found in the run that covers a place: as many runs start up to there as its number says."""
        word = place >> 6
        up_to: u64 = (u64(2) << (place & 63)) - 1
        low = self.labels[3 * chunk]
        middle = self.labels[3 * chunk + 1]
        high = self.labels[3 * chunk + 2]
        count: u32 = 0
        for k in (0, 1, 2, 3):
            bits: u64 = self.starts[4 * chunk + k]
            if word == k:
                bits = bits & up_to
            elif word < k:
                bits = u64(0)
            count += popcount(bits)
        labels = low if count <= 16 else middle if count <= 32 else high
        return u32(labels >> (((count - 1) & 15) * 4)) & 15

    # From Python

    def fill(self, prefixes: Mapping[tuple[int, int], int]) -> None:
        """Set the whole content: (address, prefix length) -> number. LPMFullError changes nothing."""
        top: Any
        chunks: Any
        near: Any
        if len(prefixes) >= _MANY:
            from penstock.datapath.manyprefixes import small, small_runs, tables

            top, chunks = tables(prefixes)
            near = small(chunks, _FAR)
            if len(chunks) > self.capacity * _CHUNK_PLACES:
                raise LPMFullError(f"the table has room for {self.capacity} chunks of 256 addresses")
            is_chunk = (top & _CHUNK) != 0
            if (count := int(is_chunk.sum())) <= self.upper:
                fit, starts, labels = small_runs(near[: count * _CHUNK_PLACES], _OTHER)
                top[is_chunk] |= fit[top[is_chunk] & _NUMBER] * _RUNS
                self._write(self.starts, starts)
                self._write(self.labels, labels)
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
