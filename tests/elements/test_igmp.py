"""IGMP: reports of all versions, timeouts, elections; our host against our router, and the kernel's host on a real link."""

from __future__ import annotations

import shutil
import struct
import subprocess
import time

import pytest

from penstock import Router
from tests.conftest import CAPTURES, needs_root
from tests.elements.links import host_on_link
from tests.elements.test_pppoe import Line
from tests.harness import run_packets
from tests.traffic import Sent, checksum, ipv4, udp

G, G2 = "239.1.2.3", "239.9.9.9"


def address(text: str) -> bytes:
    return bytes(map(int, text.split(".")))


def igmp(body: bytes, src: str = "10.0.0.7", dst: str = "224.0.0.22") -> bytes:
    return ipv4(2, body[:2] + checksum(body[:2] + b"\0\0" + body[4:]).to_bytes(2) + body[4:], src, dst, ttl=1, options=b"\x94\x04\0\0")


def record(kind: int, group: str, *sources: str) -> bytes:
    return struct.pack(">BBH", kind, 0, len(sources)) + address(group) + b"".join(map(address, sources))


def report(*records: bytes) -> bytes:
    return igmp(struct.pack(">BBHHH", 0x22, 0, 0, 0, len(records)) + b"".join(records))


class Link(Line):
    def sends(self, frames: list[bytes], feed: str = "feed") -> list[bytes]:
        source = self.router.by_name[feed]
        for frame in frames:
            source.send(Sent(frame, network=0, transport=24))  # type: ignore[attr-defined]
        source.task.reschedule()  # type: ignore[attr-defined]
        return self.out()


def querier(arguments: str = "", *, engine: str = "compiled") -> Link:
    return Link(f"""feed :: Feed -> q :: IGMPQuerier(10.0.0.1{arguments}) -> wire :: Sink;
        data :: Feed -> f :: IPMulticastFilter(q) -> up :: Sink; f[1] -> nobody :: Sink;""", engine=engine)


def joined_and_left(router: Router, group: str) -> list[str]:
    """Run until a host has joined a group and left it again; what was seen of that."""
    seen: list[str] = []
    end = time.monotonic() + 30

    def done() -> bool:
        groups = router.read("q.groups")
        if f"{group} *" in groups and not seen:
            seen.append("joined")
        elif seen == ["joined"] and group not in groups:
            seen.append("left")
        return len(seen) == 2 or time.monotonic() > end

    router.run(until=done)
    return seen


def passes(link: Link, group: str, src: str = "1.1.1.1") -> bool:
    packet = udp(1, 2, b"x", src, group)
    source = link.router.by_name["data"]
    source.send(Sent(packet, network=0, transport=20))  # type: ignore[attr-defined]
    source.task.reschedule()  # type: ignore[attr-defined]
    got, lost = link.out("up"), link.out("nobody")
    assert len(got) + len(lost) == 1
    return got == [packet]


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_packets_pass_to_groups_that_somebody_listens_to(engine: str) -> None:
    link = querier(engine=engine)
    assert not passes(link, G) and passes(link, "224.0.0.5") and passes(link, "10.0.0.9")
    link.send(report(record(4, G), record(4, G2)))
    assert passes(link, G) and passes(link, G2) and not passes(link, "239.1.2.4")
    assert link.router.read("q.groups") == f"{G} * 259\n{G2} * 259\n" and link.router.read("q.count").strip() == "2"


def test_a_leave_is_asked_about_and_then_believed() -> None:
    link = querier()
    link.send(igmp(bytes([0x16, 0, 0, 0]) + address(G), dst=G))
    assert passes(link, G)
    (query,) = link.send(igmp(bytes([0x17, 0, 0, 0]) + address(G), dst="224.0.0.2"))
    assert query[16:20] == address(G) and query[24:26] == bytes([0x11, 10]) and query[28:32] == address(G) and query[8] == 1
    assert checksum(query[24:]) == 0 and checksum(query[:24]) == 0
    assert passes(link, G)
    link.wait(1)
    link.send(igmp(bytes([0x16, 0, 0, 0]) + address(G), dst=G))
    link.wait(3)
    assert passes(link, G), "somebody else is still there"
    link.send(report(record(3, G)))
    link.wait(3)
    assert not passes(link, G) and link.router.read("q.groups") == ""


def test_sources_are_wanted_and_not_wanted() -> None:
    link = querier()
    link.send(report(record(5, G, "1.1.1.1", "2.2.2.2")))
    assert passes(link, G, "1.1.1.1") and passes(link, G, "2.2.2.2") and not passes(link, G, "3.3.3.3")
    (query,) = link.send(report(record(6, G, "2.2.2.2")))
    assert query[28:32] == address(G) and query[34:36] == b"\0\1" and query[36:40] == address("2.2.2.2")
    link.wait(3)
    assert not passes(link, G, "2.2.2.2") and passes(link, G, "1.1.1.1")
    link.send(report(record(4, G2, "9.9.9.9")))
    assert passes(link, G2, "1.1.1.1") and not passes(link, G2, "9.9.9.9")
    link.send(report(record(1, G2, "9.9.9.9")))
    assert passes(link, G2, "9.9.9.9"), "another host wants it"


def test_groups_end_without_reports_and_queries_come_in_time() -> None:
    link = querier(", INTERVAL 20s, RESPONSE 5s")
    first = link.wait(1)
    assert len(first) == 1 and first[0][16:20] == address("224.0.0.1") and first[0][25] == 50 and first[0][33] == 20
    assert len(link.wait(26)) == 2, "the second one comes after a quarter of the interval, then one for each"
    link.send(report(record(2, G)))
    link.wait(44)
    assert passes(link, G)
    link.wait(3)
    assert not passes(link, G)


def test_the_router_with_the_lower_address_asks() -> None:
    link = querier(", INTERVAL 20s, RESPONSE 5s")
    link.wait(1)
    query = igmp(struct.pack(">BBHIBBH", 0x11, 50, 0, 0, 2, 20, 0), src="10.0.0.9", dst="224.0.0.1")
    link.send(query)
    assert link.router.read("q.querier").strip() == "true"
    link.send(igmp(struct.pack(">BBHIBBH", 0x11, 50, 0, 0, 2, 20, 0), src="9.0.0.9", dst="224.0.0.1"))
    assert link.router.read("q.querier").strip() == "false" and link.wait(40) == []
    assert len(link.wait(20)) >= 1 and link.router.read("q.querier").strip() == "true"


def test_what_is_damaged_is_counted_and_changes_nothing() -> None:
    link = querier()
    good = report(record(4, G))
    for bad in (good[:-1], good[:30], good[:24] + b"\x22\1\0\0" + good[28:], report(record(4, "10.0.0.1")), udp(1, 2),
                igmp(struct.pack(">BBHHH", 0x22, 0, 0, 0, 9) + struct.pack(">BBH", 4, 0, 500) + address(G))):
        link.send(bad)
    assert link.router.read("q.groups") == "" and int(link.router.read("q.bad")) >= 4
    full = querier(", CAPACITY 2")
    full.send(report(*(record(4, f"239.0.0.{n}") for n in range(1, 6))))
    assert full.router.read("q.count").strip() == "2" and full.router.read("q.bad").strip() == "3"


def test_a_host_answers_and_tells_what_it_joins_and_leaves() -> None:
    link = Link(f"feed :: Feed -> h :: IGMPHost(10.0.0.2, {G}) -> wire :: Sink;")
    told = link.wait(1)
    assert [f[32] for f in told] == [4, 4] and all(f[36:40] == address(G) and f[16:20] == address("224.0.0.22") for f in told)
    general = igmp(struct.pack(">BBHIBBH", 0x11, 20, 0, 0, 2, 20, 0), dst="224.0.0.1")
    frames = [*link.send(general), *link.wait(3)]
    assert [(f[32], f[36:40]) for f in frames] == [(2, address(G))] and checksum(frames[0][24:]) == 0
    other = igmp(struct.pack(">BBH", 0x11, 20, 0) + address(G2) + bytes([2, 20, 0, 0]), dst=G2)
    assert [*link.send(other), *link.wait(3)] == []
    link.router.write("h.join", G2)
    assert [(f[32], f[36:40]) for f in link.wait(1)] == [(4, address(G2))] * 2
    link.router.write("h.leave", G)
    assert link.router.read("h.groups") == f"{G2}\n"
    assert [(f[32], f[36:40]) for f in link.wait(1)] == [(3, address(G))] * 2
    for text in ("10.0.0.1", "what", G):
        with pytest.raises(Exception, match="GROUP|not listened"):
            link.router.write("h.leave", text)


def test_our_host_and_our_router_understand_each_other() -> None:
    link = Link(f"""q :: IGMPQuerier(10.0.0.1, INTERVAL 20s) -> Queue -> Unqueue -> h :: IGMPHost(10.0.0.2, {G}) -> Queue -> Unqueue -> q;
        feed :: Feed -> wire :: Sink; data :: Feed -> f :: IPMulticastFilter(q) -> up :: Sink; f[1] -> nobody :: Sink;""")
    link.wait(200)
    assert passes(link, G) and not passes(link, G2)
    link.router.write("h.leave", G)
    link.wait(4)
    assert not passes(link, G)


def test_groups_say_the_ethernet_address() -> None:
    six = struct.pack(">IHBB", 6 << 28, 0, 59, 1) + bytes(16) + bytes.fromhex("ff02000000000000000000000001a2b3")
    run = run_packets("feed :: Feed -> e :: IPMulticastEtherEncap(2:0:0:0:0:1) -> out :: Sink; e[1] -> other :: Sink;",
                      [Sent(udp(1, 2, b"", "1.1.1.1", "239.129.2.3"), network=0, transport=20), Sent(six, network=0, transport=40),
                       Sent(udp(1, 2), network=0, transport=20)])
    assert [f[:14].hex() for f in run.out("out")] == ["01005e0102030200000000010800", "33330001a2b302000000000186dd"]
    assert run.out("other") == [udp(1, 2)]


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captures are not there")
@pytest.mark.parametrize(("name", "groups"), [("tcpdump__IGMP_V2", True), ("pcpp__IgmpPackets", True), ("tcpdump__igmpv3-queries", False)])
def test_real_packets_are_understood(name: str, groups: bool) -> None:
    text = f"""FromDump({CAPTURES}/{name}.pcap, STOP true) -> Classifier(12/0800) -> Strip(14) -> CheckIPHeader -> IPClassifier(ip proto igmp)
        -> q :: IGMPQuerier(255.0.0.1) -> Discard;"""
    with Router.from_text(text) as router:
        router.run()
        assert (int(router.read("q.count")) > 0 or int(router.read("q.reports")) > 0) == groups
        assert groups or router.read("q.querier").strip() == "false"


JOIN = """
import socket, struct, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5000))
request = struct.pack("4s4s", socket.inet_aton("239.1.2.3"), socket.inet_aton("10.7.0.2"))
s.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, request)
s.settimeout(15)
print(s.recv(100).decode(), flush=True)
s.setsockopt(socket.IPPROTO_IP, socket.IP_DROP_MEMBERSHIP, request)
time.sleep(3)
"""


@needs_root()
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip")
def test_the_kernel_joins_hears_and_leaves() -> None:
    text = """FromDevice(pigmp, PROMISC true) -> Classifier(12/0800) -> Strip(14) -> CheckIPHeader -> IPClassifier(ip proto igmp)
        -> q :: IGMPQuerier(10.7.0.1, INTERVAL 4s, RESPONSE 1s) -> e :: IPMulticastEtherEncap(2:0:0:0:0:1) -> Queue -> ToDevice(pigmp);
        RatedSource(DATA "heard", RATE 20) -> UDPIPEncap(10.7.0.1, 9, 239.1.2.3, 5000) -> f :: IPMulticastFilter(q) -> e; e[1] -> Discard;"""
    with host_on_link("penstock-igmp", "pigmp", address="10.7.0.2/24") as python, Router.from_text(text) as router:
        with subprocess.Popen([*python, JOIN], stdout=subprocess.PIPE, text=True) as host:
            assert joined_and_left(router, "239.1.2.3") == ["joined", "left"], router.read("q.groups")
            assert host.stdout is not None and host.stdout.readline() == "heard\n"
            host.kill()
