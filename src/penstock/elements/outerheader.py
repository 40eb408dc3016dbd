"""What elements share that put an IPv4 header without options in front of packets."""

from __future__ import annotations

from penstock.datapath.checksum import checksum_finish, fold
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.lang.arguments import parse_ip, unparse_ip
from penstock.packet.integers import u16, u32

__all__ = ["OuterHeader", "write_ip4"]


@datapath
def write_ip4(p: Packet, src: u32, dst: u32, protocol: u32, ttl: u32, tos: u32, identification: u32, fragment: u32) -> None:
    """Fill in the 20 bytes at the network header, for a packet that has its length already.

    The checksum is made of what is written, not read back: a load of bytes that several stores wrote waits for all of them
    (IPEncap: 15 ns a packet that way, 3 this way).
    """
    first = 0x4500_0000 | (tos << 16) | (p.length & 0xFFFF)
    second = (identification << 16) | fragment
    third = (ttl << 8) | protocol
    total = (first >> 16) + (first & 0xFFFF) + (second >> 16) + (second & 0xFFFF) + third
    total = total + (src >> 16) + (src & 0xFFFF) + (dst >> 16) + (dst & 0xFFFF)
    p.network.u32[0] = first
    p.network.u32[4] = second
    p.network.u32[8] = (third << 16) | checksum_finish(fold(total))
    p.network.u32[12] = src
    p.network.u32[16] = dst


class OuterHeader(Element):
    """``src`` and ``dst`` are the header's addresses; with ``uses_anno`` the destination is the packet's annotation."""

    src: u32
    dst: u32
    id: u16

    def set_ends(self, src: int, dst: str) -> None:
        """``dst`` is an address, or DST_ANNO."""
        self.uses_anno = dst.upper() == "DST_ANNO"
        self.src, self.dst = src, 0 if self.uses_anno else parse_ip(dst, self.router.context)

    def add_end_handlers(self) -> None:
        """``src`` and ``dst``, to read and to write."""
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)

    @datapath
    def write_header(self, p: Packet, protocol: u32, ttl: u32, tos: u32, fragment: u32) -> None:
        """As ``write_ip4``; identifications count."""
        dst = self.dst
        if self.uses_anno:
            dst = p.dst_ip
        else:
            p.dst_ip = dst
        write_ip4(p, u32(self.src), u32(dst), protocol, ttl, tos, u32(self.id), fragment)
        self.id += 1
