"""A generator at work on a port: its image, its memory, and the calls that wake the other side."""

from __future__ import annotations

import ctypes
import random
import socket
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock.datapath.futex import futex_wait, futex_wake
from penstock.datapath.memory import Memory
from penstock.datapath.ports import BUFFER_BYTES, DOMAIN_WAITING, HEAD, PEER_WAITING, STARVED, TAIL
from penstock.packet.build import ipv4_header, udp_datagram
from penstock.ring import PortMemory
from penstock.runtime.image import LoadedImage
from penstock.switch.generator import ENTRIES, TEMPLATES, WAKE, Generator
from penstock.switch.program import CodeProgram

__all__ = ["FrameSpec", "Range", "Traffic", "frames_of"]

_COUNT_MASK = 0xFFFF_FFFF
#: looks at the ring a call, and calls before going to sleep: some tens of microseconds
_SPINS, _SPIN_ROUNDS = 2000, 8


@dataclass(frozen=True)
class Range:
    """Addresses and UDP ports that frames go through: ``10.0.0.1:2000-10.0.0.20:3000``."""

    first: int
    last: int
    first_port: int
    last_port: int
    family: int = 4

    @classmethod
    def parse(cls, text: str, *, family: int = 4, port: int = 1234) -> Range:
        """``ADDRESS[:PORT[-ADDRESS:PORT]]`` (IPv6 addresses that have a port in brackets); raises ValueError."""
        low, dash, high = text.partition("-")
        address, first_port = _address(low, family, port)
        last, last_port = _address(high, family, first_port) if dash else (address, first_port)
        if last < address or last_port < first_port:
            raise ValueError(f"'{text}': the range ends before it begins")
        return cls(address, last, first_port, last_port, family)

    def step(self, k: int) -> tuple[bytes, int]:
        """The k-th address and port, round and round: ports first, as pkt-gen does."""
        ports = self.last_port - self.first_port + 1
        address = self.first + k // ports % (self.last - self.first + 1)
        return address.to_bytes(4 if self.family == 4 else 16, "big"), self.first_port + k % ports


def _address(text: str, family: int, port: int) -> tuple[int, int]:
    host, number = text, ""
    if text.startswith("["):
        host, _, number = text[1:].partition("]")
        number = number.lstrip(":")
    elif text.count(":") == 1:
        host, _, number = text.partition(":")
    try:
        value = int.from_bytes(socket.inet_pton(socket.AF_INET if family == 4 else socket.AF_INET6, host), "big")
    except OSError:
        raise ValueError(f"'{host}' is no IPv{family} address") from None
    if number and not (number.isdigit() and int(number) < 65536):
        raise ValueError(f"'{number}' is no UDP port")
    return value, int(number) if number else port


@dataclass(frozen=True)
class FrameSpec:
    """What pkt-gen sends: UDP over IP, as long as ``length`` says."""

    length: int
    src: Range
    dst: Range
    src_mac: bytes
    dst_mac: bytes
    least: int = 0
    random_src: bool = False
    random_dst: bool = False
    payload: bytes = b"netmap pkt-gen DIRECT payload\nhttp://info.iet.unipi.it/~luigi/netmap/ "
    random_payload: bool = False
    seed: int = field(default_factory=lambda: random.getrandbits(32))


def frames_of(spec: FrameSpec) -> list[bytes]:
    """The templates: as many different frames as the spec says, up to what a generator holds."""
    r = random.Random(spec.seed)
    frames = []
    varied = any((spec.random_src, spec.random_dst, spec.least, spec.random_payload))
    kinds = 1
    for x in (spec.src, spec.dst):
        kinds = max(kinds, (x.last - x.first + 1) * (x.last_port - x.first_port + 1))
    for k in range(TEMPLATES if varied else min(kinds, TEMPLATES)):
        (src, sport), (dst, dport) = spec.src.step(k), spec.dst.step(k)
        if spec.random_src:
            src, sport = r.randbytes(len(src)), r.randrange(1, 65536)
        if spec.random_dst:
            dst, dport = r.randbytes(len(dst)), r.randrange(1, 65536)
        length = r.randint(spec.least, spec.length) if spec.least else spec.length
        frames.append(_frame(spec, length, src, sport, dst, dport, r))
    return frames


def _frame(spec: FrameSpec, length: int, src: bytes, sport: int, dst: bytes, dport: int, r: random.Random) -> bytes:
    header = 14 + (20 if len(src) == 4 else 40) + 8
    size = max(length - header, 0)
    payload = r.randbytes(size) if spec.random_payload else (spec.payload * (size // len(spec.payload) + 1))[:size]
    udp_length = 8 + len(payload)
    if len(src) == 4:
        head = ipv4_header(int.from_bytes(src), int.from_bytes(dst), 17, udp_length, tos=0x10, fragment=0x4000, ttl=64)
        ether_type = b"\x08\x00"
    else:
        head = struct.pack(">IHBB", 0x6 << 28, udp_length, 17, 64) + src + dst
        ether_type = b"\x86\xdd"
    frame = spec.dst_mac + spec.src_mac + ether_type + head + udp_datagram(sport, dport, payload, src + dst)
    return frame[:length] if length < header else frame


class Traffic:
    """Sends and receives on ``port`` as its owner; with ``loose`` nobody is on the other side, and what is sent is gone."""

    def __init__(self, port: PortMemory, templates: Sequence[bytes] = (b"",), *, fragments: int = 1, numbered: bool = False,
                 loose: bool = False):
        self.port, self.loose = port, loose
        self.generator = g = Generator(port.layout, [len(t) for t in templates], fragments=fragments, numbered=numbered)
        program = CodeProgram([("generator", g)], ENTRIES)
        self.memory = Memory(program.layout.size)
        program.attach(self.memory)
        self.memory.map_at(g.memory.offset, port.layout.port_bytes, port.descriptor, at=port.offset)
        view = g.templates.view()
        for k, template in enumerate(templates):
            if len(template) > BUFFER_BYTES:
                raise ValueError(f"a frame of {len(template)} bytes; a slot holds {BUFFER_BYTES}")
            view[k * BUFFER_BYTES : k * BUFFER_BYTES + len(template)] = template
        self._image = LoadedImage(program.image())
        self._entries = {name: self._image.function(name, *[ctypes.c_uint32] * n, returns=ctypes.c_uint64) for name, n in ENTRIES.items()}

    def _call(self, name: str, *arguments: int) -> int:
        result = self._entries[name](self.memory.address, *arguments)
        if self.port.forward is not None:
            self.port.forward()
        elif result & WAKE:
            self.port.words[PEER_WAITING] = 0
            futex_wake(self.port.address + 4 * PEER_WAITING)
        return result & _COUNT_MASK

    def send(self, frames: int, *, burst: int = 512) -> int:
        """Gives how many went into the ring."""
        sent = self._call("send", frames, burst)
        if self.loose:
            words, tx = self.port.words, self.port.layout.tx
            words[tx + HEAD] = words[tx + TAIL]
        return sent

    def receive(self, frames: int = 4096) -> int:
        return self._call("receive", frames)

    def ping(self, *, timeout_s: float = 1.0) -> bool:
        """One frame there and back; false where the answer does not come. Spins at first, then sleeps until it is called."""
        before, end = self.generator.rtt_count, time.monotonic() + timeout_s
        started = 0
        while True:
            # Who forwards itself has sent nothing before this call is over.
            self._call("ping", started, 0 if self.port.forward else _SPINS)
            if self.generator.rtt_count != before:
                return True
            left = end - time.monotonic()
            if left <= 0:
                return False
            if started > _SPIN_ROUNDS:
                self.wait(left)
            started += 1

    def pong(self, frames: int = 4096) -> int:
        return self._call("pong", frames)

    def wait(self, timeout_s: float) -> None:
        """Sleep until the other side calls: there are frames, or there is room."""
        words = self.port.words
        rx = self.port.layout.rx
        words[DOMAIN_WAITING] = 1
        # The exchange with the kernel below is a full fence; what came before the word was set is seen here.
        if words[rx + TAIL] == words[rx + HEAD]:
            futex_wait(self.port.address + 4 * DOMAIN_WAITING, 1, timeout_s=timeout_s)
        words[DOMAIN_WAITING] = 0

    def wait_for_room(self, timeout_s: float) -> None:
        """Sleep until the other side has taken something."""
        words, tx = self.port.words, self.port.layout.tx
        words[DOMAIN_WAITING] = 1
        words[tx + STARVED] = 1
        if (words[tx + TAIL] - words[tx + HEAD]) & 0xFFFFFFFF >= self.port.layout.slots:
            futex_wait(self.port.address + 4 * DOMAIN_WAITING, 1, timeout_s=timeout_s)
        words[DOMAIN_WAITING] = 0

    def close(self) -> None:
        self.memory.close()
        self._image.close()

    def __enter__(self) -> Traffic:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
