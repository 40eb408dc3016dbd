"""IPEncap."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import ConfigureError, Element, Packet, datapath, u16, u32
from penstock.lang.arguments import Byte, IPAddress, parse_int, parse_ip, unparse_ip
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["IPEncap"]


class IPEncap(Element):
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

    src: u32
    dst: u32
    id: u16

    def configure(self, proto: str, src: IPAddress, dst: str, *, tos: Byte = 0, ttl: Byte = 250, df: bool = False,
                  dscp: Byte = 0, ect: str = "", ce: bool = False) -> None:
        self.protocol = PROTOCOL_NUMBERS.get(proto.lower(), -1)
        if not 0 <= self.protocol <= 255:
            self.protocol = parse_int(proto, 0, 255)
        self.uses_anno = dst.upper() == "DST_ANNO"
        self.src = src
        self.dst = 0 if self.uses_anno else parse_ip(dst, self.router.context)
        if dscp > 63:
            raise ConfigureError("DSCP: out of range, bound 63")
        ecn = 3 if ce else {"": 0, "false": 0, "0": 0, "1": 2, "true": 2, "2": 1}.get(ect.lower(), 2)
        self.tos = tos | dscp << 2 | ecn
        self.ttl, self.fragment = ttl, 0x4000 if df else 0

    def add_handlers(self) -> None:
        for name in ("src", "dst"):
            self.add_data(name, name, lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(20)
        p.set_network(0)
        p.set_transport(20)
        ip = p.ip
        dst = self.dst
        if self.uses_anno:
            dst = p.dst_ip
        else:
            p.dst_ip = dst
        ip.version_length = 0x45
        ip.tos = self.tos
        ip.length = p.length
        ip.identification = self.id
        self.id += 1
        ip.fragment = self.fragment
        ip.ttl = self.ttl
        ip.protocol = self.protocol
        ip.checksum = 0
        ip.src = self.src
        ip.dst = dst
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        return p
