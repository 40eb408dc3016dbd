"""Terms keep their meaning, whatever normal form they are brought into."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.datapath.interpreter import fold
from penstock.verify import terms
from penstock.verify.intervals import Intervals
from penstock.verify.path import Path, Place
from penstock.verify.substitution import evaluate, substitute, variables
from penstock.verify.sums import fold_sum
from penstock.verify.terms import Op, Term, Value, Var

X, Y, Z = Var("x", 32), Var("y", 32), Var("z", 8)
RANGES = Path().range
BINARY: dict[str, tuple[Callable[[Value, Value], Value], Callable[[int, int], int]]] = {
    "add": (lambda a, b: terms.add(a, b, 32), lambda a, b: a + b), "sub": (lambda a, b: terms.subtract(a, b, 32), lambda a, b: a - b),
    "and": (lambda a, b: terms.bit_and(a, b, 32), lambda a, b: a & b), "or": (lambda a, b: terms.bit_or(a, b, 32), lambda a, b: a | b),
    "xor": (lambda a, b: terms.bit_xor(a, b, 32), lambda a, b: a ^ b),
}
SHIFTS: dict[str, tuple[Callable[[Value, int], Value], Callable[[int, int], int]]] = {
    "shl": (lambda a, n: terms.shift_left(a, n, 32), lambda a, n: a << n), "shr": (lambda a, n: terms.shift_right(a, n, 32), lambda a, n: a >> n),
    "mul": (lambda a, n: terms.multiply(a, n, 32), lambda a, n: a * n), "low": (lambda a, n: terms.extend(terms.piece(a, 0, n + 1), 32, RANGES) if n < 31 else a,
                                                                                 lambda a, n: a & (1 << (n + 1)) - 1),
}
CONSTANTS = [0, 1, 0xFF, 0xFFFF, 0xFFFFFFFF, 0xFFFF0000, 0x0A000000, 0x80000000]


def build(chance: random.Random, depth: int) -> tuple[Value, Callable[[dict[Var, int]], int]]:
    """A random value, and a function that computes it step by step."""
    kind = chance.choice(["leaf", *BINARY, *SHIFTS]) if depth else "leaf"
    if kind == "leaf":
        if chance.random() < 0.3:
            number = chance.choice([*CONSTANTS, chance.getrandbits(32)])
            return number, lambda known: number
        variable = chance.choice([X, Y, Z])
        value = terms.extend(variable, 32, RANGES)
        return value, lambda known: known[variable]
    left, left_number = build(chance, depth - 1)
    if kind in SHIFTS:
        n = chance.randrange(32)
        make, plain = SHIFTS[kind]
        return make(left, n), lambda known: plain(left_number(known), n) & 0xFFFFFFFF
    right, right_number = build(chance, depth - 1)
    make2, plain2 = BINARY[kind]
    return make2(left, right), lambda known: plain2(left_number(known), right_number(known)) & 0xFFFFFFFF


def numbers(chance: random.Random) -> dict[Var, int]:
    return {X: chance.choice([0, 1, 0xFFFFFFFF, chance.getrandbits(32)]), Y: chance.choice([0, 0xFFFF, chance.getrandbits(32)]), Z: chance.getrandbits(8)}


@given(st.integers(0, 1 << 30))
def test_a_term_is_the_number_that_its_steps_give(seed: int) -> None:
    chance = random.Random(seed)
    value, plain = build(chance, 4)
    for _ in range(8):
        known = numbers(chance)
        assert evaluate(value, known) == plain(known), value


@given(st.integers(0, 1 << 30))
def test_what_is_put_in_for_a_variable_gives_the_same_number(seed: int) -> None:
    chance = random.Random(seed)
    value, _ = build(chance, 4)
    inner, _ = build(chance, 2)
    made = substitute(value, {X: inner} if X not in variables(inner) else {X: 7}, RANGES)
    for _ in range(4):
        known = numbers(chance)
        there = evaluate(inner, known) if X not in variables(inner) else 7
        assert evaluate(made, known) == evaluate(value, {**known, X: there})


@given(st.integers(0, 1 << 30))
def test_what_a_path_says_of_a_value_holds(seed: int) -> None:
    """Where facts hold for some numbers, they do not contradict each other, and every answer is right for these numbers."""
    chance = random.Random(seed)
    known = numbers(chance)
    path = Path()
    for _ in range(5):
        left, _ = build(chance, 3)
        right: Value = chance.choice([chance.choice(CONSTANTS), build(chance, 2)[0], evaluate(left, known)])
        condition = terms.compare(chance.choice(["eq", "ne", "lt", "le", "gt", "ge"]), left, right, 32)
        truth = bool(evaluate(condition, known))
        answer = path.decide(path.simpler(condition))
        assert answer is None or answer == truth
        assert path.assume(condition, truth, Place())
        for value in (left, right):
            if isinstance(value, Term):
                assert evaluate(value, known) in path.of(value)
                assert evaluate(path.simpler(value), known) == evaluate(value, known)


@given(st.integers(0, 1 << 30))
def test_ones_complement_sums_are_what_folding_gives(seed: int) -> None:
    chance = random.Random(seed)
    words = [terms.piece(build(chance, 2)[0], 16 * chance.randrange(2), 16) for _ in range(6)] + [0x4500]
    total: Value = 0
    for word in words:
        total = terms.add(total, terms.extend(word, 64, RANGES), 64)
    value = fold_sum(total, RANGES)
    for _ in range(6):
        known = numbers(chance)
        assert evaluate(value, known) == fold(sum(evaluate(word, known) for word in words))


def test_what_was_cut_apart_and_joined_is_the_same_term() -> None:
    for value in (X, terms.add(X, 5, 32), terms.subtract(X, Y, 32)):
        assert isinstance(value, Term)
        assert terms.join([(terms.piece(value, at, 8), 8) for at in (24, 16, 8, 0)]) is value


def test_what_was_added_is_taken_away() -> None:
    assert terms.subtract(terms.add(terms.add(X, Y, 32), 3, 32), Y, 32) is terms.add(X, 3, 32)
    assert terms.compare("eq", terms.add(X, Y, 32), terms.add(X, 1, 32), 32) is terms.compare("eq", Y, 1, 32)


def test_a_checksum_that_was_adjusted_is_known_to_be_right() -> None:
    words = [X, Y]
    halves = [terms.piece(w, at, 16) for w in words for at in (16, 0)]

    def total(parts: list[Value]) -> Value:
        result: Value = 0x4500
        for part in parts:
            result = terms.add(result, terms.extend(part, 64, RANGES), 64)
        return result

    checksum = terms.invert(fold_sum(total(halves), RANGES), 16)
    new = terms.piece(terms.add(Y, 77, 32), 0, 32)
    changed = [halves[0], halves[1], terms.piece(new, 16, 16), terms.piece(new, 0, 16)]
    # RFC 1624: the complement of the old sum, less the old words, plus the new ones.
    delta = terms.add(terms.add(terms.extend(terms.invert(halves[2], 16), 64, RANGES), terms.extend(terms.invert(halves[3], 16), 64, RANGES), 64),
                      terms.add(terms.extend(changed[2], 64, RANGES), terms.extend(changed[3], 64, RANGES), 64), 64)
    adjusted = terms.invert(fold_sum(terms.add(terms.extend(terms.invert(checksum, 16), 64, RANGES), delta, 64), RANGES), 16)
    again = fold_sum(terms.add(total(changed), terms.extend(adjusted, 64, RANGES), 64), RANGES)
    assert again == 0xFFFF


def test_opposite_facts_contradict_each_other() -> None:
    path = Path()
    assert path.assume(terms.compare("lt", X, 10, 32), True, Place("fw", "f", "a.py", 3))
    assert not path.copy().assume(terms.compare("ge", X, 20, 32), True, Place())
    assert path.decide(terms.compare("lt", X, 10, 32)) is True and path.decide(terms.compare("eq", X, 12, 32)) is False


PARTS = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 255)).map(lambda p: (min(p), max(p))), max_size=6)


@given(PARTS, PARTS, st.integers(0, 255))
def test_intervals_are_sets(a: list[tuple[int, int]], b: list[tuple[int, int]], by: int) -> None:
    def as_set(parts: Intervals) -> set[int]:
        assert all(low <= high for low, high in parts.parts)
        assert all(x[1] + 1 < y[0] for x, y in zip(parts.parts, parts.parts[1:]))
        return {n for low, high in parts.parts for n in range(low, high + 1)}

    one, other = Intervals.of(a), Intervals.of(b)
    first, second = as_set(one), as_set(other)
    assert first == {n for low, high in a for n in range(low, high + 1)}
    assert as_set(one & other) == first & second
    assert as_set(one | other) == first | second
    assert as_set(one.without(other)) == first - second
    assert as_set(one.complement(8)) == set(range(256)) - first
    assert as_set(one.shifted(by, 8)) == {(n + by) % 256 for n in first}
    assert as_set(one.mirrored(8)) == {-n % 256 for n in first}
    assert one.size == len(first) and all((n in one) == (n in first) for n in range(256))


@pytest.mark.parametrize(("value", "text"), [
    (terms.add(X, 5, 32), "x + 5"), (terms.subtract(X, 1, 32), "x - 1"), (terms.piece(X, 24, 8), "x[31:24]"),
    (terms.compare("lt", X, 3, 32), "x < 3"), (terms.truth_not(terms.compare("eq", X, 3, 32)), "not (x == 3)"),
])
def test_terms_read_like_what_they_are(value: Value, text: str) -> None:
    assert str(value) == text
    assert not isinstance(value, Op) or value.bits == 1
