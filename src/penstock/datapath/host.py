"""Packets between the datapath and Python: one ring out, in the order of events, and rings in for sources."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.datapath.memory import Array, Stateful
from penstock.datapath.packet import Packet, meta, upcall
from penstock.datapath.source import datapath
from penstock.packet.integers import boolean, i32, u32, u64
from penstock.packet.layout import ANNO_BYTES, PACKET_TYPES

if TYPE_CHECKING:
    from penstock.datapath.pool import PacketPool

__all__ = ["HostPacket", "HostRing", "HostSource"]

_RING_BYTES = 1 << 20
_HEADER = struct.Struct("<IIQQIIIIIIII48s")  # total, element, tag, timestamp, length, caplen, data, mac, net, trans, type, device
_SKIP = 0xFFFF_FFFF


@dataclass(slots=True)
class HostPacket:
    """A packet as Python sees it. Header offsets are from the start of ``data``; None where not set."""

    data: bytes
    length: int
    timestamp_ns: int
    annotations: bytes
    mac: int | None
    network: int | None
    transport: int | None
    packet_type: str
    device: int
    tag: int
    extra_length: int = 0

    def anno(self, offset: int, size: int = 1) -> int:
        return int.from_bytes(self.annotations[offset : offset + size], "little")


def _position(biased: int) -> int | None:
    return biased - 0x10000 if biased else None


class HostRing(Stateful):
    """What the datapath hands to Python: copies of packets, with a tag, for one element each.

    One ring for all elements keeps the order of events. When it is full the host is asked to read it at
    once, so that nothing is lost; where no host can be asked, the record is dropped and counted.
    """

    is_root = True

    written: u64
    read: u64
    dropped: u64
    faults: u64

    def __init__(self) -> None:
        self.words = Array(u64, _RING_BYTES // 8)
        self.header_bytes = _HEADER.size

    @datapath
    def room_for(self, need: u32) -> bool:
        """Whether ``need`` bytes in one piece are free, after a skip to the start of the ring if it takes one."""
        at = u32(self.written) & (_RING_BYTES - 1)
        total = need
        if at + need > _RING_BYTES:
            total = need + (_RING_BYTES - at)
        return self.written - self.read + total <= _RING_BYTES

    @datapath
    def pair(self, low: u32, high: u32) -> u64:
        return u64(low) | (u64(high) << 32)

    @datapath
    def relative(self, p: Packet, name: str) -> u32:
        """A header position from the data start, biased so that 0 can mean "not set"."""
        place = meta(p, name)
        return 0 if place == 0 else place + 0x10000 - meta(p, "data")

    @datapath(rare=True)
    def send(self, element: u32, p: Packet, tag: u64, limit: u32) -> None:
        """Hand a copy of ``p``, at most ``limit`` bytes of it, to Python; the packet stays the caller's."""
        caplen = min(p.length, limit)
        need = (caplen + self.header_bytes + 7) & 0xFFFFFFF8
        if not self.room_for(need):
            upcall()
        if not self.room_for(need):
            self.dropped += 1
            return
        at = u32(self.written) & (_RING_BYTES - 1)
        if at + need > _RING_BYTES:
            self.words[at >> 3] = _SKIP
            self.written += _RING_BYTES - at
            at = u32(0)
        word = at >> 3
        self.words[word] = self.pair(need, element)
        self.words[word + 1] = tag
        self.words[word + 2] = p.timestamp
        self.words[word + 3] = self.pair(p.length, caplen)
        self.words[word + 4] = self.pair(self.relative(p, "mac"), self.relative(p, "network"))
        self.words[word + 5] = self.pair(self.relative(p, "transport"), p.packet_type)
        self.words[word + 6] = self.pair(p.device, p.extra_length)
        for i in range(ANNO_BYTES // 8):
            self.words[word + 7 + i] = p.anno64[8 * i]
        p.data.store_to(self.words, at + self.header_bytes, 0, caplen)
        self.written += need

    def drain(self) -> list[tuple[int, HostPacket]]:
        """Everything that was handed over since the last call: (element index, packet)."""
        out: list[tuple[int, HostPacket]] = []
        written, read = self.written, self.read
        if written == read:
            return out
        view = self.words.view()
        while read != written:
            at = read & (_RING_BYTES - 1)
            total = int.from_bytes(view[at : at + 4], "little")
            if total == _SKIP:
                read += _RING_BYTES - at
                continue
            (total, element, tag, timestamp, length, caplen, mac, network, transport, kind, device, extra,
             annotations) = _HEADER.unpack_from(view, at)
            data = bytes(view[at + _HEADER.size : at + _HEADER.size + caplen])
            out.append((element, HostPacket(
                data, length, timestamp, annotations, _position(mac), _position(network), _position(transport),
                PACKET_TYPES[kind] if kind < len(PACKET_TYPES) else str(kind), device, tag, extra,
            )))
            read += total
        self.read = read
        return out


#: total, length, timestamp, caplen, packet type, header positions (biased, 0: not set): mac, network, transport
_IN_HEADER = struct.Struct("<IIQIIIII")
_BIAS = 0x10000
_COUNT = struct.Struct("<Q")
#: in the packet type: 48 bytes of annotations stand before the data
_ANNOTATED = 0x8000_0000


class HostSource(Stateful):
    """A ring of packets from Python to one element. ``closed`` tells that no more will come."""

    written: u64
    read: u64
    closed: boolean

    def __init__(self, size_bytes: int = 1 << 20):
        self.size = size_bytes
        self.header_bytes = _IN_HEADER.size
        self.words = Array(u32, size_bytes // 4)
        # Python's own copies: reading state through its descriptors costs more than everything else here.
        self._written_here = self._read_seen = 0
        self._view: memoryview | None = None

    # Python's side

    def offer(self, data: bytes | memoryview, *, timestamp_ns: int = 0, length: int | None = None, packet_type: int = 0,
              mac: int | None = None, network: int | None = None, transport: int | None = None,
              annotations: bytes = b"") -> bool:
        """Write one packet; False where there is no room now. ``length`` is that on the wire, where more than ``data``."""
        content = annotations + data if annotations else data
        need = (_IN_HEADER.size + len(content) + 7) & ~7
        written = self._written_here
        at = written & (self.size - 1)
        skip = self.size - at if at + need > self.size else 0
        if written - self._read_seen + skip + need > self.size:
            self._read_seen = self.read
            if written - self._read_seen + skip + need > self.size:
                return False
        view = self._view
        if view is None:
            view = self._view = self.words.view()
        if skip:
            view[at : at + 4] = _SKIP.to_bytes(4, "little")
            at = 0
        _IN_HEADER.pack_into(
            view, at, need, len(data) if length is None else length, timestamp_ns, len(data),
            packet_type | (_ANNOTATED if annotations else 0), *(0 if v is None else v + _BIAS for v in (mac, network, transport)),
        )
        view[at + _IN_HEADER.size : at + _IN_HEADER.size + len(content)] = content
        self._written_here = written + skip + need
        assert self._memory is not None
        _COUNT.pack_into(self._memory.view, self._offsets["written"], self._written_here)
        return True

    @property
    def is_empty(self) -> bool:
        return self.written == self.read

    @property
    def room_bytes(self) -> int:
        return self.size - (self.written - self.read)

    # The datapath's side

    @datapath
    def load32(self, at: u32) -> u32:
        return self.words[at >> 2]

    @datapath
    def next(self, pool: PacketPool) -> Packet | None:
        """The next packet, or None where the ring is empty or the pool is (then the packet stays in the ring)."""
        if self.written == self.read:
            return None
        at = u32(self.read) & (self.size - 1)
        if self.load32(at) == _SKIP:
            self.read += self.size - at
            at = u32(0)
        caplen = self.load32(at + 16)
        p = pool.allocate(caplen)
        if p is None:
            if pool.free != 0:
                # Too long for any buffer.
                self.read += self.load32(at)
            return None
        kind = self.load32(at + 20)
        start = at + self.header_bytes
        if (kind & _ANNOTATED) != 0:
            for i in tuple(range(0, ANNO_BYTES, 4)):
                p.anno32[i] = self.load32(start + i)
            start = start + ANNO_BYTES
        p.data.load_from(self.words, start, 0, caplen)
        p.timestamp = u64(self.load32(at + 8)) | (u64(self.load32(at + 12)) << 32)
        p.extra_length = self.load32(at + 4) - caplen
        p.packet_type = kind & 0xFF
        mac = self.load32(at + 24)
        network = self.load32(at + 28)
        transport = self.load32(at + 32)
        if mac != 0:
            p.set_mac(i32(mac - _BIAS))
        if network != 0:
            p.set_network(i32(network - _BIAS))
        if transport != 0:
            p.set_transport(i32(transport - _BIAS))
        self.read += self.load32(at)
        return p
