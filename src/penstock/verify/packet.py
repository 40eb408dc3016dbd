"""A symbolic packet: its bytes as terms, its metadata, and what nobody has looked at yet."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from penstock.packet import headers
from penstock.packet.headers import Field, Header
from penstock.packet.layout import ANNO_BYTES, BUFFER_OFFSET, DEFAULT_HEADROOM
from penstock.verify.substitution import substitute, variables
from penstock.verify.sums import fold_sum, ones_sum
from penstock.verify.terms import Ranges, Term, Value, Var, add, join, piece, subtract

__all__ = ["HEADER_TYPES", "PARTS", "Rest", "SymbolicPacket", "chain_of", "fields_of", "replaced"]

HEADER_TYPES: dict[str, type[Header]] = {
    "ether": headers.Ether, "arp": headers.ARP, "ip": headers.IP, "ip6": headers.IP6, "tcp": headers.TCP, "udp": headers.UDP,
    "icmp": headers.ICMP,
}
_DATA = BUFFER_OFFSET + DEFAULT_HEADROOM
_META = ("data", "length", "mac", "network", "transport", "packet_type", "timestamp", "device", "extra_length")


@dataclass(frozen=True, slots=True)
class Rest:
    """``length`` bytes of an original packet, untouched, from offset ``start`` in the slot on. ``name`` says whose."""

    name: str
    start: int
    length: Value

    def byte(self, at: int) -> Term:
        return Var(f"{self.name}[{at - self.start}]", 8)

    @property
    def sum(self) -> Term:
        """The ones'-complement sum of these bytes."""
        return Var(f"sum({self.name}, {self.length})", 16)

    @property
    def end(self) -> Value:
        return add(self.start, self.length, 32)

    def moved(self, by: int) -> Rest:
        return Rest(self.name, self.start + by, self.length)


@dataclass
class SymbolicPacket:
    """``cells`` are the bytes that are known as terms, by offset in the packet's slot; ``meta`` the metadata.

    One that is on its way between boxes is not changed any more.
    """

    cells: dict[int, Value] = field(default_factory=dict)
    meta: dict[str, Value] = field(default_factory=dict)
    rest: Rest | None = None
    #: the annotations, as bytes
    annotations: dict[int, Value] = field(default_factory=dict)
    #: from here on there are zeros where nothing else is known
    zeros_from: int | None = None

    @classmethod
    def empty(cls, *, data: int = _DATA, length: Value = 0) -> SymbolicPacket:
        return cls({}, {**dict.fromkeys(_META, 0), "data": data, "length": length})

    def copy(self) -> SymbolicPacket:
        return SymbolicPacket(self.cells.copy(), self.meta.copy(), self.rest, self.annotations.copy(), self.zeros_from)

    def with_other_content(self, name: str) -> SymbolicPacket:
        """A packet with the same headers set, of which nothing else is known: its bytes are those of ``name``."""
        made = self.copy()
        starts = [at for at in (made.meta["data"], made.meta["mac"], made.meta["network"]) if isinstance(at, int) and at]
        start = min(starts)
        data = made.meta["data"]
        assert isinstance(data, int)
        length = join([(0, 16), (Var(f"{name} length", 16), 16)])
        made.cells, made.zeros_from = {}, None
        made.meta["length"] = length
        made.rest = Rest(f"{name} bytes", start, add(length, data - start, 32))
        made.annotations = {at: Var(f"{name} annotation[{at}]", 8) for at in range(ANNO_BYTES)}
        return made

    # Bytes

    def load(self, offset: int, width: int) -> Value:
        """``width`` bytes of the slot, the first the most significant."""
        cells = self.cells
        if width == 1:
            found = cells.get(offset)
            return self._missing(offset) if found is None else found
        parts: list[tuple[Value, int]] = []
        for at in range(offset, offset + width):
            found = cells.get(at)
            parts.append((self._missing(at) if found is None else found, 8))
        return join(parts)

    def _missing(self, at: int) -> Value:
        if self.rest is not None and at >= self.rest.start:
            value: Value = self.rest.byte(at)
        elif self.zeros_from is not None and at >= self.zeros_from:
            value = 0
        else:
            # Buffer that nobody wrote: what was there before.
            value = Var(f"old buffer[{at - _DATA}]", 8)
        self.cells[at] = value
        return value

    def store(self, offset: int, width: int, value: Value) -> None:
        cells = self.cells
        if isinstance(value, int):
            for i, byte in enumerate(value.to_bytes(width, "big")):
                cells[offset + i] = byte
            return
        at = 8 * width
        for i in range(width):
            at -= 8
            cells[offset + i] = piece(value, at, 8)

    def load_annotation(self, offset: int, width: int, *, big: bool) -> Value:
        order = range(offset, offset + width) if big else range(offset + width - 1, offset - 1, -1)
        return join([(self.annotations.get(at, 0), 8) for at in order])

    def store_annotation(self, offset: int, width: int, value: Value, *, big: bool) -> None:
        for i in range(width):
            self.annotations[offset + (width - 1 - i if big else i)] = piece(value, 8 * i, 8)

    # Headers

    def field(self, header: str, name: str) -> Value:
        """A field by its header's name (``ip``) and its own (``src``). LookupError where the header is not there."""
        base = self.header_base(header)
        item = HEADER_TYPES[header].FIELDS[name]
        first, last = item.bit // 8, (item.bit + item.type.bits - 1) // 8
        whole = self.load(base + first, last - first + 1)
        low = (last + 1) * 8 - item.bit - item.type.bits
        return piece(whole, low, item.type.bits)

    def put_field(self, base: int, field: Field, value: Value) -> None:
        """Store a field of a header that starts at ``base``; bits beside it stay."""
        first, last = field.bit // 8, (field.bit + field.type.bits - 1) // 8
        width = last - first + 1
        low = (last + 1) * 8 - field.bit - field.type.bits
        if field.type.bits == 8 * width:
            self.store(base + first, width, value)
            return
        old = join([(self.cells.get(base + first + i, 0), 8) for i in range(width)])
        self.store(base + first, width, replaced(old, 8 * width, low, value, field.type.bits))

    def header_base(self, header: str) -> int:
        """Where a header starts in the slot, found as a receiver would: from the front of the frame."""
        start = self.meta["data"]
        if not isinstance(start, int):
            raise LookupError("the packet starts at a place that is not known")
        network = start
        if self.is_frame:
            if header == "ether":
                return start
            network = start + 14
        elif header == "ether":
            raise LookupError("no Ethernet header")
        if header in ("ip", "arp", "ip6"):
            return network
        size = self.load(network, 1)
        words = piece(size, 0, 4)
        if not isinstance(words, int):
            raise LookupError("the IP header's length is not known")
        return network + 4 * words

    @property
    def is_frame(self) -> bool:
        """Whether it starts with an Ethernet header."""
        return self.meta["mac"] == self.meta["data"]

    # Sums

    def checksum(self, at: int, length: Value, start: Value, ranges: Ranges) -> Value | None:
        """The folded sum of ``length`` bytes; None where that cannot be told."""
        if isinstance(length, int):
            return self._sum(at, length, start, ranges)
        rest = self.rest
        if rest is None:
            return None
        known = rest.start - at
        if known < 0 or known % 2 or subtract(add(at, length, 32), rest.end, 32) != 0:
            return None
        if any(cell is not rest.byte(k) for k, cell in self.cells.items() if k >= rest.start):
            return None
        return ones_sum([(self._sum(at, known, start, ranges), 1), (rest.sum, 1)], 0, ranges)

    def _sum(self, at: int, length: int, start: Value, ranges: Ranges) -> Value:
        words = [(self.load(at + k, 2), 1) if k + 1 < length else (self.load(at + k, 1), 256) for k in range(0, length, 2)]
        known = sum(word * factor for word, factor in words if isinstance(word, int))
        if isinstance(start, int) and all(isinstance(word, int) for word, _ in words):
            return fold_sum(known + start, ranges)
        return ones_sum([(start, 1), *((word, factor) for word, factor in words if not isinstance(word, int))], known, ranges)

    @functools.cached_property
    def signature(self) -> Hashable:
        """The same for packets that cannot be told apart."""
        return frozenset(self.cells.items()), tuple(self.meta.values()), self.rest, frozenset(self.annotations.items()), \
            self.zeros_from

    @functools.cached_property
    def variables(self) -> frozenset[Var]:
        """All variables in it."""
        return _variables(self.signature)

    @functools.cached_property
    def names(self) -> frozenset[str]:
        """The names of all variables in it."""
        return frozenset(v.name for v in self.variables)

    def renamed(self, known: Mapping[Term, Value], ranges: Ranges) -> SymbolicPacket:
        """With variables replaced."""
        return SymbolicPacket(
            {at: substitute(value, known, ranges) for at, value in self.cells.items()},
            {name: substitute(value, known, ranges) for name, value in self.meta.items()},
            replace(self.rest, length=substitute(self.rest.length, known, ranges)) if self.rest is not None else None,
            {at: substitute(value, known, ranges) for at, value in self.annotations.items()}, self.zeros_from)


@functools.lru_cache(maxsize=1024)
def _variables(signature: Any) -> frozenset[Var]:
    """All variables in a packet with this signature: on the many ways through a filter it is the same one."""
    cells, meta, rest, annotations, _ = signature
    values = (*(v for _, v in cells), *meta, *(v for _, v in annotations), rest.length if rest is not None else 0)
    return frozenset().union(*{variables(value) for value in values})


def replaced(old: Value, width: int, low: int, value: Value, bits: int) -> Value:
    """A value of ``width`` bits with ``bits`` of them, from bit ``low`` on, replaced."""
    top = width - low - bits
    parts = [(piece(old, low + bits, top) if top else 0, top), (value, bits), (piece(old, 0, low) if low else 0, low)]
    return join([p for p in parts if p[1]])


#: fields that are parts or wholes of others
PARTS = frozenset({
    "ip.tos", "ip.fragment", "ip.version_length", "tcp.ports", "tcp.offset_flags", "tcp.fin", "udp.ports", "icmp.gateway", "icmp.pointer",
    "icmp.mtu",
})


def fields_of(packet: SymbolicPacket) -> dict[str, Value]:
    """The fields of the headers that the packet has, by ``header.field``."""
    names = [(h, name) for h in chain_of(packet) for name in HEADER_TYPES[h].FIELDS if f"{h}.{name}" not in PARTS]
    return {f"{header}.{name}": packet.field(header, name) for header, name in names}


def chain_of(packet: SymbolicPacket) -> list[str]:
    """The headers from the front, as far as they are known."""
    found: list[str] = []
    if packet.is_frame:
        found.append("ether")
        kind = packet.field("ether", "type")
        if kind == 0x0806:
            return [*found, "arp"]
        if kind != 0x0800:
            return found
    found.append("ip")
    try:
        protocol = packet.field("ip", "protocol")
        inner = {6: "tcp", 17: "udp", 1: "icmp"}.get(protocol) if isinstance(protocol, int) else None
        if inner:
            packet.header_base(inner)
            found.append(inner)
    except LookupError:
        pass
    return found



