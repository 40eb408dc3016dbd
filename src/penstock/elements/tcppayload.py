"""What TCP packets are, what they carry, over IPv4 and IPv6, and their options."""

from __future__ import annotations

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.packet.integers import u32

__all__ = ["is_tcp_segment", "tcp_option", "tcp_payload_bytes"]


@datapath
def is_tcp_segment(p: Packet) -> bool:
    """Whether it is TCP over IPv4, no fragment, with headers that are there."""
    return p.network.has(0, 20) and p.ip.protocol == 6 and (p.ip.fragment & 0x3FFF) == 0 and p.transport.has(0, 20)


@datapath
def tcp_option(p: Packet, at: u32, end: u32) -> tuple[u32, u32]:
    """Kind and length of the option at byte ``at`` of a TCP header whose ``end`` bytes are there; 0 and 0 where there is none more."""
    if at + 1 >= end:
        return u32(0), u32(0)
    kind: u32 = p.transport.u8[at]
    if kind <= 1:
        return kind, kind
    length: u32 = p.transport.u8[at + 1]
    if length < 2 or at + length > end:
        return u32(0), u32(0)
    return kind, length


@datapath
def tcp_payload_bytes(p: Packet) -> u32:
    """As the IP header says: what was cut off or padded does not count. Network and transport headers must be there."""
    head = u32(p.tcp.offset) * 4
    whole: u32 = 0
    if (u32(p.network.u8[0]) >> 4) == 6:
        whole = u32(p.ip6.length)
    else:
        whole = u32(p.ip.length) - min(u32(p.ip.header_length) * 4, u32(p.ip.length))
    return whole - head if whole > head else u32(0)
