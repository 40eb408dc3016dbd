"""Whether an operator can let a tenant's configuration run: what it may send, and what it may cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.verify.box import Box, Ending
from penstock.verify.describe import describe_frame
from penstock.verify.example import Contradiction, bytes_of, find_example
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.terms import compare
from penstock.verify.traffic import EVERY_PROTOCOL, all_packets

__all__ = ["Tenant", "Violation", "admit"]



@dataclass(frozen=True)
class Tenant:
    """What an operator grants: the tenant's own ``addresses``, ``destinations`` that it may send to besides whoever sent to it,
    and memory."""

    addresses: Intervals
    destinations: Intervals = field(default=Intervals(()))
    memory_bytes: int = 64 << 20


@dataclass(frozen=True)
class Violation:
    """``rule``: spoofing, destination, amplification, source, memory, undecided. ``example`` is a frame that shows it."""

    rule: str
    text: str
    example: bytes = b""

    def __str__(self) -> str:
        return f"{self.rule}: {self.text}" + (f" (example: {describe_frame(self.example)})" if self.example else "")


def admit(box: Box, tenant: Tenant) -> list[Violation]:
    """What a configuration does that it must not; nothing where it can run.

    It is given packets for the tenant's addresses from anybody, and may send packets with an address of its own or the address
    that they came with, to an address of its own, to whom the packet came from, or to what is granted; at most one for each
    that came in, and no longer one.
    """
    found: dict[tuple[str, str], Violation] = {}
    for violation in (*_resources(box, tenant), *_packets(box, tenant)):
        found.setdefault((violation.rule, violation.text), violation)
    return list(found.values())


def _resources(box: Box, tenant: Tenant) -> Iterator[Violation]:
    if box.router.memory_bytes > tenant.memory_bytes:
        yield Violation("memory", f"it takes {box.router.memory_bytes >> 20} MiB, and {tenant.memory_bytes >> 20} MiB are granted")
    for element in box.router.elements:
        if element.may_generate and element.index not in box.inputs.values() and element.noutputs and element.class_name != "Idle":
            yield Violation("source", f"{element.name} :: {element.class_name} sends packets by itself")


def _packets(box: Box, tenant: Tenant) -> Iterator[Violation]:
    for interface in box.inputs:
        for protocol in EVERY_PROTOCOL:
            packet, path = all_packets(protocol)
            if not path.confine(packet.field("ip", "dst"), tenant.addresses, Place(text="packets for the tenant")):
                continue
            endings = box.run(interface, packet, path)
            exits = [e for e in endings if e.kind == "exit"]
            for ending in endings:
                if ending.kind == "undecided":
                    yield Violation("undecided", f"{ending.reason}, at {ending.place}")
            for n, ending in enumerate(exits):
                yield from _sent(tenant, packet, ending)
                for other in exits[n + 1:]:
                    both = ending.path.joined(other.facts) if ending.comes_with(other) else None
                    if both is not None and (example := _example(both, packet)):
                        yield Violation("amplification", "it sends more than one packet for one that comes in", example)


def _sent(tenant: Tenant, packet: SymbolicPacket, ending: Ending) -> Iterator[Violation]:
    """What is wrong with a packet that leaves."""
    came_from = packet.field("ip", "src")
    allowed = {"src": tenant.addresses, "dst": tenant.addresses | tenant.destinations}
    rules = {"src": ("spoofing", "it sends with an address that is neither its own nor the one that the packet came with"),
             "dst": ("destination", "it sends to an address that it may not send to")}
    try:
        for name, numbers in allowed.items():
            address = ending.packet.field("ip", name)
            path = ending.path.copy()
            foreign = compare("eq", path.simpler(address), path.simpler(came_from), 32)
            place = Place(text="not allowed")
            if path.confine(address, numbers.complement(32), place) and path.assume(path.simpler(foreign), False, place) \
                    and (example := _example(path, packet)):
                yield Violation(*rules[name], example)
    except LookupError:
        yield Violation("spoofing", f"it sends what is no IPv4 over Ethernet, at {ending.place}")
    path = ending.path.copy()
    longer = compare("lt", packet.meta["length"], ending.packet.meta["length"], 32)
    if path.decide(longer) is not False and path.assume(longer, True, Place(text="longer")) and (example := _example(path, packet)):
        yield Violation("amplification", "it sends a longer packet than came in", example)


def _example(path: Path, packet: SymbolicPacket) -> bytes:
    """A frame that takes this way; none where none does. One that is not found counts as there: it must be shown to be harmless."""
    try:
        numbers = find_example(path, [packet])
    except Contradiction:
        return b""
    return bytes_of(packet, numbers) if numbers is not None else b"?"
