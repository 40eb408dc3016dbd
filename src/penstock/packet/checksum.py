"""The Internet checksum of bytes, in Python (packet code has datapath/checksum.py)."""

from __future__ import annotations

import struct

__all__ = ["internet_checksum"]


def internet_checksum(data: bytes) -> int:
    """The complement of the ones'-complement sum of 16-bit words (RFC 1071); an odd byte is the first of its word."""
    total: int = sum(struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
