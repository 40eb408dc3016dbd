"""CheckARPHeader."""

from penstock.elements import Packet, datapath
from penstock.elements.headercheck import HeaderCheck
from penstock.lang.arguments import UInt32

__all__ = ["CheckARPHeader"]


class CheckARPHeader(HeaderCheck):
    """Check ARP packets: lengths, hardware and protocol address sizes.

    A good packet gets its network header position. A bad one goes to output 1, or is dropped.

    Arguments:
        OFFSET: where the ARP header starts.
        VERBOSE: report every bad packet, not the first one only.
        DETAILS: count bad packets by reason.

    Handlers:
        drops (read): bad packets. drop_details (read): by reason, with DETAILS.

    Example:
        FromDump(f.pcap, STOP true) -> CheckARPHeader(14) -> Discard;
    """

    what = "ARP"
    reasons = ("tiny packet", "bad packet length", "bad hardware length",
               "bad protocol length")

    def configure(self, offset: UInt32 = 0, *, verbose: bool = False, details: bool = False) -> None:
        self.setup(verbose, details)
        self.offset = offset

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(self.offset, 8):
            self.bad(p, 0)
            return None
        p.set_network(self.offset)
        hardware_length = p.network.u8[4]
        protocol_length = p.network.u8[5]
        if not p.network.has(0, 8 + 2 * (hardware_length + protocol_length)):
            self.bad(p, 1)
            return None
        hardware = p.network.u16[0]
        if hardware == 1 and hardware_length != 6:
            self.bad(p, 4)
            return None
        if p.network.u16[2] == 0x0800 and protocol_length != 4:
            self.bad(p, 5)
            return None
        return p
