"""What elements do to packets, checked against Python's own arithmetic and the RFCs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.datapath.lpm import LPM
from penstock.elements import catalog
from penstock.lang.load import flatten
from penstock.runtime.image import ImageCache
from penstock.runtime.router import Router
from penstock.verify.replay import Dataplane
from tests.conftest import CAPTURES
from tests.harness import Outcome, run_packets, run_until_quiet
from tests.traffic import Sent, arp, checksum, ether, icmp, ipv4, tcp, udp


def ip(data: bytes) -> Sent:
    return Sent(data, None, 0, (data[0] & 15) * 4)


def good_checksums(data: bytes) -> bool:
    """IP header, and TCP or UDP where the packet is whole."""
    header = (data[0] & 15) * 4
    if checksum(data[:header]) != 0:
        return False
    rest = data[header : int.from_bytes(data[2:4], "big")]
    if data[9] not in (6, 17) or int.from_bytes(data[6:8], "big") & 0x3FFF or (data[9] == 17 and rest[6:8] == b"\0\0"):
        return True
    pseudo = data[12:20] + bytes([0, data[9]]) + len(rest).to_bytes(2, "big")
    return checksum(pseudo + rest) == 0


FLOWS = [udp(1000 + i, 53, bytes([i]) * i, src=f"10.0.0.{i + 1}", dst="2.0.0.2") for i in range(12)] + [
    tcp(2000 + i, 80, b"y" * i, src=f"10.0.1.{i + 1}", dst="3.0.0.3") for i in range(12)]


@pytest.mark.parametrize("element", [
    "DecIPTTL", "SetIPDSCP(17)", "IPMirror", "StoreIPAddress(9.8.7.6, src)", "StoreIPAddress(9.8.7.6, dst)", "SetIPChecksum", "SetUDPChecksum"
    " -> CheckIPHeader", "IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0)", "IPAddrRewriter(pattern 1.0.0.1-1.0.0.250 0 0)",
    "IPAddrPairRewriter(pattern 7.7.7.7-7.7.7.70 8.8.8.8 0 0)", "IPFragmenter(68) -> IPReassembler", "IPGWOptions(1.2.3.4)",
    "UDPIPEncap(5.5.5.5, 7, 6.6.6.6, 8)", "IPEncap(4, 5.5.5.5, 6.6.6.6)",
])
def test_checksums_stay_right(element: str) -> None:
    packets = [ip(d) for d in FLOWS if not element.startswith("SetUDP") or d[9] == 17]
    outcome = run_packets(f"feed :: Feed -> {element} -> s :: Sink", packets)
    assert len(outcome.out()) == len(packets)
    assert all(good_checksums(d) for d in outcome.out())


def test_ttl_goes_down_and_expired_packets_leave_on_output_1() -> None:
    outcome = run_packets("feed :: Feed -> d :: DecIPTTL; d[0] -> s :: Sink; d[1] -> [1] s", [ip(udp(1, 2, ttl=t)) for t in (0, 1, 2, 255)])
    assert [d[8] for d in outcome.out()] == [1, 254]
    assert [d[8] for d in outcome.out(port=1)] == [0, 1]


def test_sequence_numbers_are_hidden_one_way_and_put_right_the_other_with_sack_blocks_at_any_place() -> None:
    text = """FromDevice(0) -> Strip(14) -> CheckIPHeader -> r :: TCPSequenceRandomizer -> Unstrip(14) -> ToDevice(1);
    FromDevice(1) -> Strip(14) -> CheckIPHeader -> [1] r; r[1] -> Unstrip(14) -> ToDevice(0);"""

    def words(data: bytes, at: int, count: int = 1) -> list[int]:
        return [int.from_bytes(data[at + 4 * i : at + 4 * i + 4], "big") for i in range(count)]

    def with_options(options: bytes, acknowledgement: int, flags: int = 16) -> bytes:
        header = bytearray(tcp(80, 5000, b"", flags=flags, src="2.0.0.2", dst="10.0.0.1")[20:40])
        header[8:12] = acknowledgement.to_bytes(4, "big")
        header[12] = (20 + len(options)) // 4 << 4
        header[16:18] = b"\0\0"
        segment = bytes(header) + options + b"data"
        pseudo = bytes([2, 0, 0, 2, 10, 0, 0, 1, 0, 6]) + len(segment).to_bytes(2, "big")
        segment = segment[:16] + checksum(pseudo + segment).to_bytes(2, "big") + segment[18:]
        return ipv4(6, segment, src="2.0.0.2", dst="10.0.0.1")

    flat = flatten(text, known_classes=catalog.is_known, class_names=catalog.class_names)
    with Dataplane(flat, ["0", "1"]) as plane:
        sent = tcp(5000, 80, b"hello", src="10.0.0.1", dst="2.0.0.2")
        ((_, out),) = plane.send("0", ether(sent))
        assert good_checksums(out[14:])
        offset = (words(out, 14 + 24)[0] - words(sent, 24)[0]) & 0xFFFFFFFF
        ((_, again),) = plane.send("0", ether(sent))
        assert words(again, 38) == words(out, 38) and offset != 0
        for lead in (b"\1\1", b"\1", b"\1\1\1"):
            edges = [5, 100, 0xFFFFFFF0, 7]
            block = b"\5\x12" + b"".join(((e + offset) & 0xFFFFFFFF).to_bytes(4, "big") for e in edges)
            options = lead + block + bytes(-(len(lead) + len(block)) % 4)
            ((where, back),) = plane.send("1", ether(with_options(options, (77 + offset) & 0xFFFFFFFF)))
            assert where == "0" and good_checksums(back[14:])
            assert words(back, 14 + 28) == [77]
            assert words(back, 14 + 40 + len(lead) + 2, 4) == edges
        # Of an unknown flow nothing is known, and an acknowledgement number without ACK is none.
        stranger = ether(tcp(80, 5001, b"x", src="2.0.0.2", dst="10.0.0.1"))
        assert plane.send("1", stranger) == [("0", stranger)]
        silent = ether(with_options(b"", 77, flags=4))
        assert plane.send("1", silent) == [("0", silent)]
        assert plane.router.read("r.flows") == "1"
        plane.router.write("r.clear")
        assert plane.router.read("r.flows") == "0"


# Address translation


def _nat(packets: list[Sent], spec: str = "pattern 1.0.0.1 1024-65535# - - 0 1", more: str = "") -> Outcome:
    return run_packets(f"feed :: Feed -> rw :: IPRewriter({spec}{more}); rw[0] -> s :: Sink; rw[1] -> [1] s", packets)


def test_every_flow_has_a_port_of_its_own_and_keeps_it() -> None:
    packets = [ip(udp(5000, 53, src=f"10.0.{i // 200}.{i % 200 + 1}", dst="2.0.0.2")) for i in range(500)]
    outcome = _nat(packets + packets)
    sent = [(d[12:16], d[20:22]) for d in outcome.out()]
    assert all(address == b"\x01\0\0\x01" for address, _ in sent)
    assert len(set(sent[:500])) == 500
    assert sent[:500] == sent[500:]
    assert outcome.handlers["rw.nmappings"] == "500"


def test_replies_come_back_to_the_one_who_asked() -> None:
    first = _nat([ip(udp(5000, 53, src="10.0.0.7", dst="2.0.0.2"))])
    port = int.from_bytes(first.out()[0][20:22], "big")
    outcome = _nat([ip(udp(5000, 53, src="10.0.0.7", dst="2.0.0.2")), ip(udp(53, port, src="2.0.0.2", dst="1.0.0.1"))])
    (reply,) = outcome.out(port=1)
    assert reply[16:20] == b"\x0a\0\0\x07" and int.from_bytes(reply[22:24], "big") == 5000 and good_checksums(reply)


def test_unknown_packets_do_as_their_input_says() -> None:
    packet = ip(udp(1, 2))
    assert len(_nat([packet], "drop").packets) == 0
    assert _nat([packet], "pass 1").out(port=1) == [packet.data]
    assert _nat([packet], "keep 0 1").out() == [packet.data]
    assert len(_nat([ip(icmp(8)), ip(udp(1, 2, fragment=16))]).packets) == 0


def test_exhausted_ports_are_counted_and_full_tables_make_room_after_the_guarantee() -> None:
    outcome = _nat([ip(udp(i, 53, dst="2.0.0.2")) for i in range(1, 6)], "pattern 1.0.0.1 1024-1026 - - 0 1")
    assert len(outcome.out()) == 3 and outcome.handlers["rw.mapping_failures"] == "2"
    kept = _nat([ip(udp(i, 53)) for i in range(1, 9)], more=", MAPPING_CAPACITY 4")
    assert len(kept.out()) == 4
    given = _nat([ip(udp(i, 53)) for i in range(1, 9)], more=", MAPPING_CAPACITY 4, GUARANTEE 0")
    assert len(given.out()) == 8 and given.handlers["rw.nmappings"] == "4"


# Fragments


@settings(max_examples=15)
@given(st.integers(0, 2500), st.integers(68, 1500), st.integers(0, 2**32), st.sampled_from([b"", bytes([1, 1, 131, 3]), bytes([7, 7, 4, 0, 0, 0, 0])]))
def test_fragments_in_any_order_give_the_packet_again(size: int, mtu: int, seed: int, options: bytes) -> None:
    r = random.Random(seed)
    whole = udp(7, 8, r.randbytes(size), options=options)
    pieces = run_packets(f"feed :: Feed -> IPFragmenter({mtu}) -> s :: Sink", [ip(whole)], engine="interpreter").out()
    assert all(len(d) <= mtu and good_checksums(d) for d in pieces)
    r.shuffle(pieces)
    doubled = pieces + pieces[:1] if len(pieces) > 1 else pieces
    outcome = run_packets("feed :: Feed -> CheckIPHeader -> IPReassembler -> s :: Sink", [ip(d) for d in doubled[: len(pieces)]], engine="interpreter")
    (again,) = outcome.out()
    assert again[20 + (len(options) + 3) // 4 * 4 :] == whole[20 + (len(options) + 3) // 4 * 4 :]
    assert good_checksums(again)


def test_df_is_honoured_and_incomplete_datagrams_time_out() -> None:
    packet = udp(1, 2, b"x" * 500, fragment=0x4000)
    outcome = run_packets("feed :: Feed -> f :: IPFragmenter(100); f[0] -> s :: Sink; f[1] -> [1] s", [ip(packet)])
    assert (outcome.out(), outcome.out(port=1)) == ([], [packet])
    part = ipv4(17, b"z" * 64, fragment=0x2000)
    outcome = run_packets("feed :: Feed -> r :: IPReassembler(TIMEOUT 5); r[0] -> s :: Sink; r[1] -> [1] s", [ip(part)], rounds=200)
    assert outcome.handlers["r.active"] == "0" and len(outcome.out(port=1)) == 1


# ARP


def test_arp_requests_for_our_addresses_are_answered() -> None:
    text = "feed :: Feed -> a :: ARPResponder(1.0.0.1 0a:0:0:0:0:1, 2.0.0.0/8 0a:0:0:0:0:2); a[0] -> s :: Sink; a[1] -> [1] s"
    asked = arp(1, "9.9.9.9", "2.3.4.5", sender="020000000009")
    outcome = run_packets(text, [Sent(asked), Sent(arp(1, "9.9.9.9", "7.7.7.7")), Sent(arp(2, "9.9.9.9", "1.0.0.1")), Sent(b"short")])
    (answer,) = outcome.out()
    assert answer[:6] == bytes.fromhex("020000000009") and answer[6:12] == bytes.fromhex("0a0000000002")
    assert answer[20:22] == b"\0\2" and answer[28:32] == bytes([2, 3, 4, 5]) and answer[38:42] == bytes([9, 9, 9, 9])
    assert len(outcome.out(port=1)) == 3


def test_arp_querier_asks_once_holds_packets_and_sends_them_in_order() -> None:
    text = ("feed :: Feed -> c :: Classifier(0/45, -); c[0] -> GetIPAddress(16) -> q :: ARPQuerier(1.0.0.1, 0a:0:0:0:0:1); c[1] -> [1] q; q -> s :: Sink")
    data = [Sent(udp(i, 9, dst="1.0.0.2"), None, 0, 20) for i in range(5)]
    answer = arp(2, "1.0.0.2", "1.0.0.1", sender="0e0000000002", target="0a0000000001")
    out = run_packets(text, [*data, Sent(answer), data[0]]).out()
    assert out[0][12:14] == b"\x08\x06" and out[0][38:42] == bytes([1, 0, 0, 2])
    assert [d[14:] for d in out[1:]] == [p.data for p in [*data, data[0]]]
    assert all(d[:14] == bytes.fromhex("0e0000000002 0a0000000001 0800".replace(" ", "")) for d in out[1:])
    unasked = run_packets(text, [Sent(answer), data[0]]).out()
    assert [d[12:14] for d in unasked] == [b"\x08\x06"]


# ICMP


def test_icmp_errors_quote_the_packet_and_are_not_made_for_what_the_rfc_forbids() -> None:
    text = "feed :: Feed -> e :: ICMPError(9.9.9.9, unreachable, port) -> s :: Sink"
    good = udp(1, 2, b"q" * 900)
    bad = [icmp(3), icmp(11), udp(1, 2, fragment=3), udp(1, 2, dst="224.0.0.1"), udp(1, 2, src="127.0.0.1"), udp(1, 2, dst="255.255.255.255")]
    outcome = run_packets(text, [ip(good), ip(icmp(8)), *map(ip, bad)])
    assert len(outcome.out()) == 2
    error = outcome.out()[0]
    assert len(error) == 576 and error[20:22] == b"\3\3" and error[28:] == good[:548]
    assert checksum(error[:20]) == 0 and checksum(error[20:]) == 0


def test_ping_is_answered_with_the_same_payload() -> None:
    (answer,) = run_packets("feed :: Feed -> ICMPPingResponder -> s :: Sink", [ip(icmp(8, payload=b"hello"))]).out()
    assert answer[12:20] == bytes([10, 0, 0, 2, 10, 0, 0, 1]) and answer[20] == 0 and answer[28:] == b"hello" and checksum(answer[20:]) == 0


# Routing


@settings(max_examples=40)
@given(st.dictionaries(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), st.integers(0, 1000), max_size=40), st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_longest_prefix_wins(routes: dict[tuple[int, int], int], addresses: list[int]) -> None:
    clean = {(a >> (32 - n) << (32 - n) if n else 0, n): v for (a, n), v in routes.items()}
    lpm = LPM(LPM.chunks_needed(clean))
    lpm.fill(clean)
    top, chunks = (memoryview(x.initial[0]).cast("I") for x in (lpm.top, lpm.chunks))
    for address in addresses + [a for a, _ in clean] + [a + (1 << (32 - n)) - 1 for a, n in clean]:
        entry = top[address >> 16]
        for shift in (8, 0):
            if entry & 0x8000_0000:
                entry = chunks[(entry & 0x7FFF_FFFF) * 256 + (address >> shift & 255)]
        covering = [(n, v) for (a, n), v in clean.items() if n == 0 or address >> (32 - n) == a >> (32 - n)]
        assert entry == (max(covering)[1] + 1 if covering else 0)


@pytest.mark.parametrize("name", ["StaticIPLookup", "RadixIPLookup", "LinearIPLookup", "DirectIPLookup"])
def test_lookups_agree_and_follow_updates(name: str) -> None:
    routes = ["10.0.0.0/8 0", "10.1.0.0/16 5.5.5.5 1", "10.1.2.3 2", "0.0.0.0/0 6.6.6.6 3"] + [f"20.{i}.0.0/16 0" for i in range(20)]
    text = f"feed :: Feed -> r :: {name}({', '.join(routes)}); r[0] -> s :: Sink; r[1] -> [1] s; r[2] -> [2] s; r[3] -> [3] s"
    wanted = {"10.9.9.9": (0, "10.9.9.9"), "10.1.9.9": (1, "5.5.5.5"), "10.1.2.3": (2, "10.1.2.3"), "9.9.9.9": (3, "6.6.6.6"), "20.19.0.1": (0, "20.19.0.1")}
    packets = [Sent(udp(1, 2, dst=d), None, 0, 20, annotations=bytes(map(int, d.split("."))) + bytes(44)) for d in wanted]
    outcome = run_packets(text, packets)
    assert [(p[1], ".".join(map(str, p[3][:4]))) for p in outcome.packets] == list(wanted.values())
    if name != "StaticIPLookup":
        changed = run_packets(text, packets[:1], write=[("r.ctrl", "add 10.9.0.0/16 7.7.7.7 2\nremove 10.1.0.0/16")])
        assert [(p[1], p[3][:4]) for p in changed.packets] == [(2, bytes([7, 7, 7, 7]))]


# Queues, schedulers, rates


def test_queue_keeps_order_and_drops_at_the_end() -> None:
    packets = [Sent(bytes([i]) * 20) for i in range(10)]
    outcome = run_packets("feed :: Feed -> q :: SimpleQueue(4); q[0] -> Idle; q[1] -> s :: Sink", packets)
    assert outcome.out() == [p.data for p in packets[4:]]
    front = run_packets("feed :: Feed -> q :: FrontDropQueue(4); q[0] -> Idle; q[1] -> s :: Sink", packets)
    assert front.out() == [p.data for p in packets[:6]]


def test_schedulers_share_as_they_say() -> None:
    def shares(scheduler: str) -> tuple[int, int]:
        text = (f"InfiniteSource -> Queue(500) -> ca :: Counter -> [0] s :: {scheduler}; InfiniteSource -> Queue(500) -> cb :: Counter -> [1] s; "
                "s -> c :: Counter -> Unqueue(BURST 1, LIMIT 400) -> Discard")
        with Router.from_text(text, simulated_start_ns=10**18, seed=1) as router:
            run_until_quiet(router, 300, slice_steps=32)
            return int(router.read("ca.count")), int(router.read("cb.count"))

    assert shares("RoundRobinSched") == (200, 200)
    assert shares("PrioSched") == (400, 0)
    a, b = shares("StrideSched(1, 3)")
    assert a + b == 400 and abs(b - 300) <= 2


@pytest.mark.parametrize("text, low, high", [
    ("RatedSource(RATE 100) -> c :: Counter -> Discard", 990, 1012),
    ("InfiniteSource -> Queue -> RatedUnqueue(100) -> c :: Counter -> Discard", 990, 1012),
    ("InfiniteSource(LENGTH 100) -> Queue -> BandwidthRatedUnqueue(80kbps) -> c :: Counter -> Discard", 990, 1012),
    ("TimedSource(10ms) -> c :: Counter -> Discard", 998, 1001),
])
def test_rates_are_kept_in_simulated_time(text: str, low: int, high: int) -> None:
    with Router.from_text(text, simulated_start_ns=10**18, seed=1) as router:
        router.run(until=lambda: router.clock.time > 10**18 + 10 * 10**9, slice_steps=16)
        assert low <= int(router.read("c.count")) <= high


def test_red_drops_between_its_thresholds() -> None:
    text = "feed :: Feed -> r :: RED(5, 20, 0.5, STABILITY 1) -> q :: Queue(500) -> Idle"
    outcome = run_packets(text, [Sent(b"x" * 20)] * 400, rounds=200)
    assert 0 < int(outcome.handlers["r.drops"]) < 400
    assert 10 < int(outcome.handlers["q.length"]) < 100


# Aggregates, VLANs, files


def test_flows_get_numbers_and_directions() -> None:
    text = "feed :: Feed -> a :: AggregateIPFlows -> n :: AggregateCounter -> s :: Sink"
    there, back, other = udp(1, 2, src="9.0.0.1", dst="1.0.0.1"), udp(2, 1, src="1.0.0.1", dst="9.0.0.1"), udp(3, 2)
    outcome = run_packets(text, [ip(there), ip(back), ip(other), ip(there)])
    assert [(int.from_bytes(p[3][20:24], "little"), p[3][16]) for p in outcome.packets] == [(1, 0), (1, 1), (2, 0), (1, 0)]
    assert outcome.handlers["n.counts"] == "1 3\n2 1\n"


def test_vlan_tags_go_in_and_out() -> None:
    frame = ether(udp(1, 2))
    tagged = run_packets("feed :: Feed -> VLANEncap(VLAN_ID 5, VLAN_PCP 3) -> s :: Sink", [Sent(frame, 0)]).out()[0]
    assert tagged[:12] == frame[:12] and tagged[12:16] == b"\x81\x00\x60\x05" and tagged[16:] == frame[12:]
    outcome = run_packets("feed :: Feed -> VLANDecap -> s :: Sink", [Sent(tagged, 0)])
    assert outcome.out() == [frame] and int.from_bytes(outcome.packets[0][3][20:22], "little") == 0x6005


def test_summary_dump_reads_back_what_it_wrote(tmp_path: Path) -> None:
    fields = ("timestamp ip_src sport ip_dst dport ip_proto ip_len ip_id ip_ttl ip_tos ip_fragoff tcp_seq tcp_flags tcp_window tcp_opt icmp_type "
              "payload_len udp_len aggregate direction wire_len")
    packets = [ip(d) for d in [*FLOWS, icmp(8), icmp(3, 1), ipv4(17, b"f" * 40, fragment=0x2003), ipv4(47, b"gre", tos=3)]]
    first, second = tmp_path / "a.dump", tmp_path / "b.dump"
    run_packets(f"feed :: Feed -> CheckIPHeader -> ToIPSummaryDump({first}, CONTENTS {fields})", packets, rounds=80)
    with Router.from_text(f"FromIPSummaryDump({first}, STOP true) -> c :: CheckIPHeader -> ToIPSummaryDump({second}, CONTENTS {fields})") as router:
        router.run()
        assert router.read("c.drops") == "0"
    assert first.read_text() == second.read_text()
    assert len(first.read_text().splitlines()) > 20


def test_capture_windows_and_samples(tmp_path: Path) -> None:
    text = f"feed :: Feed -> ToDump({tmp_path}/all.pcap, SNAPLEN 0, ENCAP IP)"
    run_packets(text, [Sent(udp(1, 2), None, 0, 20, 10**18 + i * 10**9) for i in range(20)])

    def count(arguments: str) -> int:
        with Router.from_text(f"FromDump({tmp_path}/all.pcap, STOP true{arguments}) -> c :: Counter -> Discard", seed=3) as router:
            router.run()
            return int(router.read("c.count"))

    assert count("") == 20
    assert count(", START_AFTER 5s, INTERVAL 10s") == 10
    assert count(", END_AFTER 3s") == 3
    assert 2 <= count(", SAMPLE 0.5") <= 20


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the collection of real captures is not here")
def test_real_captures_run_through_a_chain_without_faults() -> None:
    total = 0
    for path in sorted(CAPTURES.glob("*.pcap*")):
        text = (f"FromDump({path}, STOP true, FORCE_IP true) -> CheckIPHeader(VERBOSE false) -> c :: Counter -> AggregateIPFlows(ICMP true) "
                "-> IPReassembler -> cl :: IPClassifier(tcp, udp, icmp, -); cl[0] -> CheckTCPHeader -> d :: Discard; cl[1] -> CheckUDPHeader -> d; "
                "cl[2] -> CheckICMPHeader -> d; cl[3] -> d")
        with Router.from_text(text, cache=ImageCache()) as router:
            router.run()
            total += int(router.read("c.count"))
            assert all(e.faults == 0 for e in router.elements), path.name
    assert total > 3000


# One of several outputs

ALIKE = "; ".join(f"h[{i}] -> c{i} :: Counter -> [{i}] s" for i in range(4))
TWINS = "; ".join(f"h[{i}] -> d{i} :: Discard" for i in range(4))
STRANGERS = "h[0] -> d0 :: Discard; h[1] -> Queue -> Unqueue -> d1 :: Discard; h[2] -> d2 :: Discard; h[3] -> Paint(1) -> d3 :: Discard"


@pytest.mark.parametrize("switch", ["HashSwitch(0, 1)", "RoundRobinSwitch", "PaintSwitch"])
@pytest.mark.parametrize("rest", [ALIKE, TWINS, STRANGERS], ids=["alike", "twins", "strangers"])
def test_each_output_counts_its_own_packets(switch: str, rest: str) -> None:
    text = f"s :: Sink; feed :: Feed -> {switch.replace('PaintSwitch', 'Paint(2) -> h :: PaintSwitch')}; {rest}"
    if "PaintSwitch" not in switch:
        text = text.replace(switch, f"h :: {switch}")
    packets = [Sent(bytes([i]) * 60, None, None, None) for i in range(37)]
    if rest is not ALIKE:
        text = text.replace("s :: Sink; ", "")
    results = [run_packets(text, packets, engine=engine) for engine in ("interpreter", "compiled")]
    names = ["c0", "c1", "c2", "c3"] if rest is ALIKE else ["d0", "d1", "d2", "d3"]
    counts = [[int(o.handlers[f"{n}.count"]) for n in names] for o in results]
    assert results[0].state == results[1].state
    assert counts[0] == counts[1] and sum(counts[0]) == 37
