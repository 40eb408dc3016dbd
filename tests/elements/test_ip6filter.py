"""IP6Filter and IP6Classifier: every word of the language against packets read by Python, in both engines, and what is refused."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from penstock import Router
from tests.harness import run_packets
from tests.traffic import Sent


@dataclass(frozen=True)
class Read:
    """An IPv6 packet's fields. ``protocol`` and ``rest`` are the upper layer's; of a later fragment there is no ``rest``."""

    word: int
    length: int
    first: int
    protocol: int
    hlim: int
    src: int
    dst: int
    rest: bytes
    is_fragment: bool

    @property
    def ports(self) -> tuple[int, int] | None:
        return struct.unpack(">HH", self.rest[:4]) if self.protocol in (6, 17) and len(self.rest) >= 4 else None  # type: ignore[return-value]


def read(data: bytes) -> Read | None:
    """None where the extension headers are too many, or cut off."""
    word, length, first, hlim = struct.unpack_from(">IHBB", data)
    protocol, rest, is_fragment = first, data[40:], False
    for _ in range(9):
        if protocol not in (0, 43, 44, 51, 60, 135, 139, 140):
            return Read(word, length, first, protocol, hlim, int.from_bytes(data[8:24]), int.from_bytes(data[24:40]), rest, is_fragment)
        size = 8 if len(rest) < 8 or protocol == 44 else 8 + (4 if protocol == 51 else 8) * rest[1]
        if len(rest) < size:
            return None
        if protocol == 44:
            is_fragment = True
            if int.from_bytes(rest[2:4]) & 0xFFF8:
                return Read(word, length, first, rest[0], hlim, int.from_bytes(data[8:24]), int.from_bytes(data[24:40]), b"", True)
        protocol, rest = rest[0], rest[size:]
    return None


def extended(r: random.Random, protocol: int, rest: bytes) -> tuple[int, bytes]:
    """With extension headers in front, some of them too many, too long or cut off."""
    for _ in range(r.choice([0, 0, 1, 1, 2, 3, 8, 9])):
        kind = r.choice([0, 43, 44, 51, 60, 135])
        units = r.choice([0, 0, 1, 2]) if kind != 44 else 0
        body = bytes([protocol, units + r.choice([0] * 30 + [200])]) + struct.pack(">H", r.choice([0, 1, 8 * 185]) if kind == 44 else 0) + bytes(4)
        rest = body + bytes((4 if kind == 51 else 8) * units) + rest
        protocol = kind
    return protocol, rest[: r.choice([4, 12])] if r.random() < 0.05 else rest


def packet(r: random.Random) -> bytes:
    protocol = r.choice([6, 17, 58, 59, 50, 132])
    hosts = ["2001:db8::1", "2001:db8:0:1::1", "fe80::1", "2001:db9::1", "::1", "ff02::1"]
    rest = struct.pack(">HH", r.choice([22, 53, 80, 1024, 5000]), r.choice([22, 53, 80, 443, 65535])) + r.randbytes(20)
    if protocol == 58:
        rest = bytes([r.choice([1, 2, 128, 129, 133, 135, 136]), r.choice([0, 3])]) + r.randbytes(22)
    protocol, rest = extended(r, protocol, rest[: r.choice([0, 1, 13, 24, 24, 24])])
    word = 6 << 28 | r.choice([0, 0x2E, 0xB8, 0xFF, 1, 2, 3]) << 20 | r.choice([0, 1, 0xFFFFF])
    addresses = b"".join(ipaddress.IPv6Address(r.choice(hosts)).packed for _ in range(2))
    return struct.pack(">IHBB", word, len(rest), protocol, r.choice([1, 63, 64, 255])) + addresses + rest


def net(text: str, address: int) -> bool:
    return ipaddress.IPv6Address(address) in ipaddress.IPv6Network(text)


def port(p: Read, test: Callable[[int, int], bool], protocol: int | None = None) -> bool:
    return p.ports is not None and (protocol is None or p.protocol == protocol) and test(*p.ports)


PATTERNS: list[tuple[str, Callable[[Read], bool]]] = [
    ("src host 2001:db8::1", lambda p: p.src == int(ipaddress.IPv6Address("2001:db8::1"))),
    ("src net 2001:db8::/32", lambda p: net("2001:db8::/32", p.src)),
    ("dst net 2001:db8::/47", lambda p: net("2001:db8::/47", p.dst)),
    ("host fe80::1", lambda p: int(ipaddress.IPv6Address("fe80::1")) in (p.src, p.dst)),
    ("src and dst net fe80::/10", lambda p: net("fe80::/10", p.src) and net("fe80::/10", p.dst)),
    ("not net ff00::/8", lambda p: not (net("ff00::/8", p.src) or net("ff00::/8", p.dst))),
    ("::1", lambda p: 1 in (p.src, p.dst)),
    ("tcp", lambda p: p.protocol == 6),
    ("proto 132", lambda p: p.protocol == 132),
    ("tcp dst port 80 or 443", lambda p: port(p, lambda s, d: d in (80, 443), 6)),
    ("udp port dns", lambda p: port(p, lambda s, d: 53 in (s, d), 17)),
    ("src port > 1023", lambda p: port(p, lambda s, d: s > 1023)),
    ("ip6 hlim < 64", lambda p: p.hlim < 64),
    ("ip6 ttl 255", lambda p: p.hlim == 255),
    ("ip6 class 0xb8", lambda p: (p.word >> 20) & 0xFF == 0xB8),
    ("ip6 dscp 46", lambda p: (p.word >> 22) & 0x3F == 46),
    ("ip6 flow 1", lambda p: p.word & 0xFFFFF == 1),
    ("ip6 len >= 13", lambda p: p.length >= 13),
    ("ip6 ce", lambda p: (p.word >> 20) & 3 == 3),
    ("ip6 ect", lambda p: (p.word >> 20) & 3 in (1, 2)),
    ("ip6 frag", lambda p: p.is_fragment),
    ("ip6 unfrag", lambda p: not p.is_fragment),
    ("ip6[6] = 17", lambda p: p.first == 17),
    ("ip6[4:2] & 1 != 0", lambda p: p.length & 1 != 0),
    ("icmp6 type echo", lambda p: p.protocol == 58 and p.rest[:1] == b"\x80"),
    ("icmp6 type neighborsolicit or neighboradvert", lambda p: p.protocol == 58 and p.rest[:1] in (b"\x87", b"\x88")),
    ("tcp opt syn", lambda p: p.protocol == 6 and len(p.rest) > 13 and p.rest[13] & 2 != 0),
    ("src net 2001:db8::/32 && udp ? dst port 53 : ip6 hlim 1",
     lambda p: port(p, lambda s, d: d == 53) if net("2001:db8::/32", p.src) and p.protocol == 17 else p.hlim == 1),
]


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_patterns_hold_for_the_packets_that_they_say(engine: str) -> None:
    r = random.Random(9)
    packets = [packet(r) for _ in range(400 if engine == "compiled" else 60)]
    text = "feed :: Feed -> t :: Tee; " + "".join(
        f"t[{i}] -> c{i} :: IP6Classifier({pattern}, -); c{i}[0] -> y{i} :: Sink; c{i}[1] -> Discard;" for i, (pattern, _) in enumerate(PATTERNS))
    run = run_packets(text, [Sent(data, network=0, transport=40) for data in packets], engine=engine)
    for i, (pattern, expected) in enumerate(PATTERNS):
        assert run.out(f"y{i}") == [data for data in packets if (p := read(data)) is not None and expected(p)], pattern
        assert run.handlers[f"c{i}.unfollowed"] == str(sum(read(data) is None for data in packets))


def test_the_first_rule_of_a_filter_decides() -> None:
    rules = "deny src net fe80::/10, 1 udp dst port 53, allow icmp6, deny all"
    r = random.Random(10)
    packets = [packet(r) for _ in range(200)]
    run = run_packets(f"feed :: Feed -> f :: IP6Filter({rules}); f[0] -> a :: Sink; f[1] -> b :: Sink;",
                      [Sent(data, network=0, transport=40) for data in packets])
    kept = [(data, p) for data in packets if (p := read(data)) is not None and not net("fe80::/10", p.src)]
    asked = [data for data, p in kept if port(p, lambda s, d: d == 53, 17)]
    assert run.out("b") == asked and run.out("a") == [data for data, p in kept if p.protocol == 58]


@pytest.mark.parametrize(("rule", "problem"), [
    ("allow src net 10.0.0.0/8", "invalid IPv6 prefix"), ("allow host 1.2.3.4", "IP6ADDR|IPv6"), ("allow ip6 id 5", "unknown word|no test|garbage|not"),
    ("allow src port 99999", "unknown port"), ("allow ip6 hlim", "missing value"), ("allow (tcp", "expected"),
])
def test_mistakes_are_said(rule: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        Router.from_text(f"Idle -> IP6Filter({rule}) -> Discard;")
