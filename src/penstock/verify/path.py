"""What is known on one path: what variables can be, which facts were assumed, and where."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from penstock.verify.intervals import Intervals
from penstock.verify.substitution import substitute
from penstock.verify.terms import Join, Linear, Ones, Op, Slice, Term, Value, Var, compare, linear_range, member, subtract

__all__ = ["Fact", "Path", "Place"]


class Place(NamedTuple):
    """Where something was decided. ``box`` is the box of a network, ``text`` the source line."""

    box: str = ""
    element: str = ""
    file: str = ""
    line: int = 0
    text: str = ""

    def __str__(self) -> str:
        element = f"{self.box}/{self.element}" if self.box and self.element else self.box or self.element
        return element + (f" ({self.source})" if self.file else "")

    @property
    def source(self) -> str:
        """File and line, short."""
        return f"{'/'.join(self.file.split('/')[-2:])}:{self.line}"


@dataclass(frozen=True, slots=True)
class Fact:
    """A condition that holds on a path (or not: ``truth``), and where it was asked."""

    condition: Term
    truth: bool
    place: Place

    def __str__(self) -> str:
        return str(self.condition) if self.truth else f"not ({self.condition})"


#: a number for one that is not there
_EMPTY = Intervals(())


class Path:
    """Facts so far. ``assume`` adds one and tells whether that can be."""

    __slots__ = ("_signature", "domains", "facts", "same")

    def __init__(self) -> None:
        self.domains: dict[Term, Intervals] = {}
        self.facts: list[Fact] = []
        #: terms that are equal to another
        self.same: dict[Term, Value] = {}
        self._signature: tuple[int, Hashable] = (-1, None)

    @property
    def signature(self) -> Hashable:
        """The same for paths on which the same is known."""
        if self._signature[0] != len(self.facts):
            self._signature = len(self.facts), frozenset((f.condition, f.truth) for f in self.facts)
        return self._signature[1]

    def copy(self) -> Path:
        made = Path()
        made.domains, made.facts, made.same = self.domains.copy(), self.facts.copy(), self.same.copy()
        return made

    # What a value can be

    def of(self, value: Value) -> Intervals:
        """The numbers that a value can be, or more."""
        if isinstance(value, int):
            return Intervals(((value, value),))
        found = self.domains.get(value)
        if found is not None:
            return found
        if isinstance(value, Var):
            return Intervals(((value.low, value.high),))
        if isinstance(value, Linear):
            if len(value.items) == 1:
                term, factor = value.items[0]
                if factor in (1, -1):
                    inner = self.of(term)
                    return (inner if factor == 1 else inner.mirrored(value.bits)).shifted(value.const, value.bits)
            span = linear_range(value, self.range)
            return Intervals((value.span if span is None else span,))
        if isinstance(value, Join):
            parts = value.key
            if len(parts) == 2 and parts[0][0] == 0:
                return self.of(parts[1][0])
            low = high = 0
            for part, n in parts:
                inner = self.of(part)
                low, high = low << n | inner.low, high << n | inner.high
            return Intervals(((low, high),))
        if isinstance(value, Slice):
            base, first = value.key
            inner = self.of(base)
            if first + value.bits == base.bits:
                return Intervals.of((a >> first, b >> first) for a, b in inner.parts)
            if inner.only is not None:
                only = inner.only >> first & ((1 << value.bits) - 1)
                return Intervals(((only, only),))
            if inner.high < 1 << (first + value.bits):
                return Intervals.of((a >> first, b >> first) for a, b in inner.parts)
            return Intervals((value.span,))
        if isinstance(value, Op):
            name, *args = value.key
            if name == "mod" and isinstance(args[1], int):
                return Intervals(((0, args[1] - 1),))
            if name == "div" and isinstance(args[1], int):
                inner = self.of(args[0])
                return Intervals(((inner.low // args[1], inner.high // args[1]),))
            if name == "and":
                return Intervals(((0, min(self.of(a).high for a in args)),))
        return Intervals((value.span,))

    def range(self, value: Value) -> tuple[int, int]:
        inner = self.of(value)
        return inner.low, inner.high

    def settled(self, value: Value) -> Value:
        """The value, or what it was found to be equal to."""
        while isinstance(value, Term) and value in self.same:
            value = self.same[value]
        if isinstance(value, Term):
            only = self.domains.get(value)
            if only is not None and only.only is not None:
                return only.only
        return value

    def simpler(self, value: Value) -> Value:
        """The value with everything in it that is known to be equal to something else replaced by that."""
        return substitute(value, self.same, self.range) if self.same else value

    # Facts

    def decide(self, condition: Value) -> bool | None:
        """Whether an atomic condition holds; None where both can be."""
        if isinstance(condition, int):
            return bool(condition)
        if isinstance(condition, Op):
            name, *args = condition.key
            if name == "not":
                inner = self.decide(args[0])
                return None if inner is None else not inner
            if name in ("eq", "lt", "le"):
                return self._decide_comparison(name, args[0], args[1])
            if name == "in":
                numbers = self.of(args[0])
                left = numbers & args[1]
                return False if not left else True if left == numbers else None
        answered = self.domains.get(condition)
        if answered is not None and answered.only is not None:
            return bool(answered.only)
        if isinstance(condition, Op) and condition.bits == 1 and condition.key[0] in ("and", "or"):
            parts = [self.decide(part) for part in condition.key[1:]]
            ending = condition.key[0] == "or"
            return ending if ending in parts else None if None in parts else not ending
        if isinstance(condition, (Var, Slice, Linear)):
            only = self.of(condition).only
            return None if only is None else bool(only)
        return None

    def _decide_comparison(self, name: str, a: Value, b: Value) -> bool | None:
        bits = a.bits if isinstance(a, Term) else b.bits  # type: ignore[union-attr]
        if self.same:
            a2, b2 = self.settled(a), self.settled(b)
            if a2 is not a or b2 is not b:
                a, b = a2, b2
                again = compare(name, a, b, bits)
                if isinstance(again, int):
                    return bool(again)
        first = self.of(a)
        if name == "eq" and isinstance(b, int) and first:
            # By far the most: a field and a number.
            if b not in first:
                return False
            if first.only is not None:
                return True
        second = self.of(b)
        if not first or not second:
            return None
        if name == "eq":
            if not first & second:
                return False
            if first.only is not None and first.only == second.only:
                return True
            made = compare("eq", a, b, bits)
            answered = self.domains.get(made) if isinstance(made, Term) else None
            return bool(answered.only) if answered is not None and answered.only is not None else None
        strict = name == "lt"
        if first.high < second.low or (not strict and first.high == second.low):
            return True
        if first.low > second.high or (strict and first.low == second.high):
            return False
        return self._difference(name, a, b, bits)

    def _difference(self, name: str, a: Value, b: Value, bits: int) -> bool | None:
        """Two sums of the same terms that do not wrap differ by a number."""
        if isinstance(a, Term) and isinstance(b, Term):
            gap = subtract(a, b, bits)
            if isinstance(gap, int) and self._is_whole(a) and self._is_whole(b):
                gap = gap - (1 << bits) if gap >> (bits - 1) else gap
                return gap < 0 if name == "lt" else gap <= 0
        return None

    def _is_whole(self, value: Term) -> bool:
        return not isinstance(value, Linear) or linear_range(value, self.range) is not None

    def assume(self, condition: Value, truth: bool, place: Place) -> bool:
        """Add a fact. False where it contradicts what is known."""
        if isinstance(condition, int):
            return bool(condition) == truth
        while isinstance(condition, Op) and condition.key[0] == "not":
            condition, truth = condition.key[1], not truth
            if isinstance(condition, int):
                return bool(condition) == truth
        known = self.decide(condition)
        if known is not None:
            return known == truth
        self.record(condition, truth, place)
        if isinstance(condition, Op) and condition.bits == 1 and condition.key[0] in ("and", "or") and truth == (condition.key[0] == "and"):
            return all(self.assume(part, truth, place) for part in condition.key[1:])
        if isinstance(condition, Op) and condition.key[0] == "in":
            value, numbers = condition.key[1], condition.key[2]
            return self.restrict(value, numbers if truth else numbers.complement(value.bits))
        if isinstance(condition, Op) and condition.key[0] in ("eq", "lt", "le"):
            return self._narrow(condition.key[0], condition.key[1], condition.key[2], truth)
        return True

    def record(self, condition: Term, truth: bool, place: Place) -> None:
        """Add a fact that is known to be open, and of which nothing else follows."""
        self.facts.append(Fact(condition, truth, place))
        self.domains[condition] = Intervals(((int(truth), int(truth)),))

    def become(self, other: Path) -> None:
        """Know what the other path knows."""
        made = other.copy()
        self.domains, self.facts, self.same = made.domains, made.facts, made.same

    def joined(self, facts: Iterable[Fact]) -> Path | None:
        """This and more facts; None where they contradict each other."""
        made = self.copy()
        for fact in facts:
            if not made.assume(fact.condition, fact.truth, fact.place):
                return None
        return made

    def _narrow(self, name: str, a: Value, b: Value, truth: bool) -> bool:
        if isinstance(a, int):
            # c < x is not (x <= c)
            assert isinstance(b, Term)
            a, b, name, truth = b, a, "le" if name == "lt" else "lt", not truth
        if isinstance(b, int):
            top = (1 << a.bits) - 1
            allowed = {"eq": (b, b), "lt": (0, b - 1), "le": (0, b)}[name]
            inside = Intervals(((max(allowed[0], 0), min(allowed[1], top)),)) if allowed[1] >= 0 else _EMPTY
            return self.restrict(a, inside if truth else inside.complement(a.bits))
        if name == "eq" and truth:
            both = self.of(a) & self.of(b)
            if not self.restrict(a, both) or not self.restrict(b, both):
                return False
            if isinstance(a, Linear) and not isinstance(b, Linear):
                a, b = b, a
            if isinstance(a, Term) and not _mentions(b, a):
                self.same[a] = b
        elif name != "eq":
            low, high = (a, b) if truth else (b, a)
            # low < high (or <=, the other way round where it does not hold)
            strict = int((name == "lt") == truth)
            ends, starts = self.of(high), self.of(low)
            return self.restrict(low, Intervals(((0, ends.high - strict),)) if ends.high >= strict else _EMPTY) \
                and self.restrict(high, Intervals(((starts.low + strict, (1 << a.bits) - 1),)))
        return True

    def confine(self, value: Value, allowed: Intervals, place: Place) -> bool:
        """Suppose that a value is one of these numbers. False where it cannot be."""
        condition = member(value, allowed)
        if isinstance(condition, int):
            return bool(condition)
        now = self.of(value)
        left = now & allowed
        if left != now:
            self.facts.append(Fact(condition, True, place))
        if isinstance(value, Var) and left.only is None:
            # What restrict() would find, without looking for it again: these sets can be large.
            if left and left != now:
                self.domains[value] = left
            return bool(left)
        return self.restrict(value, allowed)

    def restrict(self, value: Value, allowed: Intervals) -> bool:
        """The value is one of these numbers."""
        if isinstance(value, int):
            return value in allowed
        if isinstance(value, Linear) and len(value.items) == 1 and value.items[0][1] in (1, -1):
            term, factor = value.items[0]
            back = allowed.shifted(-value.const, value.bits)
            return self.restrict(term, back if factor == 1 else back.mirrored(value.bits))
        if isinstance(value, Join):
            return self._restrict_join(value, allowed)
        now = self.of(value)
        left = now & allowed
        if not left:
            return False
        if left != now:
            self.domains[value] = left
            if left.only is not None and not isinstance(value, (Ones, Op)):
                self.same[value] = left.only
            if isinstance(value, Slice):
                return self._restrict_base(value, left)
        return True

    def _restrict_base(self, value: Slice, left: Intervals) -> bool:
        base, first = value.key
        if first + value.bits == base.bits or self.of(base).high < 1 << (first + value.bits):
            rest = (1 << first) - 1
            return self.restrict(base, Intervals(tuple((a << first, b << first | rest) for a, b in left.parts)))
        return True

    def _restrict_join(self, value: Join, allowed: Intervals) -> bool:
        parts = value.key
        only = allowed.only
        if only is not None:
            at = value.bits
            for part, n in parts:
                at -= n
                want = only >> at & ((1 << n) - 1)
                if not self.restrict(part, Intervals(((want, want),))):
                    return False
            return True
        # The top part that is not all known: what it can be follows from the intervals.
        at = value.bits
        prefix = 0
        for part, n in parts:
            at -= n
            if isinstance(part, int):
                prefix = prefix << n | part
                continue
            low, size = prefix << (at + n), 1 << (at + n)
            fit = [(max(a, low) - low, min(b, low + size - 1) - low) for a, b in allowed.parts]
            return self.restrict(part, Intervals.of((a >> at, b >> at) for a, b in fit if a <= b))
        return prefix in allowed


def _mentions(value: Value, term: Term) -> bool:
    work: list[Any] = [value]
    while work:
        item = work.pop()
        if item is term:
            return True
        if isinstance(item, Term):
            work.append(item.key)
        elif isinstance(item, tuple):
            work += item
    return False


