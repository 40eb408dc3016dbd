"""UDPIPEncap."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import Element, Packet, datapath, u16, u32
from penstock.lang.arguments import IPAddress, Port, parse_ip, unparse_ip

__all__ = ["UDPIPEncap"]


class UDPIPEncap(Element):
    """Put a UDP and an IPv4 header in front of packets.

    Arguments:
        SRC, SPORT, DST, DPORT: addresses and ports; DST may be DST_ANNO, the destination annotation.
        CHECKSUM: false leaves the UDP checksum 0.

    Handlers:
        src, sport, dst, dport (read/write).

    Example:
        InfiniteSource(DATA "hello", LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPPrint -> Discard;
    """

    src: u32
    dst: u32
    sport: u16
    dport: u16
    id: u16

    def configure(self, src: IPAddress, sport: Port, dst: str, dport: Port, checksum: bool = True) -> None:
        self.uses_anno = dst.upper() == "DST_ANNO"
        self.src, self.sport, self.dport = src, sport, dport
        self.dst = 0 if self.uses_anno else parse_ip(dst, self.router.context)
        self.checksum = checksum

    def add_handlers(self) -> None:
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)
        for name in ("sport", "dport"):
            self.add_data(name, name, int)

    @datapath
    def encapsulate(self, p: Packet) -> Packet | None:
        p.push(28)
        p.set_network(0)
        p.set_transport(20)
        ip = p.ip
        udp = p.udp
        length = p.length
        dst = self.dst
        if self.uses_anno:
            dst = p.dst_ip
        else:
            p.dst_ip = dst
        ip.version_length = 0x45
        ip.tos = 0
        ip.length = length
        ip.identification = self.id
        self.id += 1
        ip.fragment = 0
        ip.ttl = 250
        ip.protocol = 17
        ip.checksum = 0
        ip.src = self.src
        ip.dst = dst
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        udp.src = self.sport
        udp.dst = self.dport
        udp.length = length - 20
        udp.checksum = 0
        if self.checksum:
            start = pseudo_header_sum(u32(self.src), dst, 17, length - 20)
            total = checksum_finish(p.transport.checksum(0, length - 20, start))
            udp.checksum = 0xFFFF if total == 0 else total
        return p

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        return self.encapsulate(p)
