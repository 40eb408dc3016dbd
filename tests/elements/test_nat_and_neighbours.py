"""Patterns that are chosen, segments that are split, neighbours that are asked for, and a switch that is listened to."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP, TCP
    from scapy.layers.inet import UDP as ScapyUDP
    from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
    from scapy.layers.l2 import Ether

from penstock.elements import HandlerError
from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.harness import START_NS, run_packets
from tests.traffic import Sent, ether, udp


def chosen(mapper: str, packets: list[bytes]) -> list[str]:
    text = f"m :: {mapper}; feed :: Feed -> CheckIPHeader -> rw :: IPRewriter(m, drop); rw[0] -> s :: Sink; rw[1] -> Discard; Idle -> [1] rw"
    return [IP(data).dst for data in run_packets(text, [Sent(p) for p in packets], rounds=300).out()]


def test_patterns_take_turns_and_flows_stay() -> None:
    mapper = "RoundRobinIPMapper(pattern - - 3.0.0.1 - 0 1, pattern - - 3.0.0.2 - 0 1, drop)"
    packets = [udp(1000 + k, 80) for k in (0, 1, 2, 0, 1, 3, 4)]
    assert chosen(mapper, packets) == ["3.0.0.1", "3.0.0.2", "3.0.0.1", "3.0.0.2", "3.0.0.1", "3.0.0.2"]


def test_hosts_keep_their_server_when_another_one_goes() -> None:
    specs = [f"pattern - - 3.0.0.{k} - 0 1 {k}" for k in (1, 2, 3, 4)]
    packets = [udp(5, 80, src=f"10.0.{k % 9}.{k}") for k in range(1, 200)]
    all_four = chosen(f"SourceIPHashMapper(40 7, {', '.join(specs)})", packets)
    three = chosen(f"SourceIPHashMapper(40 7, {', '.join(specs[:3])})", packets)
    assert len(all_four) == len(three) == 199
    assert all(a == b for a, b in zip(all_four, three) if a != "3.0.0.4")
    assert min(all_four.count(f"3.0.0.{k}") for k in (1, 2, 3, 4)) > 15
    again = chosen(f"SourceIPHashMapper(40 7, {', '.join(specs)})", [udp(9, 80, src=f"10.0.{k % 9}.{k}") for k in range(1, 200)])
    assert again == all_four
    with pytest.raises(ConfigurationError, match="each ID may be there once"):
        Router.from_text("SourceIPHashMapper(4 7, drop 1, pass 1)")


@pytest.mark.parametrize("options", [[], [("Timestamp", (1, 2)), ("NOP", None), ("NOP", None)]])
def test_a_long_segment_is_split_into_whole_ones(options: list[object]) -> None:
    payload = bytes(k % 251 for k in range(3000))
    sent = bytes(IP(src="10.0.0.1", dst="10.0.0.2", id=5) / TCP(sport=5, dport=6, seq=0xFFFFFF00, flags="FPA", options=options) / payload)
    parts = run_packets("feed :: Feed -> CheckIPHeader -> t :: TCPFragmenter(1000) -> CheckIPHeader -> CheckTCPHeader -> s :: Sink", [Sent(sent)]).out()
    assert len(parts) == 4 and all(len(p) <= 1000 for p in parts)
    got, expected = b"", 0xFFFFFF00
    for part in map(IP, parts):
        assert part[TCP].seq == expected and part[TCP].options == IP(sent)[TCP].options
        data = bytes(part[TCP].payload)
        expected = (expected + len(data)) % 2**32
        got += data
    assert got == payload
    assert [str(IP(p)[TCP].flags) for p in parts] == ["A", "A", "A", "FPA"]
    syn = bytes(IP(src="10.0.0.1", dst="10.0.0.2") / TCP(flags="S") / payload)
    assert run_packets("feed :: Feed -> CheckIPHeader -> TCPFragmenter(1000) -> s :: Sink", [Sent(syn)]).out() == [syn]


def test_a_segment_is_made_when_the_handler_is_written() -> None:
    text = "t :: TCPIPSend -> CheckIPHeader -> CheckTCPHeader -> c :: Counter -> Discard; Script(write t.send 1.0.0.1 5 2.0.0.2 80 7 0 2, wait 20ms, stop)"
    with Router.from_text(text) as router:
        router.run()
        assert router.read("c.count") == "1" and router.read("c.byte_count") == "40"
        with pytest.raises(Exception, match="expected SADDR"):
            router.write("t.send", "nonsense")


def test_a_neighbour_is_asked_once_and_the_packet_goes_when_it_answers() -> None:
    text = ("feed :: Feed -> p :: PaintSwitch; n :: IP6NDSolicitor(2001:db8::1, 02:00:00:00:00:01); p[0] -> CheckIP6Header -> [0] n;"
            "p[1] -> [1] n; n[0] -> s :: Sink; n[1] -> q :: Sink")
    packet = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / ScapyUDP(sport=1, dport=2) / b"x")
    other = bytes(IPv6(src="2001:db8::1", dst="ff02::1:2") / ScapyUDP(sport=1, dport=2) / b"x")
    answer = bytes(Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01") / IPv6(src="2001:db8::2", dst="2001:db8::1", hlim=255)
                   / ICMPv6ND_NA(tgt="2001:db8::2", S=1) / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:02"))
    second = bytes(48)[:16] + b"\1" + bytes(31)
    done = run_packets(text, [Sent(packet), Sent(packet), Sent(other), Sent(answer, annotations=second), Sent(packet)])
    (question,) = done.out("q")
    frame = Ether(question)
    assert frame.dst == "33:33:ff:00:00:02" and frame[IPv6].dst == "ff02::1:ff00:2" and frame[ICMPv6ND_NS].tgt == "2001:db8::2"
    sum_sent = frame[ICMPv6ND_NS].cksum
    del frame[ICMPv6ND_NS].cksum
    assert Ether(bytes(frame))[ICMPv6ND_NS].cksum == sum_sent
    frames = [Ether(data) for data in done.out()]
    assert [f.dst for f in frames] == ["33:33:00:01:00:02", "02:00:00:00:00:02", "02:00:00:00:00:02"]
    assert bytes(frames[1].payload) == packet
    assert done.handlers["n.table"] == "2001:db8::2 ok 02-00-00-00-00-02\n" and done.handlers["n.drops"] == "1"


def test_the_listening_output_hears_everything() -> None:
    text = "feed :: Feed -> [0] l :: ListenEtherSwitch; Idle -> [1] l; Idle -> [2] l; l[0] -> a :: Sink; l[1] -> b :: Sink; l[2] -> c :: Sink; l[3] -> d :: Sink"
    done = run_packets(text, [Sent(ether(udp(1, 2))), Sent(ether(udp(1, 3), dst="ffffffffffff"))])
    assert [len(done.out(n)) for n in "abcd"] == [0, 2, 2, 2]


def test_a_flow_is_looked_up() -> None:
    text = ("InfiniteSource(LIMIT 1) -> UDPIPEncap(10.0.0.1, 7, 2.0.0.2, 53) -> CheckIPHeader "
            "-> rw :: IPRewriter(pattern 1.0.0.1 1024 - - 0 1, drop); rw[0] -> Discard; rw[1] -> Discard; Idle -> [1] rw; Script(wait 10ms, stop)")
    with Router.from_text(text, simulated_start_ns=START_NS) as router:
        router.run()
        assert router.read("rw.udp_lookup", "10.0.0.1 7 2.0.0.2 53") == "1.0.0.1 1024 2.0.0.2 53"
        assert router.read("rw.udp_lookup", "2.0.0.2 53 1.0.0.1 1024") == "2.0.0.2 53 10.0.0.1 7"
        for words, why in (("2.0.0.2 53 1.0.0.1 1025", "no such flow"), ("2.0.0.2", "expected SADDR SPORT DADDR DPORT"), ("a 1 b 2", "IP address")):
            with pytest.raises(HandlerError, match=why):
                router.read("rw.udp_lookup", words)
        with pytest.raises(HandlerError, match="no such flow"):
            router.read("rw.tcp_lookup", "10.0.0.1 7 2.0.0.2 53")
