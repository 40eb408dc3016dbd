"""IPEncap."""

from penstock.elements import ConfigureError, Packet, datapath, u32
from penstock.elements.outerheader import OuterHeader
from penstock.lang.arguments import Byte, IPAddress, parse_int
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["IPEncap"]


class IPEncap(OuterHeader):
    """Put an IPv4 header in front of packets.

    Arguments:
        PROTO: protocol, a number or a name.
        SRC, DST: addresses; DST may be DST_ANNO, the destination annotation.
        TOS, TTL, DF, DSCP, ECT, CE: header fields.

    Handlers:
        src, dst (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IPEncap(4, 1.0.0.1, 2.0.0.2) -> IPPrint -> Discard;
    """

    can_live_reconfigure = True

    def configure(self, proto: str, src: IPAddress, dst: str, *, tos: Byte = 0, ttl: Byte = 250, df: bool = False,
                  dscp: Byte = 0, ect: str = "", ce: bool = False) -> None:
        self.protocol = PROTOCOL_NUMBERS.get(proto.lower(), -1)
        if not 0 <= self.protocol <= 255:
            self.protocol = parse_int(proto, 0, 255)
        self.set_ends(src, dst)
        if dscp > 63:
            raise ConfigureError("DSCP: out of range, bound 63")
        ecn = 3 if ce else {"": 0, "false": 0, "0": 0, "1": 2, "true": 2, "2": 1}.get(ect.lower(), 2)
        self.tos = tos | dscp << 2 | ecn
        self.ttl, self.fragment = ttl, 0x4000 if df else 0

    def add_handlers(self) -> None:
        self.add_end_handlers()

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(20)
        p.set_network(0)
        p.set_transport(20)
        self.write_header(p, u32(self.protocol), u32(self.ttl), u32(self.tos), u32(self.fragment))
        return p
