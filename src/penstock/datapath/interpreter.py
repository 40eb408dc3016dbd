"""The reference interpreter: gives the typed form its meaning, one statement at a time.

It works on the same instance memory as compiled code, byte for byte, so the two can be compared, and Python
handlers can call packet code between two runs of the image. A tracer sees every decision and every store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from penstock.datapath import ir
from penstock.datapath.control import BreakLoop, ContinueLoop, ReturnValue, Structured
from penstock.datapath.frames import LINE_BYTES
from penstock.datapath.memory import Memory, size_and_alignment
from penstock.packet.integers import IntType
from penstock.packet.layout import META

__all__ = ["Interpreter", "Tracer"]

MAX_PUSH_DEPTH = 100


class Tracer(Protocol):
    """Watches a run. ``function`` tells file and owner; packets are slot offsets."""

    def enter(self, function: ir.Function, packet: int) -> None:
        """A function begins; ``packet`` is what it was given, 0 for none."""

    def exit(self, function: ir.Function, value: int) -> None:
        """A function ends and gives ``value``."""

    def pulled(self, function: ir.Function, packet: int) -> None:
        """``function`` asked an input, and got this (0: nothing)."""

    def branch(self, function: ir.Function, line: int, taken: bool) -> None: ...
    def fault(self, function: ir.Function, statement: ir.Check) -> None: ...
    def kill(self, function: ir.Function, line: int, packet: int) -> None: ...
    def leave(self, function: ir.Function, port: int, packet: int) -> None:
        """``function`` pushes a packet to an output."""


def _signed(value: int, kind: Any) -> int:
    return kind(value) if kind.signed else value


def fold(total: int) -> int:
    """A ones'-complement sum in 16 bits (RFC 1071); 0 only where every word was 0."""
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


class Interpreter(Structured):
    """Executes functions of the typed form. ``lookup`` finds entry points, ``release`` is the pool's."""

    def __init__(
        self,
        memory: Memory,
        lookup: Callable[[str], ir.Function],
        release: Callable[[], ir.Function],
        *,
        cycles: Callable[[], int],
        upcall: Callable[[], None],
    ):
        self.memory = memory
        self.lookup = lookup
        self.release = release
        self.cycles = cycles
        self.upcall = upcall
        self.tracer: Tracer | None = None
        self.depth = 0
        self._exec: dict[type, Any] = {
            cls: getattr(self, f"_{cls.__name__.lower()}")
            for cls in (ir.Assign, ir.Evaluate, ir.StoreState, ir.StorePacket, ir.WritePacket, ir.SetMeta, ir.Check, ir.If,
                        ir.Loop, ir.Break, ir.Continue, ir.Scope, ir.Leave, ir.PushTo, ir.Kill, ir.PutSlot, ir.Move, ir.Fill,
                        ir.Upcall, ir.Fence, ir.Return, ir.CopyLines, ir.Prefetch)
        }
        self._eval: dict[type, Any] = {
            cls: getattr(self, f"_x_{cls.__name__.lower()}")
            for cls in (ir.Const, ir.Local, ir.Binary, ir.Compare, ir.Not, ir.Select, ir.Cast, ir.Meta, ir.LoadPacket,
                        ir.LoadState, ir.IsNone, ir.SlotIsNone, ir.TakeSlot, ir.Cycles, ir.Exchange, ir.Checksum, ir.Call, ir.Pull,
                        ir.Allocate, ir.SlotOffset, ir.Dispatch)
        }
        self._stack: list[tuple[ir.Function, list[int]]] = []

    def run(self, function: ir.Function, args: list[int]) -> int | None:
        """Run one function; packets are slot offsets, 0 for None."""
        values = [0] * len(function.locals)
        for parameter, arg in zip(function.parameters, args):
            values[parameter.number] = arg
        self._stack.append((function, values))
        if self.tracer:
            packets = [a for p, a in zip(function.parameters, args) if isinstance(p.type, ir.PacketType)]
            self.tracer.enter(function, packets[0] if packets else 0)
        value: int | None = None
        try:
            self.block(function.body)
        except ReturnValue as done:
            value = done.value
        finally:
            self._stack.pop()
        if self.tracer:
            self.tracer.exit(function, value or 0)
        return value

    @property
    def function(self) -> ir.Function:
        return self._stack[-1][0]

    @property
    def values(self) -> list[int]:
        return self._stack[-1][1]

    def block(self, body: list[ir.Stmt]) -> None:
        for statement in body:
            self._exec[type(statement)](statement)

    def eval(self, expr: ir.Expr) -> int:
        value: int = self._eval[type(expr)](expr)
        return value

    # Statements

    def _assign(self, s: ir.Assign) -> None:
        self.values[s.local.number] = self.eval(s.value)

    def _storestate(self, s: ir.StoreState) -> None:
        value = self.eval(s.value)
        size, _ = size_and_alignment(s.place.kind)
        self.memory.store(self.place(s.place), size, s.place.kind(value) & s.place.kind.mask
                          if not s.place.kind.signed else value)

    def _storepacket(self, s: ir.StorePacket) -> None:
        at = self.values[s.packet.number] + self.eval(s.offset)
        value = self.eval(s.value)
        order = "big" if s.big else "little"
        view = self.memory.view
        old = int.from_bytes(view[at : at + s.width], order)  # type: ignore[arg-type]
        new = value & ((1 << (8 * s.width)) - 1)
        if s.bits:
            mask = ((1 << s.bits) - 1) << s.low
            new = (old & ~mask) | ((value << s.low) & mask)
        view[at : at + s.width] = new.to_bytes(s.width, order)  # type: ignore[arg-type]

    def _writepacket(self, s: ir.WritePacket) -> None:
        at = self.values[s.packet.number] + self.eval(s.offset)
        self.memory.view[at : at + len(s.content)] = s.content

    def _setmeta(self, s: ir.SetMeta) -> None:
        field = META[s.name]
        at = self.values[s.packet.number] + field.offset
        value = self.eval(s.value)
        self.memory.store(at, field.type.size_bytes, value)

    def _check(self, s: ir.Check) -> None:
        if self.eval(s.condition):
            return
        if self.tracer:
            self.tracer.fault(self.function, s)
        at = s.owner._offsets["faults"]
        self.memory.store(at, 8, self.memory.load(at, 8) + 1)
        for local in s.owned:
            self._free(self.values[local.number])
        raise ReturnValue(0)

    def _if(self, s: ir.If) -> None:
        taken = bool(self.eval(s.condition))
        if self.tracer:
            self.tracer.branch(self.function, s.line, taken)
        self.block(s.then if taken else s.orelse)

    def _loop(self, s: ir.Loop) -> None:
        number = s.variable.number
        for i in range(self.eval(s.start), self.eval(s.stop)):
            self.values[number] = i
            try:
                self.block(s.body)
            except BreakLoop:
                return
            except ContinueLoop:
                pass

    def _pushto(self, s: ir.PushTo) -> None:
        packet = self.values[s.packet.number]
        if self.tracer:
            self.tracer.leave(self.function, s.port, packet)
        if s.guarded:
            if self.depth >= MAX_PUSH_DEPTH:
                self._free(packet)
                return
            self.depth += 1
            try:
                self.run(self.lookup(s.target), [packet])
            finally:
                self.depth -= 1
        else:
            self.run(self.lookup(s.target), [packet])

    def _kill(self, s: ir.Kill) -> None:
        packet = self.values[s.packet.number]
        if self.tracer:
            self.tracer.kill(self.function, s.line, packet)
        self._free(packet)

    def _free(self, packet: int) -> None:
        if packet:
            tracer, self.tracer = self.tracer, None
            self.run(self.release(), [packet])
            self.tracer = tracer

    def _putslot(self, s: ir.PutSlot) -> None:
        self.memory.store(self.slot(s.place), 8, self.values[s.packet.number])

    def _move(self, s: ir.Move) -> None:
        length = self.eval(s.length)
        source, target = self.address(s.source), self.address(s.target)
        self.memory.view[target : target + length] = bytes(self.memory.view[source : source + length])

    def _copylines(self, s: ir.CopyLines) -> None:
        size = self.eval(s.lines) * LINE_BYTES
        source, target = self.address(s.source), self.address(s.target)
        self.memory.view[target : target + size] = self.memory.view[source : source + size]

    def _prefetch(self, s: ir.Prefetch) -> None:
        """Nothing that could be seen."""

    def _fill(self, s: ir.Fill) -> None:
        length, byte, at = self.eval(s.length), self.eval(s.byte), self.address(s.target)
        self.memory.view[at : at + length] = bytes([byte & 0xFF]) * length

    def _upcall(self, s: ir.Upcall) -> None:
        self.upcall()

    def _fence(self, s: ir.Fence) -> None:
        """Python's own accesses are in order, and the interpreter runs with the lock of one thread."""

    # Addresses

    def place(self, place: ir.Place) -> int:
        return place.offset + sum(self.eval(index) * stride for index, stride in place.indices)

    def slot(self, slot: ir.Place | ir.PacketAddress) -> int:
        return self.place(slot) if isinstance(slot, ir.Place) else self.address(slot)

    def address(self, address: ir.Address) -> int:
        if isinstance(address, ir.PacketAddress):
            return self.values[address.packet.number] + self.eval(address.offset)
        return self.place(address.place) + self.eval(address.offset)

    # Expressions

    def _x_const(self, e: ir.Const) -> int:
        return e.value

    def _x_local(self, e: ir.Local) -> int:
        return self.values[e.number]

    def _x_binary(self, e: ir.Binary) -> int:
        kind = e.type
        assert isinstance(kind, IntType)
        a, b = self.eval(e.left), self.eval(e.right)
        match e.op:
            case "add":
                result = a + b
            case "sub":
                result = a - b
            case "mul":
                result = a * b
            case "and":
                return a & b
            case "or":
                return a | b
            case "xor":
                return a ^ b
            case "shl":
                result = a << (b % kind.bits)
            case "shr":
                result = _signed(a, kind) >> (b % kind.bits)
            case "div" | "mod":
                x, y = _signed(a, kind), _signed(b, kind)
                quotient = abs(x) // abs(y)
                quotient = -quotient if (x < 0) != (y < 0) else quotient
                result = quotient if e.op == "div" else x - quotient * y
            case _:
                raise AssertionError(e.op)
        return result & kind.mask

    def _x_compare(self, e: ir.Compare) -> int:
        a, b = _signed(self.eval(e.left), e.left.type), _signed(self.eval(e.right), e.left.type)
        return int({"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[e.op])

    def _x_not(self, e: ir.Not) -> int:
        return 1 - self.eval(e.operand)

    def _x_select(self, e: ir.Select) -> int:
        return self.eval(e.yes if self.eval(e.condition) else e.no)

    def _x_cast(self, e: ir.Cast) -> int:
        assert isinstance(e.type, IntType)
        return _signed(self.eval(e.operand), e.operand.type) & e.type.mask

    def _x_meta(self, e: ir.Meta) -> int:
        field = META[e.name]
        return self.memory.load(self.values[e.packet.number] + field.offset, field.type.size_bytes)

    def _x_loadpacket(self, e: ir.LoadPacket) -> int:
        at = self.values[e.packet.number] + self.eval(e.offset)
        value = int.from_bytes(self.memory.view[at : at + e.width], "big" if e.big else "little")
        return (value >> e.low) & ((1 << e.bits) - 1) if e.bits else value

    def _x_loadstate(self, e: ir.LoadState) -> int:
        assert isinstance(e.type, IntType)
        kind = e.place.kind
        size, _ = size_and_alignment(kind)
        return int(kind(self.memory.load(self.place(e.place), size))) & e.type.mask

    def _x_isnone(self, e: ir.IsNone) -> int:
        return int(self.values[e.packet.number] == 0)

    def _x_slotisnone(self, e: ir.SlotIsNone) -> int:
        return int(self.memory.load(self.slot(e.place), 8) == 0)

    def _x_takeslot(self, e: ir.TakeSlot) -> int:
        at = self.slot(e.place)
        packet = self.memory.load(at, 8)
        self.memory.store(at, 8, 0)
        return packet

    def _x_cycles(self, e: ir.Cycles) -> int:
        return self.cycles()

    def _x_exchange(self, e: ir.Exchange) -> int:
        at, value = self.address(e.address), self.eval(e.value)
        before = self.memory.load(at, 4)
        self.memory.store(at, 4, value)
        return before

    def _x_checksum(self, e: ir.Checksum) -> int:
        at, length, start = self.address(e.address), self.eval(e.length), self.eval(e.start)
        data = bytes(self.memory.view[at : at + length])
        if length % 2:
            data += b"\0"
        total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
        return fold(fold(total) + start)

    def _x_call(self, e: ir.Call) -> int:
        tracer, self.tracer = self.tracer, None
        try:
            return self.run(e.function, [self.eval(a) for a in e.arguments]) or 0
        finally:
            self.tracer = tracer

    def _x_pull(self, e: ir.Pull) -> int:
        packet = self.run(self.lookup(e.target), []) or 0
        if self.tracer:
            self.tracer.pulled(self.function, packet)
        return packet

    def _x_allocate(self, e: ir.Allocate) -> int:
        return self.eval(e.offset)

    def _x_slotoffset(self, e: ir.SlotOffset) -> int:
        return self.values[e.packet.number]

    def _x_dispatch(self, e: ir.Dispatch) -> int:
        index = self.eval(e.index)
        if index >= len(e.targets):
            return 0
        return self.run(self.lookup(e.targets[index]), []) or 0
