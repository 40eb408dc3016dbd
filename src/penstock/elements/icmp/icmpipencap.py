"""ICMPIPEncap and ICMPSendPings."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Packet, datapath, u16, u32
from penstock.elements.icmp.ping import ICMPPingSource
from penstock.elements.outerheader import OuterHeader
from penstock.lang.arguments import Byte, IPAddress

__all__ = ["ICMPIPEncap", "ICMPSendPings"]


class ICMPIPEncap(OuterHeader):
    """Put an ICMP and an IPv4 header in front of packets. The rest of the ICMP header is part of the packet.

    Arguments:
        SRC, DST: addresses.
        TYPE, CODE: of the message.

    Example:
        InfiniteSource(DATA "abcdpayload", LIMIT 1, STOP true) -> ICMPIPEncap(1.0.0.1, 2.0.0.2, 8, 0) -> IPPrint -> Discard;
    """

    def configure(self, src: IPAddress, dst: IPAddress, type: Byte, code: Byte = 0) -> None:
        self.src, self.dst, self.uses_anno = src, dst, False
        self.kind, self.code = type, code

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(24)
        p.set_network(0)
        p.set_transport(20)
        self.write_header(p, u32(1), u32(255), u32(0), u32(0))
        p.transport.u16[0] = u16(self.kind << 8 | self.code)
        p.transport.u16[2] = 0
        p.transport.u16[2] = checksum_finish(p.transport.checksum(0, p.length - 20))
        return p


class ICMPSendPings(ICMPPingSource):
    """ICMPPingSource by its older name.

    Example:
        ICMPSendPings(1.0.0.1, 1.0.0.2, LIMIT 2, INTERVAL 1ms, STOP true) -> IPPrint -> Discard;
    """
