"""CheckTCPHeader and CheckUDPHeader."""

from penstock.datapath.checksum import pseudo_header_sum
from penstock.elements import Packet, datapath, u32
from penstock.elements.headercheck import HeaderCheck

__all__ = ["CheckTCPHeader", "CheckUDPHeader"]


class CheckTCPHeader(HeaderCheck):
    """Check TCP headers: protocol, length and checksum. Packets need their IP header checked before.

    A bad packet goes to output 1, or is dropped.

    Arguments:
        CHECKSUM: false leaves the checksum alone.
        VERBOSE: report every bad packet, not the first one only.
        DETAILS: count bad packets by reason.

    Handlers:
        drops (read): bad packets. drop_details (read): by reason, with DETAILS.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> CheckTCPHeader -> Discard;
    """

    what = "TCP"
    reasons = ("not TCP", "bad packet length", "bad TCP checksum")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if ip.protocol != 6:
            self.bad(p, 0)
            return None
        length: u32 = ip.length - ip.header_length * 4
        if length < 20 or ip.length < 40 or not p.transport.has(0, length):
            self.bad(p, 1)
            return None
        header_bytes = p.tcp.offset * 4
        if header_bytes < 20 or header_bytes > length:
            self.bad(p, 1)
            return None
        if self.checks_checksum:
            start = pseudo_header_sum(ip.src, ip.dst, 6, length)
            if p.transport.checksum(0, length, start) != 0xFFFF:
                self.bad(p, 2)
                return None
        return p


class CheckUDPHeader(HeaderCheck):
    """Check UDP headers: protocol, length and checksum (0 means none). Packets need their IP header checked before.

    A bad packet goes to output 1, or is dropped.

    Arguments:
        CHECKSUM: false leaves the checksum alone.
        VERBOSE: report every bad packet, not the first one only.
        DETAILS: count bad packets by reason.

    Handlers:
        drops (read): bad packets. drop_details (read): by reason, with DETAILS.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> CheckUDPHeader -> Discard;
    """

    what = "UDP"
    reasons = ("not UDP", "bad packet length", "bad UDP checksum")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if ip.protocol != 17:
            self.bad(p, 0)
            return None
        if ip.length < ip.header_length * 4 + 8 or not p.transport.has(0, 8):
            self.bad(p, 1)
            return None
        length: u32 = p.udp.length
        if length < 8 or length > ip.length - ip.header_length * 4 or not p.transport.has(0, length):
            self.bad(p, 1)
            return None
        if self.checks_checksum and p.udp.checksum != 0:
            start = pseudo_header_sum(ip.src, ip.dst, 17, length)
            if p.transport.checksum(0, length, start) != 0xFFFF:
                self.bad(p, 2)
                return None
        return p
