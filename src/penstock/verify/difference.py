"""Whether two configurations, or two networks, do the same with every packet; and a packet with which they do not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from penstock.verify import terms
from penstock.verify.box import Box
from penstock.verify.example import Contradiction, bytes_of, find_example, holds
from penstock.verify.hosts import make_packet
from penstock.verify.network import Network
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path
from penstock.verify.substitution import evaluate, variables
from penstock.verify.terms import Value, Var
from penstock.verify.traffic import EVERY_PROTOCOL, all_packets

__all__ = ["Difference", "differences", "network_differences"]


@dataclass(frozen=True)
class Difference:
    """A packet that comes in at ``where`` (an interface, or sent by a host), and what each of the two does with it."""

    where: str
    sent: bytes
    one: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _End:
    """One way's end. ``out``: where it comes out, in words; empty where it does not."""

    out: str
    packet: SymbolicPacket
    path: Path


def differences(one: Box, other: Box) -> Iterator[Difference]:
    """Packets with which two configurations do different things, one for each pair of ways that differ.

    What depends on chance, on the time and on other packets counts as the same.
    """
    yield from _compared([(box.inputs, functools.partial(_endings, box)) for box in (one, other)], "nothing reads from there")


def network_differences(one: Network, other: Network) -> Iterator[Difference]:
    """Packets of hosts with which two networks do different things."""
    yield from _compared([([h for h in network.hosts if (h, "") in network.links], functools.partial(_ways, network))
                          for network in (one, other)], "there is no such host")


def _endings(box: Box, interface: str, packet: SymbolicPacket, path: Path) -> list[_End]:
    return [_End(f"leaves through {e.interface}" if e.kind == "exit" else "", e.packet, e.path) for e in box.run(interface, packet, path)]


def _ways(network: Network, host: str, packet: SymbolicPacket, path: Path) -> list[_End]:
    found: list[_End] = []
    for way in network.send(host, packet, path):
        out = {"delivered": f"arrives at {way.node}", "left": f"leaves {way.node} through {way.interface}"}.get(way.kind, "")
        found.append(_End(out, way.packet, way.path))
    return found


#: the places that packets come in at, and what becomes of a packet there
_System = tuple[Collection[str], Callable[[str, SymbolicPacket, Path], list[_End]]]


def _compared(systems: list[_System], missing: str) -> Iterator[Difference]:
    (places, run), (other_places, other_run) = systems
    for place in sorted({*places, *other_places}):
        if place not in places or place not in other_places:
            packet = make_packet("udp")
            numbers = find_example(Path(), [packet]) or {}
            a, b = (_outcomes(ask(place, packet, Path()), numbers) if place in there else (missing,) for there, ask in systems)
            if a != b:
                yield Difference(place, bytes_of(packet, numbers), a, b)
            continue
        for protocol in EVERY_PROTOCOL:
            packet, path = all_packets(protocol)
            first, second = run(place, packet, path), other_run(place, packet, path)
            for a_way in first:
                for b_way in second:
                    found = _difference(place, packet, a_way, b_way, first, second)
                    if found is not None:
                        yield found


def _difference(place: str, packet: SymbolicPacket, a: _End, b: _End, first: list[_End], second: list[_End]) -> Difference | None:
    path = a.path.joined(b.path.facts)
    if path is None or _alike(a, b, path):
        return None
    try:
        numbers = find_example(path, [packet, a.packet, b.packet])
    except Contradiction:
        return None
    if numbers is None:
        return None
    one, other = _outcomes(first, numbers), _outcomes(second, numbers)
    return Difference(place, bytes_of(packet, numbers), one, other) if one != other else None


def _alike(a: _End, b: _End, path: Path) -> bool:
    """Whether two ways surely end the same."""
    if a.out != b.out:
        return False
    if not a.out:
        return True
    places = {*a.packet.cells, *b.packet.cells}
    start, end = a.packet.meta["data"], b.packet.meta["data"]
    if not isinstance(start, int) or not isinstance(end, int) or not _same(a.packet.meta["length"], b.packet.meta["length"], 32, path):
        return False
    return all(_same(a.packet.load(at, 1), b.packet.load(at - start + end, 1), 8, path) for at in places if at >= start)


def _same(a: Value, b: Value, bits: int, path: Path) -> bool:
    if any(v.kind != "packet" for value in (a, b) for v in variables(value)):
        return True
    return path.decide(path.simpler(terms.equal(path.simpler(a), path.simpler(b), bits))) is True


def _outcomes(endings: list[_End], numbers: dict[Var, int]) -> tuple[str, ...]:
    """What becomes of a packet, in words, with its bytes where chance has no part in them."""
    found: list[str] = []
    for ending in endings:
        if not holds(ending.path, numbers):
            continue
        if not ending.out:
            found.append("dropped")
            continue
        known = {**numbers, **{v: numbers.get(v, 0) for v in ending.packet.variables}}
        start = ending.packet.meta["data"]
        assert isinstance(start, int)
        data = bytearray(bytes_of(ending.packet, known))
        for i in range(len(data)):
            cell = ending.packet.cells.get(start + i, 0)
            if any(v.kind != "packet" for v in variables(cell)):
                data[i] = 0
            elif not isinstance(cell, int):
                data[i] = evaluate(cell, known)
        found.append(f"{ending.out} as {data.hex()}")
    return tuple(sorted(set(found)))
