"""Probes in one line: what they build, where mistakes are, and that nothing else than a ProbeError comes of nonsense."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6

from penstock.tracebox.constructors import CONSTANTS, CONSTRUCTORS, READY
from penstock.tracebox.language import COMMON_PROBES, ProbeError, parse_probe
from penstock.tracebox.packet import Packet, crc32c, dissect


@pytest.mark.parametrize(("text", "oracle"), [
    ("ip{src='10.0.0.1', dst='10.0.0.2', id=7} / tcp{src=1, dst=80, seq=5, win=100} / mss(9000)",
     IP(src="10.0.0.1", dst="10.0.0.2", id=7) / TCP(sport=1, dport=80, seq=5, window=100, options=[("MSS", 9000)])),
    ("ip{src='10.0.0.1', dst='10.0.0.2', id=1, flags=2, dscp=46, ecn=1} / udp{src=1, dst=53} / raw('hello')",
     IP(src="10.0.0.1", dst="10.0.0.2", id=1, flags="DF", tos=185) / UDP(sport=1, dport=53) / b"hello"),
    ("ip{src='10.0.0.1', dst='10.0.0.2', id=1} / icmp{id=3, seqno=4} / raw('ab')",
     IP(src="10.0.0.1", dst="10.0.0.2", id=1) / ICMP(id=3, seq=4) / b"ab"),
    ("ip{src='10.0.0.1', dst='10.0.0.2', id=1} / tcp{src=1, dst=2, flags=TCP.SYN+TCP.ACK, ack=9} / NOP / NOP / timestamp(1, 2) / wscale(7) / NOP",
     IP(src="10.0.0.1", dst="10.0.0.2", id=1) / TCP(sport=1, dport=2, flags="SA", ack=9, window=5840, seq=0, options=[
         ("NOP", None), ("NOP", None), ("Timestamp", (1, 2)), ("WScale", 7), ("NOP", None)])),
    ("ipv6{src='2001:db8::1', dst='2001:db8::2', flowlabel=5, tc=3} / tcp{src=1, dst=80} / SACKP",
     IPv6(src="2001:db8::1", dst="2001:db8::2", fl=5, tc=3) / TCP(sport=1, dport=80, window=5840, options=[("NOP", None), ("NOP", None), ("SAckOK", b"")])),
])
def test_scapy_builds_the_same_bytes(text: str, oracle: object) -> None:
    assert parse_probe(text).build() == bytes(oracle)  # type: ignore[call-overload]


@pytest.mark.parametrize("text", [*COMMON_PROBES, *(f"IP / TCP / {name}" for name in READY if name.isupper() and name not in ("IP", "ICMP", "TCP", "UDP", "SCTP"))])
def test_what_is_built_is_taken_apart_again(text: str) -> None:
    data = parse_probe(text).build()
    assert b"".join(bytes(layer.data) for layer in dissect(data)) == data


@pytest.mark.parametrize(("text", "place", "words"), [
    ("IP / TPC", 6, "did you mean 'TCP'"), ("IP / mss(", 10, "missing"), ("IP / tcp{foo=1}", 6, "not 'foo'"), ("IP / mss(70000)", 6, "does not fit"),
    ("IP TCP", 4, "joined by '/'"), ("", 1, "missing"), ("IP / 'x", 6, "does not end"), ("tcp", 1, "needs its arguments"), ("3", 1, "no packet"),
    ("IP / $", 6, "cannot stand here"), ("IP / ip{ttl=300}", 6, "does not fit"), ("IP / TCP / mss(1,2)", 12, "positional"), ("((IP)", 6, "')'"),
    ("ip{dst='nonsense'}", 1, "nonsense"), ("IP / " * 10 + "IP /", 55, "missing"),
])
def test_a_mistake_is_told_with_its_place(text: str, place: int, words: str) -> None:
    with pytest.raises(ProbeError) as caught:
        parse_probe(text)
    assert caught.value.position == place - 1
    assert words in caught.value.message
    assert "\n" not in caught.value.message


WORDS = [*CONSTRUCTORS, *READY, *CONSTANTS, "/", "+", "..", "(", ")", "{", "}", ",", "=", "1", "0x10", "'a'", "dst", "70000", "-", ";", "{{1,2}}", "|", "\"", "'"]


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join)))
def test_nonsense_is_a_probe_error_and_nothing_else(text: str) -> None:
    try:
        packet = parse_probe(text)
    except ProbeError:
        return
    assert isinstance(packet, Packet)
    packet.build()


def test_deep_nesting_does_not_exhaust_the_stack() -> None:
    with pytest.raises(ProbeError, match="deep"):
        parse_probe("(" * 5000 + "IP")


def test_sctp_has_its_own_checksum() -> None:
    # RFC 3720 appendix B.4: 32 bytes of zero, and of ones.
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
