"""Traces of traffic monitors: Endace's DAG cards (ERF, and the three older layouts) and NLANR's TSH.

Sources: Endace's description of the extensible record format; the layouts of the older cards and of TSH as libtrace reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from penstock.packet.tracefile import CaptureError, CapturePacket, TraceFile

__all__ = ["DAG_LAYOUTS", "DagReader", "TshReader"]

_CELL_BYTES = 64
#: layouts of 64-byte records -> (bytes of their header, link type)
DAG_LAYOUTS = {"ATM": (12, 100), "ETHER": (10, 1), "PPP": (16, 50)}
_HDLC, _ETHERNET, _ATM, _AAL5 = 1, 2, 3, 4
#: kinds that have a colour or a counter in the place of others', but frames all the same
_KINDS = {1: _HDLC, 2: _ETHERNET, 3: _ATM, 4: _AAL5, 10: _HDLC, 11: _ETHERNET, 16: _ETHERNET, 17: _HDLC, 20: _ETHERNET}


def _time_ns(stamp: int) -> int:
    """From 32 bits of seconds and 32 of their fraction."""
    return (stamp >> 32) * 1_000_000_000 + ((stamp & 0xFFFF_FFFF) * 1_000_000_000 >> 32)


def _hdlc_type(data: bytes) -> int:
    """Cisco's HDLC, or PPP in HDLC's framing (RFC 1662)."""
    return 104 if data[:1] in (b"\x0f", b"\x8f") else 50


class DagReader(TraceFile):
    """A trace of a DAG card: ``layout`` is ERF, or one of DAG_LAYOUTS. What is neither Ethernet, HDLC nor ATM is left out."""

    def __init__(self, name: str, layout: str = "ERF"):
        super().__init__(name)
        self.layout = layout
        self.link_type = DAG_LAYOUTS[layout][1] if layout in DAG_LAYOUTS else None

    def __iter__(self) -> Iterator[CapturePacket]:
        return self._records() if self.layout == "ERF" else self._cells()

    def _records(self) -> Iterator[CapturePacket]:
        while (head := self._at_end(16)) is not None:
            where = self.position - 16
            stamp, kind, _, size, _, length = struct.unpack("<QBB", head[:10]) + struct.unpack(">HHH", head[10:])
            if size < 16:
                raise CaptureError(f"{self.name}: record at byte {where} has a bad length ({size})")
            body = self._read(size - 16)
            more = kind & 0x80
            while more:
                # Extension headers, of 8 bytes each; the top bit says that one more follows.
                if len(body) < 8:
                    raise CaptureError(f"{self.name}: record at byte {where} ends within its headers")
                more, body = body[0] & 0x80, body[8:]
            kind = _KINDS.get(kind & 0x7F, 0)
            if not kind:
                continue
            if kind == _ETHERNET:
                data, link = body[2:], 1
            elif kind == _HDLC:
                data, link = body, _hdlc_type(body)
            else:
                data, link = body[4:], 100
            data = data[:length]
            self.link_type = link
            yield CapturePacket(data, _time_ns(stamp), max(length, len(data)), link)

    def _cells(self) -> Iterator[CapturePacket]:
        header, link = DAG_LAYOUTS[self.layout]
        while (cell := self._at_end(_CELL_BYTES)) is not None:
            stamp, data = _time_ns(int.from_bytes(cell[:8], "little")), cell[header:]
            length = len(data)
            if self.layout == "ATM":
                # The cell's header; a packet's first cell is all there is of it.
                data = data[4:]
                length = len(data)
            elif self.layout == "ETHER":
                (length,) = struct.unpack(">H", cell[8:10])
            else:
                (length,) = struct.unpack(">I", cell[12:16])
                link = _hdlc_type(data)
            length = length if 0 < length <= 0xFFFF else len(data)
            data = data[:length]
            yield CapturePacket(data, stamp, max(length, len(data)), link)


class TshReader(TraceFile):
    """A time-sequenced headers file: records of 44 bytes with an IPv4 header without options, and 16 bytes behind it."""

    link_type = 101

    def __iter__(self) -> Iterator[CapturePacket]:
        while (record := self._at_end(44)) is not None:
            seconds, rest = struct.unpack(">II", record[:8])
            data = record[8:]
            length = int.from_bytes(data[2:4], "big")
            # The top byte of the second word is the monitor's interface.
            yield CapturePacket(data, seconds * 1_000_000_000 + (rest & 0xFF_FFFF) * 1000, max(length, len(data)), 101)
