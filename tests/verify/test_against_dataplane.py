"""Whatever compiled code does with a packet is among the verifier's answers."""

from __future__ import annotations

import random

import pytest

from penstock.verify.box import Box
from penstock.verify.hosts import make_packet
from tests.verify.concrete import Answering, concrete, unexplained

INTERESTING = {
    "ip.src": [0x0A000001, 0x0A010203, 0x7F000001, 0xC0A80101, 0, 0xFFFFFFFF], "ip.dst": [0x08080808, 0x0A000002, 0xC0A80201, 0x01020304, 0xE0000001],
    "ip.ttl": [0, 1, 2, 64, 255], "tcp.dst": [80, 443, 22, 53], "udp.dst": [53, 80, 67], "tcp.src": [1024, 80, 5000], "ip.fragment_offset": [0, 1],
    "tcp.flags": [2, 16, 18, 17, 4], "icmp.type": [0, 8, 3], "icmp.code": [0, 1], "ip.dscp": [0, 46], "ip.protocol": [6, 17, 1, 50], "ip.flags": [0, 2, 1],
}
IP = "FromDevice(0) -> Strip(14) -> CheckIPHeader -> "
OUT = " -> Unstrip(14) -> ToDevice(1)"
CONFIGURATIONS = {
    "mirror": "FromDevice(0) -> EtherMirror -> ToDevice(1)",
    "firewall": IP + "IPFilter(allow src net 10.0.0.0/8 && dst port 80, deny dst 8.8.8.8, allow udp, allow icmp type echo, deny all)" + OUT,
    "classifier": "FromDevice(0) -> c :: Classifier(12/0800 23/06, 12/0800 30/08, 12/0800 20/4000%e000, -); c[0] -> Paint(1) -> t :: Null -> ToDevice(1);"
                  "c[1] -> t; c[2] -> EtherMirror -> t; c[3] -> Discard",
    "ipclassifier": IP + "c :: IPClassifier(tcp dst port < 100 and src host 10.0.0.1, ip ttl < 5, udp or icmp, ip frag, -);"
                    " u :: Unstrip(14) -> ToDevice(1); c[0] -> u; c[1] -> DecIPTTL -> u; c[2] -> SetIPDSCP(10) -> u; c[3] -> Discard; c[4] -> IPMirror -> u",
    "router": IP + "DropBroadcasts -> IPGWOptions(10.0.0.2) -> r :: StaticIPLookup(10.0.0.0/8 0, 192.168.0.0/16 1.1.1.1 1, 0.0.0.0/0 2);"
              " d :: DecIPTTL -> Unstrip(14) -> ToDevice(1); r[0] -> d; r[1] -> Discard; r[2] -> FixIPSrc(9.9.9.9) -> d",
    "radix": IP + "r :: RadixIPLookup(10.0.0.0/8 0, 10.0.0.0/24 1, 10.0.0.2/32 0, 192.168.0.0/16 1.1.1.1 1, 8.0.0.0/6 1);"
             " r[0] -> Unstrip(14) -> ToDevice(1); r[1] -> DecIPTTL -> Unstrip(14) -> ToDevice(0)",
    "nat": IP + "rw :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 1) -> DecIPTTL -> CheckIPHeader -> Unstrip(14) -> ToDevice(1);"
           " rw[1] -> Unstrip(14) -> ToDevice(0)",
    "nat in order": IP + "rw :: IPRewriter(pattern 1.0.0.1-1.0.0.3 2000-2100# - 99 0 1)" + OUT + "; rw[1] -> Unstrip(14) -> ToDevice(0)",
    "queues": IP + "Queue(10) -> CheckLength(200) -> q :: Unqueue -> Queue -> Unstrip(14) -> ToDevice(1)",
    "tee": IP + "t :: Tee(2); t[0] -> DecIPTTL -> Unstrip(14) -> ToDevice(0); t[1] -> SetIPAddress(9.8.7.6) -> StoreIPAddress(9.8.7.6, dst) -> Unstrip(14)"
           " -> ToDevice(1)",
    "encapsulation": IP + "IPEncap(4, 5.5.5.5, 6.6.6.6, TTL 9) -> CheckIPHeader -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(1)",
    "udp tunnel": IP + "UDPIPEncap(5.5.5.5, 1000, 6.6.6.6, 2000, CHECKSUM false) -> CheckIPHeader"
                  " -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(1)",
    "errors": IP + "d :: DecIPTTL -> Unstrip(14) -> ToDevice(1); d[1] -> ICMPError(10.0.0.9, timeexceeded) -> CheckIPHeader -> c :: CheckICMPHeader"
              " -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> ToDevice(0)",
    "unreachable": IP + "IPFilter(allow udp, allow icmp) -> ICMPError(10.0.0.9, unreachable, needfrag, MTU 1000) -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2)"
                   " -> ToDevice(0); Idle -> ToDevice(1)",
    "fragmenter": IP + "f :: IPFragmenter(600) -> Unstrip(14) -> ToDevice(1)",
    "options": IP + "IPGWOptions(10.0.0.9) -> FixIPSrc(10.0.0.9) -> Unstrip(14) -> ToDevice(1)",
    "rewriters": IP + "a :: IPAddrRewriter(pattern 1.0.0.1-1.0.3.250 0 0) -> b :: IPAddrPairRewriter(pattern 7.7.0.7-7.7.3.70 8.8.8.8 0 0) -> Unstrip(14) -> ToDevice(1)",
    "randomizer": IP + "r :: TCPSequenceRandomizer -> CheckIPHeader -> Unstrip(14) -> ToDevice(1); Idle -> [1] r; r[1] -> Discard",
    "delays": IP + "Queue -> Shaper(1000000) -> Unqueue -> Queue -> DelayUnqueue(0) -> Unstrip(14) -> ToDevice(1)",
    "schedulers": IP + "t :: IPClassifier(tcp, -); t[0] -> Queue -> [0] s :: PrioSched; t[1] -> Queue -> [1] s; s -> Unstrip(14) -> ToDevice(1)",
    "lists": IP + "IPFilter(allow src host 10.0.0.1 or src host 10.1.2.3 or src net 192.168.0.0/16, deny dst port 80 or 443 or 22, allow ip ttl 64 or ip ttl 255"
             " or src host 0.0.0.0 or udp, deny not (src net 10.0.0.0/8 or dst host 8.8.8.8 or dst net 0.0.0.0/2), allow tcp or icmp type echo)" + OUT,
    "vlan": "FromDevice(0) -> VLANEncap(7) -> VLANDecap -> ToDevice(1)",
    "responder": IP + "ICMPPingResponder -> Unstrip(14) -> EtherMirror -> ToDevice(1)",
    "checks": IP + "c :: IPClassifier(tcp, udp, icmp, -); u :: Unstrip(14) -> ToDevice(1); c[0] -> CheckTCPHeader -> u; c[1] -> CheckUDPHeader -> u;"
              " c[2] -> CheckICMPHeader -> u; c[3] -> Discard",
    "switches": IP + "h :: HashSwitch(12, 4); h[0] -> s :: Switch(1); h[1] -> p :: PaintSwitch; s[0] -> Discard; s[1] -> u :: Unstrip(14) -> ToDevice(1);"
                " p[0] -> r :: RoundRobinSwitch; p[1] -> Discard; r[0] -> u; r[1] -> Discard",
    "sums": IP + "SetIPDSCP(3) -> SetIPChecksum -> CheckIPHeader -> u :: Unstrip(14) -> ToDevice(1)",
    "many rules": IP + "IPFilter(" + ", ".join(f"deny src host 10.0.0.{i}" for i in range(60)) + ", allow udp, deny all)" + OUT,
    "arp": "FromDevice(0) -> Strip(14) -> CheckIPHeader -> a :: ARPQuerier(10.0.0.9, 2:2:2:2:2:2) -> ToDevice(1); FromDevice(1) -> [1] a",
    "annotations": IP + "GetIPAddress(16) -> Paint(5) -> StoreIPAddress(12) -> MarkIPHeader -> Align(4, 0) -> Truncate(60) -> Unstrip(14) -> ToDevice(1)",
}


@pytest.mark.parametrize("protocol", ["tcp", "udp", "icmp", ""])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_what_compiled_code_does_is_among_the_answers(name: str, protocol: str) -> None:
    text = CONFIGURATIONS[name]
    packet = make_packet(protocol, longest=440)
    endings = Box(text).run("0", packet)
    chance = random.Random(f"{name}{protocol}")
    with Answering(text) as dataplane:
        for _ in range(150):
            frame, known = concrete(packet, chance, INTERESTING)
            problem = unexplained(endings, known, dataplane.send("0", frame))
            assert not problem, f"{problem}\nsent {frame.hex()}\n" + "\n".join(f"{v} = {n:#x}" for v, n in known.items() if "payload[" not in v.name)
