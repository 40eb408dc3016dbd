"""EtherEncap."""

from penstock.elements import Element, Packet, datapath, u16, u48
from penstock.lang.arguments import EtherAddress, UInt16, parse_ether, parse_int, unparse_ether

__all__ = ["EtherEncap"]


class EtherEncap(Element):
    """Put an Ethernet header in front of packets.

    Arguments:
        ETHERTYPE: the type field, for example 0x0800.
        SRC, DST: addresses.

    Handlers:
        src, dst, ethertype (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> Print -> Discard;
    """

    can_live_reconfigure = True

    src: u48
    dst: u48
    type: u16

    def configure(self, ethertype: UInt16, src: EtherAddress, dst: EtherAddress) -> None:
        self.type, self.src, self.dst = ethertype, src, dst

    def add_handlers(self) -> None:
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ether(text.strip(), self.router.context), unparse_ether)
        self.add_data("ethertype", "type", lambda text: parse_int(text.strip(), 0, 0xFFFF), lambda value: f"{value:04x}")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(14)
        p.set_mac(0)
        ether = p.ether
        ether.dst = self.dst
        ether.src = self.src
        ether.type = self.type
        return p
