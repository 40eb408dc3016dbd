"""UDPIPEncap."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import Packet, datapath, u16, u32
from penstock.elements.outerheader import OuterHeader
from penstock.lang.arguments import IPAddress, Port

__all__ = ["UDPIPEncap"]


class UDPIPEncap(OuterHeader):
    """Put a UDP and an IPv4 header in front of packets.

    Arguments:
        SRC, SPORT, DST, DPORT: addresses and ports; DST may be DST_ANNO, the destination annotation.
        CHECKSUM: false leaves the UDP checksum 0.

    Handlers:
        src, sport, dst, dport (read/write).

    Example:
        InfiniteSource(DATA "hello", LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPPrint -> Discard;
    """

    sport: u16
    dport: u16

    def configure(self, src: IPAddress, sport: Port, dst: str, dport: Port, checksum: bool = True) -> None:
        self.set_ends(src, dst)
        self.sport, self.dport, self.checksum = sport, dport, checksum

    def add_handlers(self) -> None:
        self.add_end_handlers()
        for name in ("sport", "dport"):
            self.add_data(name, name, int)

    @datapath
    def encapsulate(self, p: Packet) -> Packet | None:
        p.push(28)
        p.set_network(0)
        p.set_transport(20)
        self.write_header(p, u32(17), u32(250), u32(0), u32(0))
        udp = p.udp
        length = p.length
        udp.src = self.sport
        udp.dst = self.dport
        udp.length = length - 20
        udp.checksum = 0
        if self.checksum:
            start = pseudo_header_sum(u32(self.src), p.ip.dst, 17, length - 20)
            total = checksum_finish(p.transport.checksum(0, length - 20, start))
            udp.checksum = 0xFFFF if total == 0 else total
        return p

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        return self.encapsulate(p)
