"""The prober on paths that are made up: every kind of router, quote, loss and silence, in no time at all."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from penstock.tracebox import Path, Settings, trace, trace_many
from penstock.tracebox.layers import IP, TCP, IPv6, Raw, TCPOption
from penstock.tracebox.packet import dissect
from tests.tracebox.simulated import Router, SimulatedNetwork, with_field

TO, TO6 = "192.0.2.9", "2001:db8:9::9"


def routers(count: int, **more: object) -> list[Router]:
    return [Router(f"10.0.{i}.1", **more) for i in range(1, count + 1)]  # type: ignore[arg-type]


def follow(hops: list[Router], *, probe: str = "options", to: str = TO, settings: Settings | None = None, **more: object) -> tuple[Path, SimulatedNetwork]:
    network = SimulatedNetwork({to: hops}, **more)  # type: ignore[arg-type]
    return trace(to, probe=probe, network=network, settings=settings), network


def found(path: Path) -> list[tuple[str, str, int, int]]:
    return [(f.kind, f.field, f.after_hop, f.by_hop) for f in path.findings]


@pytest.mark.parametrize("probe", ["options", "udp", "icmp", "mptcp", "IP / TCP", "IP / UDP", "ip{id=7} / TCP"])
def test_a_clean_path_has_all_its_hops_and_no_finding(probe: str) -> None:
    path, _ = follow(routers(5), probe=probe)
    assert [h.address for h in path.hops] == [f"10.0.{i}.1" for i in range(1, 6)] + [TO]
    assert path.is_reached and path.length == 6 and not path.findings and not path.notes and not path.error


@pytest.mark.parametrize("probe", ["options", "udp", "icmp", "IP / UDP"])
def test_ipv6_paths_likewise(probe: str) -> None:
    hops = [Router(f"2001:db8:{i}::1") for i in range(1, 6)]
    path, _ = follow(hops, probe=probe, to=TO6)
    assert [h.address for h in path.hops] == [h.address for h in hops] + [TO6]
    assert not path.findings and path.length == 6


def test_a_path_takes_little_more_than_a_round_trip_however_long_it_is() -> None:
    for count in (5, 15):
        path, _ = follow(routers(count, delay_ms=30 / count))
        assert path.length == count + 1
        assert path.duration_s < 0.070 * 1.2 + 0.03


def test_silent_hops_cost_one_and_a_half_seconds_in_all() -> None:
    hops = routers(8)
    for i in (1, 3, 4):
        hops[i].answers = False
    path, _ = follow(hops)
    assert [h.kind for h in path.hops] == ["router", "silent", "router", "silent", "silent", "router", "router", "router", "destination"]
    assert path.duration_s <= 1.6
    assert "later hops answer" in path.hops[1].note


def test_silent_hops_before_the_destination_are_counted() -> None:
    hops = routers(6)
    hops[4].answers = hops[5].answers = False
    path, _ = follow(hops)
    assert path.length == 7
    assert [h.kind for h in path.hops] == ["router"] * 4 + ["silent"] * 2 + ["destination"]


def test_nobody_behind_a_hop_is_said_so_and_costs_as_little() -> None:
    path, _ = follow(routers(4), answers=False)
    assert not path.is_reached and len(path.hops) == 30
    assert path.notes == ["nothing answers behind hop 4 (10.0.4.1): filtered, or nobody is there"]
    assert path.duration_s < 2.3


def test_a_router_that_limits_its_errors_is_heard_in_the_end() -> None:
    hops = routers(4)
    hops[1].burst = 0
    path, _ = follow(hops)
    assert path.hops[1].address == "10.0.2.1"


@pytest.mark.parametrize("seed", range(20))
def test_loss_neither_hides_a_hop_nor_makes_a_finding(seed: int) -> None:
    for probe in ("options", "udp", "icmp"):
        path, _ = follow(routers(5), probe=probe, seed=seed, loss=0.003)
        assert [h.address for h in path.hops] == [f"10.0.{i}.1" for i in range(1, 6)] + [TO]
        assert not path.findings


@pytest.mark.parametrize("quote_bytes", [8, 20, 28, None])
def test_a_change_lies_between_the_hops_that_could_show_it(quote_bytes: int | None) -> None:
    hops = routers(6, quote_bytes=quote_bytes)
    hops[0].quote_bytes = hops[5].quote_bytes = None
    hops[3].change = with_field(TCP, "window", 77)
    path, _ = follow(hops)
    expected = {8: (1, 6), 20: (3, 4), 28: (3, 4), None: (3, 4)}[quote_bytes]
    assert found(path) == [("window changer", "TCP::WindowsSize", *expected)]
    assert path.findings[0].before == "5840" and path.findings[0].after == "77"


def test_what_was_not_quoted_is_never_removed() -> None:
    path, _ = follow(routers(5, quote_bytes=8))
    assert not path.findings
    assert all(c.kind == "changed" for h in path.hops for c in h.changes)
    assert all(h.comparison is None or h.comparison.is_partial for h in path.hops)


def test_a_rewritten_identification_does_not_lose_the_hop() -> None:
    hops = routers(6)
    hops[2].change = with_field(IP, "identification", 4242)
    path, _ = follow(hops)
    assert [h.address for h in path.hops[:6]] == [r.address for r in hops]
    assert found(path) == [("IP ID changer", "IP::Identification", 2, 3)]


def test_a_cleared_urgent_pointer_does_not_lose_the_hop() -> None:
    hops = routers(6)
    hops[2].change = with_field(TCP, "urgent", 0)
    path, _ = follow(hops)
    assert [h.address for h in path.hops[:6]] == [r.address for r in hops]
    assert found(path) == [("normaliser", "TCP::UrgPointer", 2, 3)]


def test_a_nat_shows_in_addresses_or_in_a_checksum_that_does_not_fit() -> None:
    hops = routers(6)
    hops[2].change = with_field(IP, "src", 0x0A090807)
    own = int.from_bytes(bytes((198, 51, 100, 7)))
    for h in hops[2:]:
        # The errors come back through the NAT, which puts the address back and leaves the transport checksum.
        h.undo = with_field(IP, "src", own, fix=False)
    path, _ = follow(hops)
    assert [h.address for h in path.hops[:6]] == [r.address for r in hops]
    assert [(f.kind, f.after_hop, f.by_hop) for f in path.findings] == [("NAT", 2, 3)]


def test_a_forwarding_loop_ends_the_trace() -> None:
    hops = [Router("10.0.1.1"), *[Router(f"10.0.{2 + i % 2}.1") for i in range(40)]]
    path, _ = follow(hops)
    assert path.notes[0] == "forwarding loop between 10.0.2.1 and 10.0.3.1"
    assert len(path.hops) < 16 and not path.is_reached


def test_a_prohibition_ends_the_path_where_it_is() -> None:
    hops = routers(5)
    hops[3].stop_code = 13
    path, _ = follow(hops)
    assert [h.kind for h in path.hops] == ["router"] * 3 + ["stop"]
    assert path.hops[3].note == "administratively prohibited" and not path.is_reached


def test_mpls_labels_are_read_and_do_not_disturb_the_quote() -> None:
    hops = routers(4)
    hops[2].extensions = (8).to_bytes(2) + b"\1\1" + (16005 << 12 | 1 << 8 | 7).to_bytes(4)
    path, _ = follow(hops)
    assert [e.text for e in path.hops[2].extensions] == ["MPLS label 16005, class 0, bottom, TTL 7"]
    assert not path.findings


def test_one_by_one_gives_the_same_path() -> None:
    hops = routers(5)
    hops[2].answers = False
    path, _ = follow(hops, settings=Settings(one_by_one=True, silence_s=0.6))
    assert [h.kind for h in path.hops] == ["router", "router", "silent", "router", "router", "destination"]


def test_an_unmarked_probe_is_sent_as_it_is_and_traced_one_by_one() -> None:
    path, network = follow([Router(f"2001:db8:{i}::1") for i in range(1, 4)], probe="IPv6 / tcp{flags=TCP.SYN+TCP.URG}", to=TO6)
    assert path.length == 4
    assert {data[6:7] for data in network.sent} == {b"\6"}


def test_what_is_hashed_by_load_balancers_is_the_same_in_every_probe() -> None:
    for probe in ("options", "udp", "icmp"):
        _, network = follow(routers(5), probe=probe)
        assert len({data[20:24] + data[1:2] + data[9:10] + data[12:20] for data in network.sent}) == 1, probe
        if probe == "icmp":
            assert len({data[20:24] for data in network.sent}) == 1
    _, network = follow([Router(f"2001:db8:{i}::1") for i in range(1, 5)], to=TO6)
    assert len({data[:6] + data[8:44] for data in network.sent}) == 1


def test_a_flow_label_rewriter_and_traffic_class_are_found() -> None:
    hops = [Router(f"2001:db8:{i}::1") for i in range(1, 6)]
    hops[2].change = with_field(IPv6, "traffic_class", 3)
    path, _ = follow(hops, to=TO6)
    assert found(path) == [("ECN changer", "IPv6::TrafficClass", 2, 3)]


def test_many_paths_at_once_share_the_time() -> None:
    paths = {f"192.0.{i // 200}.{i % 200 + 1}": [Router(f"10.{i % 250}.{k}.1", delay_ms=2 + (i + k) % 9) for k in range(1, 6)] for i in range(300)}
    network = SimulatedNetwork(paths)
    results = list(trace_many(list(paths), network=network, settings=Settings(pace_pps=50000)))
    assert {p.destination for p in results} == set(paths)
    for path in results:
        assert [h.address for h in path.hops] == [r.address for r in paths[path.destination]] + [path.destination]
        assert not path.findings


def test_an_interface_that_goes_down_keeps_what_was_measured() -> None:
    class Failing(SimulatedNetwork):
        def send(self, packet: bytes, destination: str) -> None:
            if len(self.sent) >= 3:
                raise OSError(100, "Network is down")
            super().send(packet, destination)

    network = Failing({TO: routers(5)})
    path = trace(TO, network=network, settings=Settings(pace_pps=100))
    assert path.error == "sending stopped: network is down"
    assert [h.address for h in path.hops][:1] == ["10.0.1.1"]


def rebuilt(data: bytes, payload: bytes) -> bytes:
    packet = dissect(data)
    packet.layers = [layer for layer in packet.layers if not isinstance(layer, Raw)]
    return (packet / payload).build()


@pytest.mark.parametrize(("kind", "change"), [
    ("segment splitter", lambda data: rebuilt(data, dissect(data).payload[:4])),
    ("segment coalescer", lambda data: rebuilt(data, dissect(data).payload + b"and more")),
    ("payload rewriter", lambda data: rebuilt(data, b"HELLO, world")),
    ("option adder", lambda data: with_option(data, b"\x4d\x04ab")),
    ("tunnel", lambda data: with_field(IP, "protocol", 99, fix=False)(data)),
])
def test_boxes_that_change_the_shape_of_a_packet_are_called_by_their_names(kind: str, change: Callable[[bytes], bytes]) -> None:
    hops = routers(5)
    hops[2].change = change
    path, _ = follow(hops, probe="IP / TCP / MSS / raw('hello, world')")
    assert [(f.kind, f.after_hop, f.by_hop) for f in path.findings][:1] == [(kind, 2, 3)]


def with_option(data: bytes, option: bytes) -> bytes:
    packet = dissect(data)
    place = max(i for i, layer in enumerate(packet.layers) if isinstance(layer, TCPOption))
    packet.layers.insert(place + 1, TCPOption(option))
    return packet.build()


def test_a_packet_that_has_ttl_left_when_its_time_runs_out_is_a_tunnel_s_doing() -> None:
    hops = routers(5)
    hops[2].undo = with_field(IP, "ttl", 3)
    path, _ = follow(hops)
    assert [(f.kind, f.after_hop, f.by_hop) for f in path.findings] == [("TTL-hiding box", 2, 3)]


def test_what_one_router_quotes_oddly_is_a_remark_and_no_finding() -> None:
    hops = routers(5)
    hops[2].undo = with_field(TCP, "window", 1)
    path, _ = follow(hops)
    assert not path.findings
    assert path.notes == ["hop 3 (10.0.3.1) quotes TCP::WindowsSize (5840 -> 1), later hops do not: its way of quoting"]


def test_a_time_exceeded_from_the_destination_s_own_address_is_a_hop() -> None:
    hops = routers(4)
    hops[2].address = TO
    path, _ = follow(hops)
    assert path.length == 5
    assert path.hops[2].note == "time exceeded from the destination's own address"
