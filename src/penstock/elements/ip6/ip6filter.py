"""IP6Filter and IP6Classifier."""

from penstock.elements.filter_language6 import parse_pattern6
from penstock.elements.ip.ipfilter import IPClassifier, IPFilter
from penstock.lang.arguments import Raw

__all__ = ["IP6Classifier", "IP6Filter"]


class IP6Classifier(IPClassifier):
    """Classify IPv6 packets by patterns, as IPClassifier does IPv4 packets.

    Patterns are IPClassifier's with IPv6 addresses (``src net 2001:db8::/32``, ``dst host ::1``), ``ip6
    vers|class|dscp|flow|len|hlim|frag|unfrag|ect|ce``, ``icmp6 type echo``, ``ip6[6] = 17``. Packets need a network header position
    (CheckIP6Header). Tests of ports and types hold where the fixed header names the protocol: not behind extension headers.

    Arguments:
        PATTERN, ...: one for each output.

    Handlers:
        program (read): the tests as they are made. pattern0, pattern1, ... (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(3ffe::1, 1, 3ffe::2, 53) -> CheckIP6Header
        -> c :: IP6Classifier(src net 3ffe::/16 and udp dst port 53, icmp6 type echo, -);
        c[0] -> IP6Print -> Discard; c[1] -> Discard; c[2] -> Discard;
    """

    parse_pattern = staticmethod(parse_pattern6)

    def configure(self, *patterns: Raw) -> None:
        super().configure(*patterns)


class IP6Filter(IPFilter):
    """Filter IPv6 packets by rules: the first rule whose pattern matches says what becomes of a packet.

    Each rule is an action, as IPFilter has them, and a pattern in IP6Classifier's language. A packet that no rule matches is dropped.

    Arguments:
        ACTION PATTERN, ...: the rules.

    Handlers:
        program (read): the tests as they are made.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(3ffe::1, 1, 3ffe::2, 53) -> CheckIP6Header
        -> IP6Filter(deny src net fe80::/10, allow udp dst port 53, deny all) -> IP6Print -> Discard;
    """

    parse_pattern = staticmethod(parse_pattern6)

    def configure(self, *rules: Raw) -> None:
        super().configure(*rules)
