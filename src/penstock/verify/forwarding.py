"""What a longest-prefix table gives for every address at once: all addresses as intervals with one result each."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from weakref import WeakKeyDictionary

from penstock.datapath.lpm import LPM
from penstock.verify.intervals import Intervals

__all__ = ["Partition", "elementary", "partition_of"]

#: from this many prefixes on, arrays are quicker, and worth that NumPy is loaded
_MANY = 1000

_known: WeakKeyDictionary[LPM, Partition] = WeakKeyDictionary()


class Partition:
    """``all`` has every address by what is found there (:meth:`LPM.find`: a number plus one, or 0)."""

    def __init__(self, prefixes: Mapping[tuple[int, int], int]):
        self.is_many = len(prefixes) >= _MANY
        if self.is_many:
            from penstock.datapath import manyprefixes
            from penstock.verify.manyintervals import Labelled

            self._labels = Labelled(*manyprefixes.elementary(prefixes))
            self.all = self._labels.within(Intervals.full(32))
        else:
            self._starts, self._results = elementary(prefixes)
            self.all = self._within(Intervals.full(32))

    def at(self, address: int) -> int:
        """What is found for an address."""
        return self._labels.at(address) if self.is_many else self._results[bisect_right(self._starts, address) - 1]

    def within(self, domain: Intervals) -> dict[int, Intervals]:
        """The addresses of ``domain`` by what is found there; as quick as there are intervals in it."""
        if domain.size == 1 << 32:
            return self.all
        return self._labels.within(domain) if self.is_many else self._within(domain)

    def _within(self, domain: Intervals) -> dict[int, Intervals]:
        found: dict[int, list[tuple[int, int]]] = {}
        starts, last = self._starts, len(self._starts) - 1
        for low, high in domain:
            i = bisect_right(starts, low) - 1
            while i <= last and starts[i] <= high:
                end = starts[i + 1] - 1 if i < last else 0xFFFF_FFFF
                found.setdefault(self._results[i], []).append((max(low, starts[i]), min(high, end)))
                i += 1
        return {result: Intervals.of(parts) for result, parts in found.items()}


def partition_of(lpm: LPM) -> Partition:
    """The addresses by what a table gives for them; made once."""
    if lpm not in _known:
        _known[lpm] = Partition(lpm.prefixes)
    return _known[lpm]


def elementary(prefixes: Mapping[tuple[int, int], int]) -> tuple[list[int], list[int]]:
    """From (address, length) -> number: where each interval starts, in order, and the longest prefix's number plus one there."""
    starts, results = [0], [0]

    def begin(at: int, result: int) -> None:
        if starts[-1] == at:
            results[-1] = result
            if len(results) > 1 and results[-2] == result:
                starts.pop()
                results.pop()
        elif results[-1] != result:
            starts.append(at)
            results.append(result)

    # A prefix covers the shorter ones that begin before it; at its end the one around it goes on.
    around: list[tuple[int, int]] = [(1 << 32, 0)]
    for (address, length), number in sorted(prefixes.items()):
        while around[-1][0] <= address:
            end, _ = around.pop()
            begin(end, around[-1][1])
        begin(address, number + 1)
        around.append((address + (1 << (32 - length)), number + 1))
    while len(around) > 1:
        end, _ = around.pop()
        if end < 1 << 32:
            begin(end, around[-1][1])
    return starts, results
