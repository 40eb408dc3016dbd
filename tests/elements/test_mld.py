"""MLD: reports of both versions, and the kernel's host on a real link."""

from __future__ import annotations

import ipaddress
import shutil
import struct
import subprocess

import pytest

from penstock import Router
from tests.conftest import needs_root
from tests.elements.links import host_on_link
from tests.elements.test_igmp import Link, joined_and_left
from tests.traffic import Sent, checksum

G = "ff0e::1:2"


def packed(text: str) -> bytes:
    return ipaddress.IPv6Address(text).packed


def mld(body: bytes, *, src: str = "fe80::7", dst: str = "ff02::16", hop_limit: int = 1) -> bytes:
    ends = packed(src) + packed(dst)
    body = body[:2] + checksum(ends + struct.pack(">II", len(body), 58) + body[:2] + b"\0\0" + body[4:]).to_bytes(2) + body[4:]
    return struct.pack(">IHBB", 6 << 28, len(body) + 8, 0, hop_limit) + ends + bytes.fromhex("3a00050200000100") + body


def report(kind: int, group: str, *sources: str) -> bytes:
    return mld(struct.pack(">BBHHHBBH", 143, 0, 0, 0, 1, kind, 0, len(sources)) + packed(group) + b"".join(map(packed, sources)))


def data(group: str, src: str = "2001:db8::1") -> bytes:
    return struct.pack(">IHBB", 6 << 28, 8, 17, 9) + packed(src) + packed(group) + bytes(8)


def querier(*, engine: str = "compiled") -> Link:
    return Link("""feed :: Feed -> q :: MLDQuerier(fe80::1) -> wire :: Sink; data :: Feed -> f :: IPMulticastFilter(q) -> up :: Sink;
        f[1] -> nobody :: Sink;""", engine=engine)


def passes(link: Link, group: str, src: str = "2001:db8::1") -> bool:
    source = link.router.by_name["data"]
    source.send(Sent(data(group, src), network=0, transport=40))  # type: ignore[attr-defined]
    source.task.reschedule()  # type: ignore[attr-defined]
    got, lost = link.out("up"), link.out("nobody")
    assert len(got) + len(lost) == 1
    return bool(got)


@pytest.mark.parametrize("engine", ["compiled", "interpreter"])
def test_packets_pass_to_groups_that_somebody_listens_to(engine: str) -> None:
    link = querier(engine=engine)
    assert not passes(link, G) and passes(link, "ff02::5") and passes(link, "2001:db8::9")
    link.send(report(4, G))
    assert passes(link, G) and not passes(link, "ff0e::9") and link.router.read("q.groups") == f"{G} * 259\n"
    link.send(report(5, "ff0e::9", "2001:db8::1"))
    assert passes(link, "ff0e::9") and not passes(link, "ff0e::9", "2001:db8::2")
    (query,) = link.send(report(3, G))
    assert query[24:40] == packed(G) and query[48] == 130 and query[7] == 1 and query[56:72] == packed(G)
    assert checksum(query[8:40] + struct.pack(">II", len(query) - 48, 58) + query[48:]) == 0
    link.wait(3)
    assert not passes(link, G)


def test_version_1_and_damage() -> None:
    link = querier()
    for bad in (report(4, G)[:-1], mld(bytes([131]) + bytes(7) + packed(G), hop_limit=2), mld(bytes([131]) + bytes(7) + packed("fe80::1")), bytes(60)):
        link.send(bad)
    assert link.router.read("q.groups") == "" and link.router.read("q.bad").strip() == "4"
    link.send(mld(bytes([131]) + bytes(7) + packed(G), dst=G))
    assert passes(link, G)
    (query,) = link.send(mld(bytes([132]) + bytes(7) + packed(G), dst="ff02::2"))
    assert query[56:72] == packed(G)
    link.send(mld(struct.pack(">BBHHH", 130, 0, 0, 1000, 0) + bytes(16) + bytes([2, 125, 0, 0]), src="fe80::", dst="ff02::1"))
    assert link.router.read("q.querier").strip() == "false"


JOIN = """
import socket, struct, time
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
request = socket.inet_pton(socket.AF_INET6, "ff0e::1:2") + struct.pack("I", socket.if_nametoindex("e0"))
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, request)
time.sleep(6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_LEAVE_GROUP, request)
time.sleep(20)
"""


@needs_root()
@pytest.mark.skipif(shutil.which("ip") is None, reason="needs ip")
def test_the_kernel_joins_and_leaves() -> None:
    text = """FromDevice(pmld, PROMISC true) -> Classifier(12/86dd) -> Strip(14) -> MarkIP6Header -> q :: MLDQuerier(fe80::1, INTERVAL 4s, RESPONSE 1s)
        -> IPMulticastEtherEncap(2:0:0:0:0:1) -> Queue -> ToDevice(pmld);"""
    with host_on_link("penstock-mld", "pmld") as python, Router.from_text(text) as router, subprocess.Popen([*python, JOIN]) as host:
        assert joined_and_left(router, G) == ["joined", "left"], router.read("q.groups")
        host.kill()
