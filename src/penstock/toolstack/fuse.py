"""Several configurations that would be domains in a chain as one configuration, with the same behaviour and no rings between."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from penstock.elements import catalog
from penstock.lang.configuration import Configuration, Connection, ElementUse
from penstock.lang.elaborate import elaborate
from penstock.lang.parser import parse
from penstock.lang.ports import resolve_ports
from penstock.lang.source import Diagnostics, Landmark
from penstock.lang.text import split_arguments
from penstock.toolstack.errors import DomainError

__all__ = ["fuse"]

_FROM, _TO = ("FromDevice", "FromRing"), ("ToDevice", "ToRing")
_LEFT, _RIGHT = "0", "1"
#: a configuration and the codes of every element's inputs (``l`` is pull); with where its elements are among all
_Flat = tuple[Configuration, list[list[str]]]
_Stage = tuple[int, Configuration, list[list[str]]]


def fuse(texts: Sequence[tuple[str, str]]) -> str:
    """``texts``: (file, configuration), from left to right. Elements of the n-th one are named ``dN/…``. Raises DomainError.

    What was the right interface of one and the left one of the next becomes a :class:`RingLink` each way.
    """
    whole = Configuration()
    stages: list[_Stage] = []
    for k, (file, text) in enumerate(texts, 1):
        configuration, pulls = _flat(file, text)
        base = len(whole.elements)
        for e in configuration.elements:
            whole.elements.append(ElementUse(f"d{k}/{e.name}", e.class_name, e.arguments, e.at, base + e.index))
        for c in configuration.connections:
            whole.connections.append(Connection(base + c.source, c.from_port, base + c.target, c.to_port, c.at))
        whole.requirements += [r for r in configuration.requirements if r not in whole.requirements]
        stages.append((base, configuration, pulls))
    for here, there in itertools.pairwise(stages):
        _link(whole, here, _RIGHT, there, _LEFT)
        _link(whole, there, _LEFT, here, _RIGHT)
    return whole.text()


def _flat(file: str, text: str) -> _Flat:
    diagnostics = Diagnostics()
    configuration = elaborate(parse(text, file, diagnostics), diagnostics, known_classes=catalog.is_known, class_names=catalog.class_names)
    ports = resolve_ports(configuration, lambda name: catalog.port_rules(name, in_domain=True), diagnostics)
    if diagnostics.errors:
        raise DomainError("\n".join(diagnostics.click_lines()))
    return configuration, ports.inputs


def _ends(configuration: Configuration, classes: tuple[str, ...], interface: str) -> list[int]:
    return [e.index for e in configuration.elements
            if e.class_name in classes and (split_arguments(e.arguments) or [""])[0].strip() == interface]


def _link(whole: Configuration, here: _Stage, out: str, there: _Stage, into: str) -> None:
    """What ``here`` sends to its interface ``out`` arrives at the interface ``into`` of ``there``."""
    base, configuration, pulls = here
    senders = [(base + i, "l" in pulls[i]) for i in _ends(configuration, _TO, out)]
    receivers = [there[0] + i for i in _ends(there[1], _FROM, into)]
    for receiver in receivers:
        _become(whole, receiver, "RingLink" if senders else "Idle")
    for sender, pulled in senders:
        if not receivers:
            _become(whole, sender, "Discard")
            continue
        _become(whole, sender, "Unqueue" if pulled else "Null")
        whole.connections.append(Connection(sender, 0, receivers[0], 0, Landmark()))


def _become(whole: Configuration, index: int, class_name: str) -> None:
    old = whole.elements[index]
    whole.elements[index] = ElementUse(old.name, class_name, "", old.at, old.index)
