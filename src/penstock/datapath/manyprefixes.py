"""Large longest-prefix tables, made by arrays instead of a prefix at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Prefixes", "chunks_needed", "distinct", "elementary", "runs", "small", "small_runs", "tables"]

_CHUNK = 0x8000_0000
_MOST_RUNS = 48


class Prefixes(Mapping[tuple[int, int], int]):
    """From (address, length) to numbers, kept as columns: a dictionary of a million takes longer to make than the tables."""

    def __init__(self, address: NDArray[np.int64], length: NDArray[np.int64], number: NDArray[np.int64]):
        self.address, self.length, self.number = address, length, number

    @classmethod
    def of(cls, prefixes: Mapping[tuple[int, int], int]) -> Prefixes:
        if isinstance(prefixes, Prefixes):
            return prefixes
        table = np.array(list(prefixes), dtype=np.int64).reshape(-1, 2)
        return cls(table[:, 0], table[:, 1], np.fromiter(prefixes.values(), np.int64, len(prefixes)))

    @property
    def _keys(self) -> NDArray[np.int64]:
        return self.length << 32 | self.address

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """By length, and those of one length by address: what is looked for in order is found several times as quickly."""
        return np.argsort(self._keys)

    def has_twice(self) -> bool:
        """Whether a prefix stands in it more than once."""
        keys = self._keys[self.order]
        return bool((keys[1:] == keys[:-1]).any())

    @cached_property
    def _content(self) -> dict[tuple[int, int], int]:
        return dict(zip(zip(self.address.tolist(), self.length.tolist()), self.number.tolist()))

    def __getitem__(self, key: tuple[int, int]) -> int:
        return self._content[key]

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self.address)


def elementary(prefixes: Mapping[tuple[int, int], int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All addresses as intervals with one result each: where they start, in order, and the longest prefix's number plus one there
    (0: none). From (address, length) -> number."""
    columns = Prefixes.of(prefixes)
    order = columns.order
    first, length, numbers = columns.address[order], columns.length[order], columns.number[order] + 1
    after = first + (1 << (32 - length))
    starts = distinct(np.sort(np.concatenate((np.zeros(1, np.int64), first, after))))
    starts = starts[starts < 1 << 32]
    results = np.zeros(len(starts), np.int64)
    cuts = np.searchsorted(length, np.arange(34))
    # The shorter prefixes are painted first, longer ones over them.
    for these in (slice(cuts[bits], cuts[bits + 1]) for bits in range(33)):
        low = np.searchsorted(starts, first[these])
        counts = np.searchsorted(starts, after[these]) - low
        # Prefixes of one length do not overlap: each place is painted once a length.
        results[runs(low, counts)] = np.repeat(numbers[these], counts)
    new = np.concatenate(([True], results[1:] != results[:-1]))
    return starts[new], results[new]


def tables(prefixes: Mapping[tuple[int, int], int]) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """The arrays ``top`` and ``chunks`` of :class:`LPM`: chunks for the next 8 bits first, then those for the last ones."""
    starts, labels = elementary(prefixes)
    results = labels.astype(np.uint32)
    # What is found at the first address of each /24.
    first = np.append((starts + 255) >> 8, 1 << 24)
    middle = np.repeat(results, first[1:] - first[:-1])
    split_16 = distinct(starts[starts & 0xFFFF != 0] >> 16)
    split_24 = distinct(starts[starts & 0xFF != 0] >> 8)
    top = middle[::256].copy()
    top[split_16] = _CHUNK | np.arange(len(split_16))
    chunks = np.empty((len(split_16) + len(split_24), 256), np.uint32)
    upper = np.take(middle.reshape(-1, 256), split_16, axis=0, out=chunks[: len(split_16)], mode="clip")
    upper[np.searchsorted(split_16, split_24 >> 8), split_24 & 0xFF] = _CHUNK | (len(split_16) + np.arange(len(split_24)))
    addresses = split_24[:, None] << 8 | np.arange(256)
    chunks[len(split_16) :] = results[np.searchsorted(starts, addresses, "right") - 1]
    return top, chunks.reshape(-1)


def small(entries: NDArray[np.uint32], most: int) -> NDArray[np.uint8]:
    """As bytes; what is more than ``most`` is that."""
    made = np.empty(len(entries), np.uint8)
    np.minimum(entries, np.uint32(most), out=made, casting="unsafe")
    return made


def small_runs(near: NDArray[np.uint8], other: int) -> tuple[NDArray[np.uint32], NDArray[np.uint64], NDArray[np.uint64]]:
    """Chunks of 256 places as runs of equal values: whether each has at most 48 (1 or 0), 256 bits that say where a run starts, and
    the values of the first 48 runs, four bits each, larger ones as ``other``."""
    values = np.minimum(near, np.uint8(other)).reshape(-1, 256)
    begins = np.ones(values.shape, np.bool_)
    np.not_equal(values[:, 1:], values[:, :-1], out=begins[:, 1:])
    starts = np.packbits(begins, axis=1, bitorder="little").view("<u8")
    at = np.flatnonzero(begins)
    chunk = at >> 8
    first = np.searchsorted(chunk, np.arange(len(values) + 1))
    number = np.arange(len(at)) - np.repeat(first[:-1], np.diff(first))
    kept = number < _MOST_RUNS
    nibbles = np.zeros((len(values), _MOST_RUNS), np.uint8)
    nibbles[chunk[kept], number[kept]] = values.reshape(-1)[at[kept]]
    labels = (nibbles[:, ::2] | nibbles[:, 1::2] << np.uint8(4)).reshape(-1).view("<u8")
    return (np.diff(first) <= _MOST_RUNS).astype(np.uint32), starts.reshape(-1), labels


def chunks_needed(prefixes: Mapping[tuple[int, int], int]) -> int:
    """As :meth:`LPM.chunks_needed`."""
    columns = Prefixes.of(prefixes)
    count = 0
    for bits in (16, 24):
        is_split = np.zeros(1 << bits, np.bool_)
        is_split[columns.address[columns.length > bits] >> (32 - bits)] = True
        count += int(np.count_nonzero(is_split))
    return count


def runs(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices one after the other: for each run as many as ``counts`` says, the first one and from there on one more each."""
    places: NDArray[np.int64] = np.arange(int(counts.sum())) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return places


def distinct(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted numbers, each of them once."""
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered
