"""What would change: each box taken out, each link cut, a box replaced or put in, one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from penstock.verify.box import Box
from penstock.verify.network import Network, NetworkError
from penstock.verify.policy import Assertion
from penstock.verify.questions import Answer

__all__ = ["Change", "Variation", "insertions", "replacements", "variations", "what_if"]


@dataclass(frozen=True)
class Variation:
    """A network with one thing less. ``text`` says which; ``boxes`` are those next to it."""

    text: str
    network: Network
    boxes: frozenset[str]


@dataclass(frozen=True)
class Change:
    """An assertion whose answer is another one in a variation."""

    variation: Variation
    assertion: Assertion
    before: Answer
    after: Answer


def variations(network: Network) -> Iterator[Variation]:
    """The network without each of its boxes, and without each of its links. What is known of the boxes is shared."""
    for name in network.boxes:
        links = {a: b for a, b in network.links.items() if name not in (a[0], b[0])}
        neighbours = {b[0] for a, b in network.links.items() if a[0] == name}
        yield Variation(f"without {name}", _less(network, links), frozenset({name, *neighbours}))
    for one, other in network.links.items():
        if one < other:
            links = {a: b for a, b in network.links.items() if a not in (one, other)}
            text = " ".join(":".join(end).rstrip(":") for end in (one, other))
            yield Variation(f"without the link {text}", _less(network, links), frozenset({one[0], other[0]}))


def replacements(network: Network, boxes: Mapping[str, Box]) -> Iterator[Variation]:
    """The network with another box in the place of one, for each of them. Raises NetworkError where it lacks an interface."""
    for name, box in boxes.items():
        if name not in network.boxes:
            raise NetworkError(f"there is no box '{name}' (there are {', '.join(network.boxes)})")
        missing = sorted({end[1] for end in network.links if end[0] == name} - set(box.interfaces))
        if missing:
            raise NetworkError(f"the other '{name}' has no interface '{missing[0]}', which is linked")
        changed = replace(network, boxes=network.boxes | {name: box}, asked={}, seen=set())
        yield Variation(f"with another {name}", changed, frozenset({name}))


def insertions(network: Network, boxes: Mapping[str, Box]) -> Iterator[Variation]:
    """The network with a box of two interfaces put into a link, for each of them by an end of the link (a host, ``box:interface``): its
    first interface by name is at that end. Raises NetworkError."""
    for end, box in boxes.items():
        node, _, interface = end.partition(":")
        near = node, interface
        if near not in network.links:
            raise NetworkError(f"{end}: nothing is linked there")
        if len(box.interfaces) != 2:
            raise NetworkError(f"{end}: a box that is put into a link has two interfaces, and this one has {len(box.interfaces)}")
        name = box.name
        while name in network.boxes or name in network.hosts:
            name += "'"
        far, (first, second) = network.links[near], box.interfaces
        links = network.links | {near: (name, first), (name, first): near, far: (name, second), (name, second): far}
        changed = replace(network, boxes=network.boxes | {name: box}, links=links, asked={}, seen=set())
        yield Variation(f"with {name} at {end}", changed, frozenset({node, far[0]}))


def _less(network: Network, links: dict[tuple[str, str], tuple[str, str]]) -> Network:
    made = replace(network, links=links, asked={}, seen=set())
    # Hosts that nothing leads to any more stay: what they send goes nowhere.
    made.cut = frozenset(h for h in network.hosts if (h, "") in network.links and (h, "") not in links)
    return made


def what_if(network: Network, assertions: Sequence[Assertion], others: Iterable[Variation] | None = None,
            ) -> Iterator[tuple[Variation, list[Change]]]:
    """For each variation the assertions whose answer changes. One that no packet of which came near is not asked again.

    ``others``: what is tried in the place of :func:`variations`.
    """
    before: list[tuple[Assertion, Answer, frozenset[str]]] = []
    for assertion in assertions:
        network.asked.clear()
        network.seen.clear()
        answer = assertion.check(network)
        before.append((assertion, answer, frozenset(network.seen)))
    for variation in variations(network) if others is None else others:
        changes: list[Change] = []
        for assertion, answer, visited in before:
            if not visited & variation.boxes:
                continue
            after = assertion.check(variation.network)
            if after.verdict != answer.verdict:
                changes.append(Change(variation, assertion, answer, after))
        yield variation, changes
