"""Classification of packets: boolean trees of tests on packet words, as fused code or as a table.

Few tests become straight code: a compare each. Many rules in a row that compare the same word with different values become
a set: one look into a hash table. Many rules of several words become a tuple space: a look for each combination of masks. Many tests
of other kinds become a table of tests that a bounded loop walks, so that code stays small. All give the same answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from penstock.datapath.containers import NONE, Table
from penstock.datapath.memory import Array, Struct
from penstock.datapath.packet import Cursor, Packet
from penstock.datapath.source import abstraction, datapath
from penstock.elements.element import Element
from penstock.elements.tuplespace import Shape, TupleSpace, Word, tuple_space
from penstock.packet.integers import u8, u16, u32

__all__ = ["FALSE", "TRUE", "ClassifyingElement", "Test", "Tree", "count_tests", "describe", "every", "negation", "some"]

#: above this many tests the table takes over
MAX_FUSED_TESTS = 192
_DROP = 0xFFFF
#: so many rules in a row that compare the same word become a set
_MIN_SET_RULES = 48
_TERMINAL = 0x8000_0000


@dataclass(frozen=True)
class Test:
    """``low <= (word & mask) <= high`` for ``width`` bytes at ``offset`` from ``base``; false where they are missing."""

    base: str
    offset: int
    width: int
    mask: int
    low: int
    high: int


@dataclass(frozen=True)
class Tree:
    """``kind``: "and", "or", "not", "true" or "false" over ``parts``; "test" for one Test."""

    kind: str
    parts: tuple[Tree, ...] = ()
    test: Test | None = None


TRUE, FALSE = Tree("true"), Tree("false")


def every(*parts: Tree) -> Tree:
    kept = tuple(p for p in parts if p.kind != "true")
    if any(p.kind == "false" for p in kept):
        return FALSE
    return kept[0] if len(kept) == 1 else Tree("and", kept) if kept else TRUE


def some(*parts: Tree) -> Tree:
    kept = tuple(p for p in parts if p.kind != "false")
    if any(p.kind == "true" for p in kept):
        return TRUE
    return kept[0] if len(kept) == 1 else Tree("or", kept) if kept else FALSE


def negation(tree: Tree) -> Tree:
    constants = {"true": FALSE, "false": TRUE}
    return constants.get(tree.kind) or (tree.parts[0] if tree.kind == "not" else Tree("not", (tree,)))


def test(base: str, offset: int, width: int, value: int, *, mask: int | None = None, high: int | None = None) -> Tree:
    full = (1 << (8 * width)) - 1
    return Tree("test", test=Test(base, offset, width, full if mask is None else mask, value, value if high is None else high))


def count_tests(tree: Tree) -> int:
    return 1 if tree.kind == "test" else sum(map(count_tests, tree.parts))


def describe(tree: Tree) -> str:
    """The tree as one line, for people."""
    if tree.test is not None:
        t = tree.test
        if t is None:
            return False
        full = (1 << (8 * t.width)) - 1
        word = f"{t.base}[{t.offset}:{t.width}]" + ("" if t.mask == full else f"&{t.mask:#x}")
        return f"{word}=={t.low:#x}" if t.low == t.high else f"{t.low:#x}<={word}<={t.high:#x}"
    if tree.kind == "not":
        return f"!({describe(tree.parts[0])})"
    if tree.kind in ("and", "or"):
        return "(" + (" && " if tree.kind == "and" else " || ").join(map(describe, tree.parts)) + ")"
    return tree.kind


class _Node(Struct):
    """One test of the table; ``yes`` and ``no`` are the next node, or an output with the top bit set."""

    mask: u32
    low: u32
    high: u32
    yes: u32
    no: u32
    offset: u16
    base: u8
    width: u8


_BASES = ("data", "network", "transport", "upper")


class _Program:
    """Trees as a list of nodes whose edges lead forward only."""

    def __init__(self, rules: tuple[tuple[Tree, int], ...]):
        self.nodes: list[tuple[Test, int, int]] = []
        self._backward: list[tuple[Test, int, int]] = []
        target = _TERMINAL | _DROP
        for tree, port in reversed(rules):
            target = self._place(tree, _TERMINAL | (port if port >= 0 else _DROP), target)
        # Nodes were made from the end; number them from the start.
        n = len(self._backward)

        def forward(edge: int) -> int:
            return edge if edge & _TERMINAL else n - 1 - edge

        self.nodes = [(t, forward(yes), forward(no)) for t, yes, no in reversed(self._backward)]
        self.start = forward(target)

    def _place(self, tree: Tree, yes: int, no: int) -> int:
        if tree.kind == "true":
            return yes
        if tree.kind == "false":
            return no
        if tree.kind == "not":
            return self._place(tree.parts[0], no, yes)
        if tree.test is not None:
            self._backward.append((tree.test, yes, no))
            return len(self._backward) - 1
        target = yes if tree.kind == "and" else no
        for part in reversed(tree.parts):
            target = self._place(part, target, no) if tree.kind == "and" else self._place(part, yes, target)
        return target


#: tables and what they hold: for each key the fields of its value
Contents = list[tuple[Table, dict[tuple[int, ...], dict[str, int]]]]


def _sets(rules: list[tuple[Tree, int]]) -> tuple[list[tuple[Tree, int] | TupleSpace], Contents]:
    """Runs of rules that compare the same word with different values as one look into a table, however many they are.

    What the tables hold is data: the code is the same for any values.
    """
    out: list[tuple[Tree, int] | TupleSpace] = []
    contents: Contents = []
    at = 0
    while at < len(rules):
        shape = _shape(rules[at][0])
        end = at + 1
        while shape is not None and end < len(rules) and _shape(rules[end][0]) == shape:
            end += 1
        if end - at < _MIN_SET_RULES:
            out += rules[at:end]
        else:
            space, held, _ = tuple_space(rules[at:end], _DROP)
            out.append(space)
            contents += held
        at = end
    return out, contents


def _tuples(rules: list[tuple[Tree, int]]) -> tuple[list[tuple[Tree, int] | TupleSpace], Contents]:
    """Runs of rules that are conjunctions as tuple spaces; what is between stays as it is."""
    out: list[tuple[Tree, int] | TupleSpace] = []
    contents: Contents = []
    at = 0
    while at < len(rules):
        space, held, count = tuple_space(rules[at:], _DROP)
        if count >= _MIN_SET_RULES:
            out.append(space)
            contents += held
        else:
            count = max(count, 1)
            out += rules[at : at + count]
        at += count
    return out, contents


def _shape(tree: Tree) -> tuple[str, int, int, int] | None:
    t = tree.test
    return (t.base, t.offset, t.width, t.mask) if t is not None and t.low == t.high else None


class ClassifyingElement(Element):
    """Sends each packet to the output of the first rule whose tree holds; to none (-1) means drop."""

    ports = "1/-"
    processing = "h/h"
    can_live_reconfigure = True

    max_fused_tests: ClassVar[int] = MAX_FUSED_TESTS
    #: tests are of words of packets alone, not of what was found out about them before
    tests_words: ClassVar[bool] = True

    def set_rules(self, rules: list[tuple[Tree, int]]) -> None:
        """``rules``: (tree, output). Outputs that do not exist drop."""
        # Rules that cannot hold go, and so does everything behind one that always holds.
        kept: list[tuple[Tree, int]] = []
        #: which of the configured rules each of them is
        self.rule_numbers: list[int] = []
        for number, (tree, port) in enumerate(rules):
            if tree.kind != "false":
                kept.append((tree, port if port < self.noutputs else -1))
                self.rule_numbers.append(number)
            if tree.kind == "true":
                break
        while kept and kept[-1][1] < 0:
            kept.pop()
        self.all_rules = kept
        self.steps: tuple[Any, ...] = ()
        steps: list[Any]
        steps, self.contents = _sets(kept)
        left = sum(count_tests(s[0]) for s in steps if isinstance(s, tuple))
        if left > self.max_fused_tests:
            steps, self.contents = _tuples(kept)
            left = sum(count_tests(s[0]) for s in steps if isinstance(s, tuple))
        self.uses_table = left > self.max_fused_tests
        if self.uses_table:
            # Everything becomes one program: an answer must come from the first rule, set or not.
            self.contents = []
            program = _Program(tuple(kept))
            self.start = program.start
            self.table: Array[Any] = Array(_Node, len(program.nodes), [
                {"mask": t.mask, "low": t.low, "high": t.high, "yes": yes, "no": no, "offset": t.offset,
                 "base": _BASES.index(t.base), "width": t.width}
                for t, yes, no in program.nodes
            ])
        else:
            self.steps = tuple(steps)
        self.fill_sets()

    def fill_sets(self) -> None:
        for table, content in self.contents:
            if table._memory is not None:
                table.load(content)

    def started(self) -> None:
        self.fill_sets()

    def reconfigured(self) -> None:
        self.fill_sets()

    def rules_in_order(self) -> list[tuple[Tree, int]]:
        """(tree, output; below 0: drop) of the rules that can hold."""
        return self.all_rules

    def add_handlers(self) -> None:
        self.add_read("program", lambda: "".join(
            f"{i}: {describe(t)} -> {f'[{port}]' if port >= 0 else '[X]'}\n"
            for i, (t, port) in enumerate(self.all_rules)))

    # Straight code

    @datapath
    def word(self, cursor: Cursor, offset: int, width: int) -> u32:
        if width == 1:
            return cursor.u8[offset]
        elif width == 2:
            return cursor.u16[offset]
        return cursor.u32[offset]

    @datapath
    def upper_word(self, offset: u32) -> u32:
        """What is known of the packet's upper layer, for tests with the base ``upper``: filter_language6.py."""
        return u32(0)

    @datapath
    def has_word(self, p: Packet, base: str, offset: int, width: int) -> bool:
        if base == "upper":
            return True
        return self.cursor(p, base).has(offset, width)

    @datapath
    def word_at(self, p: Packet, base: str, offset: int, width: int) -> u32:
        if base == "upper":
            return self.upper_word(u32(offset))
        return self.word(self.cursor(p, base), offset, width)

    @datapath
    def cursor(self, p: Packet, base: str) -> Cursor:
        if base == "network":
            return p.network
        elif base == "transport":
            return p.transport
        return p.data

    @datapath
    def holds(self, tree: Tree, p: Packet) -> bool:
        if tree.kind == "true":
            return True
        if tree.kind == "false":
            return False
        if tree.kind == "not":
            return not self.holds(tree.parts[0], p)
        if tree.kind == "and":
            for part in tree.parts:
                if not self.holds(part, p):
                    return False
            return True
        if tree.kind == "or":
            for option in tree.parts:
                if self.holds(option, p):
                    return True
            return False
        t = tree.test
        if t is None:
            return False
        if not self.has_word(p, t.base, t.offset, t.width):
            return False
        value = self.word_at(p, t.base, t.offset, t.width) & t.mask
        if t.low == t.high:
            return value == t.low
        return value - t.low <= t.high - t.low

    # The table

    @datapath
    def table_word(self, p: Packet, i: u32) -> tuple[u32, bool]:
        node = self.table[i]
        offset = u32(node.offset)
        width = u32(node.width)
        value: u32 = 0
        there = False
        for number, base in enumerate(_BASES):
            if node.base == number:
                if base == "upper":
                    return self.upper_word(offset), True
                where = self.cursor(p, base)
                there = where.has(offset, width)
                if there:
                    if width == 1:
                        value = where.u8[offset]
                    elif width == 2:
                        value = where.u16[offset]
                    else:
                        value = where.u32[offset]
        return value, there

    @datapath
    def classify(self, p: Packet) -> u32:
        edge: u32 = self.start
        for _ in range(len(self.table) + 1):
            if (edge & _TERMINAL) != 0:
                break
            value, there = self.table_word(p, edge)
            node = self.table[edge]
            value = value & node.mask
            if there and value >= node.low and value <= node.high:
                edge = node.yes
            else:
                edge = node.no
        return edge & _DROP

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.uses_table:
            self.output(self.classify(p)).push(p)
            return
        for step in self.steps:
            if isinstance(step, TupleSpace):
                found = self.first_of(step, p)
                if found != NONE:
                    # A number that is no output's drops.
                    self.output(found).push(p)
                    return
            elif self.holds(step[0], p):
                if step[1] < 0:
                    p.kill()
                else:
                    self.output(step[1]).push(p)
                return
        p.kill()

    # Tuple spaces

    @datapath
    def has_words(self, shape: Shape, p: Packet) -> bool:
        for word in shape.words:
            if not self.has_word(p, word.base, word.offset, word.width):
                return False
        return True

    @datapath
    def masked(self, word: Word, p: Packet) -> u32:
        return self.word_at(p, word.base, word.offset, word.width) & word.mask

    @datapath
    def entry_of(self, shape: Shape, p: Packet) -> u32:
        """The shape's entry for the packet's words, which are there."""
        words = shape.words
        if len(words) == 1:
            return shape.table.find((self.masked(words[0], p),))
        elif len(words) == 2:
            return shape.table.find((self.masked(words[0], p), self.masked(words[1], p)))
        elif len(words) == 3:
            return shape.table.find((self.masked(words[0], p), self.masked(words[1], p), self.masked(words[2], p)))
        elif len(words) == 4:
            return shape.table.find((self.masked(words[0], p), self.masked(words[1], p), self.masked(words[2], p),
                                     self.masked(words[3], p)))
        elif len(words) == 5:
            return shape.table.find((self.masked(words[0], p), self.masked(words[1], p), self.masked(words[2], p), self.masked(words[3], p),
                                     self.masked(words[4], p)))
        return shape.table.find((self.masked(words[0], p), self.masked(words[1], p), self.masked(words[2], p), self.masked(words[3], p),
                                 self.masked(words[4], p), self.masked(words[5], p)))

    @datapath
    def first_of(self, space: TupleSpace, p: Packet) -> u32:
        """The output of the first rule of the space that holds; NONE where none does."""
        best: u32 = NONE
        port: u32 = NONE
        for shape in space.shapes:
            # No rule of the shapes from here on could come before one that has been found.
            if best > shape.first:
                if self.has_words(shape, p):
                    i = self.entry_of(shape, p)
                    if i != NONE:
                        entry = shape.table.slots[i].value
                        if entry.rule < best:
                            best = entry.rule
                            port = u32(entry.port)
        return port

    @datapath(inline=False)
    def output_for(self, p: Packet) -> u32:
        """The output of the first rule that holds; a number that is no output's where none does, or the rule drops."""
        for tree, port in self.rules_in_order():
            if self.holds(tree, p):
                return u32(port) if port >= 0 else u32(_DROP)
        return u32(_DROP)

    @abstraction(of=push)
    def push_by_rule(self, port: int, p: Packet) -> None:
        """The same in one step, which does not take the rules apart into tests: all that fail the same rules stay together."""
        self.output(self.output_for(p)).push(p)
