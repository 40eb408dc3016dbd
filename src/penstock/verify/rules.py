"""Filters and classifiers, a rule at a time: which packets each of many rules gets.

A rule gets what matches it and none of those before it. Most of those before it cannot match what it does: each rule is a box, an
interval for each field that it asks for, and only rules whose boxes overlap are compared.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.elements.classification import ClassifyingElement, Test, Tree
from penstock.lang.text import split_arguments
from penstock.verify import terms
from penstock.verify.errors import NotDecided
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import Join, Op, Term, Value

if TYPE_CHECKING:
    from penstock.verify.executor import Executor

__all__ = ["asked_by_rules", "branches", "first_rule"]

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
    rules = list(_possible(path, element, packet, place))
    overlaps = _Overlaps(rules)
    for i, rule in enumerate(rules):
        if rule.condition == 1:
            rest = path.copy()
            return [*found, (rule.output, rest)] if _exclude(rest, rules[:i]) else found
        for made in branches(path, rule.condition, True, rule.place):
            own = len(made.facts)
            if _exclude(made, overlaps.before(i)):
                # In the order of the rules, as people read them.
                made.facts[len(path.facts):] = made.facts[own:] + made.facts[len(path.facts):own]
                found.append((rule.output, made))
    rest = path.copy()
    return [*found, (_NO_OUTPUT, rest)] if _exclude(rest, rules) else found


@dataclass(slots=True)
class _Rule:
    condition: Value
    output: int
    place: Place
    #: what each of the values that it asks for can be at most; a value that is not in it can be anything
    box: dict[Term, tuple[int, int]]


def _possible(path: Path, element: ClassifyingElement, packet: SymbolicPacket, place: Place) -> Iterator[_Rule]:
    """The rules that some packet matches, in order; the condition of one that all match is 1, and it is the last."""
    texts = _texts(element.arguments)
    words = _Words(packet, path)
    for number, (tree, port) in zip(element.rule_numbers, element.rules_in_order()):
        condition = _condition(tree, words)
        if condition == 0:
            continue
        output = port if port >= 0 else _NO_OUTPUT
        yield _Rule(condition, output, place._replace(text=_rule_text(number, texts)), _box(condition))
        if condition == 1:
            return


def asked_by_rules(path: Path, element: ClassifyingElement, packet: SymbolicPacket) -> Iterator[tuple[str, bool, Tree, Value]]:
    """For each rule, up to the first one that everything matches: its text, whether it has an output, and the first part of its
    condition that does not hold here, as a tree and as a value; that is 1 where all of them hold."""
    if not element.tests_words:
        return
    texts = _texts(element.arguments)
    words = _Words(packet, Path())
    for number, (tree, port) in zip(element.rule_numbers, element.rules_in_order()):
        parts = [(part, _condition(part, words)) for part in (tree.parts if tree.kind == "and" else [tree])]
        answers = [path.decide(path.simpler(value)) for _, value in parts]
        failing = parts[answers.index(False)] if False in answers else None
        holds = all(answers)
        if failing is not None or holds:
            yield _rule_text(number, texts), port >= 0, *(failing or (tree, 1))
        if holds:
            return


def _rule_text(number: int, texts: list[str]) -> str:
    return f"rule {number}: {' '.join(texts[number].split())}" if number < len(texts) else f"rule {number}"


def _box(condition: Value) -> dict[Term, tuple[int, int]]:
    """An interval for each value that has to be in one for the condition to hold."""
    found: dict[Term, tuple[int, int]] = {}
    for part in terms.flat("and", condition):
        if not isinstance(part, Op) or part.key[0] not in ("eq", "in"):
            continue
        value, numbers = part.key[1], part.key[2]
        if isinstance(numbers, Intervals) and numbers:
            low, high = numbers.low, numbers.high
        elif isinstance(numbers, int) and isinstance(value, Term):
            low = high = numbers
        else:
            continue
        before = found.get(value, (low, high))
        found[value] = max(low, before[0]), min(high, before[1])
    return found


class _Overlaps:
    """Which of many boxes overlap one: for each value a set of those that fit, as the bits of a number, and what is in all sets.

    After Lakshman and Stiliadis, High-Speed Policy-based Packet Forwarding Using Efficient Multi-dimensional Range Matching
    (SIGCOMM 1998).
    """

    def __init__(self, rules: Sequence[_Rule]):
        self._rules = rules
        asking: dict[Term, list[int]] = {}
        for i, rule in enumerate(rules):
            for value in rule.box:
                asking.setdefault(value, []).append(i)
        self._ends = {value: (_Ranks([(rules[i].box[value][0], i) for i in those]), _Ranks([(rules[i].box[value][1], i) for i in those]))
                      for value, those in asking.items()}

    def before(self, number: int) -> Iterator[_Rule]:
        """The rules before one that some packet of it may match."""
        fitting = (1 << number) - 1
        for value, (low, high) in self._rules[number].box.items():
            lows, highs = self._ends[value]
            # Those that end before it or begin behind it are out; those that do not ask for this value are in.
            fitting &= ~(highs.up_to(low - 1) | (lows.all & ~lows.up_to(high)))
        while fitting:
            lowest = fitting & -fitting
            fitting ^= lowest
            yield self._rules[lowest.bit_length() - 1]


class _Ranks:
    """Numbers in order, each of an item; the items up to a number as bits."""

    #: each so many there is a set, so that a long list takes little memory
    _STEP = 32

    def __init__(self, numbers: list[tuple[int, int]]):
        numbers.sort()
        self._numbers, self._items = [n for n, _ in numbers], [item for _, item in numbers]
        self._sets = [0]
        bits = 0
        for i, item in enumerate(self._items, 1):
            bits |= 1 << item
            if i % self._STEP == 0:
                self._sets.append(bits)
        self.all = bits

    def up_to(self, number: int) -> int:
        """The items whose number is at most this."""
        count = bisect_right(self._numbers, number)
        found = self._sets[count // self._STEP]
        for item in self._items[count // self._STEP * self._STEP:count]:
            found |= 1 << item
        return found


def _exclude(path: Path, rules: Iterable[_Rule]) -> bool:
    """Suppose that none of these rules matches. False where one always does."""
    for rule in rules:
        left = []
        for part in terms.flat("and", rule.condition):
            answer = path.decide(part)
            if answer is False:
                break
            if answer is None:
                left.append(part)
        else:
            if not left:
                return False
            if len(left) > 1:
                assert isinstance(rule.condition, Term)
                path.record(rule.condition, False, rule.place)
            elif not path.assume(left[0], False, rule.place):
                # Where only one part is open, it is that which does not hold.
                return False
    return True


@functools.lru_cache(maxsize=64)
def _texts(arguments: str) -> list[str]:
    return split_arguments(arguments)


def branches(path: Path, condition: Value, truth: bool, place: Place) -> list[Path]:
    """The ways in which a condition can come out like that: one for each part of an ``or`` that is the first to hold."""
    if isinstance(condition, Op) and condition.bits == 1:
        name, *parts = condition.key
        if name == "not":
            return branches(path, parts[0], not truth, place)
        if name in ("and", "or") and truth == (name == "and"):
            ways = [path.copy()]
            for part in terms.flat(name, condition):
                if _is_composite(part):
                    ways = [made for way in ways for made in branches(way, part, truth, place)]
                else:
                    # Its words are as simple as they get; what this rule asked before it shows in what they can be.
                    ways = [way for way in ways if way.assume(part, truth, place)]
            return ways
        if name in ("and", "or"):
            ways = branches(path, parts[0], truth, place)
            return ways + [made for way in branches(path, parts[0], not truth, place) for made in branches(way, parts[1], truth, place)]
    made = path.copy()
    return [made] if made.assume(made.simpler(condition), truth, place) else []


def _is_composite(condition: Value) -> bool:
    return isinstance(condition, Op) and condition.bits == 1 and condition.key[0] in ("and", "or", "not")


class _Words:
    """The words of a packet that rules ask for, and whether they are within it."""

    def __init__(self, packet: SymbolicPacket, path: Path):
        self._packet, self._path = packet, path
        self._known: dict[tuple[str, int, int], tuple[Value | None, Value]] = {}
        #: what tests came to
        self.tests: dict[Test, Value] = {}

    def settle(self, condition: Value) -> Value:
        """0 or 1 where that is known."""
        answer = self._path.decide(condition)
        return condition if answer is None else int(answer)

    def look(self, test: Test) -> tuple[Value | None, Value]:
        """The bytes of a test as a number, None where the header is not set; and whether they are within the packet."""
        key = test.base, test.offset, test.width
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._word(test), self._there(test)
        return found

    def _word(self, test: Test) -> Value | None:
        base = self._packet.meta[test.base]
        return self._path.simpler(self._packet.load(base + test.offset, test.width)) if isinstance(base, int) and base else None

    def _there(self, test: Test) -> Value:
        base = self._packet.meta[test.base]
        if base == 0:
            return 0
        if not isinstance(base, int):
            raise NotDecided(f"where the {test.base} header starts is not known")
        end = terms.add(self._packet.meta["data"], self._packet.meta["length"], 32)
        return self.settle(terms.compare("le", base + test.offset + test.width, end, 32))


def _condition(tree: Tree, words: _Words) -> Value:
    """A tree of tests as one truth value; of what is known already nothing is left in it."""
    if tree.test is not None:
        known = words.tests.get(tree.test)
        if known is None:
            # Many rules ask the same, for the protocol say.
            known = words.tests[tree.test] = words.settle(_test(tree.test, words))
        return known
    if tree.kind in ("true", "false"):
        return int(tree.kind == "true")
    if tree.kind == "not":
        return terms.truth_not(_condition(tree.parts[0], words))
    if tree.kind == "or":
        parts = _united(tree.parts, words)
    elif _is_refuted(tree, words):
        return 0
    else:
        parts = []
        for part in tree.parts:
            parts.append(_condition(part, words))
            if parts[-1] == 0:
                return 0
    while len(parts) > 1:
        # In pairs of pairs, so that a long list is not deep.
        parts = [terms.truth(tree.kind, *parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def _is_refuted(tree: Tree, words: _Words) -> bool:
    """Whether something that has to hold is known not to, from other rules: no more needs to be looked at then."""
    if tree.test is not None:
        return words.tests.get(tree.test) == 0
    return tree.kind == "and" and any(_is_refuted(part, words) for part in tree.parts)


def _united(trees: Sequence[Tree], words: _Words) -> list[Value]:
    """The parts of an ``or``; tests of the same word, of which long lists are made, become one question about a set."""
    found: dict[tuple[Term, Value], list[tuple[int, int]]] = {}
    others: list[Value] = []
    work = list(reversed(trees))
    while work:
        tree = work.pop()
        if tree.kind == "or":
            work += reversed(tree.parts)
            continue
        if tree.test is not None and _is_prefix(tree.test):
            word, there = words.look(tree.test)
            if isinstance(word, Term) and not isinstance(word, Join):
                found.setdefault((word, there), []).append(_numbers(tree.test))
                continue
        others.append(_condition(tree, words))
    for (word, there), numbers in found.items():
        others.append(words.settle(terms.truth("and", there, terms.member(word, Intervals.of(numbers)))))
    return others


def _numbers(test: Test) -> tuple[int, int]:
    """What a word can be that passes; only for masks that keep the upper bits."""
    return test.low, test.high | test.mask ^ (1 << 8 * test.width) - 1


def _is_prefix(test: Test) -> bool:
    """Whether the mask keeps the upper bits: what matches are intervals of the word then."""
    bits = 8 * test.width
    return test.mask == ((1 << bits) - 1) & -(1 << bits - test.mask.bit_count())


def _test(test: Test, words: _Words) -> Value:
    word, there = words.look(test)
    if there == 0 or word is None:
        return 0
    bits = 8 * test.width
    if isinstance(word, Term) and not isinstance(word, Join) and _is_prefix(test):
        low, high = _numbers(test)
        right = terms.equal(word, low, bits) if low == high else terms.member(word, Intervals(((low, high),)))
        return terms.truth("and", there, right)
    word = terms.bit_and(word, test.mask, bits)
    if test.low == test.high:
        right = terms.equal(word, test.low, bits)
    else:
        right = terms.compare("le", terms.subtract(word, test.low, bits), test.high - test.low, bits)
    return terms.truth("and", there, right)
