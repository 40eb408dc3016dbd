"""Sets of numbers as intervals, small ones and large ones, are sets."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.verify import intervals
from penstock.verify.intervals import Intervals

TOP = 63
PARTS = st.lists(st.tuples(st.integers(0, TOP), st.integers(0, TOP)), max_size=12)


def members(numbers: Intervals) -> set[int]:
    for (_, high), (low, _) in zip(numbers.parts, numbers.parts[1:]):
        assert low > high + 1
    found = {n for low, high in numbers for n in range(low, high + 1)}
    assert numbers.size == len(found) and bool(numbers) == bool(found) and numbers.count == len(numbers.parts)
    assert not found or (numbers.low, numbers.high) == (min(found), max(found))
    assert {n for n in range(-1, TOP + 2) if n in numbers} == found
    assert numbers.first(2) == numbers.parts[:2]
    return found


OPERATIONS: list[Callable[..., object]] = [
    lambda a, b: a & b, lambda a, b: a | b, lambda a, b: a.without(b) if isinstance(a, Intervals) else a - b,
    lambda a, b: a.complement(6) if isinstance(a, Intervals) else set(range(64)) - a,
    lambda a, b: a.shifted(9, 6) if isinstance(a, Intervals) else {(n + 9) % 64 for n in a},
    lambda a, b: a.mirrored(6) if isinstance(a, Intervals) else {-n % 64 for n in a},
]


@pytest.mark.parametrize("many", [1, 3, 256])
@pytest.mark.parametrize("operation", OPERATIONS)
@given(one=PARTS, other=PARTS)
def test_operations_are_those_of_sets(many: int, operation: Callable[..., object], one: list[tuple[int, int]],
                                      other: list[tuple[int, int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_MANY", many)
        a, b = Intervals.of(one), Intervals.of(other)
        result = operation(a, b)
        assert isinstance(result, Intervals)
        assert members(result) == operation(members(a), members(b))
        same = Intervals.of(result.parts)
        assert same == result and hash(same) == hash(result)
        assert (a == b) == (members(a) == members(b))
