"""Configurations without what no packet ever gets to (the original's click-undead)."""

from __future__ import annotations

from collections.abc import Callable

from penstock.lang.configuration import Configuration, Connection, ElementUse
from penstock.lang.source import Landmark

__all__ = ["without_dead"]

_STATIC = ("StaticSwitch", "StaticPullSwitch")
_THROUGH = ("Null", "PushNull", "PullNull")


def _renumbered(elements: list[ElementUse], connections: set[Connection], template: Configuration) -> Configuration:
    """The elements that are left, with their connections."""
    places = {use.index: i for i, use in enumerate(elements)}
    made = [ElementUse(u.name, u.class_name, u.arguments, u.at, i) for i, u in enumerate(elements)]
    kept = sorted(Connection(places[c.source], c.from_port, places[c.target], c.to_port, c.at)
                  for c in connections if c.source in places and c.target in places)
    return Configuration(made, kept, list(template.requirements), dict(template.compounds))


def _resolve_static(configuration: Configuration) -> set[Connection]:
    """A static switch always takes one way: the connections without those that it never takes."""
    kept = set(configuration.connections)
    for use in configuration.elements:
        if use.class_name in _STATIC and use.arguments.strip().lstrip("-").isdigit():
            chosen = int(use.arguments)
            if use.class_name == "StaticSwitch":
                kept -= {c for c in kept if c.source == use.index and c.from_port != chosen}
            else:
                kept -= {c for c in kept if c.target == use.index and c.to_port != chosen}
    return kept


def _reached(starts: set[int], edges: dict[int, set[int]]) -> set[int]:
    found, work = set(starts), list(starts)
    while work:
        for following in edges.get(work.pop(), ()):
            if following not in found:
                found.add(following)
                work.append(following)
    return found


def without_dead(configuration: Configuration, generates: Callable[[str], bool]) -> Configuration:
    """Remove elements that no packet reaches, or whose packets get nowhere; Nulls and static switches with them.

    ``generates`` tells of a class whether packets may begin in it. A port of a live element that led to a dead one is
    connected to an Idle, so that every element keeps its ports.
    """
    connections = _resolve_static(configuration)
    forward: dict[int, set[int]] = {}
    backward: dict[int, set[int]] = {}
    for c in connections:
        forward.setdefault(c.source, set()).add(c.target)
        backward.setdefault(c.target, set()).add(c.source)
    uses = configuration.elements
    with_ports = {c.source for c in configuration.connections} | {c.target for c in configuration.connections}
    candidates = [u for u in uses if u.class_name != "Idle" and u.index in with_ports]
    sources = {u.index for u in candidates if generates(u.class_name) or u.index not in backward}
    sinks = {u.index for u in candidates if u.index not in forward}
    # An input that only Idles feed is fed by nobody.
    sources -= {i for i in sources if not generates(uses[i].class_name) and configuration.ports(i)[0]}
    live = _reached(sources, forward) & _reached(sinks, backward)
    kept_uses = [u for u in uses if u.index in live or u.index not in with_ports]
    kept = {c for c in connections if c.source in live and c.target in live}
    kept, kept_uses = _without_nulls(kept, kept_uses)
    return _renumbered(*_with_idles(configuration, kept, kept_uses), configuration)


def _without_nulls(connections: set[Connection], uses: list[ElementUse]) -> tuple[set[Connection], list[ElementUse]]:
    """Join what is before and behind elements that do nothing."""
    left: list[ElementUse] = []
    for use in uses:
        before = [c for c in connections if c.target == use.index]
        behind = [c for c in connections if c.source == use.index]
        is_null = use.class_name in _THROUGH[:1] or (use.class_name in _STATIC and use.arguments.strip().isdigit())
        if not is_null or len(behind) != 1 or not before or (len(before) != 1 and use.class_name != "StaticSwitch"):
            left.append(use)
            continue
        connections -= {*before, *behind}
        connections |= {Connection(b.source, b.from_port, behind[0].target, behind[0].to_port, b.at) for b in before}
    return connections, left


def _with_idles(configuration: Configuration, connections: set[Connection],
                uses: list[ElementUse]) -> tuple[list[ElementUse], set[Connection]]:
    """Connect what now leads nowhere to one Idle."""
    number = max((u.index for u in configuration.elements), default=-1) + 1
    names = {u.name for u in configuration.elements}
    name = next(n for n in (f"idle{i or ''}" for i in range(len(names) + 1)) if n not in names)
    left = {u.index for u in uses}
    added: set[Connection] = set()
    outputs = inputs = 0
    used_in = {(c.target, c.to_port) for c in connections}
    used_out = {(c.source, c.from_port) for c in connections}
    for c in sorted(configuration.connections):
        if c.source in left and (c.source, c.from_port) not in used_out:
            used_out.add((c.source, c.from_port))
            added.add(Connection(c.source, c.from_port, number, inputs))
            inputs += 1
        if c.target in left and (c.target, c.to_port) not in used_in:
            used_in.add((c.target, c.to_port))
            added.add(Connection(number, outputs, c.target, c.to_port))
            outputs += 1
    if not added:
        return uses, connections
    return [*uses, ElementUse(name, "Idle", "", Landmark(), number)], connections | added
