"""What the front end knows about a value while it specialises packet code.

Anything that is not one of these classes is a constant: an ordinary Python object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from penstock.datapath import ir
from penstock.datapath.source import DatapathFunction
from penstock.packet.headers import Header
from penstock.packet.integers import IntType

__all__ = [
    "BOOL", "I32", "I64", "U32", "U64", "U128", "Bits", "BoundMethod", "CursorValue", "Fact", "HeaderValue", "MetaValue",
    "NextSlot", "Owned", "PacketMethod", "PacketValue", "PlaceValue", "Port", "Runtime", "WordsValue", "is_constant",
    "widened",
]

BOOL, U32, U64, I32, I64, U128 = IntType(1), IntType(32), IntType(64), IntType(32, True), IntType(64, True), IntType(128)


def widened(kind: IntType) -> IntType:
    """The type that arithmetic is done in: at least 32 bits."""
    if kind.bits == 1:
        return BOOL
    for bits in (32, 64, 128):
        if kind.bits <= bits:
            return IntType(bits, kind.signed)
    raise ValueError(kind)


class Owned(Enum):
    """What becomes of the packet in a local variable."""

    YES = "owned"
    BORROWED = "the caller's"
    MAYBE = "owned or None"
    NONE = "None"
    NO = "given away"
    CONFLICT = "given away on one path only"


@dataclass(frozen=True, slots=True)
class Fact:
    """``bytes`` bytes from header ``which`` on lie within the packet in local ``packet``, at ``version`` of that packet."""

    packet: int
    which: str
    bytes: int
    version: int


@dataclass(slots=True)
class Runtime:
    """A number that is known only when packets flow. A truth value may tell what it says about packets' lengths."""

    expr: ir.Expr
    when_true: tuple[Fact, ...] = ()
    when_false: tuple[Fact, ...] = ()

    @property
    def type(self) -> IntType:
        assert isinstance(self.expr.type, IntType)
        return self.expr.type


@dataclass(slots=True)
class PlaceValue:
    """A place in state that can be read and assigned."""

    place: ir.Place


@dataclass(slots=True)
class PacketValue:
    local: ir.Local


@dataclass(slots=True)
class CursorValue:
    """A position in a packet; ``base`` is None for the data start, which always exists."""

    packet: ir.Local
    which: str


@dataclass(slots=True)
class WordsValue:
    """``cursor.u16`` or ``p.anno32``: indexable by byte offset."""

    packet: ir.Local
    which: str
    width: int
    big: bool = True


@dataclass(slots=True)
class Bits:
    """One element of a WordsValue or a header field: can be read and assigned. ``offset`` is checked."""

    packet: ir.Local
    offset: ir.Expr
    width: int
    type: IntType
    big: bool = True
    low: int = 0
    bits: int = 0
    name: str = ""


@dataclass(slots=True)
class HeaderValue:
    packet: ir.Local
    base: ir.Expr
    kind: type[Header]


@dataclass(slots=True)
class MetaValue:
    """A metadata field that can be assigned."""

    packet: ir.Local
    name: str


@dataclass(slots=True)
class NextSlot:
    """The slot in a packet that owns the next packet of a list."""

    packet: ir.Local


@dataclass(slots=True)
class BoundMethod:
    owner: Any
    function: DatapathFunction[Any, Any]


@dataclass(slots=True)
class PacketMethod:
    """A method of a packet, cursor or array, not called yet."""

    receiver: Any
    name: str


@dataclass(slots=True)
class Port:
    owner: Any
    direction: str
    number: Any


_RUNTIME = (Runtime, PlaceValue, PacketValue, CursorValue, WordsValue, Bits, HeaderValue, MetaValue, NextSlot,
            BoundMethod, PacketMethod, Port)


def is_constant(value: Any) -> bool:
    if isinstance(value, _RUNTIME):
        return False
    if isinstance(value, (tuple, list)):
        return all(is_constant(v) for v in value)
    return True
