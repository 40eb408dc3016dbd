"""One packet and its answer; packets that come in while a rule keeps them from the host's stack."""

from __future__ import annotations

import random
from collections.abc import Callable

from penstock.tracebox.flow import Flow
from penstock.tracebox.network import Network
from penstock.tracebox.packet import Packet
from penstock.tracebox.replies import Reply, parse_reply

__all__ = ["finished", "send_and_receive", "wait_for"]


def finished(packet: Packet, source: str, destination: str) -> Packet:
    """A packet with addresses, ports and numbers filled in, ready to be built and sent as it is."""
    chance = random.Random()
    flow = Flow(packet, source, destination, port=chance.randrange(33000, 60000), chance=chance, is_marked=False)
    return flow.packet


def _is_answer(packet: Packet, reply: Reply) -> bool:
    if reply.source != packet.destination:
        return False
    ours, theirs = packet.transport, reply.packet.transport
    if ours is None or theirs is None or type(ours) is not type(theirs):
        return False
    if "src" in ours.FIELDS:
        return theirs.get("src") == ours.get("dst") and theirs.get("dst") == ours.get("src")
    return theirs.get("identifier") == ours.get("identifier")


def wait_for(network: Network, timeout_s: float, wanted: Callable[[Reply], bool]) -> Reply | None:
    """The first packet that is wanted, or None when time has run out."""
    deadline = network.now_ns() + int(timeout_s * 1e9)
    while (left := deadline - network.now_ns()) > 0:
        for at, data in network.receive(left / 1e9):
            reply = parse_reply(data, at)
            if reply is not None and wanted(reply):
                return reply
    return None


def send_and_receive(network: Network, packet: Packet, *, timeout_s: float = 1.0, tries: int = 3) -> Reply | None:
    """Send a finished packet until the destination answers; ICMP errors about it count as answers too."""
    destination = packet.destination
    flow = Flow(packet, packet.source, destination, port=0, chance=random.Random(), is_marked=False)

    def wanted(reply: Reply) -> bool:
        if reply.kind == "answer":
            return _is_answer(packet, reply)
        quote = reply.quoted
        return quote is not None and flow.likeness(quote) >= 3

    data = packet.build()
    for _ in range(max(tries, 1)):
        network.send(data, destination)
        reply = wait_for(network, timeout_s, wanted)
        if reply is not None:
            return reply
    return None
