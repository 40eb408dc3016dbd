"""Pings and ICMP errors through a NAT: what comes back is what the inside would have seen without it."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import ICMP, IP, TCP, UDP

from tests.harness import run_packets
from tests.traffic import Sent

NAT = """
feed :: Feed -> CheckIPHeader -> way :: IPClassifier(src net 10.0.0.0/8, -);
way[0] -> [0] rw :: {0}; way[1] -> e :: IPClassifier(icmp type echo-reply, icmp, -); e[0] -> [1] rw; e[2] -> [1] rw;
e[1] -> ir :: ICMPRewriter(rw) -> in :: Sink; ir[1] -> other :: Sink;
rw[0] -> out :: Sink; rw[1] -> back :: Sink;
"""
IPRW = "IPRewriter(pattern 1.0.0.1 1024-65535# - - 0 1, drop)"
PING = "ICMPPingRewriter(pattern 1.0.0.1 1024-65535# - - 0 1, drop)"


def is_whole(data: bytes) -> bool:
    """All checksums are right."""
    packet = IP(data)
    fresh = IP(data)
    for layer in (IP, UDP, TCP, ICMP):
        if layer in fresh and layer is not IP:
            del fresh[layer].chksum
    del fresh[IP].chksum
    return bytes(fresh) == bytes(packet)


@pytest.mark.parametrize("inner", [UDP(sport=5000, dport=53) / b"question", TCP(sport=5000, dport=80, seq=7, flags="S")])
@pytest.mark.parametrize("quoted", [28, 40, 2000])
def test_an_error_gets_to_whom_it_is_for(inner: object, quoted: int) -> None:
    sent = bytes(IP(src="10.0.0.5", dst="2.0.0.2", id=1, ttl=9) / inner)  # type: ignore[operator]
    (outside,) = run_packets(NAT.format(IPRW), [Sent(sent)]).out("out")
    assert IP(outside).src == "1.0.0.1" and is_whole(outside)
    error = bytes(IP(src="9.9.9.9", dst="1.0.0.1") / ICMP(type=11) / outside[:quoted])
    done = run_packets(NAT.format(IPRW), [Sent(sent), Sent(error)])
    (got,) = done.out("in")
    assert IP(got).dst == "10.0.0.5" and IP(got).src == "9.9.9.9" and is_whole(got)
    # The quote is the packet that was sent.
    assert bytes(IP(got)[ICMP].payload)[:quoted] == sent[:quoted]
    assert done.handlers["ir.count"] == "1"


def test_pings_go_out_and_their_replies_and_errors_come_back() -> None:
    request = bytes(IP(src="10.0.0.5", dst="2.0.0.2", id=1) / ICMP(type=8, id=77, seq=3) / b"data")
    (outside,) = run_packets(NAT.format(PING), [Sent(request)]).out("out")
    assert (IP(outside).src, IP(outside)[ICMP].id, IP(outside)[ICMP].seq) == ("1.0.0.1", 1024, 3) and is_whole(outside)
    reply = bytes(IP(src="2.0.0.2", dst="1.0.0.1") / ICMP(type=0, id=1024, seq=3) / b"data")
    error = bytes(IP(src="9.9.9.9", dst="1.0.0.1") / ICMP(type=3, code=1) / outside)
    done = run_packets(NAT.format(PING), [Sent(request), Sent(reply), Sent(error)])
    (back,) = done.out("back")
    assert (IP(back).dst, IP(back)[ICMP].id) == ("10.0.0.5", 77) and is_whole(back)
    (got,) = done.out("in")
    assert IP(got).dst == "10.0.0.5" and is_whole(got) and bytes(IP(got)[ICMP].payload) == request


def test_errors_about_other_packets_and_damaged_ones_go_elsewhere() -> None:
    sent = Sent(bytes(IP(src="10.0.0.5", dst="2.0.0.2", id=1) / UDP(sport=5000, dport=53)))
    stranger = bytes(IP(src="9.9.9.9", dst="1.0.0.1") / ICMP(type=3) / IP(src="1.0.0.1", dst="2.0.0.2") / UDP(sport=9, dport=53))
    short = bytes(IP(src="9.9.9.9", dst="1.0.0.1") / ICMP(type=3) / b"short")
    done = run_packets(NAT.format(IPRW), [sent, Sent(stranger), Sent(short)])
    assert done.out("in") == [] and done.out("other") == [stranger, short]


def test_addresses_alone_are_put_back_too() -> None:
    rewriter = "IPAddrRewriter(pattern 1.0.0.1-1.0.0.9 0 1, drop)"
    sent = bytes(IP(src="10.0.0.5", dst="2.0.0.2", id=1) / UDP(sport=5000, dport=53) / b"x")
    (outside,) = run_packets(NAT.format(rewriter), [Sent(sent)]).out("out")
    error = bytes(IP(src="9.9.9.9", dst=IP(outside).src) / ICMP(type=3, code=3) / outside)
    (got,) = run_packets(NAT.format(rewriter), [Sent(sent), Sent(error)]).out("in")
    assert IP(got).dst == "10.0.0.5" and is_whole(got) and bytes(IP(got)[ICMP].payload) == sent
