"""Large longest-prefix tables, made by arrays instead of a prefix at a time."""

from __future__ import annotations

from array import array
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["chunks_needed", "distinct", "elementary", "runs", "tables"]

_CHUNK = 0x8000_0000


def elementary(prefixes: Mapping[tuple[int, int], int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All addresses as intervals with one result each: where they start, in order, and the longest prefix's number plus one there
    (0: none). From (address, length) -> number."""
    table = np.array(list(prefixes), dtype=np.int64).reshape(-1, 2)
    numbers = np.fromiter(prefixes.values(), np.int64, len(prefixes)) + 1
    # By their length, and those of one length by address: what is looked for in order is found several times as quickly.
    order = np.argsort(table[:, 1] << 32 | table[:, 0])
    first, length, numbers = table[order, 0], table[order, 1], numbers[order]
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


def tables(prefixes: Mapping[tuple[int, int], int]) -> tuple[array[int], array[int]]:
    """The arrays ``top`` and ``chunks`` of :class:`LPM`: chunks for the next 8 bits first, then those for the last ones."""
    starts, labels = elementary(prefixes)
    results = labels.astype(np.uint32)
    # What is found at the first address of each /24.
    first = -(-starts // 256)
    middle = np.repeat(results, np.diff(first, append=1 << 24))
    split_16 = distinct(starts[starts & 0xFFFF != 0] >> 16)
    split_24 = distinct(starts[starts & 0xFF != 0] >> 8)
    top = middle[::256].copy()
    top[split_16] = _CHUNK | np.arange(len(split_16))
    upper = middle.reshape(-1, 256)[split_16]
    upper[np.searchsorted(split_16, split_24 >> 8), split_24 & 0xFF] = _CHUNK | (len(split_16) + np.arange(len(split_24)))
    addresses = (split_24[:, None] << 8 | np.arange(256)).reshape(-1)
    lower = results[np.searchsorted(starts, addresses, "right") - 1]
    return _as_array(top), _as_array(np.concatenate((upper.reshape(-1), lower)))


def chunks_needed(prefixes: Mapping[tuple[int, int], int]) -> int:
    """As :meth:`LPM.chunks_needed`."""
    table = np.array(list(prefixes), dtype=np.int64).reshape(-1, 2)
    middle, lower = (np.sort(table[table[:, 1] > bits, 0] >> (32 - bits)) for bits in (16, 24))
    return len(distinct(middle)) + len(distinct(lower))


def runs(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices one after the other: for each run as many as ``counts`` says, the first one and from there on one more each."""
    places: NDArray[np.int64] = np.arange(int(counts.sum())) + np.repeat(first - (np.cumsum(counts) - counts), counts)
    return places


def distinct(ordered: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted numbers, each of them once."""
    return ordered[np.concatenate(([True], ordered[1:] != ordered[:-1]))] if len(ordered) else ordered


def _as_array(numbers: NDArray[np.uint32]) -> array[int]:
    made = array("I")
    made.frombytes(numbers.tobytes())
    return made
