"""Finite automata over bytes: many fixed strings at once (Aho and Corasick 1975), and regular expressions by subset construction.

Bytes that no pattern tells apart are one class, so that a table has a column for each class and not for each byte.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["NO_PATTERN", "Automaton", "AutomatonError", "expressions", "strings"]

#: accepted where no pattern is found
NO_PATTERN = 0xFFFF
_EVERY = (1 << 256) - 1
_MAX_REPEATS = 1000
_ESCAPES = {"n": 10, "r": 13, "t": 9, "f": 12, "v": 11, "a": 7, "0": 0}


class AutomatonError(ValueError):
    """A pattern that cannot be understood, or that needs more memory than is allowed; the message says which and why."""


@dataclass(frozen=True)
class Automaton:
    """``table[state * classes + classes_of[byte]]`` is the next state; ``accepted[state]`` the lowest number of a pattern that ends
    there, or NO_PATTERN. The first state is 0."""

    classes_of: bytes
    classes: int
    table: array[int]
    accepted: array[int]

    @property
    def states(self) -> int:
        return len(self.accepted)

    @property
    def memory_bytes(self) -> int:
        return 4 * len(self.table) + 2 * len(self.accepted) + 256

    def search(self, data: bytes, state: int = 0) -> tuple[int, int]:
        """The lowest number of a pattern that is found, and the state at the end."""
        best = self.accepted[state]
        for byte in data:
            state = self.table[state * self.classes + self.classes_of[byte]]
            best = min(best, self.accepted[state])
        return best, state


def _bits(numbers: Iterable[int]) -> int:
    return sum(1 << n for n in set(numbers))


def _classes(masks: Iterable[int]) -> tuple[bytes, list[int]]:
    """The class of each byte, and a byte of each class."""
    parts = [_EVERY]
    for mask in set(masks):
        parts = [part for whole in parts for part in (whole & mask, whole & ~mask) if part]
    of = bytearray(256)
    for number, part in enumerate(parts):
        for byte in range(256):
            if part >> byte & 1:
                of[byte] = number
    return bytes(of), [(part & -part).bit_length() - 1 for part in parts]


def _check_size(states: int, classes: int, memory_bytes: int) -> None:
    if states * classes * 4 > memory_bytes:
        raise AutomatonError(f"the patterns need more than {memory_bytes:,} bytes")


# Fixed strings

def strings(patterns: Sequence[bytes], *, memory_bytes: int, ignore_case: bool = False) -> Automaton:
    """An automaton that finds each of these. Raises AutomatonError."""
    if any(not pattern for pattern in patterns):
        raise AutomatonError("a pattern must not be empty")
    masks = {_both_cases(1 << byte) if ignore_case else 1 << byte for pattern in patterns for byte in pattern}
    of, examples = _classes(masks)
    children: list[dict[int, int]] = [{}]
    accepted = [NO_PATTERN]
    for number, pattern in enumerate(patterns):
        state = 0
        for byte in pattern:
            step = of[byte]
            if step not in children[state]:
                children[state][step] = len(children)
                children.append({})
                accepted.append(NO_PATTERN)
            state = children[state][step]
        accepted[state] = min(accepted[state], number)
    classes = len(examples)
    _check_size(len(children), classes, memory_bytes)
    table = array("I", bytes(4 * classes * len(children)))
    for step, child in children[0].items():
        table[step] = child
    # In the order of their depth: where a string goes on otherwise is known of shorter ones.
    queue = [(child, 0) for child in children[0].values()]
    for state, fallback in queue:
        table[state * classes:(state + 1) * classes] = table[fallback * classes:(fallback + 1) * classes]
        accepted[state] = min(accepted[state], accepted[fallback])
        for step, child in children[state].items():
            queue.append((child, table[state * classes + step]))
            table[state * classes + step] = child
    return Automaton(of, classes, table, array("H", accepted))


def _both_cases(mask: int) -> int:
    """With letters of the other case too."""
    for byte in range(ord("A"), ord("Z") + 1):
        either = 1 << byte | 1 << (byte + 32)
        mask |= either if mask & either else 0
    return mask


# Regular expressions

class _Machine:
    """A nondeterministic automaton (Thompson 1968): for each state a set of bytes and the next state, and states beside it."""

    def __init__(self) -> None:
        self.on: list[int] = []
        self.to: list[int] = []
        self.beside: list[list[int]] = []

    def state(self) -> int:
        self.on.append(0)
        self.to.append(0)
        self.beside.append([])
        return len(self.on) - 1


def expressions(patterns: Sequence[bytes], *, memory_bytes: int, ignore_case: bool = False) -> Automaton:
    """An automaton that finds each of these regular expressions. Raises AutomatonError."""
    machine = _Machine()
    start = machine.state()
    ends: dict[int, int] = {}
    for number, pattern in enumerate(patterns):
        try:
            first, last = _Parser(machine, pattern.decode("latin-1"), ignore_case=ignore_case).whole()
        except RecursionError:
            raise AutomatonError(f"pattern {number}: it is nested too deep") from None
        except AutomatonError as error:
            raise AutomatonError(f"pattern {number}: {error}") from None
        machine.beside[start].append(first)
        ends[last] = number
    of, examples = _classes(machine.on)
    return _determined(machine, start, ends, of, examples, memory_bytes)


def _determined(machine: _Machine, start: int, ends: dict[int, int], of: bytes, examples: list[int], memory_bytes: int) -> Automaton:
    """The subsets of states in which the machine can be."""
    def closure(states: Iterable[int]) -> frozenset[int]:
        found, work = set(states), list(states)
        while work:
            for other in machine.beside[work.pop()]:
                if other not in found:
                    found.add(other)
                    work.append(other)
        return frozenset(s for s in found if machine.on[s] or s in ends)

    first = closure([start])
    numbers = {first: 0}
    order = [first]
    table = array("I")
    closures: dict[frozenset[int], frozenset[int]] = {}
    for here in order:
        _check_size(len(order), len(examples), memory_bytes)
        for byte in examples:
            reached = frozenset(machine.to[s] for s in here if machine.on[s] >> byte & 1)
            after = closures.get(reached)
            if after is None:
                after = closures[reached] = closure(reached)
            if after not in numbers:
                numbers[after] = len(order)
                order.append(after)
            table.append(numbers[after])
    accepted = array("H", [min((ends[s] for s in states if s in ends), default=NO_PATTERN) for states in order])
    return Automaton(of, len(examples), table, accepted)


class _Parser:
    """Of the usual syntax: ``. [] [^] () (?:) | * + ? {m,n} ^`` and escapes. ``^`` is the beginning of the data."""

    def __init__(self, machine: _Machine, text: str, *, ignore_case: bool):
        self.machine, self.text, self.at, self.ignore_case = machine, text, 0, ignore_case

    def whole(self) -> tuple[int, int]:
        anchored = self.text.startswith("^")
        self.at = int(anchored)
        first, last = self.alternatives()
        if self.at < len(self.text):
            raise AutomatonError(f"'{self.text[self.at]}' at {self.at} is not understood")
        if not anchored:
            # It may begin anywhere.
            again = self.machine.state()
            self.machine.on[again], self.machine.to[again] = _EVERY, again
            self.machine.beside[again].append(first)
            first = again
        return first, last

    def alternatives(self) -> tuple[int, int]:
        found = [self.sequence()]
        while self.peek() == "|":
            self.at += 1
            found.append(self.sequence())
        if len(found) == 1:
            return found[0]
        first, last = self.machine.state(), self.machine.state()
        for begin, end in found:
            self.machine.beside[first].append(begin)
            self.machine.beside[end].append(last)
        return first, last

    def peek(self) -> str:
        return self.text[self.at:self.at + 1]

    def sequence(self) -> tuple[int, int]:
        first = last = self.machine.state()
        while self.peek() not in ("", "|", ")"):
            begin, end = self.repeated()
            self.machine.beside[last].append(begin)
            last = end
        return first, last

    def repeated(self) -> tuple[int, int]:
        start = self.at
        made = self.atom()
        low, high = self.counts()
        if (low, high) == (1, 1):
            return made
        if max(low, high or 0) > _MAX_REPEATS:
            raise AutomatonError(f"more than {_MAX_REPEATS} repetitions")
        end_of_counts = self.at
        first = last = self.machine.state()
        for turn in range(low if high is None else high):
            # Each repetition is a copy: the same text once more.
            self.at = start
            begin, end = made if turn == 0 else self.atom()
            self.machine.beside[last].append(begin)
            if turn >= low:
                self.machine.beside[begin].append(end)
            last = end
        if high is None:
            self.at = start
            begin, end = made if low == 0 else self.atom()
            loop = self.machine.state()
            self.machine.beside[last].append(loop)
            self.machine.beside[loop].append(begin)
            self.machine.beside[end].append(loop)
            last = loop
        self.at = end_of_counts
        return first, last

    def counts(self) -> tuple[int, int | None]:
        sign = self.peek()
        if sign in ("*", "+", "?"):
            self.at += 1
            made: tuple[int, int | None] = {"*": (0, None), "+": (1, None), "?": (0, 1)}[sign]
        elif sign == "{":
            end = self.text.find("}", self.at)
            low, comma, high = self.text[self.at + 1:end if end > 0 else len(self.text)].partition(",")
            if end < 0 or not low.isdigit() or (high and not high.isdigit()):
                raise AutomatonError(f"'{{' at {self.at}: expected {{m}}, {{m,}} or {{m,n}}")
            self.at = end + 1
            made = int(low), (int(high) if high else None) if comma else int(low)
            if made[1] is not None and made[0] > made[1]:
                raise AutomatonError("the lower count comes first")
        else:
            return 1, 1
        if self.peek() in ("*", "+", "?", "{"):
            raise AutomatonError(f"'{self.peek()}' at {self.at}: nothing to repeat")
        return made

    def atom(self) -> tuple[int, int]:
        char = self.peek()
        if char == "(":
            return self.group()
        if char in ("*", "+", "?", "{", ")", ""):
            raise AutomatonError(f"'{char}' at {self.at}: nothing to repeat" if char else "it ends too early")
        if char == "^":
            raise AutomatonError(f"'^' at {self.at} is understood at the very beginning only")
        if char == "$":
            raise AutomatonError("'$' is not understood: data go on")
        if char == "[":
            mask = self.set()
        elif char == ".":
            self.at += 1
            mask = _EVERY & ~(1 << 10)
        elif char == "\\":
            mask = self.folded(self.escape())
        else:
            self.at += 1
            mask = self.folded(1 << ord(char))
        first, last = self.machine.state(), self.machine.state()
        self.machine.on[first], self.machine.to[first] = mask, last
        return first, last

    def group(self) -> tuple[int, int]:
        opened = self.at
        self.at += 1
        if self.text.startswith("?:", self.at):
            self.at += 2
        elif self.peek() == "?":
            raise AutomatonError(f"'(?' at {opened}: of these only (?: is understood")
        made = self.alternatives()
        if self.peek() != ")":
            raise AutomatonError(f"'(' at {opened} is never closed")
        self.at += 1
        return made

    def escape(self) -> int:
        self.at += 1
        char = self.peek()
        self.at += 1
        if char == "":
            raise AutomatonError("it ends with a backslash")
        if char == "x":
            digits = self.text[self.at:self.at + 2]
            if len(digits) < 2 or any(d not in "0123456789abcdefABCDEF" for d in digits):
                raise AutomatonError("\\x is followed by two digits")
            self.at += 2
            return 1 << int(digits, 16)
        sets = {"d": _bits(range(48, 58)), "s": _bits(b" \t\n\r\f\v"),
                "w": _bits([*range(48, 58), *range(65, 91), *range(97, 123), 95])}
        if char.lower() in sets:
            return sets[char.lower()] if char.islower() else _EVERY & ~sets[char.lower()]
        if char in _ESCAPES:
            return 1 << _ESCAPES[char]
        if char.isalnum():
            raise AutomatonError(f"\\{char} is not understood")
        return 1 << ord(char)

    def set(self) -> int:
        opened = self.at
        self.at += 1
        negated = self.peek() == "^"
        self.at += int(negated)
        mask, is_first = 0, True
        while self.peek() != "]" or is_first:
            if self.peek() == "":
                raise AutomatonError(f"'[' at {opened} is never closed")
            is_first = False
            low = self.member()
            if self.peek() == "-" and self.text[self.at + 1:self.at + 2] not in ("]", ""):
                self.at += 1
                high = self.member()
                if low.bit_count() != 1 or high.bit_count() != 1 or low > high:
                    raise AutomatonError("a range in [] goes from one byte to a higher one")
                low = (high << 1) - low
            mask |= low
        self.at += 1
        mask = self.folded(mask)
        return _EVERY & ~mask if negated else mask

    def folded(self, mask: int) -> int:
        return _both_cases(mask) if self.ignore_case else mask

    def member(self) -> int:
        if self.peek() == "\\":
            return self.escape()
        self.at += 1
        return 1 << ord(self.text[self.at - 1])
