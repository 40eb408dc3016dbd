"""IP6Rewriter: flows there and back with scapy's checksums, errors with what they quote, timeouts and bounds."""

from __future__ import annotations

import ipaddress
import random
import struct

import pytest

from penstock import Router
from tests.harness import Outcome, run_packets
from tests.traffic import Sent, checksum

INSIDE, OUTSIDE, SERVER = "fd00::5", "2001:db8::1", "2001:db8:9::80"
NAT = "feed :: Feed -> i :: Classifier(8/fd, -); i[0] -> rw :: IP6Rewriter({}); i[1] -> [1] rw; rw[0] -> out :: Sink; rw[1] -> back :: Sink;"
PATTERN = f"pattern {OUTSIDE} 1024-1027 - - 0 1, drop"


def ip6(protocol: int, src: str, dst: str, body: bytes, *, at: int) -> bytes:
    """With a right checksum at byte ``at`` of the body."""
    a, b = (ipaddress.IPv6Address(x).packed for x in (src, dst))
    body = body[:at] + b"\0\0" + body[at + 2 :]
    total = checksum(a + b + struct.pack(">II", len(body), protocol) + body)
    return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + a + b + body[:at] + struct.pack(">H", total or 0xFFFF) + body[at + 2 :]


def udp(src: str, sport: int, dst: str, dport: int, payload: bytes = b"data") -> bytes:
    return ip6(17, src, dst, struct.pack(">HHHH", sport, dport, 8 + len(payload), 0) + payload, at=6)


def tcp(src: str, sport: int, dst: str, dport: int, flags: int = 16, payload: bytes = b"") -> bytes:
    return ip6(6, src, dst, struct.pack(">HHIIBBHHH", sport, dport, 7, 8, 0x50, flags, 100, 0, 0) + payload, at=16)


def echo(kind: int, src: str, dst: str, identifier: int) -> bytes:
    return ip6(58, src, dst, struct.pack(">BBHHH", kind, 0, 0, identifier, 9) + b"ping", at=2)


def error(src: str, dst: str, quoted: bytes, kind: int = 1) -> bytes:
    return ip6(58, src, dst, struct.pack(">BBHI", kind, 0, 0, 0) + quoted, at=2)


def nat(packets: list[bytes], inputs: str = PATTERN, **options: object) -> Outcome:
    return run_packets(NAT.format(inputs), [Sent(p, network=0, transport=40) for p in packets], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_flows_go_out_and_come_back_with_right_checksums(engine: str) -> None:
    packets = [
        tcp(INSIDE, 5000, SERVER, 80, 2), tcp(SERVER, 80, OUTSIDE, 1024 + ((5000 - 1024) % 4 if 5000 < 1028 else 0), 18),
    ]
    run = nat(packets[:1], engine=engine)
    (first,) = run.out("out")
    port = struct.unpack_from(">H", first, 40)[0]
    assert first == tcp(OUTSIDE, port, SERVER, 80, 2) and 1024 <= port <= 1027
    sent = [udp(INSIDE, 1025, SERVER, 53, b"q" * 31), udp(SERVER, 53, OUTSIDE, 1025, b"a" * 5), echo(128, INSIDE, SERVER, 1026),
            echo(129, SERVER, OUTSIDE, 1026), tcp(INSIDE, 1027, SERVER, 80, 2), tcp(SERVER, 80, OUTSIDE, 1027, 18, b"xyz")]
    run = nat(sent, engine=engine)
    assert run.out("out") == [udp(OUTSIDE, 1025, SERVER, 53, b"q" * 31), echo(128, OUTSIDE, SERVER, 1026), tcp(OUTSIDE, 1027, SERVER, 80, 2)]
    assert run.out("back") == [udp(SERVER, 53, INSIDE, 1025, b"a" * 5), echo(129, SERVER, INSIDE, 1026), tcp(SERVER, 80, INSIDE, 1027, 18, b"xyz")]
    assert run.handlers["rw.nmappings"].strip() == "3"
    assert f"({INSIDE}, 1027, {SERVER}, 80) => ({OUTSIDE}, 1027, {SERVER}, 80) [0]\n" in run.handlers["rw.table"]


def test_ports_are_shared_out_until_there_is_none_left() -> None:
    run = nat([udp(INSIDE, 7000 + n, SERVER, 53) for n in range(6)] + [udp(INSIDE, 9000, "2001:db8:9::81", 53)])
    ports = [struct.unpack_from(">H", p, 40)[0] for p in run.out("out")]
    assert sorted(ports[:4]) == [1024, 1025, 1026, 1027] and len(ports) == 5, "another server's replies are told apart"
    assert run.handlers["rw.mapping_failures"].strip() == "2"
    spread = nat([udp(INSIDE, 7000 + n, SERVER, 53) for n in range(4)], "pattern 2001:db8::1-2001:db8::2 80-81# - 5353 0 1, drop")
    assert spread.out("out") == [udp(f"2001:db8::{1 + n // 2}", 80 + n % 2, SERVER, 5353) for n in range(4)]


def test_errors_are_packets_of_the_flow_that_they_quote() -> None:
    sent = [udp(INSIDE, 1025, SERVER, 53), error("2001:db8:7::1", OUTSIDE, udp(OUTSIDE, 1025, SERVER, 53), 3),
            tcp(INSIDE, 1026, SERVER, 80, 2), error(SERVER, OUTSIDE, tcp(OUTSIDE, 1026, SERVER, 80, 2), 2),
            echo(128, INSIDE, SERVER, 1027), error(SERVER, OUTSIDE, echo(128, OUTSIDE, SERVER, 1027)),
            error(INSIDE, SERVER, udp(SERVER, 53, INSIDE, 1025, b"late")), error(SERVER, OUTSIDE, udp(OUTSIDE, 9, SERVER, 53))]
    run = nat(sent)
    assert run.out("back") == [error("2001:db8:7::1", INSIDE, udp(INSIDE, 1025, SERVER, 53), 3), error(SERVER, INSIDE, tcp(INSIDE, 1026, SERVER, 80, 2), 2),
                               error(SERVER, INSIDE, echo(128, INSIDE, SERVER, 1027))]
    assert run.out("out")[-1] == error(OUTSIDE, SERVER, udp(SERVER, 53, OUTSIDE, 1025, b"late"))


def test_what_is_of_no_flow_passes_where_it_may() -> None:
    fragment = struct.pack(">IHBB", 6 << 28, 16, 44, 64) + ipaddress.IPv6Address(INSIDE).packed + ipaddress.IPv6Address(SERVER).packed + bytes(16)
    packets = [fragment, udp(SERVER, 53, OUTSIDE, 1025), ip6(58, INSIDE, SERVER, bytes([135]) + bytes(23), at=2)]
    assert nat(packets).packets == []
    kept = nat(packets, f"pattern {OUTSIDE} 1024-1027 - - 0 1, pass 1")
    assert kept.out("back") == packets[1:2]
    assert nat(packets, "pass 0, pass 1").out("out") == [packets[0], packets[2]]
    keep = nat([udp(INSIDE, 5, SERVER, 6), udp(SERVER, 6, INSIDE, 5)], "keep 0 1, drop")
    assert keep.out("out") == [udp(INSIDE, 5, SERVER, 6)] and keep.out("back") == [udp(SERVER, 6, INSIDE, 5)]


def test_random_traffic_keeps_its_checksums() -> None:
    chance = random.Random(3)
    packets = [chance.choice([udp, tcp])(f"fd00::{chance.randrange(1, 99):x}", chance.randrange(1, 65536), SERVER, chance.randrange(1, 65536),
                                         payload=chance.randbytes(chance.randrange(40))) for _ in range(200)]
    run = nat(packets, f"pattern {OUTSIDE} 1024-65535 - - 0 1, drop")
    assert len(run.out("out")) == 200
    for before, after in zip(packets, run.out("out")):
        at = 6 if after[6] == 17 else 16
        sport, dport = struct.unpack_from(">HH", after, 40)
        assert after == ip6(after[6], OUTSIDE, SERVER, struct.pack(">HH", sport, dport) + before[44:], at=at)


@pytest.mark.parametrize(("text", "problem"), [
    ("pattern 1.0.0.1 1024-65535 - - 0 1, drop", "input 0"), ("pattern 2001:db8::2-2001:db8::1 1 - - 0 1, drop", "bad address range"),
    ("pattern 2001:db8::1 1 3ffe::1-3ffe::2 - 0 1, drop", "one destination"), ("drop", "need 2 arguments"), ("pass 7, drop", "output 7 of 2"),
])
def test_mistakes_are_said(text: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        Router.from_text(f"rw :: IP6Rewriter({text}); Idle -> rw -> Discard; Idle -> [1] rw; rw[1] -> Discard;")
