"""What packets, cursors, headers and slots mean in the typed form."""

from __future__ import annotations

from typing import Any

from penstock.datapath import ir
from penstock.datapath.frontend.builder import Builder
from penstock.datapath.frontend.values import (
    BOOL,
    I32,
    U32,
    U64,
    Bits,
    CursorValue,
    Fact,
    HeaderValue,
    MetaValue,
    NextSlot,
    Owned,
    PacketMethod,
    PacketValue,
    PlaceValue,
    Runtime,
    WordsValue,
    widened,
)
from penstock.datapath.memory import Array
from penstock.packet import headers
from penstock.packet.headers import Header
from penstock.packet.integers import IntType
from penstock.packet.layout import ANNO_BASE, ANNO_BYTES, BUFFER_OFFSET, META

__all__ = ["PacketOperations"]

_VIEWS: dict[str, tuple[str, type[Header]]] = {
    "ether": ("mac", headers.Ether), "arp": ("network", headers.ARP), "ip": ("network", headers.IP),
    "ip6": ("network", headers.IP6), "tcp": ("transport", headers.TCP), "udp": ("transport", headers.UDP),
    "icmp": ("transport", headers.ICMP),
}
_CURSORS = ("data", "mac", "network", "transport")
#: name -> (offset in the annotations, width, most significant byte first)
_ANNOTATIONS = {
    "dst_ip": (0, 4, True), "dst_ip6": (0, 16, True), "paint": (16, 1, False), "icmp_param_prob": (17, 1, False),
    "fix_ip_src": (19, 1, False), "vlan_tci": (20, 2, False), "aggregate": (20, 4, False),
    "extra_packets": (24, 4, False), "first_timestamp": (32, 8, False),
}
_ANNO_WORDS = {"anno8": 1, "anno16": 2, "anno32": 4, "anno64": 8}
_DATA_WORDS = {"u8": 1, "u16": 2, "u32": 4, "u48": 6, "u64": 8, "u128": 16}
_METHODS = (
    "pull", "push", "take", "put", "kill", "clone", "set_mac", "set_network", "set_transport",
    "clear_mac", "clear_network", "clear_transport",
)
_SETTABLE = ("timestamp", "packet_type", "device", "extra_length")


class PacketOperations(Builder):
    """Attribute access and methods of packet values. ``pool`` is the router's packet pool."""

    pool: Any

    def meta(self, packet: ir.Local, name: str) -> ir.Expr:
        return ir.Meta(widened(META[name].type), packet, name)

    def end(self, packet: ir.Local) -> ir.Expr:
        return ir.Binary(U32, "add", self.meta(packet, "data"), self.meta(packet, "length"))

    def packet_attribute(self, value: PacketValue, name: str) -> Any:
        packet = self.use(value)
        if name in _METHODS:
            return PacketMethod(value, name)
        if name in _VIEWS:
            which, kind = _VIEWS[name]
            return self.view(CursorValue(packet, which), kind, 0)
        if name in _CURSORS:
            return CursorValue(packet, name)
        if name in _ANNOTATIONS:
            offset, width, big = _ANNOTATIONS[name]
            return Bits(packet, ir.Const(U32, ANNO_BASE + offset), width, widened(IntType(width * 8)), big, name=name)
        if name in _ANNO_WORDS:
            return WordsValue(packet, "anno", _ANNO_WORDS[name], big=False)
        if name in _SETTABLE:
            return MetaValue(packet, name)
        if name == "length":
            return Runtime(self.meta(packet, "length"))
        if name == "next":
            return NextSlot(packet)
        if name == "headroom":
            return Runtime(ir.Binary(U32, "sub", self.meta(packet, "data"), ir.Const(U32, BUFFER_OFFSET)))
        if name == "tailroom":
            return Runtime(ir.Binary(U32, "sub", ir.Const(U32, self.pool.stride), self.end(packet)))
        if name.startswith("has_") and name[4:] in _CURSORS[1:]:
            return Runtime(ir.Compare(BOOL, "ne", self.meta(packet, name[4:]), ir.Const(U32, 0)))
        if name.endswith("_offset") and name[:-7] in _CURSORS[1:]:
            difference = ir.Binary(U32, "sub", self.meta(packet, name[:-7]), self.meta(packet, "data"))
            return Runtime(ir.Cast(I32, difference))
        if name in ("network_length", "transport_length"):
            return Runtime(self._length_from(packet, name.removesuffix("_length")))
        if name == "network_header_length":
            return Runtime(
                ir.Binary(U32, "sub", self.meta(packet, "transport"), self.meta(packet, "network"))
            )
        raise self.error(f"a packet has no '{name}'", hint="see penstock/datapath/packet.py for what it has")

    def _length_from(self, packet: ir.Local, which: str) -> ir.Expr:
        """Bytes from a header to the end of the packet; 0 where it is unset or past the end."""
        base, end = self.meta(packet, which), self.end(packet)
        inside = ir.Binary(
            BOOL, "and",
            ir.Compare(BOOL, "ne", base, ir.Const(U32, 0)), ir.Compare(BOOL, "le", base, end),
        )
        return ir.Select(U32, inside, ir.Binary(U32, "sub", end, base), ir.Const(U32, 0))

    # Cursors and headers

    def at(self, cursor: CursorValue, offset: Any, length: Any) -> ir.Expr:
        """The slot offset ``offset`` bytes after the cursor, checked for ``length`` bytes."""
        plain = isinstance(offset, int) and isinstance(length, int) and offset >= 0 and length >= 0
        if plain and self.is_known(cursor.packet, cursor.which, offset + length):
            packet = self.use(PacketValue(cursor.packet))
            base = self.meta(packet, cursor.which)
            return self.assign(U32, ir.Binary(U32, "add", base, ir.Const(U32, offset)) if offset else base, "at")
        start, inside = self.span(cursor, offset, length)
        self.check(inside, f"past the end of the packet, or no {cursor.which} header")
        if plain:
            self.learn((self.fact(cursor.packet, cursor.which, offset + length),))
        return self.assign(U32, start, "at")

    def span(self, cursor: CursorValue, offset: Any, length: Any) -> tuple[ir.Expr, ir.Expr]:
        """Where ``offset`` is, and whether ``length`` bytes from there lie within the packet."""
        packet = self.use(PacketValue(cursor.packet))
        base = self.assign(U32, self.meta(packet, cursor.which), cursor.which)
        if isinstance(offset, int) and isinstance(length, int) and 0 <= offset < 1 << 24 and 0 <= length < 1 << 24:
            stop: ir.Expr = ir.Binary(U32, "add", base, ir.Const(U32, offset + length))
            inside: ir.Expr = ir.Compare(BOOL, "le", stop, self.end(packet))
            start: ir.Expr = ir.Binary(U32, "add", base, ir.Const(U32, offset)) if offset else base
        else:
            # A negative i32 becomes a huge number here, which is past any end.
            wide = self._wide(offset)
            first = ir.Binary(U64, "add", ir.Cast(U64, base), wide)
            total = ir.Binary(U64, "add", first, self._wide(length))
            bound = ir.Cast(U64, self.end(packet))
            inside = ir.Binary(
                BOOL, "and",
                ir.Compare(BOOL, "le", self._wide(length), bound),
                ir.Binary(BOOL, "and", ir.Compare(BOOL, "le", wide, bound), ir.Compare(BOOL, "le", total, bound)),
            )
            start = ir.Cast(U32, first)
        if cursor.which != "data":
            inside = ir.Binary(BOOL, "and", ir.Compare(BOOL, "ne", base, ir.Const(U32, 0)), inside)
        return start, inside

    def _wide(self, value: Any) -> ir.Expr:
        expr = self.number(value, U64)
        if isinstance(expr.type, IntType) and expr.type.signed:
            expr = ir.Cast(IntType(64, True), expr) if expr.type.bits < 64 else expr
            return ir.Cast(U64, expr) if expr.type != U64 else expr
        return self.convert(expr, U64)

    def view(self, cursor: CursorValue, kind: type[Header], offset: Any) -> HeaderValue:
        return HeaderValue(cursor.packet, self.at(cursor, offset, kind.SIZE), kind)

    def header_field(self, header: HeaderValue, name: str) -> Bits:
        try:
            field = header.kind.FIELDS[name]
        except KeyError:
            raise self.error(
                f"{header.kind.__name__} has no field '{name}'",
                hint=f"its fields are {', '.join(header.kind.FIELDS)}",
            ) from None
        self.use(PacketValue(header.packet))
        first, last = field.bit // 8, (field.bit + field.type.bits - 1) // 8
        width = last - first + 1
        if width == 3:
            first, width = (first - 1, 4) if first else (first, 4)
        if width in (5, 7):
            width += 1
        whole = field.type.bits == width * 8
        low = 0 if whole else (first + width) * 8 - field.bit - field.type.bits
        offset = ir.Binary(U32, "add", header.base, ir.Const(U32, first)) if first else header.base
        return Bits(
            header.packet, offset, width, widened(field.type) if field.type.bits > 1 else U32,
            low=low, bits=0 if whole else field.type.bits, name=f"{header.kind.__name__.lower()}.{name}",
        )

    def cursor_attribute(self, cursor: CursorValue, name: str) -> Any:
        if name in _DATA_WORDS:
            return WordsValue(cursor.packet, cursor.which, _DATA_WORDS[name])
        if name in ("has", "header", "checksum", "write", "fill", "copy", "store_to", "load_from"):
            return PacketMethod(cursor, name)
        raise self.error(f"a cursor has no '{name}'", hint="u8, u16, u32, u48, u64, u128, header(), checksum(), write()")

    def word(self, words: WordsValue, index: Any) -> Bits:
        kind = widened(IntType(words.width * 8))
        if words.which == "anno":
            if not isinstance(index, int) or not 0 <= index <= ANNO_BYTES - words.width:
                raise self.error("an annotation's offset must be known when the configuration is installed")
            return Bits(words.packet, ir.Const(U32, ANNO_BASE + index), words.width, kind, False)
        offset = self.at(CursorValue(words.packet, words.which), index, words.width)
        return Bits(words.packet, offset, words.width, kind)

    def load_bits(self, bits: Bits) -> Runtime:
        self.use(PacketValue(bits.packet))
        return Runtime(
            ir.LoadPacket(bits.type, bits.packet, bits.offset, bits.width, bits.big, bits.low, bits.bits, bits.name)
        )

    def store_bits(self, bits: Bits, value: Any) -> None:
        self.use(PacketValue(bits.packet))
        expr = self.convert(self.number(value, bits.type), bits.type)
        self.emit(
            ir.StorePacket(
                self.line, bits.packet, bits.offset, bits.width, expr, bits.big, bits.low, bits.bits, bits.name
            )
        )

    # Methods

    def call_packet(self, receiver: PacketValue, name: str, args: list[Any]) -> Any:
        packet = self.use(receiver)

        def set_meta(field: str, value: ir.Expr) -> None:
            self.emit(ir.SetMeta(self.line, packet, field, value))

        match name, args:
            case "kill", []:
                self.give_away(receiver)
                self.emit(ir.Kill(self.line, packet))
                return None
            case "clone", []:
                return self.call_datapath(self.pool, type(self.pool).clone, [receiver])
            case "pull" | "take", [length]:
                amount = self._amount(length)
                self.check(ir.Compare(BOOL, "le", amount, self.meta(packet, "length")), "packet too short")
                # pull() leaves the end where it is, and so what is known of the headers.
                self.forget(packet, "data" if name == "pull" else None)
                if name == "pull":
                    set_meta("data", ir.Binary(U32, "add", self.meta(packet, "data"), amount))
                set_meta("length", ir.Binary(U32, "sub", self.meta(packet, "length"), amount))
                return None
            case "push", [length]:
                amount = self._amount(length)
                room = ir.Binary(U32, "sub", self.meta(packet, "data"), ir.Const(U32, BUFFER_OFFSET))
                self.forget(packet)
                # Out of headroom: shift_back moves the content towards the end of the buffer.
                with self.nested() as more:
                    self.call_datapath(self.pool, type(self.pool).shift_back, [receiver, Runtime(amount)])
                # What a function that is not inlined could not do is seen here.
                with self.nested() as fail:
                    self.check(ir.Compare(BOOL, "le", amount, room), "no room left in the buffer")
                self.emit(ir.If(self.line, ir.Compare(BOOL, "gt", amount, room), more + fail, []))
                set_meta("data", ir.Binary(U32, "sub", self.meta(packet, "data"), amount))
                set_meta("length", ir.Binary(U32, "add", self.meta(packet, "length"), amount))
                return None
            case "put", [length]:
                amount = self._amount(length)
                room = ir.Binary(U32, "sub", ir.Const(U32, self.pool.stride), self.end(packet))
                self.check(ir.Compare(BOOL, "le", amount, room), "no tailroom left")
                at = ir.PacketAddress(packet, self.assign(U32, self.end(packet), "end"))
                self.emit(ir.Fill(self.line, at, amount, ir.Const(U32, 0)))
                set_meta("length", ir.Binary(U32, "add", self.meta(packet, "length"), amount))
                return None
            case "set_mac" | "set_network" | "set_transport", [offset]:
                place = self.header_place(packet, offset)
                self.forget(packet, name[4:])
                set_meta(name[4:], place)
                return None
            case "clear_mac" | "clear_network" | "clear_transport", []:
                self.forget(packet, name[6:])
                set_meta(name[6:], ir.Const(U32, 0))
                return None
        raise self.error(f"packet.{name}() takes other arguments")

    def header_place(self, packet: ir.Local, offset: Any) -> ir.Expr:
        """A header position, from the data start; it must lie within the buffer."""
        if offset == 0 and isinstance(offset, int):
            return self.meta(packet, "data")
        shift = self.number(offset, I32)
        place = self.assign(
            U32, ir.Binary(U32, "add", self.meta(packet, "data"), self.convert(shift, U32)), "place"
        )
        inside = ir.Binary(
            BOOL, "and",
            ir.Compare(BOOL, "ge", place, ir.Const(U32, BUFFER_OFFSET)), ir.Compare(BOOL, "le", place, self.end(packet)),
        )
        self.check(inside, "header outside of the packet")
        return place

    def _amount(self, length: Any) -> ir.Expr:
        expr = self.number(length, U32)
        if isinstance(expr, ir.Const):
            return self.convert(expr, U32)
        if expr.type == U64:
            raise self.error("a length is u32", hint="write u32(...)")
        return self.assign(U32, self.convert(expr, U32), "n")

    def call_cursor(self, cursor: CursorValue, name: str, args: list[Any]) -> Any:
        match name, args:
            case "has", [offset, length]:
                facts: tuple[Fact, ...] = ()
                if isinstance(offset, int) and isinstance(length, int):
                    if self.is_known(cursor.packet, cursor.which, offset + length):
                        return True
                    facts = (self.fact(cursor.packet, cursor.which, offset + length),)
                return Runtime(self.assign(BOOL, self.span(cursor, offset, length)[1], "has"), facts)
            case "header", [kind, *rest]:
                return self.view(cursor, kind, rest[0] if rest else 0)
            case "checksum", [offset, length, *rest]:
                at = self.at(cursor, offset, length)
                start = self.convert(self.number(rest[0] if rest else 0, U32), U32)
                count = self.convert(self.number(length, U32), U32)
                return Runtime(
                    self.assign(U32, ir.Checksum(U32, ir.PacketAddress(cursor.packet, at), count, start), "sum")
                )
            case "write", [offset, content] if isinstance(content, bytes):
                at = self.at(cursor, offset, len(content))
                self.emit(ir.WritePacket(self.line, cursor.packet, at, content))
                return None
            case "fill", [offset, length, byte]:
                at = self.at(cursor, offset, length)
                self.emit(ir.Fill(self.line, ir.PacketAddress(cursor.packet, at),
                                  self.convert(self.number(length, U32), U32), self.number(byte, U32)))
                return None
            case "copy", [offset, CursorValue() as source, source_offset, length]:
                target = ir.PacketAddress(cursor.packet, self.at(cursor, offset, length))
                origin = ir.PacketAddress(source.packet, self.at(source, source_offset, length))
                self.emit(ir.Move(self.line, target, origin, self.convert(self.number(length, U32), U32)))
                return None
            case "store_to" | "load_from", [Array() as array, index, offset, length]:
                here = ir.PacketAddress(cursor.packet, self.at(cursor, offset, length))
                there = ir.StateAddress(ir.Place(array, "", array.offset, (), array.kind), self._array_span(array, index, length))
                count = self.convert(self.number(length, U32), U32)
                target_, source_ = (there, here) if name == "store_to" else (here, there)
                self.emit(ir.Move(self.line, target_, source_, count))
                return None
        raise self.error(f"cursor.{name}() takes other arguments", hint="see penstock/datapath/packet.py")

    def _array_span(self, array: Array[Any], index: Any, length: Any) -> ir.Expr:
        first = self.assign(U64, self._wide(index), "index")
        amount = self.assign(U64, self._wide(length), "count")
        size = ir.Const(U64, array.size_bytes)
        room = ir.Binary(U64, "sub", size, first)
        self.check(
            ir.Binary(BOOL, "and", ir.Compare(BOOL, "le", first, size), ir.Compare(BOOL, "le", amount, room)),
            "past the end of an array",
        )
        return first

    # Slots

    def slot_of(self, value: Any) -> ir.Place | ir.PacketAddress | None:
        if isinstance(value, NextSlot):
            return ir.PacketAddress(value.packet, ir.Const(U32, META["next"].offset))
        if isinstance(value, PlaceValue):
            return value.place
        return None

    def take_slot(self, value: Any) -> PacketValue:
        slot = self.slot_of(value)
        if slot is None:
            raise self.error("take() is for slots of state and for packet.next")
        return self.fresh_packet(ir.TakeSlot(ir.PACKET, slot), "taken", Owned.MAYBE)

    def call_datapath(self, owner: Any, function: Any, args: list[Any]) -> Any:
        raise NotImplementedError
