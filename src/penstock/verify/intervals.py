"""Sets of numbers as sorted intervals, for what a variable can be. Large ones are arrays of NumPy's, with the same results."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import int64
    from numpy.typing import NDArray

    #: first numbers, last numbers
    Ends = tuple[NDArray[int64], NDArray[int64]]

__all__ = ["Intervals"]

Parts = tuple[tuple[int, int], ...]
#: from this many intervals on, a set is a pair of arrays; below, loops are quicker, and NumPy need not be loaded
_MANY = 256
#: what fits into an array with room for one more
_LARGEST = 1 << 62


class Intervals:
    """Sorted intervals (first, last), apart from one another by at least one number. One that was made is not changed any more."""

    __slots__ = ("_ends", "_hash", "_parts")
    _parts: Parts | None
    _ends: Ends | None
    _hash: int | None

    def __init__(self, parts: Parts):
        self._parts, self._ends, self._hash = parts, None, None

    @classmethod
    def of(cls, parts: Iterable[tuple[int, int]]) -> Intervals:
        """From intervals in any order; those that touch become one."""
        done: list[tuple[int, int]] = []
        for low, high in sorted(p for p in parts if p[0] <= p[1]):
            if done and low <= done[-1][1] + 1:
                if high > done[-1][1]:
                    done[-1] = (done[-1][0], high)
            else:
                done.append((low, high))
        return cls(tuple(done))

    @classmethod
    def of_ends(cls, ends: Ends) -> Intervals:
        """From sorted arrays of first and last numbers, in normal form."""
        if not len(ends[0]):
            return cls(())
        made = cls.__new__(cls)
        made._parts, made._ends, made._hash = None, ends, None
        return made

    @classmethod
    def full(cls, bits: int) -> Intervals:
        return cls(((0, (1 << bits) - 1),))

    @classmethod
    def prefix(cls, address: int, mask: int) -> Intervals:
        """The IPv4 addresses of a prefix."""
        first = address & mask
        return cls(((first, first | mask ^ 0xFFFF_FFFF),))

    @property
    def parts(self) -> Parts:
        """(first, last) of each."""
        if self._parts is None:
            assert self._ends is not None
            self._parts = tuple(zip(self._ends[0].tolist(), self._ends[1].tolist()))
        return self._parts

    @property
    def ends(self) -> Ends:
        """First and last numbers as arrays; only for sets of numbers below 2^62."""
        if self._ends is None:
            from penstock.verify.manyintervals import ends_of

            self._ends = ends_of(self.parts)
        return self._ends

    @property
    def count(self) -> int:
        """How many intervals there are."""
        return len(self._parts) if self._parts is not None else len(self.ends[0])

    def first(self, count: int) -> Parts:
        """The lowest ones, ``count`` at most."""
        if self._parts is not None:
            return self._parts[:count]
        low, high = self.ends
        return tuple(zip(low[:count].tolist(), high[:count].tolist()))

    @property
    def is_many(self) -> bool:
        """Whether it is worth its arrays."""
        return self.count >= _MANY and self.high < _LARGEST

    @property
    def low(self) -> int:
        return self._parts[0][0] if self._parts is not None else int(self.ends[0][0])

    @property
    def high(self) -> int:
        return self._parts[-1][1] if self._parts is not None else int(self.ends[1][-1])

    @property
    def size(self) -> int:
        if self._ends is not None:
            low, high = self._ends
            return int((high - low).sum()) + len(low)
        return sum(high - low + 1 for low, high in self.parts)

    @property
    def only(self) -> int | None:
        """The number, where there is just one."""
        parts = self._parts
        if parts is None:
            return self.low if self.count == 1 and self.low == self.high else None
        return parts[0][0] if len(parts) == 1 and parts[0][0] == parts[0][1] else None

    def __bool__(self) -> bool:
        return self._parts is None or bool(self._parts)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self.parts)

    def __contains__(self, number: int) -> bool:
        if self._parts is None:
            i = int(self.ends[0].searchsorted(number, "right")) - 1
            return i >= 0 and int(self.ends[0][i]) <= number <= int(self.ends[1][i])
        i = bisect_right(self._parts, (number, 1 << 200)) - 1
        return i >= 0 and self._parts[i][0] <= number <= self._parts[i][1]

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Intervals):
            return False
        if self._parts is not None and other._parts is not None:
            return self._parts == other._parts
        if self.count != other.count:
            return False
        if self.is_many and other.is_many:
            return bool((self.ends[0] == other.ends[0]).all() and (self.ends[1] == other.ends[1]).all())
        return self.parts == other.parts

    def __hash__(self) -> int:
        if self._hash is None:
            # Of a large set its ends tell enough; whoever has the same ones is compared.
            self._hash = hash((self.count, self.low, self.high, self.size) if self.is_many else self.parts)
        return self._hash

    def __repr__(self) -> str:
        more = f", and {self.count - 4} more" if self.count > 4 else ""
        return f"Intervals({', '.join(f'{low}-{high}' for low, high in self.first(4))}{more})"

    def _are_many(self, other: Intervals) -> bool:
        """Whether to work with arrays."""
        return (self.is_many or other.is_many) and bool(self) and bool(other) and self.high < _LARGEST and other.high < _LARGEST

    def __and__(self, other: Intervals) -> Intervals:
        if self._parts is not None and other._parts is not None and len(self._parts) == len(other._parts) == 1:
            ((a, b),), ((c, d),) = self._parts, other._parts
            low, high = a if a > c else c, b if b < d else d
            return Intervals(((low, high),) if low <= high else ())
        if self._are_many(other):
            from penstock.verify import manyintervals

            return Intervals.of_ends(manyintervals.both(self.ends, other.ends))
        mine, theirs = self.parts, other.parts
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
        if self._are_many(other):
            from penstock.verify import manyintervals

            return Intervals.of_ends(manyintervals.either(self.ends, other.ends))
        return Intervals.of(self.parts + other.parts)

    def without(self, other: Intervals) -> Intervals:
        if self._are_many(other):
            from penstock.verify import manyintervals

            return Intervals.of_ends(manyintervals.without(self.ends, other.ends))
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
