"""A path that exists only here: routers with their delays, quotes, losses and changes; time passes as the engine waits."""

from __future__ import annotations

import heapq
import ipaddress
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.packet.checksum import internet_checksum
from penstock.tracebox.constructors import ip, ipv6
from penstock.tracebox.layers import ICMP, TCP, UDP, ICMPv6
from penstock.tracebox.packet import Packet, dissect

__all__ = ["Router", "SimulatedNetwork", "error_from", "with_field"]


def with_field(kind: type, name: str, value: int, *, fix: bool = True) -> Callable[[bytes], bytes]:
    """A box that sets a field and mends the checksums."""
    def change(data: bytes) -> bytes:
        packet = dissect(data)
        layer = packet.find(kind)
        if layer is None:
            return data
        layer.put(name, value)
        return packet.build() if fix else b"".join(bytes(x.data) for x in packet.layers)

    return change


def error_from(source: str, packet: bytes, *, kind: int = 11, code: int = 0, quote_bytes: int | None = None, extensions: bytes = b"") -> bytes:
    """The ICMP error that a router sends about a packet."""
    wide = packet[0] >> 4 == 6
    quote = packet if quote_bytes is None else packet[: (40 if wide else (packet[0] & 15) * 4) + quote_bytes]
    head = Packet([ipv6() if wide else ip()])
    head.set_address("src", source)
    head.set_address("dst", dissect(packet).source)
    icmp = ICMPv6() if wide else ICMP()
    icmp["type"], icmp["code"] = ({11: 3, 3: 1}[kind] if wide else kind), code
    if extensions:
        quote = quote[:128].ljust(128, b"\0")
        icmp["length"] = 16 if wide else 32
        checksum = internet_checksum(b"\x20\0\0\0" + extensions)
        quote += b"\x20\0" + checksum.to_bytes(2) + extensions
    return (head / icmp / quote).build()


@dataclass
class Router:
    """``change`` is what happens to packets on the way to this router; ``loss`` is a share, both ways."""

    address: str
    delay_ms: float = 5.0
    quote_bytes: int | None = None
    answers: bool = True
    loss: float = 0.0
    change: Callable[[bytes], bytes] | None = None
    extensions: bytes = b""
    #: errors in all, and one more a second after those (None: no limit)
    burst: int | None = None
    stop_code: int | None = None
    undo: Callable[[bytes], bytes] | None = None
    ttl: int = 64
    _sent: int = field(default=0, repr=False)


class SimulatedNetwork:
    """``paths`` gives the routers for each destination; the destination answers as ``responder`` says."""

    def __init__(self, paths: dict[str, list[Router]], *, destination_delay_ms: float = 5.0, seed: int = 1, answers: bool = True,
                 own: str = "198.51.100.7", loss: float = 0.0):
        self.paths, self.own, self.loss = paths, own, loss
        self.destination_delay_ms, self.destination_answers = destination_delay_ms, answers
        self.chance = random.Random(seed)
        self._now = 1_000_000_000
        self._events: list[tuple[int, int, bytes]] = []
        self._serial = 0
        self.sent: list[bytes] = []

    def now_ns(self) -> int:
        return self._now

    def source(self, destination: str) -> str:
        return "2001:db8::7" if ":" in destination else self.own

    def recorded_probe(self, destination: str) -> Packet | None:
        return None

    def _later(self, delay_ms: float, data: bytes) -> None:
        self._serial += 1
        heapq.heappush(self._events, (self._now + int(delay_ms * 2e6), self._serial, data))

    def send(self, packet: bytes, destination: str) -> None:
        self.sent.append(packet)
        self._now += 2000
        wide = packet[0] >> 4 == 6
        left = packet[7] if wide else packet[8]
        data = bytearray(packet)
        delay = 0.0
        for number, router in enumerate(self.paths[destination], 1):
            if self.chance.random() < max(router.loss, self.loss):
                return
            delay += router.delay_ms
            data[7 if wide else 8] = left
            if not wide:
                data[10:12] = b"\0\0"
                data[10:12] = internet_checksum(bytes(data[: (data[0] & 15) * 4])).to_bytes(2)
            if router.change is not None:
                data = bytearray(router.change(bytes(data)))
            if router.stop_code is not None:
                self._later(delay, error_from(router.address, bytes(data), kind=3, code=router.stop_code))
                return
            if left <= 1:
                if not router.answers or (router.burst is not None and router._sent >= router.burst + self._now // 1_000_000_000 - 1):
                    return
                if self.chance.random() < max(router.loss, self.loss):
                    return
                router._sent += 1
                quoted = router.undo(bytes(data)) if router.undo is not None else bytes(data)
                reply = bytearray(error_from(router.address, quoted, quote_bytes=router.quote_bytes, extensions=router.extensions))
                reply[7 if wide else 8] = router.ttl - number + 1
                self._later(delay, bytes(reply))
                return
            left -= 1
        if self.destination_answers and self.chance.random() >= self.loss:
            answer = self._answer(bytes(data), destination)
            if answer is not None:
                self._later(delay + self.destination_delay_ms, answer)

    def _answer(self, data: bytes, destination: str) -> bytes | None:
        packet = dissect(data)
        wide = ":" in destination
        hops = len(self.paths[destination])
        head = Packet([ipv6() if wide else ip()])
        head.set_address("src", destination)
        head.set_address("dst", packet.source)
        head.network.put("hop_limit" if wide else "ttl", 64 - hops)
        transport = packet.transport
        if isinstance(transport, TCP):
            tcp = TCP()
            tcp["src"], tcp["dst"] = transport["dst"], transport["src"]
            tcp["acknowledgement"], tcp["flags"] = (transport["sequence"] + 1) % 2**32, 0x12
            return (head / tcp).build()
        if isinstance(transport, UDP):
            reply = bytearray(error_from(destination, data, kind=3, code=4 if wide else 3))
            reply[7 if wide else 8] = 64 - hops
            return bytes(reply)
        if isinstance(transport, (ICMP, ICMPv6)):
            echo = type(transport)(bytes(transport.data))
            echo.put("type", 129 if wide else 0)
            return (head / echo / packet.payload).build()
        return None

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        until = self._now + int(timeout_s * 1e9)
        if self._events and self._events[0][0] <= until:
            self._now = max(self._now, self._events[0][0])
            found = []
            while self._events and self._events[0][0] <= self._now:
                found.append((self._now, heapq.heappop(self._events)[2]))
            return found
        self._now = until
        return []


def addresses(count: int) -> list[str]:
    return [str(ipaddress.ip_address("203.0.113.0") + i) for i in range(count)]
