"""CheckICMPHeader."""

from penstock.elements import Packet, datapath, u32
from penstock.elements.headercheck import HeaderCheck

__all__ = ["CheckICMPHeader"]


class CheckICMPHeader(HeaderCheck):
    """Check ICMP headers: protocol, length for the type, and checksum. Packets need their IP header checked before.

    A bad packet goes to output 1, or is dropped.

    Arguments:
        CHECKSUM: false leaves the checksum alone.
        VERBOSE: report every bad packet, not the first one only.
        DETAILS: count bad packets by reason.

    Handlers:
        drops (read): bad packets. drop_details (read): by reason, with DETAILS.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> CheckICMPHeader -> Discard;
    """

    what = "ICMP"
    reasons = ("not ICMP", "bad packet length", "bad ICMP checksum")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if ip.protocol != 1:
            self.bad(p, 0)
            return None
        length: u32 = ip.length - ip.header_length * 4
        if ip.length < ip.header_length * 4 + 8 or not p.transport.has(0, length):
            self.bad(p, 1)
            return None
        kind = p.icmp.type
        # Timestamps and their replies (RFC 792) are 20 bytes.
        if kind in (13, 14) and length < 20:
            self.bad(p, 1)
            return None
        if self.checks_checksum and p.transport.checksum(0, length) != 0xFFFF:
            self.bad(p, 2)
            return None
        return p
