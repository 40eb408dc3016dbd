"""IP6Filter and IP6Classifier."""

from penstock.elements import Packet, abstraction, datapath, u32, u64
from penstock.elements.classification import ClassifyingElement
from penstock.elements.filter_language6 import FRAGMENTED, LATER, parse_pattern6
from penstock.elements.ip.ipfilter import IPClassifier, IPFilter
from penstock.lang.arguments import Raw

__all__ = ["IP6Classifier", "IP6Filter"]

_HEADER_BYTES, _MOST_HEADERS = 40, 8
#: extension headers (IANA's registry): hop-by-hop and destination options, routing, authentication, mobility, HIP, Shim6; fragments
_EXTENSIONS, _FRAGMENT, _AUTHENTICATION = (0, 43, 51, 60, 135, 139, 140), 44, 51
#: reserved: no packet's
_NO_PROTOCOL = 255


class _Following(ClassifyingElement):
    """Follows extension headers before the tests, and sets the transport header's position behind them."""

    tests_words = False

    protocol: u32
    is_later: u32
    is_fragment: u32
    unfollowed: u64

    @datapath
    def upper_word(self, offset: u32) -> u32:
        if offset == LATER:
            return self.is_later
        return self.is_fragment if offset == FRAGMENTED else self.protocol

    @datapath
    def follow(self, p: Packet) -> bool:
        """False where the headers cannot be followed: more than eight, or cut off."""
        kind: u32 = p.ip6.next_header
        at: u32 = _HEADER_BYTES
        for _ in range(_MOST_HEADERS + 1):
            if kind == _FRAGMENT:
                if not p.network.has(at, 8):
                    return False
                self.is_fragment = 1
                kind = p.network.u8[at]
                if (p.network.u16[at + 2] & 0xFFF8) != 0:
                    # What follows is not the header that is named, but some of the data behind it.
                    self.is_later = 1
                    self.protocol = kind
                    return True
                at += 8
            elif kind in _EXTENSIONS:
                if not p.network.has(at, 8):
                    return False
                unit: u32 = 4 if kind == _AUTHENTICATION else 8
                kind = p.network.u8[at]
                at += 8 + unit * u32(p.network.u8[at + 1])
            else:
                self.protocol = kind
                if at > p.length - u32(p.network_offset):
                    return False
                if at > _HEADER_BYTES:
                    p.set_transport(u32(p.network_offset) + at)
                return True
        return False

    @abstraction(of=follow)
    def may_follow(self, p: Packet) -> bool:
        """The fixed header names the protocol, or any may be behind extension headers."""
        kind: u32 = p.ip6.next_header
        if kind in _EXTENSIONS or kind == _FRAGMENT:
            self.protocol = self.random.next() & 0xFF
            self.is_later = self.random.next() & 1
            self.is_fragment = self.random.next() & 1
            return (self.random.next() & 1) != 0
        self.protocol = kind
        return True

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.protocol = _NO_PROTOCOL
        self.is_later = 0
        self.is_fragment = 0
        if p.network.has(0, _HEADER_BYTES) and (p.network.u8[0] >> 4) == 6 and not self.follow(p):
            self.unfollowed += 1
            p.kill()
        else:
            ClassifyingElement.push(self, port, p)

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_data("unfollowed", "unfollowed")


class IP6Classifier(_Following, IPClassifier):
    """Classify IPv6 packets by patterns, as IPClassifier does IPv4 packets.

    Patterns are IPClassifier's with IPv6 addresses (``src net 2001:db8::/32``, ``dst host ::1``), ``ip6
    vers|class|dscp|flow|len|hlim|frag|unfrag|ect|ce``, ``icmp6 type echo``, ``ip6[6] = 17``. Packets need a network header position
    (CheckIP6Header).

    Protocols, ports and types are those behind extension headers, of which eight are followed; the transport header's position is set
    behind them. A packet whose headers cannot be followed is dropped. Later fragments have a protocol, but no ports.

    Arguments:
        PATTERN, ...: one for each output.

    Handlers:
        program (read): the tests as they are made. pattern0, pattern1, ... (read/write). unfollowed (read): packets that were dropped
        because their headers could not be followed.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(3ffe::1, 1, 3ffe::2, 53) -> CheckIP6Header
        -> c :: IP6Classifier(src net 3ffe::/16 and udp dst port 53, icmp6 type echo, -);
        c[0] -> IP6Print -> Discard; c[1] -> Discard; c[2] -> Discard;
    """

    parse_pattern = staticmethod(parse_pattern6)

    def configure(self, *patterns: Raw) -> None:
        super().configure(*patterns)


class IP6Filter(_Following, IPFilter):
    """Filter IPv6 packets by rules: the first rule whose pattern matches says what becomes of a packet.

    Each rule is an action, as IPFilter has them, and a pattern in IP6Classifier's language: protocols and ports are those behind
    extension headers. A packet that no rule matches, or whose headers cannot be followed, is dropped.

    Arguments:
        ACTION PATTERN, ...: the rules.

    Handlers:
        program (read): the tests as they are made. unfollowed (read): packets whose headers could not be followed.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(3ffe::1, 1, 3ffe::2, 53) -> CheckIP6Header
        -> IP6Filter(deny src net fe80::/10, allow udp dst port 53, deny all) -> IP6Print -> Discard;
    """

    parse_pattern = staticmethod(parse_pattern6)

    def configure(self, *rules: Raw) -> None:
        super().configure(*rules)
