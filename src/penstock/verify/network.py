"""Networks: boxes with a configuration each, hosts, and links; and the ways of packets through them."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_prefix
from penstock.verify.box import Box, Ending, Step
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.state import FlowState

__all__ = ["Host", "Network", "NetworkError", "Way", "load_network"]

_MAX_HOPS = 100_000


class NetworkError(Exception):
    """A topology that makes no sense; the message says where and why."""


@dataclass(frozen=True)
class Host:
    """An end of the network. ``addresses`` are its own; None for all that no other host has."""

    name: str
    addresses: Intervals | None = None


@dataclass(slots=True)
class Way:
    """One way of a packet to its end. ``kind``: delivered (at the host ``node``), left (an interface without a link), dropped,
    fault, held, loop, undecided."""

    kind: str
    node: str
    interface: str
    packet: SymbolicPacket
    path: Path
    state: FlowState
    steps: tuple[Step, ...]
    place: Place
    reason: str = ""


@dataclass(slots=True)
class _Item:
    node: str
    interface: str
    packet: SymbolicPacket
    path: Path
    state: FlowState
    steps: tuple[Step, ...]
    #: the packets that came in at a place before, the last first
    before: tuple[Any, ...]



@dataclass
class Network:
    """``links`` leads from (node, interface) to (node, interface), both ways; a host has one interface, ''."""

    boxes: dict[str, Box] = field(default_factory=dict)
    hosts: dict[str, Host] = field(default_factory=dict)
    links: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    def add_box(self, name: str, text: str, *, file: str = "config", unknown: Iterable[str] = ()) -> None:
        """A box with a configuration; ``unknown`` are parts of its state (``element.field``) that may be anything.

        Boxes with the same text share what is made of it. Raises ConfigurationError, NetworkError.
        """
        self._check_name(name)
        key = (text, tuple(unknown))
        try:
            self.boxes[name] = self._made.get(key) or Box(text, name=name, file=file, unknown=key[1])
        except LookupError as error:
            raise NetworkError(f"box '{name}': {error.args[0]}") from None
        self._made[key] = self.boxes[name]

    def add_host(self, name: str, addresses: Iterable[str] = ()) -> None:
        """A host with addresses as prefixes; any where none is given."""
        self._check_name(name)
        parts = [_prefix(text) for text in addresses]
        self.hosts[name] = Host(name, Intervals.of(parts) if parts else None)

    def _check_name(self, name: str) -> None:
        if name in self.boxes or name in self.hosts:
            raise NetworkError(f"'{name}' is there twice")
        if not name or any(c in name for c in ": \t"):
            raise NetworkError(f"'{name}' is no name for a node: no spaces and colons")

    @functools.cached_property
    def _made(self) -> dict[tuple[str, tuple[str, ...]], Box]:
        return {}

    def link(self, one: str, other: str) -> None:
        """Join two ends: ``box:interface``, or a host's name."""
        ends = [self._end(one), self._end(other)]
        for end in ends:
            if end in self.links:
                there = ":".join(self.links[end]).rstrip(":")
                raise NetworkError(f"{':'.join(end).rstrip(':')} is linked twice, to {there} and in '{one} {other}'")
        self.links[ends[0]], self.links[ends[1]] = ends[1], ends[0]

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
        others = Intervals.of(part for h in self.hosts.values() if h.addresses is not None for part in h.addresses.parts)
        return others.complement(32)

    # Ways

    def send(self, node: str, packet: SymbolicPacket, path: Path | None = None, state: FlowState | None = None,
             *, interface: str = "") -> list[Way]:
        """All ways of a packet that a host sends, or that a box is given at ``interface``."""
        path, state = path or Path(), state or FlowState()
        if node in self.hosts:
            self.host(node)
            if (node, "") not in self.links:
                raise NetworkError(f"host '{node}' is not linked to anything")
            first = self.links[node, ""]
        else:
            first = self._end(f"{node}:{interface}")
        found: list[Way] = []
        work = [_Item(*first, packet, path, state, (), ())]
        hops = 0
        while work:
            item = work.pop()
            hops += 1
            if hops > _MAX_HOPS:
                raise NetworkError(f"more than {_MAX_HOPS} hops: the question has too many ways")
            self._hop(item, work, found)
        return found

    def _hop(self, item: _Item, work: list[_Item], found: list[Way]) -> None:
        node, interface = item.node, item.interface
        if node in self.hosts:
            found.append(Way("delivered", node, "", item.packet, item.path, item.state, item.steps, Place(node)))
            return
        box = self.boxes[node]
        if interface not in box.inputs:
            found.append(Way("dropped", node, interface, item.packet, item.path, item.state, item.steps, Place(node),
                             f"nothing reads from interface '{interface}'"))
            return
        mark = (node, interface, _without_ttl(item.packet))
        earlier = item.before
        while earlier:
            if earlier[0] == mark:
                reason = "it comes back" + ("" if earlier[1] == item.packet.signature() else ", until its TTL ends")
                found.append(Way("loop", node, interface, item.packet, item.path, item.state, item.steps, Place(node), reason))
                return
            earlier = earlier[2]
        before = (mark, item.packet.signature(), item.before)
        for ending in box.run(interface, item.packet, item.path, item.state, name=node):
            self._ended(ending, node, item, before, work, found)

    def _ended(self, ending: Ending, node: str, item: _Item, before: Any, work: list[_Item], found: list[Way]) -> None:
        steps = (*item.steps, *ending.steps)
        if ending.kind == "exit":
            peer = self.links.get((node, ending.interface))
            if peer is not None:
                work.append(_Item(*peer, ending.packet, ending.path, ending.state, steps, before))
                return
        kind = "left" if ending.kind == "exit" else ending.kind
        found.append(Way(kind, node, ending.interface, ending.packet, ending.path, ending.state, steps, ending.place, ending.reason))


def _without_ttl(packet: SymbolicPacket) -> Any:
    """What must be the same for a packet that goes round: all but the TTL and the checksum over it."""
    start = packet.meta["data"]
    assert isinstance(start, int)
    moving = {start + 14 + 8, start + 14 + 10, start + 14 + 11}
    return tuple((at, cell) for at, cell in sorted(packet.cells.items()) if at not in moving), packet.meta["length"]


def _prefix(text: str) -> tuple[int, int]:
    try:
        address, mask = parse_prefix(text, ArgumentContext({}, {}))
    except ArgumentError as error:
        raise NetworkError(f"address '{text}': {error}") from None
    return address & mask, address & mask | mask ^ 0xFFFF_FFFF


_TABLES: Mapping[str, frozenset[str]] = {"box": frozenset({"click", "text", "unknown"}), "host": frozenset({"address", "addresses"})}


def load_network(path: FilePath | str) -> Network:
    """A network from a TOML file: ``[box.NAME]`` with ``click`` (a file beside it) or ``text``, ``[host.NAME]`` with ``address``
    or ``addresses``, and ``links = ["host box:interface", …]``. Raises NetworkError, ConfigurationError."""
    path = FilePath(path)
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except tomllib.TOMLDecodeError as error:
        raise NetworkError(f"{path}: {error}") from None
    try:
        return _network(content, path.parent)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None


def _network(content: dict[str, Any], folder: FilePath) -> Network:
    network = Network()
    for key in content:
        if key not in ("box", "host", "links"):
            raise NetworkError(f"'{key}' is not understood (there are box, host and links)")
    for kind, known in _TABLES.items():
        for name, values in _table(content, kind).items():
            if not isinstance(values, dict) or set(values) - known:
                raise NetworkError(f"[{kind}.{name}]: expected {' or '.join(sorted(known))}")
            if kind == "box":
                text, file = _configuration(name, values, folder)
                network.add_box(name, text, file=file, unknown=_texts(values.get("unknown", []), f"[box.{name}]: unknown"))
            else:
                addresses = values.get("addresses", [values["address"]] if "address" in values else [])
                network.add_host(name, _texts(addresses, f"[host.{name}]: addresses"))
    links = content.get("links", [])
    if not isinstance(links, list):
        raise NetworkError("links are a list of texts such as \"client fw:0\"")
    for link in links:
        ends = link.split() if isinstance(link, str) else []
        if len(ends) != 2:
            raise NetworkError(f"link {link!r}: expected two ends, such as \"client fw:0\"")
        network.link(*ends)
    return network


def _texts(values: Any, what: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise NetworkError(f"{what}: a list of texts is expected")
    return values


def _table(content: dict[str, Any], kind: str) -> dict[str, Any]:
    found = content.get(kind, {})
    if not isinstance(found, dict):
        raise NetworkError(f"'{kind}' is not a table; write [{kind}.NAME]")
    return found


def _configuration(name: str, values: dict[str, Any], folder: FilePath) -> tuple[str, str]:
    if ("click" in values) == ("text" in values) or not isinstance(values.get("click", values.get("text")), str):
        raise NetworkError(f"[box.{name}]: give click (a file) or text (a configuration)")
    if "text" in values:
        return values["text"], name
    file = folder / values["click"]
    try:
        return file.read_text("utf-8"), str(file)
    except (OSError, UnicodeDecodeError) as error:
        raise NetworkError(f"[box.{name}]: {file}: {getattr(error, 'strerror', None) or error}") from None
