"""Switches, meters, timestamps, aggregates, checksums, annotations and Ethernet elements by what they do."""

from __future__ import annotations

import binascii
import struct

import pytest

from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.harness import run_packets
from tests.traffic import Sent, checksum, ether, tcp, udp

PLAIN = [Sent(bytes([k]) * 60) for k in range(8)]


def counts(text: str, *names: str) -> list[int]:
    with Router.from_text(text) as router:
        router.run()
        return [int(router.read(f"{n}.count")) for n in names]


def test_strided_outputs_get_their_shares() -> None:
    text = ("InfiniteSource(LIMIT 4000, STOP true) -> s :: StrideSwitch(1, 2, 5);"
            "s[0] -> a :: Counter -> Discard; s[1] -> b :: Counter -> Discard; s[2] -> c :: Counter -> Discard")
    assert counts(text, "a", "b", "c") == [500, 1000, 2500]


def test_deficit_round_robin_shares_bytes() -> None:
    text = ("InfiniteSource(LENGTH 100) -> Queue(50) -> [0] d :: DRRSched; InfiniteSource(LENGTH 1000) -> Queue(50) -> [1] d;"
            "d -> Unqueue(LIMIT 3300) -> l :: CheckLength(500) -> small :: Counter -> Discard; l[1] -> large :: Counter -> Discard;"
            "Script(pause, loop)")
    with Router.from_text(text.replace("Script(pause, loop)", "Script(wait 0.2, stop)")) as router:
        router.run()
        small, large = int(router.read("small.count")), int(router.read("large.count"))
    assert small + large == 3300 and abs(small * 100 - large * 1000) < 3000


def test_a_hub_repeats_to_everybody_else() -> None:
    done = run_packets("h :: Hub; feed :: Feed -> [0] h; Idle -> [1] h; Idle -> [2] h; h[0] -> a :: Sink; h[1] -> b :: Sink; h[2] -> c :: Sink",
                       PLAIN[:2])
    assert [len(done.out(n)) for n in "abc"] == [0, 2, 2]


def test_an_input_switch_and_a_suppressor_stop_what_they_are_told_to() -> None:
    done = run_packets("feed :: Feed -> s :: InputSwitch(0) -> k :: Sink; Idle -> [1] s", PLAIN[:2], write=[("s.switch", "1")])
    assert done.out("k") == []
    done = run_packets("feed :: Feed -> s :: Suppressor -> k :: Sink", PLAIN[:2], write=[("s.active0", "false")])
    assert done.out("k") == [] and done.handlers["s.active0"] == "false"
    done = run_packets("feed :: Feed -> s :: Suppressor -> k :: Sink", PLAIN[:2], write=[("s.active0", "false"), ("s.allow_all", "")])
    assert len(done.out("k")) == 2


def test_a_meter_lets_a_trickle_pass_and_tells_a_flood() -> None:
    text = "RatedSource(RATE {}, LIMIT 3000, STOP true) -> m :: Meter(1000); m[0] -> a :: Counter -> Discard; m[1] -> b :: Counter -> Discard"
    for rate, flood in ((300, False), (5000, True)):
        with Router.from_text(text.format(rate), simulated_start_ns=10**18) as router:
            router.run()
            low, high = int(router.read("a.count")), int(router.read("b.count"))
        assert (high > 2000) is flood and (low == 3000) is not flood
    with pytest.raises(ConfigurationError, match="rates must increase"):
        Router.from_text("Idle -> m :: Meter(10, 5); m[0] -> Discard; m[1] -> Discard; m[2] -> Discard")


def test_checksums_are_appended_checked_and_removed() -> None:
    (with_sum,) = run_packets("feed :: Feed -> SetCRC32 -> s :: Sink", [Sent(b"hello, world")]).out()
    # The same polynomial with the bits of every byte the other way round is zlib's.
    reverse = bytes(int(f"{b:08b}"[::-1], 2) for b in b"hello, world")
    value = int(f"{binascii.crc32(reverse) ^ 0xFFFFFFFF:032b}"[::-1], 2)
    assert with_sum == b"hello, world" + struct.pack("<I", value)
    done = run_packets("feed :: Feed -> c :: CheckCRC32 -> s :: Sink", [Sent(with_sum), Sent(with_sum[:-1] + b"?"), Sent(b"xyz")])
    assert done.out() == [b"hello, world"] and done.handlers["c.drops"] == "2"


def test_sizes_change() -> None:
    assert run_packets("feed :: Feed -> Pad(10) -> s :: Sink", [Sent(b"abc"), Sent(b"x" * 20)]).out() == [b"abc" + bytes(7), b"x" * 20]
    assert run_packets("feed :: Feed -> Resize(-2, 1) -> s :: Sink", [Sent(b"abc"), Sent(b"a")]).out() == [b"c\0"]


def test_bytes_are_stored_where_they_fit() -> None:
    text = "feed :: Feed -> StoreData({}) -> s :: Sink"
    assert run_packets(text.format("2, \\<CAFE>"), [Sent(b"abcdef"), Sent(b"abc"), Sent(b"a")]).out() == [b"ab\xca\xfeef", b"ab\xca", b"a"]
    assert run_packets(text.format("1, \\<FF>, MASK \\<0F>"), [Sent(b"\0\x50\0")]).out() == [b"\0\x5f\0"]
    assert run_packets(text.format("2, \\<CAFE>, GROW true"), [Sent(b"a")]).out() == [b"a\0\xca\xfe"]


def test_annotations_are_set() -> None:
    done = run_packets("feed :: Feed -> SetAnnoByte(PAINT, 7) -> CheckPaint(7) -> SetVLANAnno(VLAN_ID 5, VLAN_PCP 3) -> VLANEncap(ANNO) -> s :: Sink",
                       [Sent(ether(b"x" * 46))])
    assert done.out()[0][12:16] == bytes([0x81, 0, 3 << 5, 5])


def test_timestamps_are_set_moved_and_measured() -> None:
    second = 10**9
    fed = [Sent(b"x" * 20, timestamp_ns=k * second) for k in (5, 3, 9)]
    seen: dict[str, str] = {}
    done = run_packets("feed :: Feed -> t :: TimeRange -> AdjustTimestamp(-1.5) -> StoreTimestamp(0) -> s :: Sink", fed,
                       between=lambda router: seen.update({n: router.read(f"t.{n}") for n in ("first", "last", "interval")}))
    assert [p[5] for p in done.packets] == [k * second - 3 * second // 2 for k in (5, 3, 9)]
    assert done.out()[0][:8] == struct.pack(">II", 3, 500_000)
    assert [float(seen[n]) for n in ("first", "last", "interval")] == [3, 9, 6]
    done = run_packets("feed :: Feed -> SetTimestampDelta -> s :: Sink", fed[:1] + fed[2:])
    assert [p[5] for p in done.packets] == [0, 4 * second]
    assert run_packets("feed :: Feed -> SetTimestamp(7.25) -> s :: Sink", fed[:1]).packets[0][5] == 29 * second // 4


def test_aggregates_come_from_fields_lengths_and_paint() -> None:
    packets = [Sent(udp(5000, 53, src="10.1.2.3"), None, 0, 20), Sent(tcp(80, 443, src="10.9.2.3"), None, 0, 20)]
    for field, values in (("ip src/16", [0x0A01, 0x0A09]), ("ip proto", [17, 6]), ("transp dport", [53, 443]), ("ip src", [0x0A010203, 0x0A090203])):
        done = run_packets(f"feed :: Feed -> AggregateIP({field}) -> s :: Sink", packets)
        assert [struct.unpack_from("<I", p[3], 20)[0] for p in done.packets] == values, field
    done = run_packets("feed :: Feed -> a :: AggregateIP(udp sport) -> s :: Sink; a[1] -> other :: Sink", packets)
    assert (len(done.out()), len(done.out("other"))) == (1, 1)
    done = run_packets("feed :: Feed -> AggregateLength -> f :: AggregateFilter(0 1-9 20, 1 all); f[0] -> s :: Sink; f[1] -> t :: Sink",
                       [Sent(b"x" * n) for n in (5, 10, 20, 30)])
    assert ([len(p) for p in done.out("s")], [len(p) for p in done.out("t")]) == ([5, 20], [10, 30])
    done = run_packets("feed :: Feed -> AggregateLength -> f :: AggregateFirst -> s :: Sink; f[1] -> t :: Sink",
                       [Sent(b"x" * n) for n in (5, 6, 5, 7, 6)])
    assert ([len(p) for p in done.out("s")], [len(p) for p in done.out("t")]) == ([5, 6, 7], [5, 6])


def test_payloads_are_erased_and_cut() -> None:
    data = udp(1, 2, b"secret!!")
    assert run_packets("feed :: Feed -> EraseIPPayload -> s :: Sink", [Sent(data, None, 0, 20)]).out() == [data[:28] + bytes(8)]
    assert run_packets("feed :: Feed -> TruncateIPPayload(3) -> s :: Sink", [Sent(data, None, 0, 20)]).out() == [data[:31]]


def test_a_learning_switch_floods_learns_and_filters() -> None:
    a, b = "020000000001", "020000000002"
    text = ("s :: EtherSwitch; feed :: Feed -> [0] s; two :: Feed -> [1] s; Idle -> [2] s; s[0] -> k0 :: Sink; s[1] -> k1 :: Sink; s[2] -> k2 :: Sink")
    done = run_packets(text, [Sent(ether(b"x" * 46, src=a, dst=b)), Sent(ether(b"y" * 46, src=a, dst="ffffffffffff"))])
    assert [len(done.out(f"k{k}")) for k in range(3)] == [0, 2, 2]
    assert done.handlers["s.table"] == "02-00-00-00-00-01 0\n"
    done = run_packets(text, [Sent(ether(b"x" * 46, src=a, dst=b)), Sent(ether(b"x" * 46, src=b, dst=a))])
    assert [len(done.out(f"k{k}")) for k in range(3)] == [0, 1, 1], "what is for the same port is filtered"


def test_ethernet_headers_are_made() -> None:
    (frame,) = run_packets("feed :: Feed -> EtherVLANEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2, VLAN_ID 9, VLAN_PCP 1) -> s :: Sink", [Sent(b"hi")]).out()
    assert frame == b"\2" * 6 + b"\1" * 6 + b"\x81\0\x20\x09\x08\0hi"
    (frame,) = run_packets("feed :: Feed -> EtherVLANEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2, VLAN_ID 9, NATIVE_VLAN 9) -> s :: Sink", [Sent(b"hi")]).out()
    assert frame == b"\2" * 6 + b"\1" * 6 + b"\x08\0hi"
    done = run_packets("feed :: Feed -> EnsureEther -> s :: Sink", [Sent(udp(1, 2), None, 0, 20), Sent(ether(b"x" * 46), 0, 14, None)])
    assert [len(p) for p in done.out()] == [len(udp(1, 2)) + 14, 60]


def test_congestion_is_marked_or_dropped_for() -> None:
    plain, able = udp(1, 2), udp(1, 2)
    able = able[:1] + b"\2" + able[2:10] + b"\0\0" + able[12:]
    done = run_packets("feed :: Feed -> SetIPChecksum -> m :: MarkIPCE -> CheckIPHeader -> s :: Sink", [Sent(plain, None, 0, 20), Sent(able, None, 0, 20)])
    assert [p[1] & 3 for p in done.out()] == [3] and done.handlers["m.drops"] == "1"


def test_codel_drops_from_a_queue_that_stands() -> None:
    text = ("RatedSource(RATE 2000, LIMIT 4000) -> q :: Queue(5000) -> c :: CoDel -> RatedUnqueue(1000) -> out :: Counter -> Discard;"
            "Script(wait 2.5, stop)")
    with Router.from_text(text, simulated_start_ns=10**18) as router:
        router.run()
        drops, out = int(router.read("c.drops")), int(router.read("out.count"))
    assert drops > 20 and out > 2000
    with Router.from_text(text.replace("RATE 2000", "RATE 500"), simulated_start_ns=10**18) as router:
        router.run()
        assert router.read("c.drops") == "0"


def test_a_bypass_sends_packets_by_another_way_while_it_is_active() -> None:
    text = "feed :: Feed -> b :: Bypass -> s :: Sink; b[1] -> Paint(5) -> c :: Counter -> [1] b"
    for active, around in (("false", "0"), ("true", "8")):
        done = run_packets(text, PLAIN, write=[("b.active", active)])
        assert len(done.out()) == 8 and done.handlers["c.count"] == around


def test_pairs_of_addresses_are_numbered_in_both_directions() -> None:
    packets = [Sent(udp(1, 2, src=a, dst=b), None, 0, 20) for a, b in (("1.0.0.1", "1.0.0.2"), ("1.0.0.3", "1.0.0.2"), ("1.0.0.2", "1.0.0.1"))]
    done = run_packets("feed :: Feed -> p :: AggregateIPAddrPair -> s :: Sink; p[1] -> other :: Sink", [*packets, Sent(b"short")])
    assert [struct.unpack_from("<I", p[3], 20)[0] for p in done.packets if p[0] == "s"] == [1, 2, 1] and done.out("other") == [b"short"]


@pytest.mark.parametrize(("source", "header"), [
    ("FastUDPSource(1000, 3, 61, 0:0:0:0:0:1, 1.0.0.1, 1234, 0:0:0:0:0:2, 2.0.0.2, 53)", 20),
    ("FastUDPSourceIP6(1000, 3, 81, 0:0:0:0:0:1, 3ffe::1, 1234, 0:0:0:0:0:2, 3ffe::2, 53)", 40)])
def test_sources_of_one_flow_make_good_frames(source: str, header: int) -> None:
    frames = run_packets(f"{source} -> s :: Sink").out()
    assert len(frames) == 3 and len(set(frames)) == 1 and len(frames[0]) == (61 if header == 20 else 81)
    packet = frames[0][14:]
    rest = packet[header:]
    pseudo = packet[12:20] + struct.pack(">HH", 17, len(rest)) if header == 20 else packet[8:40] + struct.pack(">IxxxB", len(rest), 17)
    assert checksum(pseudo + rest) == 0 and rest[:6] == struct.pack(">HHH", 1234, 53, len(rest))
    assert header == 40 or checksum(packet[:20]) == 0


@pytest.mark.parametrize("last", ["9.9.9.9/32 0", "10.0.0.0/8 0 1", "300.0.0.0/8 0", "10.0.0.0/33 0", "10.0.0.0/8 7", "1.0.0.0/8 0", "10.0.0.0/8 - 1"])
def test_a_large_table_is_what_its_routes_are_one_by_one(last: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether read at once or a route at a time: the same table, and the same mistakes."""
    routes = ", ".join([f"{1 + i // 250}.{i % 250}.0.0/16 {i % 2}" for i in range(600)] + ["1.0.0.0/8 1", "0.0.0.0/0 0", last])
    text = f"Idle -> r :: StaticIPLookup({routes}); r[0] -> Discard; r[1] -> Discard"
    outcomes = []
    for many in (1, 1 << 30):
        monkeypatch.setattr("penstock.elements.routing._MANY_CHARACTERS", many)
        monkeypatch.setattr("penstock.datapath.lpm._MANY", many)
        try:
            with Router.from_text(text) as router:
                outcomes.append([router.handlers.read("r.lookup", address) for address in ("9.9.9.9", "1.2.3.4", "1.255.0.1", "10.1.1.1", "200.0.0.1")] + [router.read("r.table")])
        except ConfigurationError as error:
            outcomes.append(error.diagnostics.pretty_lines())
    assert outcomes[0] == outcomes[1]
