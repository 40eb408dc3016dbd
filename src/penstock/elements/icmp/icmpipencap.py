"""ICMPIPEncap and ICMPSendPings."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Element, Packet, datapath, u16
from penstock.elements.icmp.ping import ICMPPingSource
from penstock.lang.arguments import Byte, IPAddress

__all__ = ["ICMPIPEncap", "ICMPSendPings"]


class ICMPIPEncap(Element):
    """Put an ICMP and an IPv4 header in front of packets. The rest of the ICMP header is part of the packet.

    Arguments:
        SRC, DST: addresses.
        TYPE, CODE: of the message.

    Example:
        InfiniteSource(DATA "abcdpayload", LIMIT 1, STOP true) -> ICMPIPEncap(1.0.0.1, 2.0.0.2, 8, 0) -> IPPrint -> Discard;
    """

    id: u16

    def configure(self, src: IPAddress, dst: IPAddress, type: Byte, code: Byte = 0) -> None:
        self.src, self.dst, self.kind, self.code = src, dst, type, code

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(24)
        p.set_network(0)
        p.set_transport(20)
        ip = p.ip
        ip.version_length = 0x45
        ip.tos = 0
        ip.length = p.length
        ip.identification = self.id
        self.id += 1
        ip.fragment = 0
        ip.ttl = 255
        ip.protocol = 1
        ip.checksum = 0
        ip.src = self.src
        ip.dst = self.dst
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        p.dst_ip = self.dst
        p.transport.u16[0] = u16(self.kind << 8 | self.code)
        p.transport.u16[2] = 0
        p.transport.u16[2] = checksum_finish(p.transport.checksum(0, p.length - 20))
        return p


class ICMPSendPings(ICMPPingSource):
    """ICMPPingSource by its older name.

    Example:
        ICMPSendPings(1.0.0.1, 1.0.0.2, LIMIT 2, INTERVAL 1ms, STOP true) -> IPPrint -> Discard;
    """
