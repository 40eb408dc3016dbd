"""ICMP6Error."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import ConfigureError, Element, Packet, datapath, u32, u64, u128
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.lang.arguments import Byte, IP6Address, Raw, UInt32, parse_ip6
from penstock.lang.text import split_words

__all__ = ["ICMP6Error"]

_MIN_MTU = 1280
_PACKET_TOO_BIG, _PARAMETER_PROBLEM = 2, 4
_BROADCAST, _MULTICAST = 1, 2


class ICMP6Error(Element):
    """Turn packets into ICMPv6 errors about them (RFC 4443); packets that deserve none are dropped.

    No answer goes to what is itself an ICMPv6 error or a redirect, to multicast destinations (but for packets that are too big), and
    to sources that are not one host.

    Arguments:
        SRC: the source address of errors.
        TYPE, CODE: 1 unreachable, 2 too big, 3 time exceeded, 4 parameter problem.
        BADADDRS: addresses that get no errors.
        MTU: for TYPE 2, what the error says (1280).
        POINTER: for TYPE 4, the byte that the error is about.

    Handlers:
        src (read), count (read): errors made.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> ICMP6Error(3ffe::9, 3, 0) -> Print -> Discard;
    """

    processing = "a/a"
    count: u64

    def configure(self, src: IP6Address, type: Byte, code: Byte = 0, badaddrs: Raw = "", *, mtu: UInt32 = _MIN_MTU,
                  pointer: UInt32 = 0) -> None:
        if not 1 <= type <= 127:
            raise ConfigureError("TYPE: errors are 1 to 127 (RFC 4443, section 2.1)")
        self.src, self.type, self.code = src, type, code
        self.bad = tuple(parse_ip6(word) for word in split_words(badaddrs))
        self.word = mtu if type == _PACKET_TOO_BIG else pointer if type == _PARAMETER_PROBLEM else 0

    def add_handlers(self) -> None:
        self.add_read("src", lambda: unparse_ip6(self.src))
        self.add_data("count", "count")

    @datapath
    def deserves_answer(self, p: Packet) -> bool:
        if not p.network.has(0, 40):
            return False
        ip6 = p.ip6
        src: u128 = ip6.src
        if (src >> 120) == 0xFF or src == 0:
            return False
        for address in self.bad:
            if src == address:
                return False
        may_be_multicast = self.type == _PACKET_TOO_BIG or (self.type == _PARAMETER_PROBLEM and self.code == 2)
        if not may_be_multicast:
            if (ip6.dst >> 120) == 0xFF or p.packet_type in (_BROADCAST, _MULTICAST):
                return False
        if ip6.next_header == 58:
            if not p.network.has(40, 1):
                return False
            kind = p.network.u8[40]
            if kind < 128 or kind == 137:
                return False
        return True

    @datapath
    def answer(self, p: Packet) -> Packet | None:
        # As much of the packet as fits into the least MTU (section 2.4(c)).
        quoted: u32 = min(p.network_length, _MIN_MTU - 48)
        q = self.make_packet(48 + quoted)
        if q is None:
            return None
        q.set_network(0)
        q.set_transport(40)
        ip6 = q.ip6
        ip6.first_word = 6 << 28
        ip6.length = 8 + quoted
        ip6.next_header = 58
        ip6.hop_limit = 255
        ip6.src = u128(self.src)
        ip6.dst = p.ip6.src
        q.transport.u8[0] = self.type
        q.transport.u8[1] = self.code
        q.transport.u16[2] = 0
        q.transport.u32[4] = self.word
        q.transport.copy(8, p.network, 0, quoted)
        total = q.network.checksum(8, 32, (8 + quoted) + 58)
        q.transport.u16[2] = checksum_finish(q.transport.checksum(0, 8 + quoted, total))
        q.dst_ip6 = ip6.dst
        q.timestamp = self.clock.now()
        return q

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not self.deserves_answer(p):
            p.kill()
            return None
        q = self.answer(p)
        p.kill()
        if q is not None:
            self.count += 1
        return q
