"""ICMPPingEncap."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Element, Packet, datapath, u16, u32
from penstock.lang.arguments import IPAddress, UInt16, parse_ip, unparse_ip

__all__ = ["ICMPPingEncap"]


class ICMPPingEncap(Element):
    """Put an ICMP echo request's and an IPv4 header in front of packets; the sequence numbers count.

    Arguments:
        SRC, DST: addresses; DST may be DST_ANNO, the destination annotation.
        IDENTIFIER: of the requests.

    Handlers:
        src, dst (read/write).

    Example:
        InfiniteSource(DATA "hello", LIMIT 2, STOP true) -> ICMPPingEncap(1.0.0.1, 2.0.0.2) -> IPPrint -> Discard;
    """

    src: u32
    dst: u32
    id: u16

    def configure(self, src: IPAddress, dst: str, *, identifier: UInt16 = 0) -> None:
        self.uses_anno = dst.upper() == "DST_ANNO"
        self.src, self.identifier = src, identifier
        self.dst = 0 if self.uses_anno else parse_ip(dst, self.router.context)

    def add_handlers(self) -> None:
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(28)
        p.set_network(0)
        p.set_transport(20)
        dst = self.dst
        if self.uses_anno:
            dst = p.dst_ip
        else:
            p.dst_ip = dst
        ip = p.ip
        ip.version_length = 0x45
        ip.tos = 0
        ip.length = p.length
        ip.identification = self.id
        ip.fragment = 0
        ip.ttl = 255
        ip.protocol = 1
        ip.checksum = 0
        ip.src = self.src
        ip.dst = dst
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        p.transport.u16[0] = 0x0800
        p.transport.u16[2] = 0
        p.transport.u16[4] = self.identifier
        p.transport.u16[6] = self.id
        p.transport.u16[2] = checksum_finish(p.transport.checksum(0, p.length - 20))
        self.id += 1
        return p
