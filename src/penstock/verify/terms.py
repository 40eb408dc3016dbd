"""Values of a symbolic packet: numbers, and terms over variables.

A value is a Python int where it is known, else a Term of a fixed width. Terms are kept in a normal form that settles most
questions by itself: sums are linear combinations modulo 2^bits, so that what was added can be taken away; bit fields are
slices and joins, so that what was cut apart and put together again is the same term; ones'-complement sums (RFC 1071) are
linear modulo 65,535 (sums.py), so that a checksum that was adjusted is known to be right. Equal terms are the same object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count, pairwise
from typing import Any
from weakref import WeakValueDictionary

from penstock.verify.intervals import Intervals

__all__ = [
    "Join",
    "Linear",
    "Ones",
    "Op",
    "Ranges",
    "Slice",
    "Term",
    "Value",
    "Var",
    "add",
    "bit_and",
    "bit_or",
    "bit_xor",
    "compare",
    "divide",
    "equal",
    "extend",
    "flat",
    "integer_const",
    "invert",
    "join",
    "linear_range",
    "made",
    "member",
    "multiply",
    "piece",
    "remainder",
    "serial_of",
    "shift_left",
    "shift_right",
    "subtract",
    "truth",
    "truth_not",
]

_known: WeakValueDictionary[tuple[Any, ...], Term] = WeakValueDictionary()
_serials = count()


class Term:
    """A value that is not known. ``key`` tells what it is; two terms with the same key are one object."""

    __slots__ = ("__weakref__", "bits", "inside", "key", "serial", "span")
    bits: int
    key: tuple[Any, ...]
    #: the variables in it, once somebody asked
    inside: frozenset[Any] | None
    #: terms that exist have an order, in which they stand in sums
    serial: int
    #: the least and the greatest number that it can be anywhere
    span: tuple[int, int]

    def __repr__(self) -> str:
        return str(self)


Value = int | Term
#: the least and the greatest number that a term can be here
Ranges = Callable[[Term], tuple[int, int]]


def made(cls: Any, bits: int, key: tuple[Any, ...]) -> Any:
    """The term of a class with this key: the one that is there, or a new one. The key must be in normal form."""
    whole = (cls, bits, key)
    found = _known.get(whole)
    if found is None:
        found = cls.__new__(cls)
        found.bits, found.key, found.serial, found.inside = bits, key, next(_serials), None
        found.span = _span(found)
        _known[whole] = found
    return found


def _span(term: Term) -> tuple[int, int]:
    if isinstance(term, Linear):
        found = linear_range(term, _spans)
        if found is not None:
            return found
    elif isinstance(term, Join):
        low = high = 0
        for part, n in term.key:
            a, b = (part, part) if isinstance(part, int) else part.span
            low, high = low << n | a, high << n | b
        return low, high
    elif isinstance(term, Slice):
        base, first = term.key
        low, high = base.span
        if high >> first < 1 << term.bits:
            return low >> first, high >> first
    elif isinstance(term, Op) and term.key[0] == "mod" and isinstance(term.key[2], int):
        return 0, term.key[2] - 1
    return 0, (1 << term.bits) - 1


def _spans(term: Term) -> tuple[int, int]:
    return term.span


class Var(Term):
    """A variable with a name for people; ``low`` and ``high`` hold always.

    ``kind``: packet, state, random, time, or open (left open in the question).
    """

    __slots__ = ()

    def __new__(cls, name: str, bits: int, low: int = 0, high: int | None = None, kind: str = "packet") -> Var:
        top = (1 << bits) - 1 if high is None else high
        key = (name, low, top, kind)
        whole = (cls, bits, key)
        found = _known.get(whole)
        if found is None:
            found = object.__new__(cls)
            found.bits, found.key, found.serial, found.span, found.inside = bits, key, next(_serials), (low, top), None
            _known[whole] = found
        return found  # type: ignore[return-value]

    @property
    def name(self) -> str:
        return str(self.key[0])

    @property
    def low(self) -> int:
        return int(self.key[1])

    @property
    def high(self) -> int:
        return int(self.key[2])

    @property
    def kind(self) -> str:
        return str(self.key[3])

    @property
    def is_shared(self) -> bool:
        """Whether others than the box that it came up in see it: a packet's, or left open in the question."""
        return self.kind in ("packet", "open")

    def named(self, name: str) -> Var:
        """The same under another name."""
        return Var(name, self.bits, self.low, self.high, self.kind)

    def __str__(self) -> str:
        return self.name


class Linear(Term):
    """``const`` plus terms times numbers, modulo 2^bits. key: (((term, factor), ...), const); factors are signed."""

    __slots__ = ()

    @property
    def items(self) -> tuple[tuple[Term, int], ...]:
        return self.key[0]  # type: ignore[no-any-return]

    @property
    def const(self) -> int:
        return int(self.key[1])

    def __str__(self) -> str:
        text = ""
        for term, factor in self.items:
            sign = "-" if factor < 0 else "+"
            amount = "" if abs(factor) == 1 else f"{abs(factor)}*"
            text += f" {sign} {amount}{term}"
        text = text.strip().removeprefix("+ ")
        const = _signed(self.const, self.bits)
        return text if not const else f"{text} {'-' if const < 0 else '+'} {abs(const)}"


class Join(Term):
    """Values side by side, the most significant first. key: ((value, bits), ...)."""

    __slots__ = ()

    def __str__(self) -> str:
        parts = self.key
        if len(parts) == 2 and parts[0][0] == 0:
            return str(parts[1][0])
        return "[" + " ".join(f"{p:#x}:{n}" if isinstance(p, int) else str(p) for p, n in parts) + "]"


class Slice(Term):
    """``bits`` bits of a term, from bit ``low`` on. key: (term, low)."""

    __slots__ = ()

    def __str__(self) -> str:
        term, low = self.key
        return f"{term}[{low + self.bits - 1}:{low}]"


class Ones(Term):
    """A ones'-complement sum of 16 bits. key: (((term, factor), ...), const), modulo 65,535."""

    __slots__ = ()

    def __str__(self) -> str:
        return "sum(" + " + ".join(str(t) if f == 1 else f"{f}*{t}" for t, f in self.key[0]) + f" + {self.key[1]})"


class Op(Term):
    """Anything else: key[0] says what, the others are its operands. Comparisons and truth values have one bit."""

    __slots__ = ()

    def __str__(self) -> str:
        name, *args = self.key
        signs = {"eq": "==", "lt": "<", "le": "<=", "and": "and", "or": "or", "mod": "%", "div": "/", "mul": "*"}
        if name == "not":
            return f"not ({args[0]})"
        if name in signs:
            return f"{args[0]} {signs[name]} {args[1]}"
        return f"{name}({', '.join(map(str, args))})"


def _signed(value: int, bits: int) -> int:
    return value - (1 << bits) if value >> (bits - 1) and bits > 1 else value


def _linear(items: dict[Term, int], const: int, bits: int) -> Value:
    mask = (1 << bits) - 1
    const &= mask
    left = [(t, _signed(f & mask, bits)) for t, f in items.items() if f & mask]
    if not left:
        return const
    if const == 0 and len(left) == 1 and left[0][1] == 1:
        return left[0][0]
    left.sort(key=serial_of)
    return made(Linear, bits, (tuple(left), const))  # type: ignore[no-any-return]


def serial_of(item: tuple[Term, int]) -> int:
    """The order of the parts of a sum."""
    return item[0].serial


def _parts(value: Value, items: dict[Term, int], factor: int) -> int:
    """Add ``factor`` times a value to a linear combination; gives what that adds to its constant."""
    if isinstance(value, int):
        return value * factor
    if isinstance(value, Linear):
        for term, f in value.items:
            items[term] = items.get(term, 0) + f * factor
        return value.const * factor
    items[value] = items.get(value, 0) + factor
    return 0


# Arithmetic

def add(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return (a + b) & ((1 << bits) - 1)
    if b == 0:
        return a
    if a == 0:
        return b
    items: dict[Term, int] = {}
    return _linear(items, _parts(a, items, 1) + _parts(b, items, 1), bits)


def subtract(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return (a - b) & ((1 << bits) - 1)
    if b == 0:
        return a
    items: dict[Term, int] = {}
    return _linear(items, _parts(a, items, 1) + _parts(b, items, -1), bits)


def multiply(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return (a * b) & ((1 << bits) - 1)
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        items: dict[Term, int] = {}
        return _linear(items, _parts(a, items, b), bits)
    return made(Op, bits, ("mul", a, b))  # type: ignore[no-any-return]


def divide(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    if isinstance(b, int) and b & (b - 1) == 0:
        return shift_right(a, b.bit_length() - 1, bits)
    return made(Op, bits, ("div", a, b))  # type: ignore[no-any-return]


def remainder(a: Value, b: Value, bits: int, ranges: Ranges | None = None) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a % b
    if isinstance(b, int) and b & (b - 1) == 0:
        return bit_and(a, b - 1, bits)
    if isinstance(b, int) and ranges is not None and isinstance(a, Term) and ranges(a)[1] < b:
        return a
    return made(Op, bits, ("mod", a, b))  # type: ignore[no-any-return]


# Bits

def piece(value: Value, low: int, bits: int) -> Value:
    """``bits`` bits from bit ``low`` on."""
    if isinstance(value, int):
        return value >> low & ((1 << bits) - 1)
    if low == 0 and bits == value.bits:
        return value
    if value.span[1] < 1 << low:
        return 0
    if isinstance(value, Join):
        return join(_cut(value.key, low, bits))
    if isinstance(value, Slice):
        return made(Slice, bits, (value.key[0], value.key[1] + low))  # type: ignore[no-any-return]
    if isinstance(value, Linear) and low == 0:
        items: dict[Term, int] = {}
        const = value.const
        for term, factor in value.items:
            const += _parts(piece(term, 0, bits), items, factor)
        return _linear(items, const, bits)
    return made(Slice, bits, (value, low))  # type: ignore[no-any-return]


def _cut(parts: tuple[tuple[Value, int], ...], low: int, bits: int) -> list[tuple[Value, int]]:
    found: list[tuple[Value, int]] = []
    end = low + bits
    at = sum(n for _, n in parts)
    for value, n in parts:
        at -= n
        first, last = max(at, low), min(at + n, end)
        if first < last:
            found.append((piece(value, first - at, last - first), last - first))
    return found


def join(parts: Iterable[tuple[Value, int]]) -> Value:
    """Values side by side, the most significant first."""
    done: list[tuple[Value, int]] = []
    work = list(parts)
    work.reverse()
    while work:
        value, n = work.pop()
        if isinstance(value, Join):
            work += reversed(value.key)
            continue
        if done:
            before, m = done[-1]
            if isinstance(value, int):
                if isinstance(before, int):
                    done[-1] = (before << n | value, m + n)
                    continue
            elif isinstance(before, Slice):
                base, low = before.key
                if value is base:
                    pass
                elif isinstance(value, Slice) and value.key[0] is base and value.key[1] + n == low:
                    whole = piece(base, value.key[1], m + n)
                    done[-1] = (whole, m + n)
                    continue
                elif isinstance(base, Linear) and piece(base, 0, low) is value and n == low:
                    # The lower bits of a sum are a sum themselves.
                    done[-1] = (piece(base, 0, m + n), m + n)
                    continue
        done.append((value, n))
    if len(done) == 1:
        return done[0][0]
    return made(Join, sum(n for _, n in done), tuple(done))  # type: ignore[no-any-return]


def extend(value: Value, bits: int, ranges: Ranges) -> Value:
    """Zero bits in front. A sum that does not wrap stays a sum."""
    if isinstance(value, int):
        return value
    if isinstance(value, Linear):
        span = linear_range(value, ranges)
        if span is not None:
            items: dict[Term, int] = {}
            const = integer_const(value, span[0], ranges)
            for term, factor in value.items:
                const += _parts(extend(term, bits, ranges), items, factor)
            return _linear(items, const, bits)
    return join([(0, bits - value.bits), (value, value.bits)])


def integer_const(value: Linear, low: int, ranges: Ranges) -> int:
    """The constant for which a combination that does not wrap is right over the integers."""
    const = low
    for term, factor in value.items:
        a, b = ranges(term)
        const -= factor * (a if factor > 0 else b)
    return const


def linear_range(value: Linear, ranges: Ranges) -> tuple[int, int] | None:
    """The least and greatest number of a sum; None where it may wrap around."""
    low = high = 0
    for term, factor in value.items:
        a, b = ranges(term)
        low += factor * (a if factor > 0 else b)
        high += factor * (b if factor > 0 else a)
    size = 1 << value.bits
    for const in (value.const, value.const - size):
        if low + const >= 0 and high + const < size:
            return low + const, high + const
    return None


def _runs(mask: int, bits: int) -> list[tuple[int, int, int]]:
    """Runs of equal bits, from the top: (bit, low, length)."""
    found: list[tuple[int, int, int]] = []
    at = bits
    while at:
        bit = mask >> (at - 1) & 1
        low = at - 1
        while low and mask >> (low - 1) & 1 == bit:
            low -= 1
        found.append((bit, low, at - low))
        at = low
    return found


def bit_and(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a & b
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        return join([(piece(a, low, n) if bit else 0, n) for bit, low, n in _runs(b, bits)])
    if a is b:
        return a
    return _bitwise("and", a, b, bits, lambda x, y: 0 if 0 in (x, y) else None)


def bit_or(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a | b
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        return join([((1 << n) - 1 if bit else piece(a, low, n), n) for bit, low, n in _runs(b, bits)])
    if a is b:
        return a
    return _bitwise("or", a, b, bits, lambda x, y: y if x == 0 else x if y == 0 else None)


def bit_xor(a: Value, b: Value, bits: int) -> Value:
    if isinstance(a, int) and isinstance(b, int):
        return a ^ b
    if isinstance(a, int):
        a, b = b, a
    if isinstance(b, int):
        return join([(invert(piece(a, low, n), n) if bit else piece(a, low, n), n) for bit, low, n in _runs(b, bits)])
    if a is b:
        return 0
    return _bitwise("xor", a, b, bits, lambda x, y: y if x == 0 else x if y == 0 else None)


def invert(value: Value, bits: int) -> Value:
    """All bits the other way round: 2^bits - 1 - value."""
    if bits == 1 and isinstance(value, Op):
        return truth_not(value)
    return subtract((1 << bits) - 1, value, bits)


def _bitwise(name: str, a: Value, b: Value, bits: int, rule: Callable[[Value, Value], Value | None]) -> Value:
    """Piece by piece where one side is known to be zero; else as a whole."""
    cuts = sorted({*_bounds(a, bits), *_bounds(b, bits)})
    parts: list[tuple[Value, int]] = []
    for low, high in reversed(list(pairwise(cuts))):
        x, y = piece(a, low, high - low), piece(b, low, high - low)
        simple = rule(x, y)
        if simple is None:
            if isinstance(x, int) and isinstance(y, int):
                simple = {"and": x & y, "or": x | y, "xor": x ^ y}[name]
            else:
                first, second = (a, b) if isinstance(b, int) or (isinstance(a, Term) and a.serial < b.serial) else (b, a)
                return made(Op, bits, (name, first, second))  # type: ignore[no-any-return]
        parts.append((simple, high - low))
    return join(parts)


def _bounds(value: Value, bits: int) -> list[int]:
    found = [0, bits]
    if isinstance(value, Join):
        at = bits
        for _, n in value.key:
            at -= n
            found.append(at)
    return found


def shift_left(a: Value, count: Value, bits: int) -> Value:
    if not isinstance(count, int):
        return made(Op, bits, ("shl", a, count))  # type: ignore[no-any-return]
    count %= bits
    if count == 0:
        return a
    return a << count & ((1 << bits) - 1) if isinstance(a, int) else join([(piece(a, 0, bits - count), bits - count), (0, count)])


def shift_right(a: Value, count: Value, bits: int) -> Value:
    if not isinstance(count, int):
        return made(Op, bits, ("shr", a, count))  # type: ignore[no-any-return]
    count %= bits
    if count == 0:
        return a
    return a >> count if isinstance(a, int) else join([(0, count), (piece(a, count, bits - count), bits - count)])


def _size(value: Term) -> int:
    return len(value.items) if isinstance(value, Linear) else 1


# Truth

def truth_not(value: Value) -> Value:
    if isinstance(value, int):
        return 1 - value
    if isinstance(value, Op) and value.key[0] == "not":
        return value.key[1]  # type: ignore[no-any-return]
    return made(Op, 1, ("not", value))  # type: ignore[no-any-return]


def truth(name: str, a: Value, b: Value) -> Value:
    """``and`` or ``or`` of two truth values."""
    for x, y in ((a, b), (b, a)):
        if isinstance(x, int):
            return (y if x else 0) if name == "and" else (1 if x else y)
    return a if a is b else made(Op, 1, (name, a, b))


def flat(name: str, condition: Value) -> Iterator[Value]:
    """The parts of ``and`` within ``and``, or ``or`` within ``or``."""
    if isinstance(condition, Op) and condition.bits == 1 and condition.key[0] == name:
        for part in condition.key[1:]:
            yield from flat(name, part)
    else:
        yield condition


def member(value: Value, numbers: Intervals) -> Value:
    """Whether a value is one of these numbers."""
    if isinstance(value, int):
        return int(value in numbers)
    return made(Op, 1, ("in", value, numbers))  # type: ignore[no-any-return]


def equal(a: Value, b: Value, bits: int) -> Value:
    """That two values are equal; where one of them is joined of several, piece by piece."""
    if not isinstance(a, Join) and not isinstance(b, Join):
        return compare("eq", a, b, bits)
    result: Value = 1
    at = bits
    for _, n in (a if isinstance(a, Join) else b).key:  # type: ignore[union-attr]
        at -= n
        result = truth("and", result, compare("eq", piece(a, at, n), piece(b, at, n), n))
    return result


def compare(op: str, a: Value, b: Value, bits: int) -> Value:
    """``op``: eq ne lt le gt ge, unsigned. Decided here where the operands are known or the same."""
    if op == "ne":
        return truth_not(compare("eq", a, b, bits))
    if op in ("gt", "ge"):
        return compare("lt" if op == "gt" else "le", b, a, bits)
    if isinstance(a, int) and isinstance(b, int):
        return int({"eq": a == b, "lt": a < b, "le": a <= b}[op])
    if a is b:
        return int(op != "lt")
    if op == "eq":
        if isinstance(a, int):
            a, b = b, a
        if isinstance(a, Term) and isinstance(b, Term):
            difference = subtract(a, b, bits)
            if isinstance(difference, int):
                return int(difference == 0)
            if _size(difference) < _size(a) + _size(b):
                # What stands on both sides goes.
                return compare("eq", difference, 0, bits)
            if b.serial < a.serial:
                a, b = b, a
        elif isinstance(a, Linear) and len(a.items) == 1 and a.items[0][1] in (1, -1):
            assert isinstance(b, int)
            term, factor = a.items[0]
            return compare("eq", term, factor * (b - a.const) & (1 << bits) - 1, bits)
    return made(Op, 1, (op, a, b))  # type: ignore[no-any-return]
