"""Checksums that a virtual interface's sender left to hardware that is not there.

Between two ends of a veth pair the kernel leaves TCP and UDP checksums unfinished: the field holds the sum of the pseudo header
alone. Who takes frames out of such a pair has to finish them, or no receiver believes them. A finished checksum can be that sum by
chance, once in 65,536 frames; finishing it again changes nothing then.
"""

from __future__ import annotations

from typing import Any

from penstock.runtime.machinecode import Code

__all__ = ["complete"]

_TCP, _UDP = 6, 17
_TCP_CHECKSUM, _UDP_CHECKSUM = 16, 6


def complete(c: Code) -> None:
    """``complete(frame, bytes)``: sums are of 16-bit words as they lie in memory, which RFC 1071 allows in any byte order."""
    at, size = c.args
    start, end, protocol, pseudo = (c.variable(0) for _ in range(4))
    with c.when(c.test("<", size, 34)):
        c.ret(0)
    kind = c.load(at, 12, 16)
    with c.when(c.test("==", kind, 0x0008)):
        # IPv4; fragments have no header of their own to look at.
        with c.when(c.has(c.load(at, 20, 16), 0xFF3F)):
            c.ret(0)
        c.set(start, c.b.add(c.b.mul(c.b.and_(c.load(at, 14, 8), c.const(15)), c.const(4)), c.const(14)))
        c.set(end, c.b.add(_swapped(c, c.load(at, 16, 16)), c.const(14)))
        c.set(protocol, c.load(at, 23, 8))
        c.set(pseudo, _sum(c, at, 26, 8))
    with c.when(c.b.and_(c.test("==", kind, 0xDD86), c.test(">=", size, 54))):
        c.set(start, c.const(54))
        c.set(end, c.b.add(_swapped(c, c.load(at, 18, 16)), c.const(54)))
        c.set(protocol, c.load(at, 20, 8))
        c.set(pseudo, _sum(c, at, 22, 32))
    is_tcp, is_udp = c.test("==", c.get(protocol), _TCP), c.test("==", c.get(protocol), _UDP)
    first, last = c.get(start), c.get(end)
    enough = c.b.add(first, c.b.select(is_tcp, c.const(_TCP_CHECKSUM + 4), c.const(_UDP_CHECKSUM + 2)))
    with c.when(c.b.not_(c.b.and_(c.b.or_(is_tcp, is_udp), c.b.and_(c.test("<=", last, size), c.test("<=", enough, last))))):
        c.ret(0)
    length = c.b.sub(last, first)
    whole = c.b.add(c.b.add(c.get(pseudo), c.b.shl(c.get(protocol), c.const(8))), _swapped(c, length))
    field = c.b.add(first, c.b.select(is_tcp, c.const(_TCP_CHECKSUM), c.const(_UDP_CHECKSUM)))
    with c.when(c.test("!=", c.load(at, field, 16), _folded(c, whole))):
        c.ret(0)
    total = c.variable(0)
    c.set(total, 0)
    with c.each(c.b.lshr(length, c.const(2))) as i:
        word = c.load(at, c.b.add(first, c.b.mul(i, c.const(4))), 32)
        c.set(total, c.b.add(c.get(total), word))
    left = c.b.and_(length, c.const(3))
    with c.each(left) as i:
        byte = c.load(at, c.b.add(c.b.sub(last, left), i), 8)
        c.set(total, c.b.add(c.get(total), c.b.shl(byte, c.b.mul(c.b.and_(i, c.const(1)), c.const(8)))))
    checksum = c.b.xor(_folded(c, c.get(total)), c.const(0xFFFF))
    # RFC 768: a UDP checksum of 0 says that there is none.
    c.store(at, field, c.b.select(c.b.and_(is_udp, c.test("==", checksum, 0)), c.const(0xFFFF), checksum), 16)
    c.ret(1)


def _swapped(c: Code, value: Any) -> Any:
    low = c.b.and_(c.b.lshr(value, c.const(8)), c.const(0xFF))
    return c.b.or_(low, c.b.shl(c.b.and_(value, c.const(0xFF)), c.const(8)))


def _sum(c: Code, at: Any, offset: int, size: int) -> Any:
    total = c.const(0)
    for i in range(0, size, 2):
        total = c.b.add(total, c.load(at, offset + i, 16))
    return total


def _folded(c: Code, value: Any) -> Any:
    """A sum in 16 bits, end-around carries added in (RFC 1071)."""
    for bits in (32, 16, 16, 16):
        value = c.b.add(c.b.and_(value, c.const((1 << bits) - 1)), c.b.lshr(value, c.const(bits)))
    return value
