"""How much data a TCP packet carries, over IPv4 and IPv6."""

from __future__ import annotations

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.packet.integers import u32

__all__ = ["tcp_payload_bytes"]


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
