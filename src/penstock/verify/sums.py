"""Ones'-complement sums (RFC 1071) as terms: linear modulo 65,535, over bytes of variables."""

from __future__ import annotations

from collections.abc import Iterable

from penstock.verify.terms import Join, Linear, Ones, Ranges, Slice, Term, Value, Var, integer_const, linear_range, made, serial_of

__all__ = ["fold_sum", "ones_sum"]

_ONES = 0xFFFF


def fold_sum(value: Value, ranges: Ranges) -> Value:
    """An integer folded into 16 bits (RFC 1071)."""
    if isinstance(value, int):
        while value >> 16:
            value = (value & _ONES) + (value >> 16)
        return value
    items: dict[Term, int] = {}
    const = _sum_parts(value, 1, items, ranges)
    return _ones(items, const)


def _ones(items: dict[Term, int], const: int) -> Value:
    left = [(t, f % _ONES) for t, f in items.items() if f % _ONES]
    if not left:
        # The words were not all zero (an IP header never is), so that a multiple of 65,535 shows as 65,535.
        return const % _ONES or _ONES
    left.sort(key=serial_of)
    return made(Ones, 16, (tuple(left), const % _ONES))  # type: ignore[no-any-return]


def ones_sum(parts: Iterable[tuple[Value, int]], const: int, ranges: Ranges) -> Value:
    """The folded sum of integers times numbers, and a number."""
    items: dict[Term, int] = {}
    total = const
    for value, factor in parts:
        total += _sum_parts(value, factor, items, ranges)
    return _ones(items, total)


def _sum_parts(value: Value, factor: int, items: dict[Term, int], ranges: Ranges) -> int:
    """Add ``factor`` times an integer to a combination modulo 65,535; gives what that adds to its constant."""
    if isinstance(value, int):
        return value * factor
    if isinstance(value, Ones):
        for term, f in value.key[0]:
            items[term] = items.get(term, 0) + f * factor
        return int(value.key[1]) * factor
    if isinstance(value, Join):
        const, at = 0, value.bits
        for part, n in value.key:
            at -= n
            const += _sum_parts(part, factor * (1 << at) % _ONES, items, ranges)
        return const
    if isinstance(value, Linear):
        span = linear_range(value, ranges)
        if span is not None:
            const = integer_const(value, span[0], ranges)
            return const * factor + sum(_sum_parts(t, f * factor, items, ranges) for t, f in value.items)
    base, first = (value.key[0], value.key[1]) if isinstance(value, Slice) else (value, 0)
    if base.bits > 8 and isinstance(base, Var):
        # In bytes of the variable, so that halves of a word meet again however it was read.
        const, at = 0, 0
        while at < value.bits:
            n = min(8 - (first + at) % 8, value.bits - at)
            part = made(Slice, n, (base, first + at)) if n < base.bits else base
            items[part] = items.get(part, 0) + factor * (1 << at)
            at += n
        return const
    items[value] = items.get(value, 0) + factor
    return 0
