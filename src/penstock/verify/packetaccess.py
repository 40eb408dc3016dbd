"""What statements on packets mean where packets are symbolic."""

from __future__ import annotations

from typing import Any

from penstock.datapath import ir
from penstock.packet.layout import ANNO_BASE, ANNO_BYTES
from penstock.verify import terms
from penstock.verify.errors import NotDecided
from penstock.verify.packet import SymbolicPacket, replaced
from penstock.verify.path import Path
from penstock.verify.terms import Term, Value, Var

__all__ = ["PacketAccess"]

_META_BYTES = 96


#: metadata that other places in the packet are counted from
_PLACES = ("data", "network", "transport")
_MOST_PLACES = 64


class PacketAccess:
    """The part of the executor that reads and writes packets."""

    path: Path

    @property
    def values(self) -> list[Any]:
        raise NotImplementedError

    def eval(self, expr: ir.Expr) -> Any:
        raise NotImplementedError

    def known(self, value: Value, what: str) -> int:
        raise NotImplementedError

    def unknown(self, name: str, bits: int, kind: str) -> Var:
        raise NotImplementedError

    def number(self, expr: ir.Expr, what: str) -> int:
        """An expression as a number: each that it can be is tried."""
        value = self.eval(expr)
        return value if isinstance(value, int) else self.known(value, what)

    def _storepacket(self, s: ir.StorePacket) -> None:
        packet, at = self._at(s.packet, s.offset)
        value = self.eval(s.value)
        width = 8 * s.width
        if s.bits:
            old = packet.load(at, s.width)
            value = replaced(old, width, s.low, terms.piece(value, 0, s.bits), s.bits)
        elif isinstance(value, Term) and value.bits < width:
            value = terms.extend(value, width, self.path.range)
        else:
            value = terms.piece(value, 0, width)
        if ANNO_BASE <= at < ANNO_BASE + ANNO_BYTES:
            packet.store_annotation(at - ANNO_BASE, s.width, value, big=s.big)
        elif s.big:
            packet.store(at, s.width, value)
        else:
            packet.store(at, s.width, terms.join([(terms.piece(value, 8 * i, 8), 8) for i in range(s.width)]))

    def _writepacket(self, s: ir.WritePacket) -> None:
        packet, at = self._at(s.packet, s.offset)
        packet.store(at, len(s.content), int.from_bytes(s.content, "big"))

    def _setmeta(self, s: ir.SetMeta) -> None:
        value = self.eval(s.value)
        if s.name in _PLACES and isinstance(value, Term) and self.path.of(value).size <= _MOST_PLACES:
            # From here on each place is a way: everything behind it is a number then.
            value = self.known(value, "where a header is")
        self._packet(s.packet).meta[s.name] = value

    def _move(self, s: ir.Move) -> None:
        length = self.eval(s.length)
        if isinstance(s.target, ir.StateAddress):
            # Copies for others: nothing that comes back to this packet.
            return
        target = self._packet(s.target.packet)
        to = self.number(s.target.offset, "where bytes are copied to")
        if isinstance(s.source, ir.StateAddress):
            n = self.known(length, "how much is copied")
            for i in range(n):
                target.cells[to + i] = self.unknown("bytes of state", 8, "state")
            return
        source = self._packet(s.source.packet)
        start = self.number(s.source.offset, "where bytes are copied from")
        if isinstance(length, int):
            content = [source.load(start + i, 1) for i in range(length)]
            for i, byte in enumerate(content):
                target.cells[to + i] = byte
            return
        rest = source.rest
        if rest is None or terms.subtract(terms.add(start, length, 32), rest.end, 32) != 0:
            raise NotDecided(f"a copy of {length} bytes")
        cells = {at + to - start: cell for at, cell in source.cells.items() if at >= start}
        if target is source:
            source.cells = {at: cell for at, cell in source.cells.items() if at < to}
        target.cells.update(cells)
        target.rest = rest.moved(to - start)

    def _copylines(self, s: ir.CopyLines) -> None:
        raise NotDecided("a copy of whole cache lines")

    def _fill(self, s: ir.Fill) -> None:
        if isinstance(s.target, ir.StateAddress):
            raise NotDecided("state is filled")
        packet, offset = self._packet(s.target.packet), self.eval(s.target.offset)
        length, byte = self.eval(s.length), self.number(s.byte, "a byte to fill with")
        if isinstance(length, Term) and isinstance(offset, int) and byte == 0 and packet.rest is None:
            # A new packet, whose length is not known: zeros to its end.
            packet.zeros_from = offset
            packet.cells = {at: cell for at, cell in packet.cells.items() if at < offset}
            return
        n = self.known(length, "how much is filled")
        if isinstance(offset, Term) and byte == 0 and packet.rest is not None and terms.subtract(offset, packet.rest.end, 32) == 0:
            # Zeros behind everything: that is what stands there where nothing else is known.
            return
        at = self.known(offset, "where bytes are filled")
        if at == 0 and n == _META_BYTES:
            packet.meta = dict.fromkeys(packet.meta, 0)
            packet.annotations = {}
            return
        for i in range(n):
            packet.cells[at + i] = byte

    def _packet(self, local: ir.Local) -> SymbolicPacket:
        packet = self.values[local.number]
        if not isinstance(packet, SymbolicPacket):
            raise NotDecided("a packet that is not there")
        return packet

    def _at(self, local: ir.Local, offset: ir.Expr) -> tuple[SymbolicPacket, int]:
        return self._packet(local), self.number(offset, "a place in the packet")

    def _x_meta(self, e: ir.Meta) -> Value:
        return self._widened(self._packet(e.packet).meta[e.name], e.type)

    def _widened(self, value: Value, kind: Any) -> Value:
        return value if isinstance(value, int) or value.bits == kind.bits else (
            terms.extend(value, kind.bits, self.path.range) if value.bits < kind.bits else terms.piece(value, 0, kind.bits))

    def _x_loadpacket(self, e: ir.LoadPacket) -> Value:
        packet, at = self._at(e.packet, e.offset)
        if ANNO_BASE <= at < ANNO_BASE + ANNO_BYTES:
            value = packet.load_annotation(at - ANNO_BASE, e.width, big=e.big)
        elif e.big:
            value = packet.load(at, e.width)
        else:
            value = terms.join([(packet.load(at + i, 1), 8) for i in range(e.width - 1, -1, -1)])
        if e.bits:
            value = terms.piece(value, e.low, e.bits)
        return self._widened(self.path.settled(value), e.type)

    def _x_checksum(self, e: ir.Checksum) -> Value:
        if isinstance(e.address, ir.StateAddress):
            raise NotDecided("a checksum of state")
        packet, at = self._at(e.address.packet, e.address.offset)
        length, start = self.eval(e.length), self.eval(e.start)
        found = packet.checksum(at, length, start, self.path.range)
        return terms.extend(self.unknown("sum", 16, "packet") if found is None else found, 32, self.path.range)
