"""Why nothing gets through a filter: what a rule that lets packets on asks for, and what is known that contradicts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.elements.classification import ClassifyingElement, Tree, describe
from penstock.packet import headers
from penstock.verify.describe import fact_text, number_text
from penstock.verify.network import Network, Way
from penstock.verify.path import Fact, Path, Place
from penstock.verify.rules import asked_by_rules
from penstock.verify.terms import Term, Value, flat

__all__ = ["Contradiction", "contradictions"]

_MOST = 4


@dataclass(frozen=True, slots=True)
class Contradiction:
    """A rule at ``place`` asks for what is ``wanted``, and what is ``known`` contradicts it; ``source`` says where that comes from."""

    rule: str
    place: str
    wanted: str
    known: str
    source: str

    def __str__(self) -> str:
        if not self.known:
            return f"{self.rule} ({self.place}) {self.wanted}"
        return f"{self.rule} ({self.place}) asks that {self.wanted}, but {self.known}" + (f" ({self.source})" if self.source else "")


def contradictions(network: Network, ways: Sequence[Way]) -> list[Contradiction]:
    """For ways that end in a filter: each rule that would have let the packets on, against what keeps them from matching it; or the rule
    that comes first."""
    found: dict[str, Contradiction] = {}
    for way in ways:
        for one in _of_way(network, way):
            found.setdefault(str(one), one)
            if len(found) == _MOST:
                return list(found.values())
    return list(found.values())


def _of_way(network: Network, way: Way) -> Iterator[Contradiction]:
    if way.kind != "dropped" or way.trail is None or not way.trail.steps:
        return
    box = network.boxes[way.trail.box]
    step = way.trail.steps[-1]
    element = box.router.by_name.get(step.element)
    if not isinstance(element, ClassifyingElement):
        return
    place = f"{way.trail.box}/{step.element}, {step.at}"
    for rule, has_output, tree, value in asked_by_rules(way.path, element, way.packet):
        if isinstance(value, Term):
            part = next((p for p in flat("and", value) if way.path.decide(way.path.simpler(p)) is False), value)
            known = _first_against(way.path, part)
            if has_output and known is not None and isinstance(part, Term):
                yield Contradiction(rule, place, fact_text(Fact(part, True, Place())), fact_text(known), _source(known))
        elif value == 1:
            yield Contradiction(rule, place, "comes first", "", "")
        elif has_output and (names := _field(way, tree)) is not None:
            yield Contradiction(rule, place, *names, "")


def _source(fact: Fact) -> str:
    return f"{fact.place}: {fact.place.text}" if fact.place.file else fact.place.text


def _first_against(path: Path, condition: Value) -> Fact | None:
    """The first fact with which a condition cannot hold any more."""
    so_far = Path()
    for fact in path.facts:
        so_far.assume(fact.condition, fact.truth, fact.place)
        if so_far.decide(condition) is False:
            return fact
    return None


def _field(way: Way, tree: Tree) -> tuple[str, str] | None:
    """What a test that cannot hold asks of a field of the IP header, and what that is."""
    test = next((t.test for t in _tests(tree) if t.test is not None and t.test.base == "network"), None)
    if test is None:
        return None
    for name, item in headers.IP.FIELDS.items():
        if (item.bit, item.type.bits) == (8 * test.offset, 8 * test.width):
            value = way.packet.field("ip", name)
            full = f"ip.{name}"
            known = f"{full} is {number_text(full, value)}" if isinstance(value, int) else f"{full} is another one"
            return (f"{full} is {number_text(full, test.low)}" if test.low == test.high else describe(tree)), known
    return None


def _tests(tree: Tree) -> Iterator[Tree]:
    yield tree
    for part in tree.parts:
        yield from _tests(part)
