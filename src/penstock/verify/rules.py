"""Filters and classifiers, a rule at a time: which packets each of many rules gets."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from penstock.elements.classification import ClassifyingElement, Test, Tree
from penstock.lang.text import split_arguments
from penstock.verify import terms
from penstock.verify.errors import NotDecided
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import Op, Value

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
    result: Value = int(tree.kind == "and")
    for part in tree.parts:
        result = terms.truth(tree.kind, result, _condition(part, packet, path))
        if result == int(tree.kind == "or"):
            break
    return result


def _test(test: Test, packet: SymbolicPacket, path: Path) -> Value:
    base = packet.meta[test.base]
    if base == 0:
        return 0
    if not isinstance(base, int):
        raise NotDecided(f"where the {test.base} header starts is not known")
    end = terms.add(packet.meta["data"], packet.meta["length"], 32)
    there = terms.compare("le", base + test.offset + test.width, end, 32)
    answer = path.decide(there)
    if answer is False:
        return 0
    bits = 8 * test.width
    word = terms.bit_and(path.simpler(packet.load(base + test.offset, test.width)), test.mask, bits)
    if test.low == test.high:
        right = terms.equal(word, test.low, bits)
    else:
        right = terms.compare("le", terms.subtract(word, test.low, bits), test.high - test.low, bits)
    return right if answer else terms.truth("and", there, right)
