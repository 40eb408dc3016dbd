"""Sets of numbers as sorted intervals, for what a variable can be."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Intervals"]


@dataclass(frozen=True, slots=True)
class Intervals:
    """``parts``: (first, last), sorted, apart from one another by at least one number."""

    parts: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, parts: Iterable[tuple[int, int]]) -> Intervals:
        """From intervals in any order; those that touch become one."""
        done: list[tuple[int, int]] = []
        for low, high in sorted(p for p in parts if p[0] <= p[1]):
            if done and low <= done[-1][1] + 1:
                done[-1] = (done[-1][0], max(done[-1][1], high))
            else:
                done.append((low, high))
        return cls(tuple(done))

    @classmethod
    def full(cls, bits: int) -> Intervals:
        return cls(((0, (1 << bits) - 1),))

    @classmethod
    def prefix(cls, address: int, mask: int) -> Intervals:
        """The IPv4 addresses of a prefix."""
        first = address & mask
        return cls(((first, first | mask ^ 0xFFFF_FFFF),))

    @property
    def low(self) -> int:
        return self.parts[0][0]

    @property
    def high(self) -> int:
        return self.parts[-1][1]

    @property
    def size(self) -> int:
        return sum(high - low + 1 for low, high in self.parts)

    @property
    def only(self) -> int | None:
        """The number, where there is just one."""
        return self.low if len(self.parts) == 1 and self.parts[0][0] == self.parts[0][1] else None

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __contains__(self, number: int) -> bool:
        i = bisect_right(self.parts, (number, 1 << 200)) - 1
        return i >= 0 and self.parts[i][0] <= number <= self.parts[i][1]

    def __and__(self, other: Intervals) -> Intervals:
        mine, theirs = self.parts, other.parts
        if len(theirs) == 1 and len(mine) == 1:
            low, high = max(mine[0][0], theirs[0][0]), min(mine[0][1], theirs[0][1])
            return Intervals(((low, high),) if low <= high else ())
        if len(mine) == 1:
            return other.cut(*mine[0])
        if len(theirs) == 1:
            return self.cut(*theirs[0])
        done: list[tuple[int, int]] = []
        i = j = 0
        while i < len(mine) and j < len(theirs):
            low, high = max(mine[i][0], theirs[j][0]), min(mine[i][1], theirs[j][1])
            if low <= high:
                done.append((low, high))
            if mine[i][1] < theirs[j][1]:
                i += 1
            else:
                j += 1
        return Intervals(tuple(done))

    def cut(self, low: int, high: int) -> Intervals:
        """Those from ``low`` to ``high``."""
        parts = self.parts
        first, last = bisect_right(parts, (low, 1 << 200)), bisect_right(parts, (high, 1 << 200))
        if first and parts[first - 1][1] >= low:
            first -= 1
        inside = parts[first:last]
        if not inside or (inside[0][0] >= low and inside[-1][1] <= high):
            return Intervals(inside)
        done = list(inside)
        done[0] = (max(done[0][0], low), done[0][1])
        done[-1] = (done[-1][0], min(done[-1][1], high))
        return Intervals(tuple(done))

    def __or__(self, other: Intervals) -> Intervals:
        return Intervals.of(self.parts + other.parts)

    def without(self, other: Intervals) -> Intervals:
        done: list[tuple[int, int]] = []
        j = 0
        theirs = other.parts
        for low, high in self.parts:
            while j < len(theirs) and theirs[j][1] < low:
                j += 1
            k = j
            while k < len(theirs) and theirs[k][0] <= high:
                if low < theirs[k][0]:
                    done.append((low, theirs[k][0] - 1))
                low = theirs[k][1] + 1
                k += 1
            if low <= high:
                done.append((low, high))
        return Intervals(tuple(done))

    def complement(self, bits: int) -> Intervals:
        return Intervals.full(bits).without(self)

    def shifted(self, by: int, bits: int) -> Intervals:
        """Each number plus ``by``, modulo 2^bits."""
        size = 1 << bits
        by %= size
        if by == 0:
            return self
        done: list[tuple[int, int]] = []
        for low, high in self.parts:
            low, high = low + by, high + by
            if high < size:
                done.append((low, high))
            elif low >= size:
                done.append((low - size, high - size))
            else:
                done += [(low, size - 1), (0, high - size)]
        return Intervals.of(done)

    def mirrored(self, bits: int) -> Intervals:
        """Each number times -1, modulo 2^bits."""
        size = 1 << bits
        done: list[tuple[int, int]] = []
        for low, high in self.parts:
            if low == 0:
                done.append((0, 0))
                low = 1
            if low <= high:
                done.append((size - high, size - low))
        return Intervals.of(done)
