"""Networks: boxes with a configuration each, hosts, and links; and the ways of packets through them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_prefix
from penstock.runtime.uncollected import uncollected
from penstock.verify.box import Box, Ending, Step
from penstock.verify.budget import check_budget
from penstock.verify.errors import NotDecided
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Fact, Path, Place
from penstock.verify.state import BoxState
from penstock.verify.substitution import substitute, variables
from penstock.verify.terms import Term, Value, compare

__all__ = ["Host", "Network", "NetworkError", "Way", "prefixes"]

_MAX_HOPS = 2_000_000


class NetworkError(Exception):
    """A topology that makes no sense; the message says where and why."""


@dataclass(frozen=True)
class Host:
    """An end of the network. ``addresses`` are its own; None for all that no other host has."""

    name: str
    addresses: Intervals | None = None


@dataclass(frozen=True, slots=True)
class Trail:
    """The boxes that a packet came through, the last one first."""

    before: Trail | None
    box: str
    steps: tuple[Step, ...]

    def __iter__(self) -> Iterator[tuple[str, Step]]:
        """(box, element) in the order of the way."""
        boxes: list[Trail] = []
        here: Trail | None = self
        while here is not None:
            boxes.append(here)
            here = here.before
        return ((trail.box, step) for trail in reversed(boxes) for step in trail.steps)


#: what the boxes remember, by their names
States = dict[str, BoxState]


@dataclass(slots=True)
class Way:
    """One way of a packet to its end. ``kind``: delivered (at the host ``node``), left (an interface without a link), dropped,
    fault, held, loop, undecided. What boxes remember (``state``) is there for packets that left or were delivered."""

    kind: str
    node: str
    interface: str
    packet: SymbolicPacket
    path: Path
    state: States
    trail: Trail | None
    place: Place
    reason: str = ""

    @property
    def steps(self) -> list[tuple[str, Step]]:
        """(box, element) in the order of the way."""
        return list(self.trail or ())


@dataclass(slots=True)
class _Item:
    node: str
    interface: str
    packet: SymbolicPacket
    path: Path
    state: States
    trail: Trail | None
    #: the packets that came in here before, by (node, interface)
    before: dict[tuple[str, str], tuple[SymbolicPacket, ...]]


@dataclass
class Network:
    """``links`` leads from (node, interface) to (node, interface), both ways; a host has one interface, ''."""

    boxes: dict[str, Box] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    links: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    #: how many bytes of IP fit through the links that this is told of, by their ends
    mtus: dict[tuple[str, str], int] = field(default_factory=dict)
    #: what may have happened before anything else is sent: what is known then, and what boxes remember; nothing did where this is empty
    before: tuple[tuple[Path, States], ...] = ()
    #: what questions were asked already, and what became of the packets; forgotten when the network changes
    asked: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)

    #: boxes and hosts that packets came to so far
    seen: set[str] = field(default_factory=set, repr=False, compare=False)
    #: whether elements of classes that are not known are no errors: they may do anything
    opaque: bool = False
    #: hosts that are there and linked to nothing since a link was cut
    cut: frozenset[str] = frozenset()

    def add_box(self, name: str, text: str, *, file: str = "config", unknown: Iterable[str] = (),
                tables: Mapping[str, Any] | None = None) -> None:
        """A box with a configuration; ``unknown`` are parts of its state (``element.field``) that may be anything, ``tables`` what is in
        its tables (see :meth:`Box.load_tables`).

        Boxes with the same text share what is made of it. Raises ConfigurationError, NetworkError.
        """
        self._check_name(name)
        key = (text, tuple(unknown))
        try:
            box = None if tables else self._made.get(key)
            if box is None:
                box = Box(text, name=name, file=file, unknown=key[1], opaque=self.opaque)
                if tables:
                    box.load_tables(tables)
                else:
                    self._made[key] = box
        except LookupError as error:
            raise NetworkError(f"box '{name}': {error.args[0]}") from None
        self.boxes[name] = box

    def add_host(self, name: str, addresses: Iterable[str] = ()) -> None:
        """A host with addresses as prefixes; any where none is given."""
        self._check_name(name)
        own = prefixes(addresses)
        self.hosts[name] = Host(name, own or None)

    def _check_name(self, name: str) -> None:
        self.asked.clear()
        if name in self.boxes or name in self.hosts:
            raise NetworkError(f"'{name}' is there twice")
        if not name or any(c in name for c in ": \t"):
            raise NetworkError(f"'{name}' is no name for a node: no spaces and colons")

    @functools.cached_property
    def _made(self) -> dict[tuple[str, tuple[str, ...]], Box]:
        return {}

    def link(self, one: str, other: str, *, mtu: int | None = None) -> None:
        """Join two ends: ``box:interface``, or a host's name. ``mtu``: how many bytes of IP fit, if that is told."""
        ends = [self._end(one), self._end(other)]
        for end in ends:
            if end in self.links:
                there = ":".join(self.links[end]).rstrip(":")
                raise NetworkError(f"{':'.join(end).rstrip(':')} is linked twice, to {there} and in '{one} {other}'")
        self.asked.clear()
        self.links[ends[0]], self.links[ends[1]] = ends[1], ends[0]
        if mtu is not None:
            self.mtus[ends[0]] = self.mtus[ends[1]] = mtu

    def _end(self, text: str) -> tuple[str, str]:
        node, _, interface = text.partition(":")
        if node in self.hosts:
            if interface:
                raise NetworkError(f"{text}: a host has one interface, without a name")
            return node, ""
        if node not in self.boxes:
            near = ", ".join([*self.boxes, *self.hosts]) or "none"
            raise NetworkError(f"{text}: there is no box and no host '{node}' (there are {near})")
        if interface not in self.boxes[node].interfaces:
            there = ", ".join(self.boxes[node].interfaces) or "none"
            raise NetworkError(f"{text}: '{node}' has no interface '{interface}' (it has {there})")
        return node, interface

    def host(self, name: str) -> Host:
        if name not in self.hosts:
            raise NetworkError(f"there is no host '{name}' (there are {', '.join(self.hosts) or 'none'})")
        return self.hosts[name]

    def addresses(self, name: str) -> Intervals:
        """A host's own addresses."""
        mine = self.host(name).addresses
        if mine is not None:
            return mine
        others = Intervals.of(part for h in self.hosts.values() if h.addresses is not None for part in h.addresses)
        return others.complement(32)

    # Ways

    def send(self, node: str, packet: SymbolicPacket, path: Path | None = None, state: States | None = None,
             *, interface: str = "") -> list[Way]:
        """All ways of a packet that a host sends, or that a box is given at ``interface``."""
        self.seen.add(node)
        if state is None and self.before:
            found = []
            for known, remembered in self.before:
                both = known.joined(path.facts if path else ())
                found += [] if both is None else self.send(node, packet, both, remembered, interface=interface)
            return found
        if node in self.hosts:
            if node in self.cut:
                nowhere = Place(node, text="the host's link is cut")
                return [Way("dropped", node, "", packet, path or Path(), {}, None, nowhere, "the host's link is cut")]
            if (node, "") not in self.links:
                raise NetworkError(f"host '{node}' is not linked to anything")
            first = self.links[node, ""]
        else:
            first = self._end(f"{node}:{interface}")
        found = []
        work: list[_Item] = []
        item = _Item(*first, packet, path or Path(), dict(state or {}), None, {})
        if node in self.hosts:
            self._cross((node, ""), item, work, found)
        else:
            work.append(item)
        hops = 0
        with uncollected():
            while work:
                check_budget()
                item = work.pop()
                hops += 1
                if hops > _MAX_HOPS:
                    raise NotDecided(f"more than {_MAX_HOPS} hops: the question has too many ways")
                self._hop(item, work, found)
        return found

    def _hop(self, item: _Item, work: list[_Item], found: list[Way]) -> None:
        node, interface, packet = item.node, item.interface, item.packet
        self.seen.add(node)
        if node in self.hosts:
            found.append(Way("delivered", node, "", packet, item.path, item.state, item.trail, Place(node)))
            return
        box = self.boxes[node]
        reason, kind = "", "dropped"
        if interface not in box.inputs:
            reason = f"nothing reads from interface '{interface}'"
        earlier = item.before.get((node, interface), ())
        if earlier and (loop := _comes_back(packet, earlier)):
            reason, kind = loop, "loop"
        if reason:
            found.append(Way(kind, node, interface, packet, item.path, {}, item.trail, Place(node), reason))
            return
        item.before[node, interface] = (*earlier, packet)
        names = _Names(node, packet)
        endings = box.run(interface, names.inside(packet, item.path), names.path_inside(item.path), item.state.get(node))
        going = sum(e.kind == "exit" for e in endings)
        for ending in endings:
            self._ended(ending, item, names, work, found, alone=going == 1)

    def _ended(self, ending: Ending, item: _Item, names: _Names, work: list[_Item], found: list[Way], *, alone: bool) -> None:
        node = item.node
        trail = Trail(item.trail, node, ending.steps)
        outside = names.outside(ending, item.path)
        if outside is None:
            return
        packet, path = outside
        if ending.kind != "exit":
            place = ending.place._replace(box=node)
            found.append(Way(ending.kind, node, ending.interface, packet, path, {}, trail, place, ending.reason))
            return
        # The only one that goes on goes on with what there is.
        state, before = (item.state, item.before) if alone else (item.state.copy(), item.before.copy())
        state[node] = ending.state
        peer = self.links.get((node, ending.interface))
        if peer is None:
            found.append(Way("left", node, ending.interface, packet, path, state, trail, ending.place._replace(box=node)))
        else:
            self._cross((node, ending.interface), _Item(*peer, packet, path, state, trail, before), work, found)

    def _cross(self, end: tuple[str, str], item: _Item, work: list[_Item], found: list[Way]) -> None:
        """Over a link: what fits goes on."""
        mtu = self.mtus.get(end)
        if mtu is None:
            work.append(item)
            return
        text = f"the link's MTU is {mtu} bytes"
        place = Place(end[0], text=text)
        # Frames are longer by their Ethernet header.
        fits = compare("le", item.packet.meta["length"], mtu + 14, 32)
        large = item.path.copy()
        if large.assume(fits, False, place):
            found.append(Way("dropped", *end, item.packet, large, {}, item.trail, place, "it is too long for the link"))
        path = item.path.copy()
        if path.assume(fits, True, place):
            work.append(replace(item, path=path))


class _Names:
    """A box's own variables are named relative to it inside, and by its name elsewhere."""

    def __init__(self, node: str, packet: SymbolicPacket):
        self.prefix = f"{node}/"
        self.there: dict[Term, Value] = {}
        if any(name.startswith(self.prefix) for name in packet.names):
            mine = (v for v in packet.variables if v.name.startswith(self.prefix))
            self.there = {v: v.named("@" + v.name.removeprefix(self.prefix)) for v in mine}

    def inside(self, packet: SymbolicPacket, path: Path) -> SymbolicPacket:
        return packet.renamed(self.there, path.range) if self.there else packet

    def path_inside(self, path: Path) -> Path:
        return (Path().joined(_renamed(path.facts, self.there, path)) or path) if self.there else path

    def outside(self, ending: Ending, path: Path) -> tuple[SymbolicPacket, Path] | None:
        """The packet as others see it, and what is known then; None where that contradicts itself: no packet goes this way."""
        if not ending.own and not self.there:
            return ending.packet, ending.path
        found = ending.packet.variables.union(*(variables(fact.condition) for fact in ending.facts))
        known: dict[Term, Value] = {v: v.named(self.prefix + v.name[1:]) for v in found if v.name.startswith("@")}
        after = path.joined(_renamed(ending.facts, known, path))
        if after is None:
            return None
        packet = ending.packet.renamed(known, path.range)
        if packet.rest is not None and packet.rest.name.startswith("@"):
            packet.rest = replace(packet.rest, name=self.prefix + packet.rest.name[1:])
        return packet, after


def _renamed(facts: Iterable[Fact], known: Mapping[Term, Value], path: Path) -> Iterator[Fact]:
    for fact in facts:
        condition = substitute(fact.condition, known, path.range)
        if isinstance(condition, Term):
            yield Fact(condition, fact.truth, fact.place)


def _comes_back(packet: SymbolicPacket, earlier: tuple[SymbolicPacket, ...]) -> str:
    """How the packet is one that was here before; empty where it is another one."""
    for before in earlier:
        if before.signature == packet.signature:
            return "it comes back"
        if _without_ttl(before) == _without_ttl(packet):
            return "it comes back, until its TTL ends"
    return ""


def _without_ttl(packet: SymbolicPacket) -> Any:
    """What must be the same for a packet that goes round: all but the TTL and the checksum over it."""
    start = packet.meta["data"]
    assert isinstance(start, int)
    moving = {start + 14 + 8, start + 14 + 10, start + 14 + 11}
    return {at: cell for at, cell in packet.cells.items() if at not in moving}, packet.meta["length"]


def prefixes(texts: Iterable[str]) -> Intervals:
    """All addresses of prefixes. Raises NetworkError."""
    found: list[tuple[int, int]] = []
    for text in texts:
        try:
            address, mask = parse_prefix(text.strip(), ArgumentContext({}, {}))
        except ArgumentError as error:
            raise NetworkError(f"address '{text}': {error}") from None
        found += Intervals.prefix(address, mask).parts
    return Intervals.of(found)
