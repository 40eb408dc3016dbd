"""The pattern language of IPFilter and IPClassifier (tcpdump's, as Click's documentation describes it).

    expr    := or [? expr : expr]
    or      := and { (or | "||") and }
    and     := factor { [and | "&&"] factor }
    factor  := (not | "!") factor | "(" expr ")" | primitive

A primitive is qualifiers, a relation (``==`` if none is written) and a value: ``src net 10.0.0.0/8``,
``dst tcp port www``, ``ip ttl < 5``, ``ip[6:2] & 0x1fff != 0``. After ``or`` a bare value takes the qualifiers
of the primitive before it. A test of ports, ICMP types or transport bytes holds for first fragments only.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, replace

from penstock.elements.classification import FALSE, TRUE, Tree, every, negation, some, test
from penstock.lang.arguments import ArgumentContext, ArgumentError, parse_int, parse_ip, parse_prefix
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["PatternParser", "Qualifiers", "compare", "parse_pattern"]

_TOKEN = re.compile(r"\s*(\w+\[[^\]]*\]|\(|\)|&&|\|\||!=|==|<=|>=|=|<|>|!|&|\?|:(?=\s)|[^\s()!=<>&|?]+)")
_RELATIONS = {"=": "==", "==": "==", "!=": "!=", "<": "<", ">": ">", "<=": "<=", ">=": ">="}
_WORDS = {"and", "or", "not", "&&", "||", "!", "(", ")", "?", ":", "&"}
#: field of the IP header -> (offset, width, mask, shift)
_IP_FIELDS = {
    "vers": (0, 1, 0xF0, 4), "hl": (0, 1, 0x0F, 0), "tos": (1, 1, 0xFF, 0), "dscp": (1, 1, 0xFC, 2), "len": (2, 2, 0xFFFF, 0),
    "id": (4, 2, 0xFFFF, 0), "ttl": (8, 1, 0xFF, 0),
}
_FLAGS = {"ect": (1, 1, 0x03, 1, 2), "ce": (1, 1, 0x03, 3, 3)}
_TCP_OPTIONS = {"fin": 1, "syn": 2, "rst": 4, "psh": 8, "ack": 16, "urg": 32, "ece": 64, "cwr": 128}
_ICMP_TYPES = {
    "echo-reply": 0, "unreachable": 3, "sourcequench": 4, "redirect": 5, "echo": 8, "routeradvert": 9, "routersolicit": 10,
    "timeexceeded": 11, "parameterproblem": 12, "timestamp": 13, "timestamp-reply": 14, "inforeq": 15, "inforeq-reply": 16,
    "maskreq": 17, "maskreq-reply": 18,
}
_PORTS = {
    "echo": 7, "discard": 9, "daytime": 13, "ftp-data": 20, "ftp": 21, "ssh": 22, "telnet": 23, "smtp": 25, "time": 37,
    "domain": 53, "dns": 53, "bootps": 67, "bootpc": 68, "tftp": 69, "gopher": 70, "finger": 79, "www": 80, "http": 80,
    "kerberos": 88, "pop3": 110, "sunrpc": 111, "auth": 113, "nntp": 119, "ntp": 123, "imap": 143, "snmp": 161,
    "snmp-trap": 162, "bgp": 179, "irc": 194, "ldap": 389, "https": 443, "imap3": 220, "imaps": 993, "pop3s": 995, "rip": 520,
}
_TRANSPORT_WITH_PORTS = ("tcp", "udp", "dccp", "sctp", "udplite")


@dataclass(frozen=True)
class Qualifiers:
    header: str = ""
    type: str = ""
    direction: str = ""
    offset: int = 0
    width: int = 0
    mask: int | None = None


def compare(base: str, offset: int, width: int, mask: int, shift: int, relation: str, value: int) -> Tree:
    """A relation on a field; values that the field cannot have make it constant."""
    largest = mask >> shift
    if value > largest:
        return TRUE if relation in ("!=", "<", "<=") else FALSE

    def between(low: int, high: int) -> Tree:
        if low > high:
            return FALSE
        if mask & (mask + (1 << shift)) and low != high and (low, high) != (0, largest):
            raise ArgumentError("relation '<' or '>' needs a mask without holes")
        return test(base, offset, width, low << shift, mask=mask, high=high << shift)

    match relation:
        case "==":
            return between(value, value)
        case "!=":
            return negation(between(value, value))
        case "<":
            return between(0, value - 1)
        case "<=":
            return between(0, value)
        case ">":
            return between(value + 1, largest)
    return between(value, largest)


class PatternParser:
    """Patterns for IPv4; what differs for IPv6 is in filter_language6.py."""

    #: the network header's names, its fields, and the field with the protocol
    network: tuple[str, ...] = ("ip",)
    fields = _IP_FIELDS
    #: where the number of the upper layer's protocol stands
    protocol_base, protocol_offset = "network", 9
    icmp = ("icmp", _ICMP_TYPES)

    def __init__(self, text: str, context: ArgumentContext):
        self.tokens: list[str] = []
        at = 0
        text = text.rstrip()
        while at < len(text):
            match = _TOKEN.match(text, at)
            if not match:
                raise ArgumentError(f"syntax error near '{text[at:].strip()[:20]}'")
            self.tokens.append(match[1])
            at = match.end()
        # At the end one is looked at, one more is taken, and the one behind it is looked at.
        self.tokens += [""] * 4
        self.lowered = [token.lower() for token in self.tokens]
        self.at = 0
        self.context = context
        self.last: Qualifiers | None = None
        self.depth = 0

    # Tokens

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead]

    def next(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1]

    def accept(self, *words: str) -> bool:
        if self.lowered[self.at] in words:
            self.at += 1
            return True
        return False

    # Expressions

    def whole(self) -> Tree:
        tree = self.expression()
        if self.peek():
            raise ArgumentError(f"garbage after expression at '{self.peek()}'")
        return tree

    def expression(self) -> Tree:
        self.depth += 1
        if self.depth > 100:
            raise ArgumentError("expression is nested too deeply")
        result = self.disjunction()
        if self.accept("?"):
            yes = self.expression()
            if not self.accept(":"):
                raise ArgumentError("expected ':' of '?:'")
            no = self.expression()
            result = some(every(result, yes), every(negation(result), no))
        self.depth -= 1
        return result

    def disjunction(self) -> Tree:
        parts = [self.conjunction()]
        while self.accept("or", "||"):
            parts.append(self.conjunction())
        return some(*parts)

    def conjunction(self) -> Tree:
        parts = [self.factor()]
        while True:
            joined = self.accept("and", "&&")
            if not joined and (not self.peek() or self.lowered[self.at] in ("or", "||", ")", "?", ":")):
                return every(*parts)
            parts.append(self.factor())

    def factor(self) -> Tree:
        self.depth += 1
        if self.depth > 100:
            raise ArgumentError("expression is nested too deeply")
        if self.accept("not", "!"):
            result = negation(self.factor())
        elif self.accept("("):
            result = self.expression()
            if not self.accept(")"):
                raise ArgumentError("missing ')'")
        else:
            result = self.primitive()
        self.depth -= 1
        return result

    # Headers

    def protocol(self, number: int) -> Tree:
        return test(self.protocol_base, self.protocol_offset, 1, number)

    def first_fragment(self) -> Tree:
        return test("network", 6, 2, 0, mask=0x1FFF)

    def in_transport(self, header: str, tree: Tree) -> Tree:
        """``tree`` looks behind the network header: the right protocol, and not a later fragment."""
        if header in PROTOCOL_NUMBERS and header not in self.network:
            protocol = self.protocol(self.protocol_number(header))
        elif header == "transp":
            protocol = TRUE
        else:
            protocol = some(self.protocol(6), self.protocol(17))
        return every(protocol, self.first_fragment(), tree)

    # Primitives

    def primitive(self) -> Tree:
        word = self.lowered[self.at]
        if not word:
            raise ArgumentError("missing pattern")
        if word in ("true", "any", "all", "-"):
            self.at += 1
            return TRUE
        if word in ("false", "none"):
            self.at += 1
            return FALSE
        start = self.at
        found = self.qualifiers()
        if isinstance(found, Tree):
            return found
        if self.at == start:
            found = self.last or Qualifiers()
        relation = "=="
        if found.width and self.accept("&"):
            found = replace(found, mask=self.number(self.next()))
        if self.peek() in _RELATIONS:
            relation = _RELATIONS[self.next()]
        value = self.next()
        if not value or value.lower() in _WORDS:
            raise ArgumentError(f"missing value after '{' '.join(self.tokens[start : self.at - 1])}'")
        tree, self.last = self.relation(found, relation, value)
        return tree

    def qualifiers(self) -> Qualifiers | Tree:
        """Qualifiers; or a whole primitive, where it has no value (``tcp``, ``ip frag``)."""
        header = kind = direction = ""
        while True:
            word = self.lowered[self.at]
            if word in ("src", "dst") and not direction:
                self.at += 1
                direction = word
                other = {"src": "dst", "dst": "src"}[word]
                if self.lowered[self.at] in ("or", "and") and self.lowered[self.at + 1] == other:
                    direction = f"both-{self.next().lower()}"
                    self.at += 1
            elif word in ("host", "net", "port", "proto") and not kind:
                self.at += 1
                kind = word
            elif "[" in word:
                self.at += 1
                return self.bytes(word)
            elif word in PROTOCOL_NUMBERS and not header and kind != "proto":
                self.at += 1
                header = word
                field = self.lowered[self.at]
                if (whole := self.field(header, field)) is not None:
                    return whole
            else:
                break
        if header and not kind and not direction and not self._value_follows():
            return TRUE if header in self.network else self.protocol(self.protocol_number(header))
        return Qualifiers(header, kind, direction)

    def _value_follows(self) -> bool:
        word = self.peek()
        return bool(word) and (word in _RELATIONS or word[0].isdigit())

    def protocol_number(self, name: str) -> int:
        number = PROTOCOL_NUMBERS[name]
        if number > 255:
            raise ArgumentError(f"'{name}' is not a protocol")
        return number

    def whole_field(self, field: str) -> Tree | None:
        """Words about the network header that are whole primitives."""
        if field in ("frag", "unfrag"):
            whole = test("network", 6, 2, 0, mask=0x3FFF)
            return whole if field == "unfrag" else negation(whole)
        if field in _FLAGS:
            offset, width, mask, low, high = _FLAGS[field]
            if field == "ect":
                return some(test("network", offset, width, low, mask=mask), test("network", offset, width, high, mask=mask))
            return test("network", offset, width, low, mask=mask)
        return None

    def field(self, header: str, field: str) -> Qualifiers | Tree | None:
        if header in self.network:
            if (whole := self.whole_field(field)) is not None:
                self.at += 1
                return whole
            if field in self.fields:
                self.at += 1
                return Qualifiers(header, field)
        elif header == "tcp" and field == "opt":
            self.at += 1
            return Qualifiers(header, "opt")
        elif header == "tcp" and field == "win":
            self.at += 1
            return Qualifiers(header, "win")
        elif header == self.icmp[0] and field == "type":
            self.at += 1
            return Qualifiers(header, "type")
        return None

    def bytes(self, word: str) -> Qualifiers:
        """``ip[6:2]``, ``tcp[13]``, ``transp[0:2]``."""
        match = re.fullmatch(r"(\w+)\[\s*(\w+)\s*(?:[:,]\s*(\w+)\s*)?\]", word)
        if not match or (match[1] not in self.network and match[1] not in PROTOCOL_NUMBERS):
            raise ArgumentError(f"bad byte test '{word}' (expected PROTO[OFFSET:LENGTH])")
        offset, width = parse_int(match[2], 0, 0xFFFF), parse_int(match[3] or "1", 0, 4)
        if width not in (1, 2, 4):
            raise ArgumentError(f"'{word}': length must be 1, 2 or 4")
        return Qualifiers(match[1], "bytes", offset=offset, width=width)

    def number(self, text: str) -> int:
        try:
            return parse_int(text, 0, 0xFFFFFFFF)
        except ArgumentError:
            raise ArgumentError(f"'{text}' is not a number") from None

    def relation(self, q: Qualifiers, relation: str, value: str) -> tuple[Tree, Qualifiers]:
        kind = q.type
        if not kind:
            kind = self.guess(q, value)
            q = replace(q, type=kind)
        if kind in ("host", "net"):
            return self.address(q, relation, value), q
        if kind == "port":
            if q.header and q.header not in (*_TRANSPORT_WITH_PORTS, *self.network, "transp"):
                raise ArgumentError(f"'{q.header}' has no ports")
            number = self.port(value)
            sides = [compare("transport", at, 2, 0xFFFF, 0, relation, number) for at in self.sides(q, 0, 2)]
            return self.in_transport(q.header, self.join(q, sides)), q
        if kind == "proto":
            name = value.lower()
            number = PROTOCOL_NUMBERS[name] if name in PROTOCOL_NUMBERS else self.number(value)
            return compare(self.protocol_base, self.protocol_offset, 1, 0xFF, 0, relation, number), q
        if kind in self.fields and q.header in self.network:
            offset, width, mask, shift = self.fields[kind]
            return compare("network", offset, width, mask, shift, relation, self.number(value)), q
        if kind == "opt":
            name = value.lower()
            mask = _TCP_OPTIONS[name] if name in _TCP_OPTIONS else self.number(value)
            if relation not in ("==", "!="):
                raise ArgumentError("'tcp opt' takes '=' or '!=' only")
            there = test("transport", 13, 1, mask, mask=mask)
            return self.in_transport("tcp", there if relation == "==" else negation(there)), q
        if kind == "win":
            return self.in_transport("tcp", compare("transport", 14, 2, 0xFFFF, 0, relation, self.number(value))), q
        if kind == "type":
            name = value.lower()
            header, types = self.icmp
            number = types[name] if name in types else self.number(value)
            return self.in_transport(header, compare("transport", 0, 1, 0xFF, 0, relation, number)), q
        if kind == "bytes":
            mask = q.mask if q.mask is not None else (1 << (8 * q.width)) - 1
            number = self.number(value)
            if q.header in self.network:
                return compare("network", q.offset, q.width, mask, 0, relation, number), q
            return self.in_transport(q.header, compare("transport", q.offset, q.width, mask, 0, relation, number)), q
        raise ArgumentError(f"no test for '{value}': write host, net, port or proto before it")

    def guess(self, q: Qualifiers, value: str) -> str:
        """The type of a value that stands alone."""
        if "/" in value or self.lowered[self.at] == "mask":
            return "net"
        try:
            self.parse_host(value)
            return "host"
        except ArgumentError:
            pass
        if value.lower() in PROTOCOL_NUMBERS and not q.direction:
            return "proto"
        if value.lower() in _PORTS or q.header in _TRANSPORT_WITH_PORTS:
            return "port"
        raise ArgumentError(f"unknown word '{value}'")

    def parse_host(self, text: str) -> int:
        return parse_ip(text, self.context)

    def port(self, text: str) -> int:
        if text.lower() in _PORTS:
            return _PORTS[text.lower()]
        try:
            return parse_int(text, 0, 0xFFFF)
        except ArgumentError:
            pass
        try:
            return socket.getservbyname(text)
        except OSError:
            raise ArgumentError(f"unknown port '{text}'") from None

    def address(self, q: Qualifiers, relation: str, value: str) -> Tree:
        if relation not in ("==", "!="):
            raise ArgumentError("addresses take '=' or '!=' only")
        if q.type == "host":
            address, mask = parse_ip(value, self.context), 0xFFFFFFFF
        else:
            address, mask = parse_prefix(value, self.context)
            if self.accept("mask"):
                mask = parse_ip(self.next(), self.context)
        sides = [test("network", at, 4, address & mask, mask=mask) for at in self.sides(q, 12, 16)]
        tree = self.join(q, sides)
        return tree if relation == "==" else negation(tree)

    @staticmethod
    def sides(q: Qualifiers, src: int, dst: int) -> list[int]:
        return {"src": [src], "dst": [dst]}.get(q.direction, [src, dst])

    @staticmethod
    def join(q: Qualifiers, sides: list[Tree]) -> Tree:
        return every(*sides) if q.direction == "both-and" else some(*sides)


def parse_pattern(text: str, context: ArgumentContext) -> Tree:
    """The tree of one pattern; ArgumentError tells what is wrong with it."""
    return PatternParser(text, context).whole()
