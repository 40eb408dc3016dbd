"""UDPIP6Encap."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Element, Packet, datapath, u16, u32, u128
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.lang.arguments import Byte, IP6Address, Port

__all__ = ["UDPIP6Encap"]


class UDPIP6Encap(Element):
    """Put a UDP and an IPv6 header in front of packets.

    Arguments:
        SRC, SPORT, DST, DPORT: addresses and ports.
        CHECKSUM: must be true; IPv6 has no UDP without one (RFC 8200, section 8.1).
        HLIM: hop limit (250).

    Handlers:
        src, dst (read), sport, dport (read/write).

    Example:
        InfiniteSource(DATA "hello", LIMIT 1, STOP true) -> UDPIP6Encap(3ffe::1, 1, 3ffe::2, 2) -> Print -> Discard;
    """

    sport: u16
    dport: u16

    def configure(self, src: IP6Address, sport: Port, dst: IP6Address, dport: Port, checksum: bool = True, *, hlim: Byte = 250) -> None:
        self.src, self.dst, self.sport, self.dport, self.hop_limit = src, dst, sport, dport, hlim
        #: the sum of both addresses' 16-bit words
        self.addresses = sum(word >> shift & 0xFFFF for word in (src, dst) for shift in range(0, 128, 16))

    def add_handlers(self) -> None:
        self.add_read("src", lambda: unparse_ip6(self.src))
        self.add_read("dst", lambda: unparse_ip6(self.dst))
        for name in ("sport", "dport"):
            self.add_data(name, name, int)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(48)
        p.set_network(0)
        p.set_transport(40)
        length: u32 = p.length - 40
        ip6 = p.ip6
        ip6.first_word = 6 << 28
        ip6.length = length
        ip6.next_header = 17
        ip6.hop_limit = self.hop_limit
        ip6.src = u128(self.src)
        ip6.dst = u128(self.dst)
        p.dst_ip6 = ip6.dst
        # Nothing that was just written is read back for the checksum: such loads wait for the stores.
        known: u32 = self.addresses + 2 * (length & 0xFFFF) + 17 + self.sport + self.dport
        value = checksum_finish(p.transport.checksum(8, length - 8, known))
        if value == 0:
            value = u32(0xFFFF)
        p.transport.u32[0] = (u32(self.sport) << 16) | self.dport
        p.transport.u32[4] = ((length & 0xFFFF) << 16) | value
        return p
