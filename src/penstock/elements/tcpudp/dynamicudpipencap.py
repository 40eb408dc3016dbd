"""DynamicUDPIPEncap."""

from penstock.elements import ConfigureError, Packet, datapath, u32
from penstock.elements.tcpudp.udpipencap import UDPIPEncap
from penstock.lang.arguments import IPAddress, Port, UInt32

__all__ = ["DynamicUDPIPEncap"]


class DynamicUDPIPEncap(UDPIPEncap):
    """Put a UDP and an IPv4 header in front of packets; the destination port grows by 1 every INTERVAL packets.

    Arguments:
        SRC, SPORT, DST, DPORT: addresses and ports; DST may be DST_ANNO, the destination annotation.
        CHECKSUM: false leaves the UDP checksum 0.
        INTERVAL: packets with the same port; 0: all.

    Handlers:
        src, sport, dst, dport (read/write). count (read): packets.

    Example:
        InfiniteSource(LIMIT 4, STOP true) -> DynamicUDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2, true, 2) -> IPPrint -> Discard;
    """

    count: u32

    def configure(self, src: IPAddress, sport: Port, dst: str, dport: Port, checksum: bool = True, interval: UInt32 = 0) -> None:
        if interval > 1 << 31:
            raise ConfigureError("INTERVAL: out of range, bound 2147483648")
        super().configure(src, sport, dst, dport, checksum)
        self.interval = interval

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_data("count", "count")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.interval != 0:
            if self.count != 0 and self.count % self.interval == 0:
                self.dport += 1
        self.count += 1
        return self.encapsulate(p)
