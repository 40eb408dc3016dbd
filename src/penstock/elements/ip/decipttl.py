"""DecIPTTL."""

from penstock.datapath.checksum import checksum_adjust
from penstock.elements import Element, Packet, datapath, u64

__all__ = ["DecIPTTL"]


class DecIPTTL(Element):
    """Decrement the IP TTL, dropping expired packets.

    Packets whose TTL is 1 or less go out of output 1, or are dropped where it is not connected. The checksum
    is updated incrementally (RFC 1624).

    Handlers:
        drops (read): packets dropped.

    Example:
        InfiniteSource(LIMIT 1) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> DecIPTTL -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    drops: u64

    def configure(self, *, calc_checksum: bool = True, multicast: bool = True) -> None:
        self.calc_checksum = calc_checksum
        self.multicast = multicast

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if not self.multicast and (ip.dst >> 28) == 0xE:
            return p
        if ip.ttl <= 1:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        ip.ttl -= 1
        if self.calc_checksum:
            ip.checksum = checksum_adjust(ip.checksum, 0x0100, 0)
        return p
