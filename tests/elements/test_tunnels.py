"""Tunnels and labels against scapy, and there and back; damaged ones go to output 1."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.contrib.geneve import GENEVE
    from scapy.contrib.mpls import MPLS
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import GRE, Ether
    from scapy.layers.vxlan import VXLAN

from tests.harness import run_packets
from tests.traffic import Sent, ether, udp

PACKET = udp(5, 9, b"payload")
FRAME = ether(PACKET)


def through(text: str, data: bytes, **more: Any) -> tuple[list[bytes], list[bytes]]:
    done = run_packets(f"feed :: Feed -> {text} -> s :: Sink; {more.pop('rest', '')}", [Sent(data, **more)])
    return done.out(), done.out("t")


def test_gre_is_what_scapy_makes_of_it() -> None:
    (got,), _ = through("GREEncap(1.0.0.1, 2.0.0.2, KEY 7, SEQUENCE true, CHECKSUM true)", PACKET)
    packet = IP(got)
    assert packet[GRE].key == 7 and packet[GRE].sequence_number == 0 and packet[GRE].proto == 0x800
    sent = bytes(packet[GRE])
    packet[GRE].chksum = None
    assert bytes(packet[GRE]) == sent
    assert bytes(packet[GRE].payload) == PACKET


@pytest.mark.parametrize("options", ["", "KEY 7", "CHECKSUM true", "KEY 7, SEQUENCE true, CHECKSUM true"])
def test_gre_there_and_back(options: str) -> None:
    key = ", KEY 7" if "KEY" in options else ""
    out, _ = through(f"GREEncap(1.0.0.1, 2.0.0.2{', ' + options if options else ''}) -> CheckIPHeader -> GREDecap({key[2:]})", PACKET)
    assert out == [PACKET]


@pytest.mark.parametrize("make", [
    lambda: IP() / GRE(key_present=1, key=8) / PACKET, lambda: IP() / GRE() / PACKET, lambda: IP() / UDP() / PACKET,
    lambda: IP() / GRE(key_present=1, key=7, version=1) / PACKET, lambda: IP() / GRE(key_present=1, key=7, chksum_present=1, chksum=1) / PACKET,
])
def test_gre_that_is_not_for_us_goes_to_output_1(make: Any) -> None:
    out, other = through("CheckIPHeader -> g :: GREDecap(KEY 7)", bytes(make()), rest="g[1] -> t :: Sink")
    assert out == [] and len(other) == 1


def test_vxlan_and_geneve_are_what_scapy_reads() -> None:
    (got,), _ = through("VXLANEncap(1.0.0.1, 2.0.0.2, 42)", FRAME)
    packet = IP(got)
    assert packet[VXLAN].vni == 42 and packet[VXLAN].flags.Instance and packet[UDP].dport == 4789 and packet[UDP].sport >= 49152
    assert bytes(packet[VXLAN].payload) == FRAME
    (got,), _ = through("GeneveEncap(1.0.0.1, 2.0.0.2, 43)", FRAME)
    packet = IP(got)
    assert packet[GENEVE].vni == 43 and packet[GENEVE].proto == 0x6558 and bytes(packet[GENEVE].payload) == FRAME
    given = bytes(IP(src="1.0.0.1", dst="2.0.0.2") / UDP(sport=5, dport=6081, chksum=0) / GENEVE(vni=43, proto=0x6558) / FRAME)
    assert through("CheckIPHeader -> GeneveDecap(43)", given)[0] == [FRAME]
    given = bytes(IP(src="1.0.0.1", dst="2.0.0.2") / UDP(sport=5, dport=4789, chksum=0) / VXLAN(vni=42, flags=8) / FRAME)
    assert through("CheckIPHeader -> VXLANDecap(42)", given)[0] == [FRAME]
    assert through("CheckIPHeader -> v :: VXLANDecap(41)", given, rest="v[1] -> t :: Sink")[1] == [given]


def test_labels_are_pushed_swapped_and_popped() -> None:
    (got,), _ = through("MPLSPush(16, 3) -> MPLSPush(17)", FRAME)
    frame = Ether(got)
    assert frame.type == 0x8847
    outer, inner = frame[MPLS], frame[MPLS].payload
    assert (outer.label, outer.s, outer.ttl) == (17, 0, 64) and (inner.label, inner.cos, inner.s, inner.ttl) == (16, 3, 1, 64)
    assert through("MPLSPush(16) -> MPLSPush(17) -> MPLSPop(17) -> MPLSPop", FRAME)[0] == [FRAME]
    (got,), _ = through("MPLSPush(16) -> MPLSSwap(99, OLD 16)", FRAME)
    assert (Ether(got)[MPLS].label, Ether(got)[MPLS].ttl) == (99, 63)
    assert through("m :: MPLSPop", FRAME, rest="m[1] -> t :: Sink")[1] == [FRAME]
    (got,), _ = through("MPLSPush(16, TTL 1) -> x :: MPLSSwap(5)", FRAME, rest="x[1] -> t :: Sink")[::-1]
    assert Ether(got)[MPLS].label == 16


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=0, max_size=80))
def test_noise_is_dropped_or_passed_on_and_never_lost(data: bytes) -> None:
    for text in ("MarkIPHeader(0) -> d :: GREDecap", "MarkIPHeader(0) -> d :: VXLANDecap", "MarkIPHeader(0) -> d :: GeneveDecap", "d :: MPLSPop",
                 "d :: MPLSSwap(1)"):
        done = run_packets(f"feed :: Feed -> {text} -> s :: Sink; d[1] -> t :: Sink", [Sent(data)], engine="interpreter")
        faults = int(done.handlers.get("MarkIPHeader@2.faults", "0") or 0)
        assert len(done.out()) + len(done.out("t")) + faults >= 0
        assert len(done.out()) + len(done.out("t")) <= 1
