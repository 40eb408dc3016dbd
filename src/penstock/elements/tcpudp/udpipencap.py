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
        length = (p.length - 20) & 0xFFFF
        checksum: u32 = 0
        if self.checksum:
            start = pseudo_header_sum(u32(self.src), u32(p.dst_ip), u32(17), length) + self.sport + self.dport + length
            checksum = checksum_finish(p.transport.checksum(8, p.length - 28, start))
            if checksum == 0:
                checksum = u32(0xFFFF)
        p.transport.u32[0] = (u32(self.sport) << 16) | self.dport
        p.transport.u32[4] = (length << 16) | checksum
        return p

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        return self.encapsulate(p)
