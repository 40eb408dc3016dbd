"""Where the IP header starts behind the link-level headers that captures have."""

from __future__ import annotations

from typing import Literal

__all__ = ["ip_start"]

_IP_ETHERTYPES = (0x0800, 0x86DD)
_TAGS = (0x8100, 0x88A8, 0x9100)
#: address families of IPv4 and IPv6 on the systems that write NULL captures
_FAMILIES = (2, 10, 24, 28, 30)
_MAX_TAGS = 8
_ORDERS: tuple[Literal["big", "little"], ...] = ("big", "little")


def _behind_ethertype(data: bytes, at: int) -> int | None:
    """``at`` is where an Ethernet type stands."""
    for _ in range(_MAX_TAGS):
        kind = int.from_bytes(data[at : at + 2], "big")
        if kind in _IP_ETHERTYPES:
            return at + 2
        if kind == 0x8864:
            return at + 10 if data[at + 8 : at + 10] in (b"\x00\x21", b"\x00\x57") else None
        if kind not in _TAGS:
            return None
        at += 4
    return None


def ip_start(data: bytes, link_type: int) -> int | None:
    """The offset of the IPv4 or IPv6 header; None where there is none, or not one byte of it."""
    start: int | None = None
    match link_type:
        case 1:
            start = _behind_ethertype(data, 12)
        case 12 | 14 | 101 | 228 | 229:
            start = 0
        case 0 | 108:
            family = data[:4]
            if any(int.from_bytes(family, order) in _FAMILIES for order in _ORDERS):
                start = 4
        case 9 | 50:
            at = 2 if data[:2] == b"\xff\x03" else 0
            start = at + 2 if data[at : at + 2] in (b"\x00\x21", b"\x00\x57") else None
        case 100:
            # RFC 2684: LLC and SNAP with an Ethernet type.
            start = _behind_ethertype(data, 6) if data[:6] == b"\xaa\xaa\x03\0\0\0" else None
        case 104:
            start = _behind_ethertype(data, 2)
        case 113:
            start = _behind_ethertype(data, 14)
        case 276:
            start = 20 if int.from_bytes(data[:2], "big") in _IP_ETHERTYPES else None
    if start is None or start >= len(data) or data[start] >> 4 not in (4, 6):
        return None
    return start
