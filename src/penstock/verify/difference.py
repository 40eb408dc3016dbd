"""Whether two configurations do the same with every packet; and a packet with which they do not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.verify import terms
from penstock.verify.box import Box, Ending
from penstock.verify.example import Contradiction, bytes_of, find_example, holds
from penstock.verify.hosts import make_packet
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path
from penstock.verify.substitution import evaluate, variables
from penstock.verify.terms import Value, Var
from penstock.verify.traffic import EVERY_PROTOCOL, all_packets

__all__ = ["Difference", "differences"]



@dataclass(frozen=True)
class Difference:
    """A packet that comes in at ``interface``, and what each of the two configurations does with it."""

    interface: str
    sent: bytes
    one: tuple[str, ...]
    other: tuple[str, ...]


def differences(one: Box, other: Box) -> Iterator[Difference]:
    """Packets with which two configurations do different things, one for each pair of ways that differ.

    What depends on chance, on the time and on other packets counts as the same.
    """
    for interface in sorted({*one.inputs, *other.inputs}):
        if interface not in one.inputs or interface not in other.inputs:
            packet = make_packet("udp")
            numbers = find_example(Path(), [packet]) or {}
            nobody = ("nothing reads from there",)
            a, b = (_outcomes(box.run(interface, packet), numbers) if interface in box.inputs else nobody for box in (one, other))
            if a != b:
                yield Difference(interface, bytes_of(packet, numbers), a, b)
            continue
        for protocol in EVERY_PROTOCOL:
            packet, path = all_packets(protocol)
            first, second = one.run(interface, packet, path), other.run(interface, packet, path)
            for a_way in first:
                for b_way in second:
                    found = _difference(interface, packet, a_way, b_way, first, second)
                    if found is not None:
                        yield found


def _difference(interface: str, packet: SymbolicPacket, a: Ending, b: Ending, first: list[Ending], second: list[Ending],
                ) -> Difference | None:
    path = a.path.joined(b.facts)
    if path is None or _alike(a, b, path):
        return None
    try:
        numbers = find_example(path, [packet, a.packet, b.packet])
    except Contradiction:
        return None
    if numbers is None:
        return None
    one, other = _outcomes(first, numbers), _outcomes(second, numbers)
    return Difference(interface, bytes_of(packet, numbers), one, other) if one != other else None


def _alike(a: Ending, b: Ending, path: Path) -> bool:
    """Whether two ways surely end the same."""
    if (a.kind == "exit") != (b.kind == "exit") or a.interface != b.interface:
        return False
    if a.kind != "exit":
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


def _outcomes(endings: list[Ending], numbers: dict[Var, int]) -> tuple[str, ...]:
    """What becomes of a packet, in words, with its bytes where chance has no part in them."""
    found: list[str] = []
    for ending in endings:
        if not holds(ending.path, numbers):
            continue
        if ending.kind != "exit":
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
        found.append(f"leaves through {ending.interface} as {data.hex()}")
    return tuple(sorted(set(found)))
