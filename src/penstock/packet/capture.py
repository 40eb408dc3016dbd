"""Capture files: pcap and pcapng, plain or gzip, read and written.

Whatever a file says is checked: a bad one gives :class:`CaptureError` with the place, and the packets before it.
Sources: the pcap and pcapng drafts of the IETF opsawg working group; link types from the tcpdump registry.
"""

from __future__ import annotations

import gzip
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal

from penstock.packet.tracefile import CaptureError, CapturePacket, TraceFile

__all__ = ["LINK_TYPES", "CaptureError", "CapturePacket", "CaptureReader", "CaptureWriter"]

#: names that ToDump's ENCAP takes -> link types
LINK_TYPES = {
    "NULL": 0, "ETHER": 1, "PPP": 9, "FDDI": 10, "RAW_DLT": 12, "PPP_HDLC": 50, "ATM": 100, "IP": 101, "C_HDLC": 104, "802_11": 105,
    "LOOP": 108, "SLL": 113, "802_11_RADIO": 127, "IPV4": 228, "IPV6": 229, "SLL2": 276,
}
_MAX_PACKET_BYTES = 1 << 18
_MAX_BLOCK_BYTES = 1 << 24
_NG_SECTION, _NG_INTERFACE, _NG_OLD_PACKET, _NG_SIMPLE, _NG_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_MAGIC = {0xA1B2C3D4: 1000, 0xA1B23C4D: 1, 0xA1B2CD34: 1000}


@dataclass(slots=True)
class _Interface:
    link_type: int
    snap_bytes: int
    ticks_per_s: int
    offset_s: int


class CaptureReader(TraceFile):
    """Iterates over the packets of a capture file; ``-`` is standard input."""

    def __init__(self, name: str):
        super().__init__(name)
        self._interfaces: list[_Interface] = []
        self._order: Literal["<", ">"] = "<"
        try:
            magic = self._read(4)
        except CaptureError:
            self.close()
            raise CaptureError(f"{name}: empty, or too short for a capture") from None
        except BaseException:
            self.close()
            raise
        self._is_ng = magic == b"\x0a\x0d\x0d\x0a"
        self._unit_ns = 1000
        if not self._is_ng:
            try:
                self._begin_pcap(magic)
            except CaptureError:
                self.close()
                raise

    def skip_to(self, position: int) -> None:
        if self._is_ng:
            raise CaptureError(f"{self.name}: a pcapng file can only be read from its start")
        super().skip_to(position)

    # pcap

    def _begin_pcap(self, magic: bytes) -> None:
        for order in ("<", ">"):
            (number,) = struct.unpack(order + "I", magic)
            if number in _MAGIC:
                self._order, self._unit_ns = order, _MAGIC[number]
                self._extra_bytes = 8 if number == 0xA1B2CD34 else 0
                break
        else:
            raise CaptureError(f"{self.name}: not a pcap or pcapng file")
        _, _, _, _, _, link = struct.unpack(self._order + "HHiIII", self._read(20))
        self.link_type = link & 0xFFFF

    def _pcap_packets(self) -> Iterator[CapturePacket]:
        assert self.link_type is not None
        head = struct.Struct(self._order + "IIII").unpack
        link, unit = self.link_type, self._unit_ns
        while (start := self._at_end()) is not None:
            where = self.position - 4
            seconds, fraction, captured, length = head(start + self._read(12))
            if self._extra_bytes:
                self._read(self._extra_bytes)
            if captured > _MAX_PACKET_BYTES:
                raise CaptureError(f"{self.name}: packet at byte {where} claims {captured} bytes")
            yield CapturePacket(self._read(captured), seconds * 1_000_000_000 + fraction * unit, max(length, captured), link)

    # pcapng

    def _ng_packets(self) -> Iterator[CapturePacket]:
        self._section()
        while (start := self._at_end()) is not None:
            where = self.position - 4
            (kind,) = struct.unpack(self._order + "I", start)
            if kind == _NG_SECTION:
                self._section()
                continue
            (size,) = struct.unpack(self._order + "I", self._read(4))
            if size < 12 or size % 4 or size > _MAX_BLOCK_BYTES:
                raise CaptureError(f"{self.name}: block at byte {where} has a bad length ({size})")
            body = self._read(size - 12)
            self._read(4)
            try:
                if kind == _NG_INTERFACE:
                    self._interface(body)
                elif (packet := self._packet(kind, body)) is not None:
                    yield packet
            except (struct.error, IndexError):
                raise CaptureError(f"{self.name}: block at byte {where} is too short or names no interface") from None

    def _section(self) -> None:
        where = self.position - 4
        size_bytes, order = self._read(4), self._read(4)
        if order == b"\x4d\x3c\x2b\x1a":
            self._order = "<"
        elif order == b"\x1a\x2b\x3c\x4d":
            self._order = ">"
        else:
            raise CaptureError(f"{self.name}: section at byte {where} has a bad byte order mark")
        (size,) = struct.unpack(self._order + "I", size_bytes)
        if size < 28 or size % 4 or size > _MAX_BLOCK_BYTES:
            raise CaptureError(f"{self.name}: section at byte {where} has a bad length ({size})")
        self._read(size - 12)
        self._interfaces = []

    def _interface(self, body: bytes) -> None:
        link, _, snap = struct.unpack_from(self._order + "HHI", body)
        ticks, offset, at = 1_000_000, 0, 8
        while at + 4 <= len(body):
            code, length = struct.unpack_from(self._order + "HH", body, at)
            value = body[at + 4 : at + 4 + length]
            if code == 0:
                break
            if code == 9 and len(value) == 1:
                exponent = value[0] & 0x7F
                ticks = 1 << min(exponent, 63) if value[0] & 0x80 else 10 ** min(exponent, 19)
            elif code == 14 and len(value) == 8:
                (offset,) = struct.unpack(self._order + "q", value)
            at += 4 + (length + 3) // 4 * 4
        self._interfaces.append(_Interface(link, snap, ticks, offset))
        if self.link_type is None:
            self.link_type = link

    def _packet(self, kind: int, body: bytes) -> CapturePacket | None:
        if kind == _NG_SIMPLE:
            (length,) = struct.unpack_from(self._order + "I", body)
            interface = self._interfaces[0]
            captured = min(length, interface.snap_bytes or length, len(body) - 4)
            return CapturePacket(body[4 : 4 + captured], 0, length, interface.link_type)
        if kind == _NG_PACKET:
            number, high, low, captured, length = struct.unpack_from(self._order + "IIIII", body)
        elif kind == _NG_OLD_PACKET:
            number, _, high, low, captured, length = struct.unpack_from(self._order + "HHIIII", body)
        else:
            return None
        interface = self._interfaces[number]
        data = body[20 : 20 + captured]
        if len(data) < captured:
            raise IndexError
        stamp = (high << 32 | low) * 1_000_000_000 // interface.ticks_per_s + interface.offset_s * 1_000_000_000
        return CapturePacket(data, max(stamp, 0) & (2**64 - 1), max(length, captured), interface.link_type)

    def __iter__(self) -> Iterator[CapturePacket]:
        return self._ng_packets() if self._is_ng else self._pcap_packets()


class CaptureWriter:
    """Writes a capture. A name that ends in ``.pcapng`` gives that format, ``.gz`` compresses; ``-`` is standard output.

    ``next_generation`` asks for pcapng whatever the name is.
    """

    def __init__(self, name: str, *, link_type: int = 1, snap_bytes: int = 2000, nanoseconds: bool = False, next_generation: bool = False):
        self.name = name
        stem = name.removesuffix(".gz")
        self._is_ng = next_generation or stem.endswith((".pcapng", ".ntar"))
        self._unit_ns = 1 if nanoseconds else 1000
        self._link_type = link_type
        self._to_stdout = name == "-"
        file: BinaryIO = sys.stdout.buffer if self._to_stdout else open(name, "wb")  # noqa: SIM115
        # The same packets give the same file: no time and no name in the gzip header.
        self._inner = file
        self._file: BinaryIO = file
        if name.endswith(".gz"):
            self._file = gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0)  # type: ignore[assignment]
        if self._is_ng:
            self._file.write(struct.pack("<IIIHHqI", _NG_SECTION, 28, 0x1A2B3C4D, 1, 0, -1, 28))
            self._file.write(struct.pack("<IIHHIHHB3xHHI", _NG_INTERFACE, 32, link_type, 0, snap_bytes, 9, 1, 9, 0, 0, 32))
        else:
            magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
            self._file.write(struct.pack("<IHHiIII", magic, 2, 4, 0, 0, snap_bytes, link_type))

    def write(self, data: bytes, timestamp_ns: int, length: int | None = None) -> None:
        total = len(data) if length is None else length
        if self._is_ng:
            padded = data + bytes(-len(data) % 4)
            size = 32 + len(padded)
            self._file.write(struct.pack("<IIIIIII", _NG_PACKET, size, 0, timestamp_ns >> 32, timestamp_ns & 0xFFFFFFFF,
                                         len(data), total) + padded + struct.pack("<I", size))
            return
        seconds, rest = divmod(timestamp_ns, 1_000_000_000)
        self._file.write(struct.pack("<IIII", seconds & 0xFFFFFFFF, rest // self._unit_ns, len(data), total) + data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        if self._file is not self._inner:
            self._file.close()
        if self._to_stdout:
            self._inner.flush()
        else:
            self._inner.close()
