"""Many rules of several words as hash tables, one for each combination of masks: tuple space search (Srinivasan, Suri and Varghese 1999).

A rule is a few conjunctions of ``(word & mask) == value``; those with the same words and masks share a table, in which one look finds
the first of its rules that holds. The first of all tables' answers is the answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.datapath.containers import Table
from penstock.datapath.memory import Struct
from penstock.packet.integers import u16, u32

if TYPE_CHECKING:
    from penstock.elements.classification import Test, Tree

__all__ = ["MAX_WORDS", "Shape", "TupleSpace", "Word", "conjunctions", "tuple_space"]

MAX_WORDS = 6
_MAX_SHAPES, _MAX_CONJUNCTIONS = 128, 64


@dataclass(frozen=True, order=True)
class Word:
    """Bytes of a packet, and which of their bits are compared."""

    base: str
    offset: int
    width: int
    mask: int


class Best(Struct):
    """The first rule with these values, and its output."""

    rule: u32
    port: u16


@dataclass(frozen=True, eq=False)
class Shape:
    """One combination of words. ``first`` is the lowest number of a rule in it."""

    words: tuple[Word, ...]
    table: Table
    first: int


@dataclass(frozen=True, eq=False)
class TupleSpace:
    """Rules in a row, as tables: the shapes with the first rules come first."""

    shapes: tuple[Shape, ...]


Conjunction = dict[tuple[str, int, int], tuple[int, int]]


def _prefixes(low: int, high: int, bits: int) -> Iterator[tuple[int, int]]:
    """Masks and values that cover a range."""
    full = (1 << bits) - 1
    while low <= high:
        size = low & -low or 1 << bits
        while size > high - low + 1:
            size >>= 1
        yield full ^ (size - 1), low
        low += size


def _of_test(t: Test) -> list[Conjunction]:
    place = (t.base, t.offset, t.width)
    if t.low == t.high:
        return [{place: (t.mask, t.low)}] if t.low & ~t.mask == 0 else []
    # A range is one of bits that lie together at the low end.
    if t.mask & (t.mask + 1):
        # More than can be used: the caller gives up.
        values = range(t.low, min(t.high, t.low + _MAX_CONJUNCTIONS) + 1)
        return [{place: (t.mask, v)} for v in values if v & ~t.mask == 0 or len(values) > _MAX_CONJUNCTIONS]
    return [{place: (m & t.mask, v)} for m, v in _prefixes(t.low, min(t.high, t.mask), t.mask.bit_length())]


def _both(one: Conjunction, other: Conjunction) -> Conjunction | None:
    """Both hold; None where they cannot."""
    result = dict(one)
    for place, (mask, value) in other.items():
        if place in result:
            old_mask, old_value = result[place]
            if (old_value ^ value) & old_mask & mask:
                return None
            mask, value = mask | old_mask, value | old_value
        result[place] = (mask, value)
    return result


def conjunctions(tree: Tree) -> list[Conjunction] | None:
    """The tree as alternatives of conjunctions; None where there would be too many, or it has negations.

    A negation is true of a word that is not there, which no table says.
    """
    if tree.test is not None:
        found = _of_test(tree.test)
        return found if len(found) <= _MAX_CONJUNCTIONS else None
    if tree.kind in ("true", "false"):
        return [{}] if tree.kind == "true" else []
    if tree.kind == "not":
        return None
    result: list[Conjunction] = [{}] if tree.kind == "and" else []
    for part in tree.parts:
        parts = conjunctions(part)
        if parts is None:
            return None
        if tree.kind == "or":
            result = result + parts
        else:
            result = [both for one in result for other in parts if (both := _both(one, other)) is not None]
        if len(result) > _MAX_CONJUNCTIONS:
            return None
    return result


Keys = dict[tuple[int, ...], dict[str, int]]


def tuple_space(rules: list[tuple[Tree, int]], drop: int) -> tuple[TupleSpace, list[tuple[Table, Keys]], int]:
    """The first rules of a list as a tuple space, what its tables hold, and how many rules that are (0: not even the first)."""
    found: dict[tuple[Word, ...], Keys] = {}
    count = 0
    for number, (tree, port) in enumerate(rules):
        alternatives = conjunctions(tree)
        if alternatives is None or any(not c or len(c) > MAX_WORDS for c in alternatives):
            break
        entries = []
        for conjunction in alternatives:
            places = sorted(conjunction)
            words = tuple(Word(*place, conjunction[place][0]) for place in places)
            entries.append((words, tuple(conjunction[place][1] for place in places)))
        if len(found.keys() | {words for words, _ in entries}) > _MAX_SHAPES:
            break
        for words, key in entries:
            found.setdefault(words, {}).setdefault(key, {"rule": number, "port": port if port >= 0 else drop})
        count = number + 1
    shapes, contents = [], []
    for words, keys in found.items():
        table = Table((u32,) * len(words), Best, len(keys))
        shapes.append(Shape(words, table, min(v["rule"] for v in keys.values())))
        contents.append((table, keys))
    shapes.sort(key=lambda s: s.first)
    return TupleSpace(tuple(shapes)), contents, count
