"""The pattern language of IP6Filter and IP6Classifier: filter_language.py's, with IPv6's addresses and fields.

Protocols, ports, ICMPv6 types and transport bytes are those of the upper layer, behind extension headers: the elements follow them
before they test anything, and say what they found as words with the base ``upper``.
"""

from __future__ import annotations

from penstock.elements.classification import TRUE, Tree, every, negation, some, test
from penstock.elements.filter_language import PatternParser, Qualifiers
from penstock.elements.ip6.addresses6 import parse_prefix6
from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_ip6

__all__ = ["FRAGMENTED", "LATER", "PROTOCOL", "parse_pattern6"]

#: words with the base ``upper``: the protocol; whether the packet is a fragment but the first one; whether it is a fragment
PROTOCOL, LATER, FRAGMENTED = range(3)

_FIELDS = {
    "vers": (0, 1, 0xF0, 4), "class": (0, 2, 0x0FF0, 4), "dscp": (0, 2, 0x0FC0, 6), "flow": (0, 4, 0x000F_FFFF, 0),
    "len": (4, 2, 0xFFFF, 0), "hlim": (7, 1, 0xFF, 0), "ttl": (7, 1, 0xFF, 0),
}
_ICMP6_TYPES = {
    "unreachable": 1, "toobig": 2, "timeexceeded": 3, "parameterproblem": 4, "echo": 128, "echo-reply": 129, "mldquery": 130,
    "mldreport": 131, "mlddone": 132, "routersolicit": 133, "routeradvert": 134, "neighborsolicit": 135,
    "neighboradvert": 136, "redirect": 137,
    "mldv2report": 143,
}
_WORDS = 4


class _Parser6(PatternParser):
    network = ("ip6", "ip", "ipv6")
    fields = _FIELDS
    protocol_base, protocol_offset = "upper", PROTOCOL
    icmp = ("icmp6", _ICMP6_TYPES)

    def first_fragment(self) -> Tree:
        return test("upper", LATER, 1, 0)

    def whole_field(self, field: str) -> Tree | None:
        if field in ("frag", "unfrag"):
            return test("upper", FRAGMENTED, 1, int(field == "frag"))
        if field == "ect":
            return some(test("network", 0, 2, 0x10, mask=0x30), test("network", 0, 2, 0x20, mask=0x30))
        return test("network", 0, 2, 0x30, mask=0x30) if field == "ce" else None

    def parse_host(self, text: str) -> int:
        return parse_ip6(text)

    def address(self, q: Qualifiers, relation: str, value: str) -> Tree:
        if relation not in ("==", "!="):
            raise ArgumentError("addresses take '=' or '!=' only")
        address, bits = (self.parse_host(value), 128) if q.type == "host" else parse_prefix6(value)
        mask = ((1 << 128) - 1) ^ ((1 << (128 - bits)) - 1)
        sides = [every(*(self._word(at + 4 * i, address >> (96 - 32 * i), mask >> (96 - 32 * i)) for i in range(_WORDS)))
                 for at in self.sides(q, 8, 24)]
        tree = self.join(q, sides)
        return tree if relation == "==" else negation(tree)

    @staticmethod
    def _word(at: int, value: int, mask: int) -> Tree:
        mask &= 0xFFFFFFFF
        return test("network", at, 4, value & mask, mask=mask) if mask else TRUE


def parse_pattern6(text: str, context: ArgumentContext) -> Tree:
    """The tree of one pattern; ArgumentError tells what is wrong with it."""
    return _Parser6(text, context).whole()
