"""MD5 in packet code (RFC 1321), for CHAP: a challenge's answer, not for anything new."""

from __future__ import annotations

import math

from penstock.datapath.memory import Array, Stateful
from penstock.datapath.source import datapath
from penstock.packet.integers import u8, u32, u64

__all__ = ["Digest"]

_CONSTANTS = [int(abs(math.sin(i + 1)) * 2**32) for i in range(64)]
_SHIFTS = [7, 12, 17, 22, 5, 9, 14, 20, 4, 11, 16, 23, 6, 10, 15, 21]
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_BLOCK = 64


class Digest(Stateful):
    """``begin``, ``add`` byte by byte, at most ``room_bytes``, then ``finish``; the digest is in ``words``, the first byte lowest."""

    length: u32

    def __init__(self, room_bytes: int):
        self.blocks = -(-(room_bytes + 9) // _BLOCK)
        self.content = Array(u8, self.blocks * _BLOCK)
        self.words = Array(u32, 4)
        self.constants, self.shifts = Array(u32, 64, _CONSTANTS), Array(u32, 16, _SHIFTS)

    @datapath
    def begin(self) -> None:
        self.length = 0

    @datapath
    def add(self, byte: u32) -> None:
        if self.length + 9 < self.blocks * _BLOCK:
            self.content[self.length] = byte & 0xFF
            self.length += 1

    @datapath
    def byte(self, i: u32) -> u32:
        return (self.words[i >> 2] >> (8 * (i & 3))) & 0xFF

    @datapath(inline=False)
    def finish(self) -> None:
        bits: u64 = u64(self.length) * 8
        used = (self.length + 8) // _BLOCK + 1
        self.content[self.length] = 0x80
        for i in range(used * _BLOCK - self.length - 1):
            self.content[self.length + 1 + i] = 0
        for k in range(8):
            self.content[used * _BLOCK - 8 + u32(k)] = u8(bits >> (8 * k))
        for n in (0, 1, 2, 3):
            self.words[n] = _START[n]
        for block in range(used):
            self.mix(u32(block) * _BLOCK)

    @datapath
    def word(self, at: u32) -> u32:
        low = u32(self.content[at]) | (u32(self.content[at + 1]) << 8)
        return low | (u32(self.content[at + 2]) << 16) | (u32(self.content[at + 3]) << 24)

    @datapath
    def mix(self, start: u32) -> None:
        a, b, c, d = u32(self.words[0]), u32(self.words[1]), u32(self.words[2]), u32(self.words[3])
        for i in range(64):
            f: u32 = 0
            g: u32 = i
            if i < 16:
                f = (b & c) | (~b & d)
            elif i < 32:
                f = (d & b) | (~d & c)
                g = (5 * u32(i) + 1) & 15
            elif i < 48:
                f = b ^ c ^ d
                g = (3 * u32(i) + 5) & 15
            else:
                f = c ^ (b | ~d)
                g = (7 * u32(i)) & 15
            f = f + a + self.constants[i] + self.word(start + 4 * g)
            a = d
            d = c
            c = b
            shift = self.shifts[(u32(i) >> 4) * 4 + (u32(i) & 3)]
            b = b + ((f << shift) | (f >> (32 - shift)))
        self.words[0] += a
        self.words[1] += b
        self.words[2] += c
        self.words[3] += d
