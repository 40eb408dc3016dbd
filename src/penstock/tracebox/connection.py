"""A TCP connection of our own, over raw packets: set up so that segments of it can be sent with any TTL.

A rule keeps the answers from the host's stack, which would reset what it does not know. The segments carry the numbers of a real
connection, so boxes that follow connections let them pass.
"""

from __future__ import annotations

import random
from dataclasses import replace

from penstock.tracebox.api import open_network, trace
from penstock.tracebox.constructors import ip, ipv6, tcp
from penstock.tracebox.exchange import finished, wait_for
from penstock.tracebox.firewall import DropRule
from penstock.tracebox.layers import TCP, Layer
from penstock.tracebox.network import source_address
from penstock.tracebox.packet import Packet
from penstock.tracebox.path import Path
from penstock.tracebox.replies import Reply
from penstock.tracebox.settings import NetworkError, Settings

__all__ = ["Connection"]

_FIN, _SYN, _RST, _ACK, _PSH_ACK = 1, 2, 4, 16, 24
_TRIES = 3


class Connection:
    """An established connection. Raises NetworkError where the destination refuses or keeps silent."""

    def __init__(self, destination: str, port: int, *, settings: Settings, options: tuple[Layer, ...] = (), timeout_s: float = 1.0):
        self.destination, self.port, self._settings = destination, port, settings
        chance = random.Random()
        self.source = source_address(destination, settings.interface)
        self.own_port = chance.randrange(33000, 60000)
        self.sequence = chance.getrandbits(32)
        self.acknowledgement = 0
        self._timeout_s = timeout_s
        self._rule = DropRule(self._segment(_SYN))
        try:
            self._network = open_network(settings, ports=range(self.own_port, self.own_port + 1))
        except BaseException:
            self._rule.close()
            raise
        try:
            #: the SYN/ACK
            self.answer = self._handshake(options)
        except BaseException:
            self.close(reset=False)
            raise

    def _segment(self, flags: int, payload: bytes = b"", options: tuple[Layer, ...] = ()) -> Packet:
        packet = Packet([ipv6() if ":" in self.destination else ip()])
        packet.set_address("dst", self.destination)
        acknowledged = self.acknowledgement if flags & _ACK else 0
        packet / tcp(src=self.own_port, dst=self.port, seq=self.sequence, ack=acknowledged, flags=flags, win=29200)
        for option in options:
            packet / option
        return finished(packet / payload if payload else packet, self.source, self.destination)

    def _is_ours(self, reply: Reply) -> bool:
        layer = reply.packet.find(TCP) if reply.kind == "answer" and reply.source == self.destination else None
        return layer is not None and layer.get("src") == self.port and layer.get("dst") == self.own_port

    def _handshake(self, options: tuple[Layer, ...]) -> Packet:
        syn = self._segment(_SYN, options=options).build()
        for _ in range(_TRIES):
            self._network.send(syn, self.destination)
            reply = wait_for(self._network, self._timeout_s, self._is_ours)
            if reply is not None:
                break
        else:
            raise NetworkError(f"{self.destination} port {self.port} does not answer a SYN")
        layer = reply.packet.find(TCP)
        assert layer is not None
        if (layer.get("flags") or 0) & _RST:
            raise NetworkError(f"{self.destination} port {self.port} refuses connections")
        self.sequence = (self.sequence + 1) & 0xFFFFFFFF
        self.acknowledgement = ((layer.get("sequence") or 0) + 1) & 0xFFFFFFFF
        self._network.send(self._segment(_ACK).build(), self.destination)
        return reply.packet

    def send(self, payload: bytes) -> bytes:
        """Send a segment all the way; gives what came back within the time, in order."""
        self._network.send(self._segment(_PSH_ACK, payload).build(), self.destination)
        self.sequence = (self.sequence + len(payload)) & 0xFFFFFFFF
        return self.receive()

    def receive(self) -> bytes:
        """What the other side sends next; acknowledges it."""
        got = b""

        def wanted(reply: Reply) -> bool:
            layer = reply.packet.find(TCP) if self._is_ours(reply) else None
            return layer is not None and layer.get("sequence") == self.acknowledgement and bool(reply.packet.payload)

        while (reply := wait_for(self._network, self._timeout_s if not got else 0.05, wanted)) is not None:
            data = reply.packet.payload
            got += data
            self.acknowledgement = (self.acknowledgement + len(data)) & 0xFFFFFFFF
            self._network.send(self._segment(_ACK).build(), self.destination)
        return got

    def trace(self, payload: bytes = b"", *, options: tuple[Layer, ...] = (), hops_max: int | None = None,
              ttls: frozenset[int] | None = None) -> Path:
        """Trace with the next segment of the connection: the same segment for all TTLs, as a retransmission would be."""
        if ttls:
            hops_max = max(ttls)
        settings = replace(self._settings, hops_max=hops_max or self._settings.hops_max, ttls=ttls)
        probe = self._segment(_PSH_ACK if payload else _ACK, payload, options)
        probe.network.given -= {"src"}
        if probe.network.LABEL == "IP":
            probe.network.given -= {"identification"}
        return trace(self.destination, probe=probe, settings=settings)

    def close(self, *, reset: bool = True) -> None:
        try:
            if reset:
                self._network.send(self._segment(_RST | _ACK).build(), self.destination)
        except OSError:
            pass
        finally:
            self._network.close()
            self._rule.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
