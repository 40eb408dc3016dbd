"""The fixed-width integer types, of header fields, of declared state and of the datapath subset.

A type checker sees plain ``int``; at run time each name is an :class:`IntType` that knows its width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

__all__ = [
    "IntType", "boolean", "i8", "i16", "i32", "i64",
    "u1", "u2", "u3", "u4", "u5", "u6", "u8", "u12", "u13", "u16", "u20", "u24", "u32", "u48", "u64", "u128",
]


@dataclass(frozen=True, slots=True)
class IntType:
    """An integer of ``bits`` bits; arithmetic wraps around. Calling it converts: ``u16(70000)`` is 4464."""

    bits: int
    signed: bool = False

    def __str__(self) -> str:
        return f"{'i' if self.signed else 'u'}{self.bits}"

    def __call__(self, value: int) -> int:
        value &= (1 << self.bits) - 1
        if self.signed and value >> (self.bits - 1):
            value -= 1 << self.bits
        return value

    @property
    def size_bytes(self) -> int:
        return (self.bits + 7) // 8

    @property
    def mask(self) -> int:
        return (1 << self.bits) - 1


if TYPE_CHECKING:
    u1: TypeAlias = int
    u2: TypeAlias = int
    u3: TypeAlias = int
    u4: TypeAlias = int
    u5: TypeAlias = int
    u6: TypeAlias = int
    u8: TypeAlias = int
    u12: TypeAlias = int
    u13: TypeAlias = int
    u16: TypeAlias = int
    u20: TypeAlias = int
    u24: TypeAlias = int
    u32: TypeAlias = int
    u48: TypeAlias = int
    u64: TypeAlias = int
    u128: TypeAlias = int
    i8: TypeAlias = int
    i16: TypeAlias = int
    i32: TypeAlias = int
    i64: TypeAlias = int
    boolean: TypeAlias = bool
else:
    u1, u2, u3, u4, u5, u6, u8, u12, u13, u16, u20, u24, u32, u48, u64, u128 = (
        IntType(bits) for bits in (1, 2, 3, 4, 5, 6, 8, 12, 13, 16, 20, 24, 32, 48, 64, 128)
    )
    i8, i16, i32, i64 = (IntType(bits, True) for bits in (8, 16, 32, 64))
    #: a truth value, kept in one byte
    boolean = IntType(1)
