"""Where probes go out and replies come in: raw sockets, or captures.

Sending takes a raw socket, receiving a packet socket, which sees what local firewalls and connections would keep for
themselves. Both need CAP_NET_RAW and nothing else.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import select
import socket
import struct
import time
from contextlib import suppress
from typing import Protocol

from penstock.packet.capture import CaptureError, CaptureReader, CaptureWriter
from penstock.tracebox.packet import Packet, dissect
from penstock.tracebox.replies import parse_reply
from penstock.tracebox.settings import NetworkError

__all__ = ["LiveNetwork", "Network", "RecordedNetwork", "source_address"]

_ETH_P_IP, _ETH_P_IPV6 = 0x0800, 0x86DD
_IPV6_HDRINCL, _SO_RCVBUFFORCE, _SO_ATTACH_FILTER = 36, 33, 26
_RECEIVE_BYTES, _BUFFER_BYTES = 65536, 1 << 24
_RAW_LINK = 101


class Network(Protocol):
    """What the engine needs of a network."""

    def send(self, packet: bytes, destination: str) -> None:
        """Send an IP packet. Raises OSError where the kernel will not have it."""

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        """Packets that came in, each with its time; waits at most so long for the first."""

    def now_ns(self) -> int:
        """The clock that goes with the times of packets."""

    def source(self, destination: str) -> str:
        """The address that packets to a destination leave from."""

    def recorded_probe(self, destination: str) -> Packet | None:
        """The probe that recorded replies belong to, None on a live network."""


def source_address(destination: str, interface: str | None = None) -> str:
    """The source address that the kernel's routes give. Raises NetworkError where there is no route."""
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            if interface is not None:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            probe.connect((destination, 9))
        except OSError as error:
            if error.errno == errno.ENODEV:
                raise NetworkError(f"there is no interface '{interface}'; 'ip link' lists them") from None
            unreachable = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL)
            what = "no route" if error.errno in unreachable else str(error.strerror).lower()
            raise NetworkError(f"{destination}: {what}; 'ip route get {destination}' tells more") from None
        return str(probe.getsockname()[0])


def _needs(error: OSError, what: str) -> NetworkError:
    if error.errno in (errno.EPERM, errno.EACCES):
        return NetworkError(f"{what} needs the capability CAP_NET_RAW: run as root, or give it with "
                            f"'setcap cap_net_raw+ep' to the Python that runs this ({os.path.realpath('/proc/self/exe')})")
    return NetworkError(f"{what}: {error.strerror}")


def _filter(ports: range) -> bytes:
    """Classic BPF on a packet without link header: ICMP, and transport packets to our ports; what is unclear passes."""
    program = _assemble(ports.start, ports.stop - 1)
    return b"".join(struct.pack("HBBI", *line) for line in program)


def _assemble(low: int, high: int) -> list[tuple[int, int, int, int]]:
    passes, fails = "pass", "fail"
    lines: list[tuple[str | None, int, str | int, str | int, int]] = [
        (None, 0x30, 0, 0, 0),               # version and header length
        (None, 0x54, 0, 0, 0xF0),
        (None, 0x15, 0, "six", 0x40),
        (None, 0x30, 0, 0, 9),               # protocol
        (None, 0x15, passes, 0, 1),
        (None, 0x28, 0, 0, 6),               # a later fragment has no ports
        (None, 0x45, passes, 0, 0x1FFF),
        (None, 0xB1, 0, 0, 0),               # index register: length of the IPv4 header
        (None, 0x48, 0, 0, 2),               # destination port
        (None, 0x35, 0, fails, low),
        (None, 0x25, fails, passes, high),
        ("six", 0x30, 0, 0, 6),              # next header
        (None, 0x15, "port", 0, 6),
        (None, 0x15, "port", passes, 17),
        ("port", 0x28, 0, 0, 42),
        (None, 0x35, 0, fails, low),
        (None, 0x25, fails, passes, high),
        ("pass", 0x06, 0, 0, 0x40000),
        ("fail", 0x06, 0, 0, 0),
    ]
    places = {line[0]: i for i, line in enumerate(lines) if line[0]}
    return [(code, *(places[t] - i - 1 if isinstance(t, str) else t for t in (yes, no)), k)  # type: ignore[misc]
            for i, (_, code, yes, no, k) in enumerate(lines)]


class LiveNetwork:
    """The kernel's network. ``ports`` bounds the source ports of what will be sent; ``capture`` takes all that passes."""

    def __init__(self, *, interface: str | None = None, ports: range | None = None, capture: CaptureWriter | None = None):
        self._interface = interface
        self._capture = capture
        self._sockets: list[socket.socket] = []
        self._senders: dict[bool, socket.socket] = {}
        self._sources: dict[str, str] = {}
        try:
            self._senders[False] = self._sender(socket.AF_INET, socket.IP_HDRINCL, socket.IPPROTO_IP)
            with suppress(OSError):
                self._senders[True] = self._sender(socket.AF_INET6, _IPV6_HDRINCL, socket.IPPROTO_IPV6)
            self._receivers = [self._receiver(kind, ports) for kind in (_ETH_P_IP, _ETH_P_IPV6)]
        except OSError as error:
            self.close()
            if isinstance(error, NetworkError):
                raise
            raise _needs(error, "sending probes") from None
        self._poll = select.poll()
        for receiver in self._receivers:
            self._poll.register(receiver, select.POLLIN)

    def _sender(self, family: int, option: int, level: int) -> socket.socket:
        sender = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._sockets.append(sender)
        sender.setsockopt(level, option, 1)
        with suppress(OSError):
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        if self._interface is not None:
            try:
                sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, self._interface.encode())
            except OSError:
                raise NetworkError(f"there is no interface '{self._interface}'; 'ip link' lists them") from None
        return sender

    def _receiver(self, kind: int, ports: range | None) -> socket.socket:
        receiver = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(kind))
        self._sockets.append(receiver)
        if ports is not None:
            program = _filter(ports)
            import ctypes

            buffer = ctypes.create_string_buffer(program)
            receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program) // 8, ctypes.addressof(buffer)))
        for option in (_SO_RCVBUFFORCE, socket.SO_RCVBUF):
            with suppress(OSError):
                receiver.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
                break
        if self._interface is not None:
            receiver.bind((self._interface, kind))
        receiver.setblocking(False)
        return receiver

    def now_ns(self) -> int:
        # A wall clock may jump.
        return time.monotonic_ns()

    def source(self, destination: str) -> str:
        if destination not in self._sources:
            self._sources[destination] = source_address(destination, self._interface)
        return self._sources[destination]

    def recorded_probe(self, destination: str) -> Packet | None:
        return None

    def send(self, packet: bytes, destination: str) -> None:
        wide = packet[0] >> 4 == 6
        sender = self._senders.get(wide)
        if sender is None:
            raise NetworkError("this host has no IPv6")
        sender.sendto(packet, (destination, 0))
        if self._capture is not None:
            self._capture.write(packet, time.time_ns())

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        self._poll.poll(max(0, int(timeout_s * 1000 + 0.999)) if timeout_s > 0 else 0)
        found: list[tuple[int, bytes]] = []
        for receiver in self._receivers:
            try:
                while len(found) < 4096:
                    data, where = receiver.recvfrom(_RECEIVE_BYTES)
                    if where[2] == socket.PACKET_OUTGOING:
                        continue
                    found.append((time.monotonic_ns(), data))
                    if self._capture is not None:
                        self._capture.write(data, time.time_ns())
            except BlockingIOError:
                pass
            except OSError as error:
                # ENETDOWN is told once when an interface goes down; what comes later on others is still good.
                if error.errno != errno.ENETDOWN:
                    raise NetworkError(f"receiving: {error.strerror}") from None
        return found

    def close(self) -> None:
        for each in self._sockets:
            each.close()
        self._sockets.clear()

    def __enter__(self) -> LiveNetwork:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class RecordedNetwork:
    """No network: what is sent goes to one capture, what comes back is read from another (``-i pcap:OUT:IN``).

    Time passes only as the engine waits, so nothing waits in fact. A reply is given once a probe has been sent.
    """

    def __init__(self, out: str, back: str):
        self._clock_ns = 0
        self._replies: list[bytes] = []
        self._out: CaptureWriter | None = None
        try:
            with CaptureReader(back) as reader:
                for packet in reader:
                    if (data := _without_link(packet.data, packet.link_type)) is not None:
                        self._replies.append(data)
            self._out = CaptureWriter(out, link_type=_RAW_LINK, snap_bytes=_RECEIVE_BYTES)
        except (OSError, CaptureError) as error:
            raise NetworkError(str(error) if isinstance(error, CaptureError) else f"{error.filename}: {error.strerror}") from None
        self._sent = 0

    def now_ns(self) -> int:
        return self._clock_ns

    def source(self, destination: str) -> str:
        """The address that the recorded probes came from, or that the replies were sent to."""
        wide = ":" in destination
        probe = self.recorded_probe(destination)
        if probe is not None:
            return probe.source
        for data in self._replies:
            if (data[0] >> 4 == 6) == wide:
                return str(ipaddress.ip_address(data[24:40] if wide else data[16:20]))
        return "::1" if wide else "127.0.0.1"

    def recorded_probe(self, destination: str) -> Packet | None:
        def goes_there(packet: Packet | None) -> bool:
            # A header that was cut off has no destination.
            return packet is not None and packet.network.get("dst") is not None and packet.destination == destination

        for data in self._replies:
            packet = dissect(data)
            if goes_there(packet):
                return packet
            reply = parse_reply(data)
            if reply is not None and len(reply.quote) >= 28 and goes_there(quote := reply.quoted):
                return quote
        return None

    def send(self, packet: bytes, destination: str) -> None:
        assert self._out is not None
        self._out.write(packet, self._clock_ns)
        self._sent += 1

    def receive(self, timeout_s: float) -> list[tuple[int, bytes]]:
        self._clock_ns += int(max(timeout_s, 0) * 1e9)
        if not self._sent or timeout_s <= 0:
            return []
        # All at once, but again and again: a probe of a later window is answered when it has been sent.
        return [(self._clock_ns, data) for data in self._replies]

    def close(self) -> None:
        if self._out is not None:
            self._out.close()

    def __enter__(self) -> RecordedNetwork:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _without_link(data: bytes, link_type: int) -> bytes | None:
    """The IP packet in a frame, None where there is none."""
    if link_type == 1:
        kind, at = data[12:14], 14
        while kind in (b"\x81\x00", b"\x88\xa8"):
            kind, at = data[at + 2 : at + 4], at + 4
        data = data[at:] if kind in (b"\x08\x00", b"\x86\xdd") else b""
    elif link_type == 113:
        data = data[16:]
    elif link_type == 276:
        data = data[20:]
    elif link_type in (0, 108):
        data = data[4:]
    return data if len(data) >= 20 and data[0] >> 4 in (4, 6) else None
