"""Large sets of numbers: sorted intervals as two arrays, the first and the last numbers. Nothing here loops over them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from penstock.datapath.manyprefixes import runs
from penstock.verify.intervals import Intervals

__all__ = ["Ends", "Labelled", "both", "either", "ends_of", "joined", "overlaps", "without"]

#: first numbers, last numbers
Ends = tuple[NDArray[np.int64], NDArray[np.int64]]


def ends_of(parts: Sequence[tuple[int, int]]) -> Ends:
    """From (first, last) of each."""
    table = np.array(parts, dtype=np.int64).reshape(-1, 2)
    return np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 1])


def overlaps(a: Ends, b: Ends) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of intervals of ``a`` and ``b`` that have numbers in common, as indices, in order."""
    first = np.searchsorted(b[1], a[0], "left")
    counts = np.searchsorted(b[0], a[1], "right") - first
    np.maximum(counts, 0, out=counts)
    mine = np.repeat(np.arange(len(counts)), counts)
    return mine, runs(first, counts)


def both(a: Ends, b: Ends) -> Ends:
    """What is in both."""
    if len(b[0]) < len(a[0]):
        a, b = b, a
    mine, theirs = overlaps(a, b)
    return np.maximum(a[0][mine], b[0][theirs]), np.minimum(a[1][mine], b[1][theirs])


def joined(low: NDArray[np.int64], high: NDArray[np.int64]) -> Ends:
    """Sorted intervals in normal form: those that touch or overlap become one."""
    if not len(low):
        return low, high
    reach = np.maximum.accumulate(high)
    begins = np.concatenate(([True], low[1:] > reach[:-1] + 1))
    at = np.flatnonzero(begins)
    return low[at], reach[np.concatenate((at[1:], [len(low)])) - 1]


def either(a: Ends, b: Ends) -> Ends:
    """What is in one of them."""
    low, high = np.concatenate((a[0], b[0])), np.concatenate((a[1], b[1]))
    order = np.argsort(low, kind="stable")
    return joined(low[order], high[order])


def without(a: Ends, b: Ends) -> Ends:
    """What is in ``a`` and not in ``b``."""
    top = int(a[1][-1])
    low, high = np.concatenate((np.zeros(1, np.int64), b[1] + 1)), np.concatenate((b[0] - 1, np.array([max(top, int(b[1][-1]))])))
    there = low <= high
    return both(a, (low[there], high[there]))


class Labelled:
    """All addresses as intervals with a label each: where they start, in order, and the labels."""

    def __init__(self, starts: NDArray[np.int64], labels: NDArray[np.int64]):
        self.starts, self.labels = starts, labels
        self._ends = starts, np.concatenate((starts[1:] - 1, np.array([0xFFFF_FFFF])))

    def at(self, address: int) -> int:
        return int(self.labels[self.starts.searchsorted(address, "right") - 1])

    def within(self, domain: Intervals) -> dict[int, Intervals]:
        """The addresses of ``domain`` by their label."""
        ends = domain.ends
        mine, theirs = overlaps(ends, self._ends)
        low, high = np.maximum(ends[0][mine], self._ends[0][theirs]), np.minimum(ends[1][mine], self._ends[1][theirs])
        found = self.labels[theirs]
        order = np.argsort(found, kind="stable")
        low, high, found = low[order], high[order], found[order]
        if not len(found):
            return {}
        changes = found[1:] != found[:-1]
        # Intervals of one label that touch are one.
        begins = np.flatnonzero(np.concatenate(([True], changes | (low[1:] > high[:-1] + 1))))
        low, high = low[begins], high[np.concatenate((begins[1:], [len(found)])) - 1]
        found = found[begins]
        cuts = [0, *(np.flatnonzero(found[1:] != found[:-1]) + 1).tolist(), len(found)]
        return {int(found[a]): Intervals.of_ends((low[a:b], high[a:b])) for a, b in pairwise(cuts)}
