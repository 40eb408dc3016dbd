"""Patterns of elements and what to put in their places (the original's click-xform).

A pattern is a compound element, its replacement the compound element of the same name with ``_Replacement`` behind it, with as many
inputs and outputs. ``$words`` in the pattern's arguments stand for anything, and for the same in the replacement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from penstock.lang.configuration import Configuration, Connection, ElementUse
from penstock.lang.format import format_statements
from penstock.lang.load import flatten
from penstock.lang.parser import parse
from penstock.lang.source import Diagnostics
from penstock.lang.syntax import ClassDefinition, Compound
from penstock.lang.text import split_arguments

__all__ = ["Pattern", "apply_patterns", "read_patterns"]

_VARIABLE = re.compile(r"\$\{?(\w+)\}?")


@dataclass(frozen=True)
class Pattern:
    """A pattern and its replacement, as flat configurations with pseudo-elements ``input`` and ``output``."""

    name: str
    pattern: Configuration
    replacement: Configuration


def _pseudo(configuration: Configuration) -> tuple[int | None, int | None]:
    ends: dict[str, int] = {u.name: u.index for u in configuration.elements if u.name in ("input", "output")}
    return ends.get("input"), ends.get("output")


def _match_arguments(wanted: str, given: str, bound: dict[str, str]) -> dict[str, str] | None:
    """What the variables stand for; None where the arguments do not match."""
    ours = split_arguments(wanted) if wanted.strip() else []
    theirs = split_arguments(given) if given.strip() else []
    if len(ours) == 1 and _VARIABLE.fullmatch(ours[0].strip()) and len(theirs) != 1:
        theirs = [given]
    if len(ours) != len(theirs):
        return None
    found = dict(bound)
    for mine, other in zip(ours, theirs):
        mine, other = " ".join(mine.split()), " ".join(other.split())
        variable = _VARIABLE.fullmatch(mine)
        if variable:
            if found.setdefault(variable[1], other) != other:
                return None
        elif mine != other:
            return None
    return found


class _Matcher:
    """Backtracking search for one pattern in one configuration."""

    def __init__(self, pattern: Pattern, configuration: Configuration):
        self.pattern, self.configuration = pattern.pattern, configuration
        self.input, self.output = _pseudo(self.pattern)
        self.inner = [u for u in self.pattern.elements if u.index not in (self.input, self.output)]
        self.edges = {(c.source, c.from_port, c.target, c.to_port) for c in configuration.connections}

    def search(self) -> tuple[dict[int, int], dict[str, str]] | None:
        return next(self._extend(0, {}, {}), None)

    def _extend(self, depth: int, places: dict[int, int], bound: dict[str, str]) -> Iterator[tuple[dict[int, int], dict[str, str]]]:
        if depth == len(self.inner):
            if self._is_closed(places):
                yield places, bound
            return
        wanted = self.inner[depth]
        for use in self.configuration.elements:
            if use.class_name != wanted.class_name or use.index in places.values():
                continue
            found = _match_arguments(wanted.arguments, use.arguments, bound)
            if found is None:
                continue
            extended = {**places, wanted.index: use.index}
            if all((extended[c.source], c.from_port, extended[c.target], c.to_port) in self.edges
                   for c in self.pattern.connections if c.source in extended and c.target in extended):
                yield from self._extend(depth + 1, extended, found)

    def _is_closed(self, places: dict[int, int]) -> bool:
        """No connection goes in or out but where the pattern has its inputs and outputs."""
        inner = set(places.values())
        ways_in = {(places[c.target], c.to_port) for c in self.pattern.connections if c.source == self.input and c.target in places}
        ways_out = {(places[c.source], c.from_port) for c in self.pattern.connections if c.target == self.output and c.source in places}
        within = {(places[c.source], c.from_port, places[c.target], c.to_port) for c in self.pattern.connections
                  if c.source in places and c.target in places}
        for source, from_port, target, to_port in self.edges:
            if source in inner and target in inner:
                if (source, from_port, target, to_port) not in within and not (
                        (source, from_port) in ways_out and (target, to_port) in ways_in):
                    return False
            elif (target in inner and (target, to_port) not in ways_in) or (source in inner and (source, from_port) not in ways_out):
                return False
        return True


def _replace(configuration: Configuration, pattern: Pattern, places: dict[int, int], bound: dict[str, str], serial: int) -> Configuration:
    taken = {u.name for u in configuration.elements}
    gone = set(places.values())
    old_names = {configuration.elements[i].name for i in gone}
    elements = [u for u in configuration.elements if u.index not in gone]
    first = len(configuration.elements)
    new_input, new_output = _pseudo(pattern.replacement)
    fresh: dict[int, int] = {}
    same = {u.name: configuration.elements[places[u.index]].name for u in pattern.pattern.elements if u.index in places}
    for use in pattern.replacement.elements:
        if use.index in (new_input, new_output):
            continue
        fresh[use.index] = first + len(fresh)
        # An element that keeps its name in the replacement keeps that of what it replaces.
        name = same.get(use.name, f"{pattern.name}@{serial}@{use.name}")
        if name in taken and name not in old_names:
            name = f"{pattern.name}@{serial}@{use.name}"
        arguments = _VARIABLE.sub(lambda m: bound.get(m[1], m[0]), use.arguments)
        elements.append(ElementUse(name, use.class_name, arguments, use.at, fresh[use.index]))
    old_in, old_out = _pseudo(pattern.pattern)
    ins = {(places[c.target], c.to_port): c.from_port for c in pattern.pattern.connections if c.source == old_in and c.target in places}
    outs = {(places[c.source], c.from_port): c.to_port for c in pattern.pattern.connections if c.target == old_out and c.source in places}
    entries: dict[int, list[tuple[int, int]]] = {}
    exits: dict[int, list[tuple[int, int]]] = {}
    straight: list[tuple[int, int]] = []
    connections: set[Connection] = set()
    for c in pattern.replacement.connections:
        if c.source == new_input and c.target == new_output:
            straight.append((c.from_port, c.to_port))
        elif c.source == new_input:
            entries.setdefault(c.from_port, []).append((fresh[c.target], c.to_port))
        elif c.target == new_output:
            exits.setdefault(c.to_port, []).append((fresh[c.source], c.from_port))
        else:
            connections.add(Connection(fresh[c.source], c.from_port, fresh[c.target], c.to_port, c.at))
    before: dict[int, list[tuple[int, int]]] = {}
    behind: dict[int, list[tuple[int, int]]] = {}
    for c in configuration.connections:
        if c.source not in gone and c.target not in gone:
            connections.add(c)
        elif c.target in gone and c.source not in gone:
            before.setdefault(ins[c.target, c.to_port], []).append((c.source, c.from_port))
        elif c.source in gone and c.target not in gone:
            behind.setdefault(outs[c.source, c.from_port], []).append((c.target, c.to_port))
        elif (c.source, c.from_port) in outs and (c.target, c.to_port) in ins:
            for source in exits.get(outs[c.source, c.from_port], ()):
                connections |= {Connection(*source, *target, c.at) for target in entries.get(ins[c.target, c.to_port], ())}
    for port, sources in before.items():
        targets = entries.get(port, []) + [t for a, b in straight if a == port for t in behind.get(b, [])]
        connections |= {Connection(*source, *target) for source in sources for target in targets}
    for port, targets in behind.items():
        connections |= {Connection(*source, *target) for source in exits.get(port, []) for target in targets}
    order = {u.index: i for i, u in enumerate(elements)}
    made = [ElementUse(u.name, u.class_name, u.arguments, u.at, i) for i, u in enumerate(elements)]
    kept = sorted(Connection(order[c.source], c.from_port, order[c.target], c.to_port, c.at) for c in connections)
    return Configuration(made, kept, list(configuration.requirements), dict(configuration.compounds))


def apply_patterns(configuration: Configuration, patterns: list[Pattern], *, limit: int = 10_000,
                   on_match: Callable[[Pattern], None] | None = None) -> tuple[Configuration, int]:
    """Replace patterns until none matches any more; gives the configuration and how many were replaced.

    ``limit`` bounds them: a replacement that holds its own pattern would go on for ever.
    """
    count = 0
    changed = True
    while changed and count < limit:
        changed = False
        for pattern in patterns:
            while count < limit and (match := _Matcher(pattern, configuration).search()) is not None:
                count += 1
                configuration = _replace(configuration, pattern, *match, count)
                changed = True
                if on_match is not None:
                    on_match(pattern)
    return configuration, count


def read_patterns(text: str, file: str, diagnostics: Diagnostics) -> list[Pattern]:
    """The patterns of a file: each compound element that has one named ``NAME_Replacement`` beside it."""
    bodies: dict[str, Configuration] = {}
    for statement in parse(text, file, diagnostics):
        if isinstance(statement, ClassDefinition) and isinstance(statement.definition, Compound):
            inside = format_statements(list(statement.definition.overloads[0].body))
            flat = flatten(f"input :: input_; output :: output_;\n{inside}", file=file, diagnostics=diagnostics, class_names=list,
                           known_classes=lambda name: name[:1].isupper() or name in ("input_", "output_"))
            bodies[statement.name] = flat
    return [Pattern(name, body, bodies[f"{name}_Replacement"]) for name, body in bodies.items() if f"{name}_Replacement" in bodies]
