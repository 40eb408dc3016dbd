"""The typed form: the closed set of operations that every executor of the datapath subset understands.

The front end turns the packet code of an element, specialised for its configuration, into functions of these
statements and expressions. The interpreter, the LLVM back end and the verifier each give them a meaning.

Expressions have no effects except Call, Pull, Allocate, Clone and TakeSlot, which stand only as the whole
right side of an Assign. Integers are u32, i32, u64, i64, u128 and boolean; wrap-around is the rule. A shift
takes its count modulo the width; a division is preceded by a Check that the divisor is not 0. A packet local
holds a packet or none; None is 0.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from penstock.packet.integers import IntType

__all__ = [
    "Address",
    "Allocate",
    "Assign",
    "Binary",
    "Break",
    "Call",
    "Cast",
    "Check",
    "Checksum",
    "Compare",
    "Const",
    "Continue",
    "CopyLines",
    "Cycles",
    "Dispatch",
    "Evaluate",
    "Exchange",
    "Expr",
    "Fence",
    "Fill",
    "Function",
    "If",
    "IsNone",
    "Kill",
    "Leave",
    "LoadPacket",
    "LoadState",
    "Local",
    "Loop",
    "Meta",
    "Move",
    "Not",
    "PacketAddress",
    "PacketType",
    "Place",
    "Prefetch",
    "Pull",
    "PushTo",
    "PutSlot",
    "Return",
    "Scope",
    "Select",
    "SetMeta",
    "SlotIsNone",
    "SlotOffset",
    "StateAddress",
    "Stmt",
    "StorePacket",
    "StoreState",
    "TakeSlot",
    "Upcall",
    "WritePacket",
]


@dataclass(frozen=True, slots=True)
class PacketType:
    """The type of locals that hold a packet or none."""

    def __str__(self) -> str:
        return "Packet"


PACKET = PacketType()
Type = IntType | PacketType


@dataclass(slots=True)
class Expr:
    type: Type


@dataclass(slots=True)
class Const(Expr):
    value: int


@dataclass(slots=True)
class Local(Expr):
    """A variable of the function, by number; ``name`` is for people."""

    number: int
    name: str


@dataclass(slots=True)
class Binary(Expr):
    """``op``: add sub mul div mod and or xor shl shr; both sides have the type of the result."""

    op: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Compare(Expr):
    """``op``: eq ne lt le gt ge, signed where the operands' type is."""

    op: str
    left: Expr
    right: Expr


@dataclass(slots=True)
class Not(Expr):
    operand: Expr


@dataclass(slots=True)
class Select(Expr):
    condition: Expr
    yes: Expr
    no: Expr


@dataclass(slots=True)
class Cast(Expr):
    """Truncate, or extend by the sign of the operand's type."""

    operand: Expr


@dataclass(slots=True)
class Meta(Expr):
    """A field of a packet's metadata (packet/layout.py)."""

    packet: Local
    name: str


@dataclass(slots=True)
class LoadPacket(Expr):
    """``width`` bytes at ``offset`` bytes from the start of the packet's slot; checked before.

    ``low``/``bits`` cut a bit field out of the big-endian value (bits 0: all of it). With ``big`` false the
    bytes are in the machine's order, as multi-byte annotations are.
    """

    packet: Local
    offset: Expr
    width: int
    big: bool = True
    low: int = 0
    bits: int = 0
    name: str = ""


@dataclass(slots=True)
class Place:
    """A place in state: a constant offset plus indices times strides. ``owner`` and ``name`` say whose it is."""

    owner: Any
    name: str
    offset: int
    indices: tuple[tuple[Expr, int], ...]
    kind: Any


@dataclass(slots=True)
class LoadState(Expr):
    place: Place


@dataclass(slots=True)
class IsNone(Expr):
    packet: Local


@dataclass(slots=True)
class SlotIsNone(Expr):
    place: Place | PacketAddress


@dataclass(slots=True)
class TakeSlot(Expr):
    """The packet that a slot of state owns; the slot is empty afterwards."""

    place: Place | PacketAddress


@dataclass(slots=True)
class Cycles(Expr):
    """The processor's time stamp counter."""


@dataclass(slots=True)
class PacketAddress:
    packet: Local
    offset: Expr


@dataclass(slots=True)
class StateAddress:
    place: Place
    offset: Expr


Address = PacketAddress | StateAddress


@dataclass(slots=True)
class Exchange(Expr):
    """What 32 bits of state held when ``value`` took their place, at once for all threads."""

    address: StateAddress
    value: Expr


@dataclass(slots=True)
class Checksum(Expr):
    """The ones'-complement sum of ``length`` bytes as 16-bit big-endian words, folded, added to ``start``."""

    address: Address
    length: Expr
    start: Expr


@dataclass(slots=True)
class Call(Expr):
    function: Function
    arguments: list[Expr]


@dataclass(slots=True)
class Pull(Expr):
    """Ask input ``port`` for a packet; ``target`` is the function that answers."""

    port: int
    target: str


@dataclass(slots=True)
class Allocate(Expr):
    """The packet slot at an offset that the pool gave out (0 stays none)."""

    offset: Expr


@dataclass(slots=True)
class SlotOffset(Expr):
    """The offset of a packet's slot: the inverse of Allocate. The packet is given away with it."""

    packet: Local


@dataclass(slots=True)
class Dispatch(Expr):
    """Call the function number ``index`` of ``targets``; false where there is none."""

    index: Expr
    targets: list[str]


@dataclass(slots=True)
class Stmt:
    line: int


@dataclass(slots=True)
class Assign(Stmt):
    local: Local
    value: Expr


@dataclass(slots=True)
class Evaluate(Stmt):
    value: Expr


@dataclass(slots=True)
class StoreState(Stmt):
    place: Place
    value: Expr


@dataclass(slots=True)
class StorePacket(Stmt):
    packet: Local
    offset: Expr
    width: int
    value: Expr
    big: bool = True
    low: int = 0
    bits: int = 0
    name: str = ""


@dataclass(slots=True)
class WritePacket(Stmt):
    """Store bytes that are known when the configuration is installed."""

    packet: Local
    offset: Expr
    content: bytes


@dataclass(slots=True)
class SetMeta(Stmt):
    packet: Local
    name: str
    value: Expr


@dataclass(slots=True)
class Check(Stmt):
    """Unless ``condition`` holds: count a fault on ``owner``, kill the packets ``owned`` and return nothing."""

    condition: Expr
    owned: tuple[Local, ...]
    reason: str
    owner: Any


@dataclass(slots=True)
class If(Stmt):
    condition: Expr
    then: list[Stmt]
    orelse: list[Stmt]


@dataclass(slots=True)
class Loop(Stmt):
    """``variable`` runs from ``start`` up to below ``stop``; the bounds are evaluated once."""

    variable: Local
    start: Expr
    stop: Expr
    body: list[Stmt]


@dataclass(slots=True)
class Break(Stmt):
    pass


@dataclass(slots=True)
class Continue(Stmt):
    pass


@dataclass(slots=True)
class Scope(Stmt):
    """Statements that a Leave of the same number ends early: the body of an inlined method."""

    number: int
    body: list[Stmt]
    name: str = ""


@dataclass(slots=True)
class Leave(Stmt):
    number: int


@dataclass(slots=True)
class PushTo(Stmt):
    """Give a packet away through output ``port``. ``guarded`` on edges that close a cycle of the graph."""

    port: int
    packet: Local
    target: str
    guarded: bool = False


@dataclass(slots=True)
class Kill(Stmt):
    """End a packet: its slot goes back to the pool."""

    packet: Local


@dataclass(slots=True)
class PutSlot(Stmt):
    """Store a packet in a slot of state that is empty; the slot owns it now."""

    place: Place | PacketAddress
    packet: Local


@dataclass(slots=True)
class Move(Stmt):
    """Copy ``length`` bytes; the regions may overlap."""

    target: Address
    source: Address
    length: Expr


@dataclass(slots=True)
class CopyLines(Stmt):
    """Copy ``lines`` times 64 bytes; the regions do not overlap."""

    target: Address
    source: Address
    lines: Expr


@dataclass(slots=True)
class Prefetch(Stmt):
    """What is there is needed soon; it need not be memory at all."""

    address: Address


@dataclass(slots=True)
class Fill(Stmt):
    target: Address
    length: Expr
    byte: Expr


@dataclass(slots=True)
class Upcall(Stmt):
    """Let the host read what the datapath wrote for it, now."""


@dataclass(slots=True)
class Fence(Stmt):
    """Memory accesses keep their order across this point: with ``full`` also a store before it and a load after it."""

    full: bool


@dataclass(slots=True)
class Return(Stmt):
    value: Expr | None


@dataclass(slots=True)
class Function:
    """One function of the typed form. ``name`` is unique in its program."""

    name: str
    parameters: list[Local]
    returns: Type | None
    body: list[Stmt] = field(default_factory=list)
    locals: list[Local] = field(default_factory=list)
    file: str = ""
    owner: Any = None
    rare: bool = False
