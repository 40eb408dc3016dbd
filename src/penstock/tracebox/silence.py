"""Why a router did not answer, or answered late: it loses packets, it limits its errors, or it sends none.

Ten probes in a row tell: who limits answers the first ones and no more (Linux: a burst of six, then one a second), who loses packets
misses some here and there. Who answers none of them is asked again after the second in which a limit lets one pass.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import Literal

from penstock.tracebox.flow import Flow
from penstock.tracebox.network import LiveNetwork
from penstock.tracebox.packet import Packet
from penstock.tracebox.replies import parse_reply
from penstock.tracebox.settings import Settings

__all__ = ["Silence", "explain_silence"]

_PROBES, _GAP_S, _WAIT_S, _REFILL_S = 10, 0.02, 0.5, 1.3
#: so many of ten are a router that is well
_WELL = 9


@dataclass(frozen=True)
class Silence:
    """``kind``: well (what was lost, was lost by chance), loses, limits, or silent. ``answered`` of ``asked`` probes."""

    kind: Literal["well", "loses", "limits", "silent"]
    answered: int
    asked: int

    def __str__(self) -> str:
        told = {"well": "answers: a packet was lost", "loses": "packets are lost on the way to it or back", "limits": "limits its errors",
                "silent": "sends no time exceeded"}[self.kind]
        return f"{told} ({self.answered} of {self.asked} probes answered)"


def _answers(network: LiveNetwork, flows: list[Flow], ttl: int, first_port: int) -> list[bool]:
    """Which of the flows' probes were answered."""
    got = [False] * len(flows)

    def take(timeout_s: float) -> None:
        for at, data in network.receive(timeout_s):
            reply = parse_reply(data, at)
            quote = reply.quoted if reply is not None else None
            port = quote.source_port if quote is not None else None
            if port is not None and 0 <= port - first_port < len(flows):
                got[port - first_port] = True

    for flow in flows:
        network.send(flow.probe(ttl), flow.destination)
        take(_GAP_S)
    deadline = time.monotonic() + _WAIT_S
    while not all(got) and (left := deadline - time.monotonic()) > 0:
        take(left)
    return got


def explain_silence(destination: str, ttl: int, *, probe: Packet, settings: Settings) -> Silence:
    """Ask the router at ``ttl`` ten times. Takes up to three seconds. Raises NetworkError."""
    chance = random.Random()
    first = chance.randrange(33000, 60000)
    with LiveNetwork(interface=settings.interface, ports=range(first, first + 2 * _PROBES)) as network:
        source = network.source(destination)

        def flows(start: int, count: int) -> list[Flow]:
            return [Flow(probe, source, destination, port=start + i, chance=chance) for i in range(count)]

        got = _answers(network, flows(first, _PROBES), ttl, first)
        count = sum(got)
        if count >= _WELL:
            return Silence("well", count, _PROBES)
        # Whoever limits answers the first ones, and perhaps one more a second later.
        is_prefix = all(got[: max(count - 1, 1)]) or count == 0
        if count and not (is_prefix and count <= _PROBES - 2 and not any(got[count + 1 :])):
            return Silence("loses", count, _PROBES)
        if count:
            return Silence("limits", count, _PROBES)
        time.sleep(_REFILL_S)
        again = _answers(network, flows(first + _PROBES, 3), ttl, first + _PROBES)
        return Silence("limits" if any(again) else "silent", sum(again), _PROBES + 3)
