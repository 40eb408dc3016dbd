"""Building one function of the typed form: blocks, locals, checks, and what becomes of each packet."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from penstock.datapath import ir
from penstock.datapath.frontend.values import BOOL, I32, I64, U32, U64, U128, Fact, Owned, PacketValue, Runtime, widened
from penstock.datapath.source import DatapathError, DatapathFunction
from penstock.packet.integers import IntType

__all__ = ["Builder", "Frame", "State"]

MAX_INLINE_DEPTH = 200

State = dict[int, Owned]


@dataclass
class Frame:
    """One function or inlined method being translated."""

    function: DatapathFunction[Any, Any]
    owner: Any
    env: dict[str, Any]
    scope: int
    variables: dict[str, ir.Local] = field(default_factory=dict)
    top_block: list[ir.Stmt] | None = None
    returned: list[Any] = field(default_factory=list)
    result: Any = None
    result_is_raw: bool = False
    exits: list[State] = field(default_factory=list)


@dataclass
class _Loop:
    states: list[State] = field(default_factory=list)
    entry: State = field(default_factory=dict)
    unrolled: int | None = None
    env_at_break: list[dict[str, Any]] = field(default_factory=list)


class Builder:
    """The bookkeeping under the translation of expressions and statements."""

    def __init__(self, name: str, function: DatapathFunction[Any, Any], owner: Any, fault_owner: Any):
        self.result = ir.Function(name, [], None, file=function.file, owner=owner)
        self.block: list[ir.Stmt] = self.result.body
        self.state: State = {}
        self.packet_names: dict[int, str] = {}
        self.frames: list[Frame] = []
        self.loops: list[_Loop] = []
        self.line: int = function.first_line
        self.terminated = False
        self.scopes = 0
        self.fault_owner = fault_owner
        self.return_packet = False
        #: what is known of packets' lengths here: (local, header) -> the fact
        self.facts: dict[tuple[int, str], Fact] = {}
        self.versions: dict[int, int] = {}

    # Errors

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def error(self, message: str, hint: str = "", node: ast.AST | None = None) -> DatapathError:
        line = getattr(node, "lineno", self.line)
        return DatapathError(message, file=self.frame.function.file, line=line, hint=hint)

    # Statements and locals

    def emit(self, statement: ir.Stmt) -> None:
        if not self.terminated:
            self.block.append(statement)

    def local(self, kind: ir.Type, name: str = "t") -> ir.Local:
        made = ir.Local(kind, len(self.result.locals), name)
        self.result.locals.append(made)
        if isinstance(kind, ir.PacketType):
            self.state[made.number] = Owned.NONE
            self.packet_names[made.number] = name
        return made

    def assign(self, kind: ir.Type, value: ir.Expr, name: str = "t") -> ir.Local:
        made = self.local(kind, name)
        self.emit(ir.Assign(self.line, made, value))
        return made

    def settled(self, value: Runtime, name: str = "t") -> Runtime:
        """The value, evaluated here and now."""
        if isinstance(value.expr, ir.Const):
            return value
        return Runtime(self.assign(value.expr.type, value.expr, name))

    @contextmanager
    def nested(self) -> Iterator[list[ir.Stmt]]:
        """Statements emitted inside go to a block of their own."""
        outer, facts = self.block, dict(self.facts)
        self.block = []
        try:
            yield self.block
        finally:
            self.block = outer
            # What is learnt inside holds inside: there are ways around it.
            self.facts = facts

    # Numbers

    def number(self, value: Any, want: IntType | None = None) -> ir.Expr:
        """A constant or runtime number as an expression; constants take the type ``want``."""
        if isinstance(value, Runtime):
            return value.expr
        if isinstance(value, bool):
            kind = want or BOOL
            return ir.Const(kind, int(value))
        if isinstance(value, int):
            if want is None:
                want = I32 if value < 0 else U32
            if want.bits == 1:
                want = U32
            low = -(1 << (want.bits - 1))
            for kind in (want, I64 if want.signed else U64, U128):
                top = (1 << (kind.bits - 1)) if kind.signed else (1 << kind.bits)
                if low <= value < top:
                    return ir.Const(kind, value & kind.mask)
            raise self.error(f"{value} does not fit into 128 bits")
        raise self.error(
            f"a number is needed here, not {describe(value)}",
            hint="packet code computes with integers and truth values",
        )

    def convert(self, expr: ir.Expr, kind: IntType) -> ir.Expr:
        """Extend or truncate; a conversion that the author asked for."""
        source = expr.type
        assert isinstance(source, IntType)
        if source == kind:
            return expr
        if isinstance(expr, ir.Const):
            value = source(expr.value)
            return ir.Const(kind, value & kind.mask)
        if kind.bits == 1:
            return ir.Compare(BOOL, "ne", expr, ir.Const(source, 0))
        if kind.bits < 32:
            # Narrow values live in 32-bit registers with the upper bits clear.
            wide = widened(kind)
            narrow = expr if source.bits <= wide.bits and source == wide else self.convert(expr, wide)
            if kind.signed:
                shift = ir.Const(wide, wide.bits - kind.bits)
                return ir.Binary(wide, "shr", ir.Binary(wide, "shl", narrow, shift), shift)
            return ir.Binary(wide, "and", narrow, ir.Const(wide, kind.mask))
        return ir.Cast(kind, expr)

    def fit(self, expr: ir.Expr, kind: IntType, what: str) -> ir.Expr:
        """Widen silently to the type of a variable; narrowing must be written out."""
        source = expr.type
        assert isinstance(source, IntType)
        if source == kind:
            return expr
        if isinstance(expr, ir.Const) or (source.bits < kind.bits and (source.signed == kind.signed or source.bits == 1)):
            return self.convert(expr, kind)
        raise self.error(
            f"{what} holds {kind}, but this value is {source}",
            hint=f"write {kind}(...) to convert it, or declare the variable, as in 'x: {source} = 0'",
        )

    def unify(self, left: Any, right: Any) -> tuple[ir.Expr, ir.Expr, IntType]:
        """Two numbers in one type."""
        if isinstance(left, Runtime) and not isinstance(right, Runtime):
            a = left.expr
            b = self.number(right, left.type)
        elif isinstance(right, Runtime) and not isinstance(left, Runtime):
            b = right.expr
            a = self.number(left, right.type)
        else:
            a, b = self.number(left), self.number(right)
        assert isinstance(a.type, IntType) and isinstance(b.type, IntType)
        if a.type.bits == 1:
            a = self.convert(a, b.type if b.type.bits > 1 else U32)
        if b.type.bits == 1:
            assert isinstance(a.type, IntType)
            b = self.convert(b, a.type)
        assert isinstance(a.type, IntType) and isinstance(b.type, IntType)
        if a.type.signed != b.type.signed:
            if isinstance(a, ir.Const):
                assert isinstance(b.type, IntType)
                a = self.convert(a, b.type)
            elif isinstance(b, ir.Const):
                assert isinstance(a.type, IntType)
                b = self.convert(b, a.type)
            else:
                raise self.error(
                    f"this mixes {a.type} and {b.type}", hint="convert one side, as in i64(x) or u32(x)"
                )
        kind = a.type if a.type.bits >= b.type.bits else b.type  # type: ignore[union-attr]
        assert isinstance(kind, IntType)
        return self.convert(a, kind), self.convert(b, kind), kind

    # Lengths: a check that is implied by an earlier one is not made again

    def learn(self, facts: tuple[Fact, ...]) -> None:
        for fact in facts:
            known = self.facts.get((fact.packet, fact.which))
            if self.versions.get(fact.packet, 0) == fact.version and (
                known is None or known.version != fact.version or known.bytes < fact.bytes
            ):
                self.facts[fact.packet, fact.which] = fact

    def is_known(self, packet: ir.Local, which: str, count: int) -> bool:
        fact = self.facts.get((packet.number, which))
        return fact is not None and fact.version == self.versions.get(packet.number, 0) and fact.bytes >= count

    def fact(self, packet: ir.Local, which: str, count: int) -> Fact:
        return Fact(packet.number, which, count, self.versions.get(packet.number, 0))

    def forget(self, packet: ir.Local | None = None, which: str | None = None) -> None:
        """A packet changed (or all of them may have), so that its lengths, or one header's, are not known any more."""
        if which is not None and packet is not None:
            # Only this header's: the others' facts go over to the new version.
            kept = [f for (n, w), f in self.facts.items() if n == packet.number and w != which
                    and f.version == self.versions.get(n, 0)]
            self.versions[packet.number] = self.versions.get(packet.number, 0) + 1
            self.learn(tuple(self.fact(packet, f.which, f.bytes) for f in kept))
            return
        for number in [packet.number] if packet is not None else list(self.packet_names):
            self.versions[number] = self.versions.get(number, 0) + 1

    # Packets

    def owned(self) -> tuple[ir.Local, ...]:
        """The packets that must be killed if this function ends here."""
        return tuple(
            self.result.locals[n] for n, s in self.state.items() if s in (Owned.YES, Owned.MAYBE)
        )

    def check(self, condition: ir.Expr, reason: str) -> None:
        self.emit(ir.Check(self.line, condition, self.owned(), reason, self.fault_owner))

    def use(self, packet: PacketValue, *, maybe: bool = False) -> ir.Local:
        """The local of a packet that is there for sure."""
        state = self.state.get(packet.local.number, Owned.NO)
        name = packet.local.name
        if state is Owned.MAYBE and not maybe:
            raise self.error(f"'{name}' may be None here", hint=f"test it first: if {name} is None: return")
        if state is Owned.NONE and not maybe:
            raise self.error(f"'{name}' is None here")
        if state is Owned.NO:
            raise self.error(
                f"'{name}' is used after it was given away", hint="use it before, or clone() it first"
            )
        if state is Owned.CONFLICT:
            raise self.error(
                f"'{name}' was given away on one path that leads here, but not on another",
                hint="end each path that gives it away with return, or give it away on all of them",
            )
        return packet.local

    def give_away(self, packet: PacketValue, *, maybe: bool = False) -> ir.Local:
        local = self.use(packet, maybe=maybe)
        if self.state[local.number] is Owned.BORROWED:
            raise self.error(f"'{local.name}' is the caller's here", "only the caller can pass it on, store it or kill it")
        self.state[local.number] = Owned.NO
        return local

    def fresh_packet(self, value: ir.Expr, name: str, state: Owned) -> PacketValue:
        local = self.assign(ir.PACKET, value, name)
        self.state[local.number] = state
        return PacketValue(local)

    def check_all_consumed(self, where: str) -> None:
        for number, state in self.state.items():
            if state in (Owned.NO, Owned.NONE, Owned.BORROWED):
                continue
            name = self.packet_names[number]
            if state is Owned.CONFLICT:
                raise self.error(f"'{name}' is given away on some paths that lead here, but not on all")
            raise self.error(
                f"'{name}' is neither passed on, stored nor killed on the path that ends {where}",
                hint=f"call {name}.kill(), push it to an output, or return it",
            )


def join(states: list[State]) -> State:
    """What is known about packets where several paths meet."""
    result = dict(states[0])
    for other in states[1:]:
        for number in {*result, *other}:
            a, b = result.get(number, Owned.NONE), other.get(number, Owned.NONE)
            if a is b:
                continue
            if Owned.CONFLICT in (a, b):
                result[number] = Owned.CONFLICT
            elif {a, b} == {Owned.NO, Owned.NONE}:
                result[number] = Owned.NO
            elif Owned.NO not in (a, b):
                result[number] = Owned.MAYBE
            else:
                result[number] = Owned.CONFLICT
    return result


def describe(value: Any) -> str:
    if isinstance(value, PacketValue):
        return "a packet"
    if value is None:
        return "None"
    return f"a {type(value).__name__.removesuffix('Value').lower()}"
