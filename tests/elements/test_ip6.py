"""IPv6 elements, against headers made by Python's own arithmetic."""

from __future__ import annotations

import ipaddress
import random
import struct
from pathlib import Path

import pytest

from penstock.elements.element import HandlerError
from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.harness import run_packets
from tests.traffic import Sent, checksum


def ip6(payload: bytes = b"x" * 20, *, src: str = "3ffe::1", dst: str = "3ffe::2", proto: int = 17, hlim: int = 64, version: int = 6,
        length: int | None = None, traffic_class: int = 0) -> bytes:
    head = struct.pack(">IHBB", version << 28 | traffic_class << 20, len(payload) if length is None else length, proto, hlim)
    return head + ipaddress.IPv6Address(src).packed + ipaddress.IPv6Address(dst).packed + payload


def pseudo(packet: bytes, proto: int) -> bytes:
    return packet[8:40] + struct.pack(">IxxxB", len(packet) - 40, proto)


GOOD = ip6()


@pytest.mark.parametrize(("packet", "good"), [
    (GOOD, True), (GOOD + b"more", True), (GOOD[:39], False), (ip6(version=4), False), (ip6(length=21), False), (ip6(src="ff02::1"), False),
    (ip6(src="3ffe::bad"), False), (ip6(b""), True), (b"", False),
])
def test_bad_headers_are_told_from_good_ones(packet: bytes, good: bool) -> None:
    text = "feed :: Feed -> c :: CheckIP6Header(3ffe::bad) -> s :: Sink; c[1] -> bad :: Sink"
    done = run_packets(text, [Sent(packet)])
    assert (len(done.out("s")), len(done.out("bad"))) == (int(good), int(not good))
    if good:
        (_, _, data, annotations, places, *_) = done.packets[0]
        assert data == packet[: 40 + int.from_bytes(packet[4:6], "big")] and places[1:] == (0, 40)
        assert annotations[:16] == packet[24:40]


def test_the_hop_limit_goes_down_and_ends() -> None:
    done = run_packets("feed :: Feed -> d :: DecIP6HLIM -> s :: Sink; d[1] -> old :: Sink",
                       [Sent(ip6(hlim=h), None, 0, 40) for h in (0, 1, 2, 255)])
    assert [p[7] for p in done.out("s")] == [1, 254] and len(done.out("old")) == 2


def test_headers_are_put_in_front() -> None:
    text = "feed :: Feed -> SetIP6Address(3ffe::99) -> IP6Encap(6, 3ffe::1, DST_ANNO, HLIM 3, CLASS 7) -> s :: Sink"
    assert run_packets(text, [Sent(b"hello")]).out() == [ip6(b"hello", dst="3ffe::99", proto=6, hlim=3, traffic_class=7)]
    (packet,) = run_packets("feed :: Feed -> UDPIP6Encap(3ffe::1, 1000, 3ffe::2, 53) -> s :: Sink", [Sent(b"question")]).out()
    assert packet == ip6(packet[40:], hlim=250) and packet[40:46] == struct.pack(">HHH", 1000, 53, 16)
    assert checksum(pseudo(packet, 17) + packet[40:]) == 0


def test_mirrored_packets_keep_their_checksum() -> None:
    (packet,) = run_packets("feed :: Feed -> UDPIP6Encap(3ffe::1, 1000, 3ffe::2, 53) -> IP6Mirror -> s :: Sink", [Sent(b"question")]).out()
    assert packet[8:40] == ip6(src="3ffe::2", dst="3ffe::1")[8:40] and packet[40:44] == struct.pack(">HH", 53, 1000)
    assert checksum(pseudo(packet, 17) + packet[40:]) == 0


def test_fields_are_set() -> None:
    done = run_packets("feed :: Feed -> SetIP6DSCP(46) -> s :: Sink", [Sent(ip6(traffic_class=3), None, 0, 40)])
    assert done.out() == [ip6(traffic_class=46 << 2 | 3)]


def test_the_longest_prefix_decides() -> None:
    r = random.Random(3)
    routes: dict[ipaddress.IPv6Network, int] = {ipaddress.IPv6Network("::/0"): 0}
    for _ in range(200):
        bits = r.choice((0, 1, 16, 32, 47, 48, 64, 65, 127, 128))
        routes[ipaddress.IPv6Network((r.getrandbits(4) << 124 | r.getrandbits(8) << 80 | r.getrandbits(2), bits), strict=False)] = r.randrange(4)
    text = ", ".join(f"{net} {port}" for net, port in routes.items())
    addresses = [ipaddress.IPv6Address(int(net.network_address) ^ r.getrandbits(2)) for net in routes] + [
        ipaddress.IPv6Address(r.getrandbits(128)) for _ in range(50)]
    feed = f"feed :: Feed -> GetIP6Address(24) -> l :: LookupIP6Route({text}); " + "; ".join(f"l[{k}] -> s{k} :: Sink" for k in range(4))
    done = run_packets(feed, [Sent(ip6(dst=str(a))) for a in addresses])
    expected: dict[int, list[str]] = {k: [] for k in range(4)}
    for a in addresses:
        best = max((n for n in routes if a in n), key=lambda n: n.prefixlen)
        expected[routes[best]].append(str(a))
    assert {k: [str(ipaddress.IPv6Address(p[24:40])) for p in done.out(f"s{k}")] for k in range(4)} == expected


def test_routes_come_and_go() -> None:
    with Router.from_text("Idle -> l :: LookupIP6Route(3ffe::/16 3ffe::9 1, ::/0 0); l[0] -> Discard; l[1] -> Discard") as router:
        assert router.read("l.table") == "::/0\t-\t0\n3ffe::/16\t3ffe::9\t1\n"
        router.write("l.add", "3ffe:1::/32 0")
        assert [router.handlers.read("l.lookup", a) for a in ("3ffe::1", "3ffe:1::5", "1::1")] == ["1 3ffe::9", "0", "0"]
        router.write("l.remove", "3ffe::/16")
        router.write("l.remove", "::/0")
        assert router.handlers.read("l.lookup", "1::1") == "-1"
        with pytest.raises(HandlerError, match="no route for 3ffe::/16"):
            router.write("l.remove", "3ffe::/16")
        with pytest.raises(HandlerError, match="output 2 of 2"):
            router.write("l.add", "::/0 2")
        router.write("l.flush", "")
        assert router.read("l.table") == ""


@pytest.mark.parametrize(("argument", "problem"), [("3ffe::/129 0", "invalid IPv6 prefix"), ("3ffe::/16 0 0 0", "expected"), ("::/0 0, ::/0 1", "duplicate")])
def test_bad_routes_are_refused(argument: str, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem):
        Router.from_text(f"Idle -> l :: LookupIP6Route({argument}); l[0] -> Discard; l[1] -> Discard")


def test_errors_quote_the_packet_and_have_a_good_checksum() -> None:
    packet = ip6(b"q" * 2000)
    (error,) = run_packets("feed :: Feed -> ICMP6Error(3ffe::9, 2, 0, MTU 1400) -> s :: Sink", [Sent(packet, None, 0, 40)]).out()
    assert error == ip6(error[40:], src="3ffe::9", dst="3ffe::1", proto=58, hlim=255) and len(error) == 1280
    assert error[40:42] == b"\2\0" and error[44:48] == struct.pack(">I", 1400) and error[48:] == packet[:1232]
    assert checksum(pseudo(error, 58) + error[40:]) == 0


@pytest.mark.parametrize(("packet", "answered"), [
    (ip6(), True), (ip6(b"\x80\0\0\0" + bytes(8), proto=58), True), (ip6(b"\1\0\0\0" + bytes(8), proto=58), False),
    (ip6(b"\x89\0\0\0" + bytes(8), proto=58), False), (ip6(dst="ff02::1"), False), (ip6(src="::"), False), (ip6(src="3ffe::bad"), False),
    (ip6(b"", proto=58), False),
])
def test_errors_go_to_those_who_may_have_them(packet: bytes, answered: bool) -> None:
    done = run_packets("feed :: Feed -> ICMP6Error(3ffe::9, 1, 0, 3ffe::bad) -> s :: Sink", [Sent(packet, None, 0, 40)])
    assert len(done.out()) == int(answered)


def test_real_packets_pass_the_check(tmp_path: Path) -> None:
    text = "MemSource(LENGTH 64, LIMIT 5, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> CheckIP6Header -> c :: Counter -> Discard"
    with Router.from_text(text) as router:
        router.run()
        assert router.read("c.count") == "5"
