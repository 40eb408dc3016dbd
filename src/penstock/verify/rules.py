"""Filters and classifiers, a rule at a time: which packets each of many rules gets."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from penstock.elements.classification import ClassifyingElement, Test, Tree
from penstock.lang.text import split_arguments
from penstock.verify import terms
from penstock.verify.errors import NotDecided
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import Join, Op, Value

if TYPE_CHECKING:
    from penstock.verify.executor import Executor

__all__ = ["branches", "first_rule"]

_NO_OUTPUT = 0xFFFF


def first_rule(executor: Executor, element: ClassifyingElement, packet: SymbolicPacket) -> int:
    """The output of the first rule that holds. Each rule that can be the first one is tried; those before it do not hold."""
    answers: list[tuple[int, Path]] = executor.remembered(lambda: _partition(executor.path, element, packet, executor.place()))
    output, path = answers[executor.choose(len(answers))]
    executor.take(path)
    return output


def _partition(path: Path, element: ClassifyingElement, packet: SymbolicPacket, place: Place) -> list[tuple[int, Path]]:
    """(output, what is known there), in the order of the rules."""
    found: list[tuple[int, Path]] = []
    rest = path.copy()
    texts = _texts(element.arguments)
    for number, (tree, port) in zip(element.rule_numbers, element.rules_in_order()):
        condition = rest.simpler(_condition(tree, packet, rest))
        answer = rest.decide(condition)
        if answer is False:
            continue
        here = place._replace(text=f"rule {number}: {' '.join(texts[number].split())}" if number < len(texts) else f"rule {number}")
        output = port if port >= 0 else _NO_OUTPUT
        if answer:
            found.append((output, rest))
            return found
        found += [(output, made) for made in branches(rest, condition, True, here)]
        if not rest.assume(condition, False, here):
            return found
    found.append((_NO_OUTPUT, rest))
    return found


@functools.lru_cache(maxsize=64)
def _texts(arguments: str) -> list[str]:
    return split_arguments(arguments)


def branches(path: Path, condition: Value, truth: bool, place: Place) -> list[Path]:
    """The ways in which a condition can come out like that: one for each part of an ``or`` that is the first to hold."""
    condition = path.simpler(condition)
    answer = path.decide(condition)
    if answer is not None:
        return [path.copy()] if answer == truth else []
    if isinstance(condition, Op) and condition.bits == 1:
        name, *parts = condition.key
        if name == "not":
            return branches(path, parts[0], not truth, place)
        if name in ("and", "or"):
            if truth == (name == "and"):
                ways = [path]
                for part in parts:
                    ways = [made for way in ways for made in branches(way, part, truth, place)]
                return ways
            if name == "or":
                ways = branches(path, parts[0], True, place)
                return ways + [made for way in branches(path, parts[0], False, place) for made in branches(way, parts[1], True, place)]
    made = path.copy()
    return [made] if made.assume(condition, truth, place) else []


def _condition(tree: Tree, packet: SymbolicPacket, path: Path) -> Value:
    """A tree of tests as one truth value."""
    if tree.test is not None:
        return _test(tree.test, packet, path)
    if tree.kind in ("true", "false"):
        return int(tree.kind == "true")
    if tree.kind == "not":
        return terms.truth_not(_condition(tree.parts[0], packet, path))
    parts = _united(tree.parts, packet, path) if tree.kind == "or" else [_condition(part, packet, path) for part in tree.parts]
    while len(parts) > 1:
        # In pairs of pairs, so that a long list is not deep.
        parts = [terms.truth(tree.kind, *parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def _united(trees: Sequence[Tree], packet: SymbolicPacket, path: Path) -> list[Value]:
    """The parts of an ``or``; tests of the same word, of which long lists are made, become one question about a set."""
    words: dict[tuple[str, int, int], list[tuple[int, int]]] = {}
    others: list[Value] = []
    work = list(reversed(trees))
    while work:
        tree = work.pop()
        if tree.kind == "or":
            work += reversed(tree.parts)
        elif tree.test is not None and _is_prefix(tree.test) and not isinstance(_word(tree.test, packet, path), (int, Join, type(None))):
            t = tree.test
            words.setdefault((t.base, t.offset, t.width), []).append((t.low, t.high | t.mask ^ (1 << 8 * t.width) - 1))
        else:
            others.append(_condition(tree, packet, path))
    found: list[Value] = []
    for (base, offset, width), numbers in words.items():
        whole = Test(base, offset, width, (1 << 8 * width) - 1, 0, 0)
        word, there = _word(whole, packet, path), _there(whole, packet, path)
        assert word is not None
        found.append(terms.truth("and", there, terms.member(word, Intervals.of(numbers).parts)))
    return found + others


def _is_prefix(test: Test) -> bool:
    """Whether the mask keeps the upper bits: what matches are intervals of the word then."""
    bits = 8 * test.width
    return test.mask == ((1 << bits) - 1) & -(1 << bits - test.mask.bit_count())


def _test(test: Test, packet: SymbolicPacket, path: Path) -> Value:
    there, word = _there(test, packet, path), _word(test, packet, path)
    if there == 0 or word is None:
        return 0
    bits = 8 * test.width
    word = terms.bit_and(word, test.mask, bits)
    if test.low == test.high:
        right = terms.equal(word, test.low, bits)
    else:
        right = terms.compare("le", terms.subtract(word, test.low, bits), test.high - test.low, bits)
    return terms.truth("and", there, right)


def _there(test: Test, packet: SymbolicPacket, path: Path) -> Value:
    """Whether the bytes of a test are within the packet."""
    base = packet.meta[test.base]
    if base == 0:
        return 0
    if not isinstance(base, int):
        raise NotDecided(f"where the {test.base} header starts is not known")
    end = terms.add(packet.meta["data"], packet.meta["length"], 32)
    there = terms.compare("le", base + test.offset + test.width, end, 32)
    answer = path.decide(there)
    return there if answer is None else int(answer)


def _word(test: Test, packet: SymbolicPacket, path: Path) -> Value | None:
    """The bytes of a test as a number; None where the header is not set."""
    base = packet.meta[test.base]
    return path.simpler(packet.load(base + test.offset, test.width)) if isinstance(base, int) and base else None
