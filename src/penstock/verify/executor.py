"""The third executor of the typed form: the same statements as the interpreter's and the compiler's, on symbolic packets.

A function is run once for each way through it. At a condition that both can be, the run takes one side and notes that the
other one is still to be tried; the next run starts again and takes it. So code that has one way costs one run, and nothing
is ever copied in the middle.
"""

from __future__ import annotations

import linecache
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any

from penstock.datapath import ir
from penstock.datapath.control import BreakLoop, ContinueLoop, ReturnValue, Structured
from penstock.datapath.memory import size_and_alignment
from penstock.datapath.sched import Notifier
from penstock.packet.integers import IntType
from penstock.verify import terms
from penstock.verify.budget import check_budget
from penstock.verify.errors import NotDecided, OutOfTime
from penstock.verify.intervals import Intervals
from penstock.verify.packet import SymbolicPacket
from penstock.verify.packetaccess import PacketAccess
from penstock.verify.path import Path, Place
from penstock.verify.primitives import call_primitive, is_primitive
from penstock.verify.program import SymbolicProgram
from penstock.verify.state import BoxState
from penstock.verify.terms import Join, Op, Term, Value, Var

__all__ = ["Event", "Executor", "Run"]

MAX_RUNS = 20_000
_MAX_TURNS = 4096
#: of all loops on all ways through one function: what takes more is not decided, rather than to take minutes
_ALL_TURNS = 4_000
_MAX_CHOICES = 256


class _Impossible(Exception):
    """The facts of this run contradict each other."""


@dataclass(slots=True)
class Event:
    """What became of a packet. ``kind``: push, kill, fault, store."""

    kind: str
    packet: SymbolicPacket
    place: Place
    target: str = ""
    port: int = 0
    reason: str = ""


@dataclass(slots=True)
class Run:
    """One way through a function: what must hold for it, what was remembered, what happened."""

    path: Path
    state: BoxState
    events: list[Event] = field(default_factory=list)
    result: Any = None
    not_decided: str = ""
    place: Place = field(default_factory=Place)


class Executor(PacketAccess, Structured):
    """Runs the functions of one configuration. Its own variables have names that begin with ``@``."""

    def __init__(self, program: SymbolicProgram):
        self.program = program
        self.path, self.state = Path(), BoxState()
        self.events: list[Event] = []
        self._made: list[int] = []
        self._turns_left = _ALL_TURNS
        self._prefix: list[int] = []
        self._open: list[list[int]] = []
        self._memory: dict[tuple[int, ...], Any] = {}
        self._stack: list[tuple[ir.Function, list[Any]]] = []
        self.line: int = 0
        self._statements: dict[type, Callable[[Any], None]] = {
            cls: getattr(self, f"_{cls.__name__.lower()}")
            for cls in (ir.Assign, ir.Evaluate, ir.StoreState, ir.StorePacket, ir.WritePacket, ir.SetMeta, ir.Check, ir.If,
                        ir.Loop, ir.Break, ir.Continue, ir.Scope, ir.Leave, ir.PushTo, ir.Kill, ir.PutSlot, ir.Move, ir.Fill,
                        ir.Upcall, ir.Fence, ir.Return, ir.CopyLines, ir.Prefetch)
        }
        self._expressions: dict[type, Callable[[Any], Any]] = {
            cls: getattr(self, f"_x_{cls.__name__.lower()}")
            for cls in (ir.Const, ir.Local, ir.Binary, ir.Compare, ir.Not, ir.Select, ir.Cast, ir.Meta, ir.LoadPacket,
                        ir.LoadState, ir.IsNone, ir.SlotIsNone, ir.TakeSlot, ir.Cycles, ir.Exchange, ir.Checksum, ir.Call, ir.Pull,
                        ir.Allocate, ir.SlotOffset, ir.Dispatch)
        }

    # Ways through

    def explore(self, function: ir.Function, packet: SymbolicPacket | None, path: Path, state: BoxState) -> list[Run]:
        """Every way through ``function``, given a packet (or nothing), from what is known."""
        runs: list[Run] = []
        self._open, self._memory, self._turns_left = [[]], {}, _ALL_TURNS
        while self._open:
            check_budget()
            self._prefix = self._open.pop()
            self._made = []
            self.path, self.state, self.events, self._stack = path.copy(), state.copy(), [], []
            run = Run(self.path, self.state, self.events)
            try:
                run.result = self.call(function, [] if packet is None else [packet.copy()])
            except _Impossible:
                continue
            except OutOfTime:
                raise
            except NotDecided as reason:
                run.not_decided, run.place = str(reason), self.place()
            except RecursionError:
                run.not_decided, run.place = "its values are nested too deep", self.place()
            runs.append(run)
            if len(runs) > MAX_RUNS:
                raise NotDecided(f"more than {MAX_RUNS} ways through {function.name}")
        return runs

    def choose(self, choices: int) -> int:
        """One of several possibilities; all of them are tried in the end."""
        i = len(self._made)
        if i < len(self._prefix):
            taken = self._prefix[i]
        else:
            taken = 0
            self._open += [[*self._made, other] for other in range(choices - 1, 0, -1)]
        self._made.append(taken)
        return taken

    def remembered(self, make: Callable[[], Any]) -> Any:
        """What was made at this point of this way before; the other ways from here need not make it again."""
        key = tuple(self._made)
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    def take(self, path: Path) -> None:
        """Go on with what is known there."""
        self.path.become(path)

    def decide(self, condition: Value) -> bool:
        """Whether a condition holds on this way."""
        condition = self.path.simpler(condition)
        if isinstance(condition, int):
            return bool(condition)
        if isinstance(condition, Op):
            name, *args = condition.key
            if name == "not":
                return not self.decide(args[0])
            if condition.bits == 1 and name == "and":
                return self.decide(args[0]) and self.decide(args[1])
            if condition.bits == 1 and name == "or":
                return self.decide(args[0]) or self.decide(args[1])
            if name in ("eq", "lt", "le"):
                simpler = self._by_pieces(name, args[0], args[1])
                if simpler is not None:
                    return simpler
        return self._take_side(condition, first=True)

    def decide_whole(self, condition: Value) -> bool:
        """As ``decide``, but several conditions that must all hold are one question: what fails them stays one way."""
        return self._take_side(self.path.simpler(condition), first=False)

    def _take_side(self, condition: Value, *, first: bool) -> bool:
        """What is known of it; where that is nothing, this way goes one side, the other the next way. ``first``: which comes first."""
        known = self.path.decide(condition)
        if known is not None:
            return known
        truth = first if self.choose(2) == 0 else not first
        if not self.path.assume(condition, truth, self.place()):
            raise _Impossible
        return truth

    def _by_pieces(self, name: str, a: Value, b: Value) -> bool | None:
        """Comparisons of joined values, one piece after the other; None where there is only one."""
        width = a.bits if isinstance(a, Term) else b.bits  # type: ignore[union-attr]
        if width == 1 and name == "eq" and isinstance(b, int):
            return self.decide(a) == bool(b)
        if not (isinstance(a, Join) or isinstance(b, Join)):
            return None
        cuts = [n for _, n in (a if isinstance(a, Join) else b).key]  # type: ignore[union-attr]
        at = width
        pieces = []
        for n in cuts:
            at -= n
            pieces.append((terms.piece(a, at, n), terms.piece(b, at, n), n))
        if name == "eq":
            return all(self.decide(terms.compare("eq", x, y, n)) for x, y, n in pieces)
        for i, (x, y, n) in enumerate(pieces):
            if i + 1 == len(pieces):
                return self.decide(terms.compare(name, x, y, n))
            if self.decide(terms.compare("eq", x, y, n)):
                continue
            return self.decide(terms.compare("lt", x, y, n))
        return None

    def known(self, value: Value, what: str) -> int:
        """A number where one is needed: each that the value can be is tried."""
        if isinstance(value, int):
            return value
        settled = self.path.settled(value)
        if isinstance(settled, int):
            return settled
        domain = self.path.of(value)
        if domain.only is not None:
            return domain.only
        if domain.size > _MAX_CHOICES:
            raise NotDecided(f"{what} depends on {value}, which can be {domain.size} numbers")
        numbers = [n for low, high in domain.parts for n in range(low, high + 1)]
        number = numbers[self.choose(len(numbers))]
        if not self.path.assume(terms.compare("eq", value, number, value.bits), True, self.place()):
            raise _Impossible
        return number

    def within(self, value: Value, allowed: Intervals) -> None:
        """Go on only where the value is one of these numbers."""
        if not self.path.confine(value, allowed, self.place()):
            raise _Impossible

    def unknown(self, name: str, bits: int, kind: str) -> Var:
        """A value that nothing is known of."""
        self.state.unknowns += 1
        return Var(f"@{name}#{self.state.unknowns}", bits, kind=kind)

    def place(self, text: str = "") -> Place:
        line = self.line
        function = self._stack[-1][0] if self._stack else None
        file = getattr(line, "file", "") or (function.file if function else "")
        element = getattr(self._stack[0][0].owner, "name", "") if self._stack else ""
        return Place("", element, file, int(line), text or linecache.getline(file, int(line)).strip())

    # Functions

    def call(self, function: ir.Function, args: list[Any]) -> Any:
        values: list[Any] = [0] * len(function.locals)
        for parameter, arg in zip(function.parameters, args):
            values[parameter.number] = arg
        if len(self._stack) > 200:
            raise NotDecided("packets go round without end inside one task")
        self._stack.append((function, values))
        try:
            self.block(function.body)
        except ReturnValue as done:
            return done.value
        finally:
            self._stack.pop()
        return None

    @property
    def values(self) -> list[Any]:
        return self._stack[-1][1]

    def block(self, body: list[ir.Stmt]) -> None:
        for statement in body:
            self.line = statement.line
            self._statements[type(statement)](statement)

    def eval(self, expr: ir.Expr) -> Any:
        return self._expressions[type(expr)](expr)

    # Statements

    def _assign(self, s: ir.Assign) -> None:
        self.values[s.local.number] = self.eval(s.value)

    def _storestate(self, s: ir.StoreState) -> None:
        value = self.eval(s.value)
        bits = s.place.kind.bits
        self.store_state(s.place, terms.piece(value, 0, bits) if isinstance(value, int) or value.bits > bits else value)

    def store_state(self, place: ir.Place, value: Value) -> None:
        indices = [self.eval(index) for index, _ in place.indices]
        if all(isinstance(i, int) for i in indices):
            address = place.offset + sum(i * stride for i, (_, stride) in zip(indices, place.indices))
            self.state.values[address] = value
        # Elsewhere: packet code changes this array, so that whatever is read from it is unknown anyway.

    def _check(self, s: ir.Check) -> None:
        if self.decide(self.eval(s.condition)):
            return
        for local in s.owned:
            packet = self.values[local.number]
            if isinstance(packet, SymbolicPacket):
                self.events.append(Event("fault", packet, self.place(), reason=s.reason))
        raise ReturnValue(0)

    def _if(self, s: ir.If) -> None:
        self.block(s.then if self.decide(self.eval(s.condition)) else s.orelse)

    def _loop(self, s: ir.Loop) -> None:
        i, stop = self.number(s.start, "where a loop starts"), self.eval(s.stop)
        bits = s.variable.type.bits  # type: ignore[union-attr]
        turns = 0
        while self.decide(terms.compare("lt", i, stop, bits)):
            self.values[s.variable.number] = i
            try:
                self.block(s.body)
            except BreakLoop:
                return
            except ContinueLoop:
                pass
            i, turns = i + 1, turns + 1
            check_budget()
            self._turns_left -= 1
            if turns > _MAX_TURNS or self._turns_left < 0:
                raise NotDecided(f"a loop of more than {_MAX_TURNS} turns" if turns > _MAX_TURNS else
                                 f"loops with more than {_ALL_TURNS} turns in all ways together")

    def _pushto(self, s: ir.PushTo) -> None:
        self.events.append(Event("push", self._packet(s.packet), self.place(), s.target, s.port))

    def _kill(self, s: ir.Kill) -> None:
        packet = self.values[s.packet.number]
        if isinstance(packet, SymbolicPacket):
            self.events.append(Event("kill", packet, self.place()))

    def _putslot(self, s: ir.PutSlot) -> None:
        packet = self.values[s.packet.number]
        if not isinstance(packet, SymbolicPacket):
            return
        self.state.packets[self._slot(s.place)] = packet
        self.events.append(Event("store", packet, self.place()))

    def _prefetch(self, s: ir.Prefetch) -> None:
        """Nothing that could be seen."""

    def _upcall(self, s: ir.Upcall) -> None:
        """The host reads what was written for it: no packet changes by that."""

    def _fence(self, s: ir.Fence) -> None:
        """One packet after the other: their order is that of the program."""

    # Places

    def _slot(self, slot: ir.Place | ir.PacketAddress) -> Hashable:
        if isinstance(slot, ir.PacketAddress):
            return ("next", id(self.values[slot.packet.number]))
        return slot.offset + sum(self.number(index, "a place in a queue") * stride for index, stride in slot.indices)

    def load_state(self, place: ir.Place) -> Value:
        kind, owner = place.kind, place.owner
        if isinstance(owner, Notifier):
            return 1
        indices = [(self.eval(index), stride) for index, stride in place.indices]
        symbolic = [(i, stride) for i, stride in indices if isinstance(i, Term)]
        address = place.offset + sum(i * stride for i, stride in indices if isinstance(i, int))
        is_open = (id(owner), place.name) in self.program.open
        changing = is_open or self.program.changes(owner, place.name)
        if symbolic:
            if changing or len(symbolic) > 1:
                return self.unknown(self._name(place), kind.bits, "state")
            return self._look_up(symbolic[0][0], symbolic[0][1], address, kind)
        found = self.state.values.get(address)
        if found is not None:
            return found
        if changing:
            found = Var(self._name(place) + (f"@{address}" if place.indices else ""), kind.bits, kind="open" if is_open else "state")
            self.state.values[address] = found
            return found
        return self._stored(address, kind)

    def _stored(self, address: int, kind: Any) -> int:
        size, _ = size_and_alignment(kind)
        return int(self.program.memory.load(address, size)) & kind.mask  # type: ignore[no-any-return]

    def _look_up(self, index: Term, stride: int, base: int, kind: Any) -> int:
        """One of a table's values that nobody changes: indices with the same value stay together."""
        domain = self.path.of(index)
        if domain.size > 1 << 16:
            raise NotDecided(f"a place in a table depends on {index}, which can be {domain.size} numbers")
        groups: dict[int, list[tuple[int, int]]] = {}
        for low, high in domain.parts:
            for i in range(low, high + 1):
                groups.setdefault(self._stored(base + i * stride, kind), []).append((i, i))
        value = list(groups)[self.choose(len(groups))]
        self.within(index, Intervals.of(groups[value]))
        return value

    def _name(self, place: ir.Place) -> str:
        owner = place.owner
        name = place.name
        while not getattr(owner, "name", "") and id(owner) in self.program.holders:
            owner, attribute = self.program.holders[id(owner)]
            name = attribute if name.startswith("array@") else f"{attribute}.{name}"
        element = getattr(owner, "name", type(owner).__name__)
        return f"@{element}.{name}"

    # Expressions

    def _x_const(self, e: ir.Const) -> int:
        return e.value

    def _x_local(self, e: ir.Local) -> Any:
        return self.values[e.number]

    def _x_binary(self, e: ir.Binary) -> Value:
        a, b = self.eval(e.left), self.eval(e.right)
        kind = e.type
        assert isinstance(kind, IntType)
        bits = kind.bits
        if bits == 1 and e.op in ("and", "or"):
            return terms.truth(e.op, a, b)
        match e.op:
            case "add":
                return terms.add(a, b, bits)
            case "sub":
                return terms.subtract(a, b, bits)
            case "and":
                return terms.bit_and(a, b, bits)
            case "or":
                return terms.bit_or(a, b, bits)
            case "xor":
                return terms.bit_xor(a, b, bits)
            case "mul":
                return terms.multiply(a, b, bits)
            case "shl":
                return terms.shift_left(a, b, bits)
            case "shr":
                if kind.signed and self.path.range(a)[1] >> (bits - 1):
                    raise NotDecided("a shift of a negative number")
                return terms.shift_right(a, b, bits)
        if kind.signed and (self.path.range(a)[1] | self.path.range(b)[1]) >> (bits - 1):
            raise NotDecided("a division of negative numbers")
        return terms.divide(a, b, bits) if e.op == "div" else terms.remainder(a, b, bits, self.path.range)

    def _x_compare(self, e: ir.Compare) -> Value:
        a, b = self.eval(e.left), self.eval(e.right)
        kind = e.left.type
        if not isinstance(kind, IntType):
            raise NotDecided("packets are compared")
        if kind.signed and e.op not in ("eq", "ne") and (self.path.range(a)[1] | self.path.range(b)[1]) >> (kind.bits - 1):
            # The order of signed numbers is that of unsigned ones, half a circle further.
            half = 1 << (kind.bits - 1)
            a, b = terms.add(a, half, kind.bits), terms.add(b, half, kind.bits)
        return terms.compare(e.op, a, b, kind.bits)

    def _x_not(self, e: ir.Not) -> Value:
        return terms.truth_not(self.eval(e.operand))

    def _x_select(self, e: ir.Select) -> Any:
        return self.eval(e.yes if self.decide(self.eval(e.condition)) else e.no)

    def _x_cast(self, e: ir.Cast) -> Value:
        value = self.eval(e.operand)
        source, target = e.operand.type, e.type
        assert isinstance(source, IntType) and isinstance(target, IntType)
        if target.bits <= source.bits:
            return terms.piece(value, 0, target.bits)
        if isinstance(value, int):
            return source(value) & target.mask if source.signed else value
        if source.signed and self.path.range(value)[1] >> (source.bits - 1):
            if self.decide(terms.compare("lt", value, 1 << (source.bits - 1), source.bits)):
                return terms.extend(value, target.bits, self.path.range)
            size = 1 << source.bits
            above = terms.extend(value, target.bits, self.path.range)
            return terms.subtract(above, size, target.bits)
        return terms.extend(value, target.bits, self.path.range)

    def _x_loadstate(self, e: ir.LoadState) -> Value:
        return self._widened(self.path.settled(self.load_state(e.place)), e.type)

    def _x_isnone(self, e: ir.IsNone) -> int:
        return int(not isinstance(self.values[e.packet.number], SymbolicPacket))

    def _x_slotisnone(self, e: ir.SlotIsNone) -> int:
        return int(self._slot(e.place) not in self.state.packets)

    def _x_takeslot(self, e: ir.TakeSlot) -> Any:
        return self.state.packets.pop(self._slot(e.place), 0)

    def _x_cycles(self, e: ir.Cycles) -> Var:
        return self.unknown("time", 64, "time")

    def _x_exchange(self, e: ir.Exchange) -> Any:
        raise NotDecided("memory that several threads write")

    def _x_call(self, e: ir.Call) -> Any:
        args = [self.eval(a) for a in e.arguments]
        name = e.function.name.partition("_")[2]
        if is_primitive(e.function.owner, name):
            return call_primitive(self, e.function.owner, name, args)
        line = self.line
        result = self.call(e.function, args)
        self.line = line
        return 0 if result is None else result

    def _x_pull(self, e: ir.Pull) -> Any:
        line = self.line
        packet = self.call(self.program.entry(e.target), [])
        self.line = line
        return packet or 0

    def _x_allocate(self, e: ir.Allocate) -> Any:
        return self.eval(e.offset)

    def _x_slotoffset(self, e: ir.SlotOffset) -> Any:
        return self._packet(e.packet)

    def _x_dispatch(self, e: ir.Dispatch) -> int:
        raise NotDecided("the driver itself")
