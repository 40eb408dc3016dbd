"""Elements of several groups by what they do: flows, schedulers, combos, fragments of IPv6, neighbours, queue management."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP as ScapyIP
    from scapy.layers.inet6 import UDP as ScapyUDP
    from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrFragment, defragment6
    from scapy.layers.l2 import Ether

from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.harness import START_NS, run_packets
from tests.traffic import Sent, ipv4, mixture
from tests.traffic import udp as udp_packet


def udp(data: bytes, *, src: str = "10.0.0.1", dst: str = "10.0.0.2", sport: int = 5, dport: int = 9) -> bytes:
    return udp_packet(sport, dport, data, src, dst)


def flow_packets(count: int) -> list[tuple[bytes, bytes]]:
    found = []
    for i in range(count):
        there = udp(b"x", src=f"10.0.{i % 7}.{i % 250 + 1}", dst="192.0.2.1", sport=1024 + i, dport=53)
        back = udp(b"y", src="192.0.2.1", dst=f"10.0.{i % 7}.{i % 250 + 1}", sport=53, dport=1024 + i)
        found.append((there, back))
    return found


@pytest.mark.parametrize(("name", "outputs"), [("FlowPinner", 4), ("FlowPinner", 3), ("MaglevSwitch(ENTRIES 251)", 5)])
def test_both_directions_of_a_flow_take_the_same_output(name: str, outputs: int) -> None:
    sinks = "; ".join(f"f[{i}] -> s{i} :: Sink" for i in range(outputs))
    pairs = flow_packets(120)
    done = run_packets(f"feed :: Feed -> CheckIPHeader -> f :: {name}; {sinks}", [Sent(p) for pair in pairs for p in pair], rounds=400)
    where = {data: i for i in range(outputs) for data in done.out(f"s{i}")}
    assert len(where) == 240
    assert all(where[there] == where[back] for there, back in pairs)
    shares = [sum(where[t] == i for t, _ in pairs) for i in range(outputs)]
    assert min(shares) > 120 / outputs / 3


def test_when_an_output_goes_most_flows_stay_where_they_are() -> None:
    text = "Idle -> m :: MaglevSwitch; m[0] -> Discard; m[1] -> Discard; m[2] -> Discard; m[3] -> Discard"
    with Router.from_text(text) as router:
        switch = router.by_name["m"]
        before = [switch.choices[i] for i in range(65537)]  # type: ignore[attr-defined]
        shares = [int(line.split()[1]) for line in router.read("m.shares").splitlines()]
        assert max(shares) - min(shares) < 700
        router.write("m.set_active", "2 false")
        after = [switch.choices[i] for i in range(65537)]  # type: ignore[attr-defined]
        moved = sum(b != a for b, a in zip(before, after) if b != 2)
        assert 2 not in after and moved < 65537 * 0.06
        router.write("m.set_active", "2 true")
        assert [switch.choices[i] for i in range(65537)] == before  # type: ignore[attr-defined]
        with pytest.raises(Exception, match="expected an output"):
            router.write("m.set_active", "9 true")


def test_inputs_are_merged_by_time() -> None:
    text = ("feed :: Feed -> d :: PaintSwitch; d[0] -> Queue -> [0] t :: TimeSortedSched -> Unqueue -> s :: Sink; d[1] -> Queue -> [1] t;")
    packets = [Sent(bytes([k]) * 20, timestamp_ns=1000 * (k ^ 1) + 1, annotations=bytes(16) + bytes([k % 2]) + bytes(31)) for k in range(8)]
    done = run_packets(text, packets, rounds=200)
    stamps = [p[5] for p in done.packets]
    assert len(stamps) == 8 and stamps == sorted(stamps)


def test_the_last_packet_of_each_aggregate_comes_out_when_told() -> None:
    text = "feed :: Feed -> AggregateLength -> a :: AggregateLast -> s :: Sink; a[1] -> t :: Sink; Script(wait 1ms, write a.clear)"
    done = run_packets(text, [Sent(bytes([k]) * (20 + k % 3)) for k in range(9)], rounds=400)
    assert sorted(data[0] for data in done.out()) == [6, 7, 8]
    assert len(done.out("t")) == 6 and done.free == run_packets(text, [], rounds=400).free


def test_a_clipboard_pastes_what_it_copied() -> None:
    text = "feed :: Feed -> p :: PaintSwitch; p[0] -> [0] c :: Clipboard(1/2, 5/1) -> s :: Sink; p[1] -> [1] c; c[1] -> t :: Sink"
    annotations = [bytes(48), bytes(16) + b"\1" + bytes(31)]
    done = run_packets(text, [Sent(b"ABCDEFGH", annotations=annotations[0]), Sent(b"abcdefgh", annotations=annotations[1])])
    assert done.out() == [b"ABCDEFGH"] and done.out("t") == [b"aBCdeFgh"]


def test_the_input_combo_does_what_the_chain_does() -> None:
    packets = mixture(80, 3, "ether")
    one = run_packets("feed :: Feed -> c :: IPInputCombo(5) -> s :: Sink", packets, rounds=300)
    chain = run_packets("feed :: Feed -> Paint(5) -> Strip(14) -> CheckIPHeader -> s :: Sink", packets, rounds=300)
    assert one.out() == chain.out() and [p[3] for p in one.packets] == [p[3] for p in chain.packets]


def test_the_output_combo_sends_each_kind_its_way() -> None:
    text = ("feed :: Feed -> CheckIPHeader -> o :: IPOutputCombo(5, 9.9.9.9, 100) -> s :: Sink; o[1] -> a :: Sink; o[2] -> b :: Sink;"
            "o[3] -> c :: Sink; o[4] -> d :: Sink")
    painted = bytes(16) + b"\5" + bytes(31)
    packets = [Sent(udp(b"fine")), Sent(udp(b"back"), annotations=painted), Sent(ipv4(17, b"x" * 8, options=b"\x07\x07\x03\0\0\0\0")),
               Sent(ipv4(17, b"old-----", ttl=1)), Sent(udp(b"z" * 200))]
    done = run_packets(text, packets)
    assert [len(done.out(n)) for n in "sabcd"] == [2, 1, 1, 1, 1]
    good = done.out()[0]
    assert good[8] == 63 and ScapyIP(good).chksum == ScapyIP(bytes(ScapyIP(good))).chksum


def test_ipv6_fragments_are_put_together_again_by_scapy() -> None:
    packet = bytes(IPv6(src="2001:db8::1", dst="2001:db8::2") / ScapyUDP(sport=5, dport=6) / bytes(i % 251 for i in range(3600)))
    done = run_packets("feed :: Feed -> CheckIP6Header -> f :: IP6Fragmenter(1280) -> s :: Sink; f[1] -> t :: Sink", [Sent(packet)])
    fragments = [IPv6(data) for data in done.out()]
    assert len(fragments) == 3 and all(len(data) <= 1280 for data in done.out())
    assert all(IPv6ExtHdrFragment in f for f in fragments)
    assert bytes(defragment6(fragments)) == packet
    assert run_packets("feed :: Feed -> CheckIP6Header -> f :: IP6Fragmenter(1280) -> s :: Sink", [Sent(packet[:4] + b"\0\x10" + packet[6:56])]).out()


@pytest.mark.parametrize("asker", ["2001:db8::7", "::"])
def test_a_neighbour_solicitation_is_answered(asker: str) -> None:
    question = Ether(src="02:00:00:00:00:07", dst="33:33:ff:00:00:01") / IPv6(src=asker, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="2001:db8::1")
    if asker != "::":
        question = question / ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:07")
    text = "feed :: Feed -> n :: IP6NDAdvertiser(2001:db8::/32 02:00:00:00:00:99) -> s :: Sink; n[1] -> t :: Sink"
    (got,) = run_packets(text, [Sent(bytes(question))]).out()
    frame = Ether(got)
    advert = frame["ICMPv6 Neighbor Discovery - Neighbor Advertisement"]
    assert advert.tgt == "2001:db8::1" and (asker != "::") == advert.S and advert.O == 1 and frame[IPv6].hlim == 255
    assert frame[IPv6].dst == (asker if asker != "::" else "ff02::1") and got[80:86] == bytes.fromhex("020000000099")
    sum_sent = advert.cksum
    del advert.cksum
    assert Ether(bytes(frame))["ICMPv6 Neighbor Discovery - Neighbor Advertisement"].cksum == sum_sent
    wrong = bytearray(bytes(question))
    wrong[21] = 64
    assert run_packets(text, [Sent(bytes(wrong))]).out("t") == [bytes(wrong)]
    wrong = bytearray(bytes(question))
    wrong[70] ^= 1
    assert run_packets(text, [Sent(bytes(wrong))]).out("t") == [bytes(wrong)]


def test_queues_are_held_near_their_target() -> None:
    for name in ("AdaptiveRED(50)", "PI(200, 50, 0.0001822, 0.0001816)"):
        text = f"RatedSource(RATE 12000, LENGTH 100) -> r :: {name} -> q :: Queue(1000) -> RatedUnqueue(10000) -> Discard; Script(wait 12, stop)"
        with Router.from_text(text, simulated_start_ns=10**18, seed=3) as router:
            router.run()
            assert int(router.read("r.drops")) > 500
            assert int(router.read("q.length")) < 200 and int(router.read("q.highwater_length")) < 1000, name


@pytest.mark.parametrize("ecn", [False, True])
def test_packets_wait_as_long_as_pie_is_told(ecn: bool) -> None:
    """12 packets come for 10 that go: 10,000 a second, so that 15 ms are 150 packets."""
    source = "RatedSource(RATE 12000, LENGTH 100) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> SetIPECN(ect1)"
    text = f"{source} -> r :: PIE(ECN {str(ecn).lower()}) -> q :: Queue(5000) -> RatedUnqueue(10000) -> Discard; Script(wait 20, stop)"
    with Router.from_text(text, simulated_start_ns=10**18, seed=3) as router:
        router.run()
        assert int(router.read("r.drops")) > 20_000
        assert 0.14 < float(router.read("r.p")) < 0.2
        assert 80 < int(router.read("q.length")) < 300 and 0.008 < float(router.read("r.delay")) < 0.03
        assert (int(router.read("r.marks")) > 0) == ecn


def test_pie_leaves_a_burst_and_a_quick_queue_alone() -> None:
    text = "InfiniteSource(LIMIT 500) -> r :: PIE -> q :: Queue(5000) -> RatedUnqueue(10000) -> Discard; RatedSource(RATE 5000) -> r; Script(wait 4, stop)"
    with Router.from_text(text, simulated_start_ns=10**18, seed=3) as router:
        router.run()
        assert router.read("r.drops") == "0" and int(router.read("q.length")) < 10


def test_addresses_are_anonymised_for_good_and_prefixes_stay_together() -> None:
    sources = ["10.1.2.3", "10.1.2.77", "10.1.9.9", "172.16.0.1", "10.1.2.3"]
    done = run_packets("feed :: Feed -> CheckIPHeader -> AnonymizeIPAddr(CLASS 4) -> CheckIPHeader -> s :: Sink",
                       [Sent(udp(b"x", src=src)) for src in sources])
    got = [int.from_bytes(data[12:16], "big") for data in done.out()]
    assert len(got) == 5 and got[0] == got[4] and len(set(got)) == 4

    def shared(a: int, b: int) -> int:
        return 32 - (a ^ b).bit_length()

    real = [int.from_bytes(bytes(map(int, s.split("."))), "big") for s in sources]
    assert all(shared(got[i], got[j]) == shared(real[i], real[j]) for i in range(5) for j in range(5))
    assert got[0] >> 31 == 0 and got[3] >> 30 == 2


def test_names_of_ports_annotations_and_shares() -> None:
    text = ("PortInfo(game 27015/udp); AnnotationInfo(COLOR PAINT); feed :: Feed -> UDPIPEncap(1.0.0.1, game, 2.0.0.2, 9)"
            " -> Paint(3, ANNO COLOR) -> CheckPaint(3) -> s :: Sink")
    (got,) = run_packets(text, [Sent(b"x")]).out()
    assert got[20:22] == (27015).to_bytes(2, "big")
    with pytest.raises(ConfigurationError, match="no element named 'nobody'"):
        Router.from_text("ScheduleInfo(nobody 2); Idle -> Discard")
    with Router.from_text("ScheduleInfo(u 0.5); i :: ScheduleInfo(v 2); Idle -> Queue -> u :: Unqueue -> Discard; Idle -> Queue -> v :: Unqueue -> Discard") as router:
        assert router.read("u.tickets") == "512" and router.read("i.shares") == "v 2048\n"


def test_flows_of_the_fast_sources_are_whole() -> None:
    with Router.from_text("FastTCPFlows(100000, 12, 60, 0:0:0:0:0:1, 1.0.0.1, 0:0:0:0:0:2, 2.0.0.2, 3, 4, STOP true) -> Strip(14) -> CheckIPHeader "
                          "-> CheckTCPHeader -> c :: IPClassifier(tcp opt syn, tcp opt fin, -); c[0] -> a :: Counter -> Discard; c[1] -> b :: Counter -> Discard;"
                          "c[2] -> d :: Counter -> Discard") as router:
        router.run()
        assert [router.read(f"{n}.count") for n in "abd"] == ["3", "3", "6"]


def test_a_shaper_gives_its_last_packet_too() -> None:
    packets = [Sent(udp_packet(1, 2, bytes([n]) * 20), network=0, transport=20) for n in range(3)]
    text = "feed :: Feed -> SetTimestamp -> Queue -> DelayShaper(1.25) -> SetTimestamp -> u :: Unqueue -> s :: Sink;"
    outcome = run_packets(text, packets, rounds=400)
    assert outcome.out() == [p.data for p in packets]
    assert all(stamp - START_NS >= 1_250_000_000 for _, _, _, _, _, stamp, _ in outcome.packets)
