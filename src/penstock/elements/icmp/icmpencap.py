"""ICMPPingEncap."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Packet, datapath, u32
from penstock.elements.outerheader import OuterHeader
from penstock.lang.arguments import IPAddress, UInt16

__all__ = ["ICMPPingEncap"]


class ICMPPingEncap(OuterHeader):
    """Put an ICMP echo request's and an IPv4 header in front of packets; the sequence numbers count.

    Arguments:
        SRC, DST: addresses; DST may be DST_ANNO, the destination annotation.
        IDENTIFIER: of the requests.

    Handlers:
        src, dst (read/write).

    Example:
        InfiniteSource(DATA "hello", LIMIT 2, STOP true) -> ICMPPingEncap(1.0.0.1, 2.0.0.2) -> IPPrint -> Discard;
    """

    def configure(self, src: IPAddress, dst: str, *, identifier: UInt16 = 0) -> None:
        self.set_ends(src, dst)
        self.identifier = identifier

    def add_handlers(self) -> None:
        self.add_end_handlers()

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(28)
        p.set_network(0)
        p.set_transport(20)
        self.write_header(p, u32(1), u32(255), u32(0), u32(0))
        # The sequence number is the identification.
        sequence = u32(p.ip.identification)
        total = p.transport.checksum(8, p.length - 28, u32(0x0800) + self.identifier + sequence)
        p.transport.u32[0] = 0x0800_0000 | checksum_finish(total)
        p.transport.u32[4] = (u32(self.identifier) << 16) | sequence
        return p
