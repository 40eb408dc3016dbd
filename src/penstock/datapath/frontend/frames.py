"""What frames in rings, and memory that others use too, mean in the typed form (datapath/frames.py)."""

from __future__ import annotations

from typing import Any

from penstock.datapath import ir
from penstock.datapath.frames import LINE_BYTES
from penstock.datapath.frontend.packets import PacketOperations
from penstock.datapath.frontend.values import BOOL, U32, U64, CursorValue, PacketValue, Runtime
from penstock.datapath.memory import Array
from penstock.packet import headers
from penstock.packet.integers import u32

__all__ = ["FrameOperations"]


class FrameOperations(PacketOperations):
    """A frame is the caller's packet whose metadata are known here: it starts at 0 and has a length read before."""

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.frame_lengths: dict[int, ir.Local] = {}

    def is_frame(self, value: PacketValue) -> bool:
        return value.local.number in self.frame_lengths

    def use(self, packet: PacketValue, *, maybe: bool = False) -> ir.Local:
        """Nobody owns a frame: it is there as long as its memory."""
        return packet.local if self.is_frame(packet) else super().use(packet, maybe=maybe)

    def give_away(self, packet: PacketValue, *, maybe: bool = False) -> ir.Local:
        if self.is_frame(packet):
            raise self.error("a frame stays where it lies: it cannot be passed on, stored or killed")
        return super().give_away(packet, maybe=maybe)

    def meta(self, packet: ir.Local, name: str) -> ir.Expr:
        if packet.number not in self.frame_lengths:
            return super().meta(packet, name)
        return self.frame_lengths[packet.number] if name == "length" else ir.Const(U32, 0)

    def packet_attribute(self, value: PacketValue, name: str) -> Any:
        if value.local.number not in self.frame_lengths:
            return super().packet_attribute(value, name)
        if name == "length":
            return Runtime(self.frame_lengths[value.local.number])
        if name == "data":
            return CursorValue(self.use(value), "data")
        if name == "ether":
            return self.view(CursorValue(self.use(value), "data"), headers.Ether, 0)
        raise self.error(f"a frame has no '{name}'", hint="it has length, data and ether; data.header(IP, 14) views what follows")

    def _do_frame(self, array: Array[Any], at: Any, length: Any) -> PacketValue:
        size = self.assign(U32, self.convert(self.number(length, U32), U32), "length")
        first = self._array_span(array, at, Runtime(size))
        place = ir.Binary(U64, "add", first, ir.Const(U64, array.offset))
        local = self.local(ir.PACKET, "frame")
        self.emit(ir.Assign(self.line, local, ir.Allocate(ir.PACKET, place)))
        del self.state[local.number]
        self.frame_lengths[local.number] = size
        return PacketValue(local)

    def _do_copy_lines(self, target: Array[Any], to: Any, source: Array[Any], at: Any, lines: Any, at_most: int) -> None:
        asked = self.assign(U32, self.convert(self.number(lines, U32), U32), "lines")
        none = ir.Compare(BOOL, "eq", asked, ir.Const(U32, 0))
        count = self.assign(U32, ir.Select(U32, none, ir.Const(U32, 1), asked), "lines")
        self.check(ir.Compare(BOOL, "le", count, ir.Const(U32, at_most)), "more lines than said")
        # There is room for the most that is copied: one comparison for each side, whatever is copied.
        addresses = [ir.StateAddress(ir.Place(array, "", array.offset, (), array.kind), self._line_span(array, where, at_most))
                     for array, where in ((target, to), (source, at))]
        self.emit(ir.CopyLines(self.line, addresses[0], addresses[1], count))

    def _line_span(self, array: Array[Any], at: Any, lines: int) -> ir.Expr:
        first = self.assign(U64, self._wide(at), "index")
        room = array.size_bytes - lines * LINE_BYTES
        if room < 0:
            raise self.error(f"{lines} lines are more than the array has")
        self.check(ir.Compare(BOOL, "le", first, ir.Const(U64, room)), "past the end of an array")
        return first

    def _do_exchange(self, array: Array[Any], index: Any, value: Any) -> Runtime:
        if array.kind is not u32:
            raise self.error("exchange() takes an Array of u32")
        at = self.assign(U64, ir.Binary(U64, "shl", self._wide(index), ir.Const(U64, 2)), "at")
        self.check(ir.Compare(BOOL, "lt", at, ir.Const(U64, array.size_bytes)), "past the end of an array")
        address = ir.StateAddress(ir.Place(array, "", array.offset, (), array.kind), at)
        return Runtime(self.assign(U32, ir.Exchange(U32, address, self.convert(self.number(value, U32), U32)), "before"))

    def _do_prefetch(self, array: Array[Any], at: Any) -> None:
        place = ir.Place(array, "", array.offset, (), array.kind)
        self.emit(ir.Prefetch(self.line, ir.StateAddress(place, self.assign(U64, self._wide(at), "at"))))
