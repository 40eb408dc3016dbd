"""EtherMirror and EtherRewrite: changing the addresses of an Ethernet header."""

from penstock.elements import Element, Packet, datapath, u48
from penstock.lang.arguments import EtherAddress, parse_ether, unparse_ether
from penstock.packet.headers import Ether

__all__ = ["EtherMirror", "EtherRewrite"]


class EtherMirror(Element):
    """Exchange source and destination of the Ethernet header at the start of packets.

    Packets too short for the header pass unchanged.

    Example:
        FromDump(f.pcap, STOP true) -> EtherMirror -> Print -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.length >= 14:
            ether = p.data.header(Ether, 0)
            dst = ether.dst
            ether.dst = ether.src
            ether.src = dst
        return p


class EtherRewrite(Element):
    """Set source and destination of the Ethernet header.

    The header is where the MAC header position says; where none is set, at the start of the packet.

    Arguments:
        SRC, DST: addresses.

    Handlers:
        src, dst (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> EtherRewrite(1:1:1:1:1:1, 2:2:2:2:2:2) -> Print -> Discard;
    """

    can_live_reconfigure = True

    src: u48
    dst: u48

    def configure(self, src: EtherAddress, dst: EtherAddress) -> None:
        self.src, self.dst = src, dst

    def add_handlers(self) -> None:
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ether(text.strip(), self.router.context), unparse_ether)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.has_mac:
            p.set_mac(0)
        ether = p.ether
        ether.dst = self.dst
        ether.src = self.src
        return p
