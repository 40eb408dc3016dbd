"""Classes of addresses say what sending each address says."""

from __future__ import annotations

import random

import pytest

from penstock.verify.classes import NotPlain, forwarding_classes
from penstock.verify.intervals import Intervals
from penstock.verify.network import Network
from penstock.verify.path import Place
from penstock.verify.policy import parse_policy
from penstock.verify.readers.routes import parse_routes, router_configuration
from penstock.verify.survey import as_dict, survey
from penstock.verify.traffic import all_packets


def random_network(seed: int, routers: int = 9) -> Network:
    """Routers in a ring with a host each; their tables are made by chance, so that there are loops and holes."""
    chance = random.Random(seed)
    network = Network()
    for i in range(routers):
        routes = {}
        for _ in range(chance.randrange(1, 12)):
            length = chance.choice([0, 1, 2, 3, 8, 24, 32])
            address = chance.choice([0, 1, 2, 3, 5]) << 30 & 0xFFFFFFFF | chance.choice([0, 0, 7])
            routes[address >> (32 - length) << (32 - length) if length else 0, length] = chance.choice(["left", "right", "host"])
        lines = [f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}/{n} {to}" for (a, n), to in routes.items()]
        lines += ["250.0.0.0/32 left", "250.0.0.1/32 right", "250.0.0.2/32 host"]
        network.add_box(f"r{i}", router_configuration(parse_routes("\n".join(lines))))
        network.add_host(f"h{i}")
        network.link(f"h{i}", f"r{i}:host")
    for i in range(routers):
        network.link(f"r{i}:right", f"r{(i + 1) % routers}:left")
    return network


@pytest.mark.parametrize("seed", range(6))
def test_each_address_ends_where_it_ends_by_itself(seed: int) -> None:
    network = random_network(seed)
    classes = forwarding_classes(network)
    chance = random.Random(seed)
    loops = [(loop.source, loop.addresses) for loop in classes.loops]
    for host in network.hosts:
        ends = classes.ends_from(host)
        for address in [0, 7, 0x40000000, 0x80000007, 0xFA000001, *(chance.getrandbits(32) for _ in range(4))]:
            packet, path = all_packets("udp")
            path.confine(packet.field("ip", "ttl"), Intervals(((64, 64),)), Place())
            path.confine(packet.field("ip", "dst"), Intervals(((address, address),)), Place())
            way, = network.send(host, packet, path)
            there = [end for end, numbers in ends.items() if address in numbers]
            if way.kind == "loop":
                assert not there and any(address in addresses for _, addresses in loops)
            else:
                assert [(end.kind, end.node) for end in there] == [(way.kind, way.node)]


@pytest.mark.parametrize("seed", range(6))
def test_no_loops_is_the_same_answer_with_and_without_classes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network(seed)
    assertion, = parse_policy("no loops", network)
    by_classes = assertion.check(network)
    monkeypatch.setattr("penstock.verify.questions._MANY_BOXES", 1000)
    network.asked.clear()
    one_by_one = assertion.check(network)
    assert by_classes.verdict == one_by_one.verdict == ("no" if forwarding_classes(network).loops else "yes")
    assert (by_classes.witness is None) == (one_by_one.witness is None)


def test_a_survey_tells_loops_and_where_addresses_lead() -> None:
    network = Network()
    network.add_box("a", router_configuration(parse_routes("10.0.0.0/8 b\n10.1.0.0/16 h\n11.0.0.0/8 out")))
    network.add_box("b", router_configuration(parse_routes("10.0.0.0/9 a\n10.128.0.0/9 g")))
    network.add_host("h")
    network.add_host("g")
    for one, other in (("h", "a:h"), ("a:b", "b:a"), ("b:g", "g")):
        network.link(one, other)
    classes = forwarding_classes(network)
    lines = survey(classes)
    assert lines[0] == f"{classes.count} classes of destination addresses, from 2 hosts"
    assert "LOOP: a → b → a: packets of h to 10.0.0.0/16, 10.2.0.0-10.127.255.255" in lines
    assert "    10.128.0.0/9 arrive at g" in lines
    assert "    11.0.0.0/8 leave at a:out" in lines
    assert as_dict(classes)["loops"][0]["boxes"] == ("a", "b")


@pytest.mark.parametrize(("text", "reason"), [
    ("FromDevice(a) -> CheckIPHeader(14) -> IPFilter(allow src net 10.0.0.0/8, deny all) -> ToDevice(b)", "more than the destination"),
    ("FromDevice(a) -> Strip(14) -> CheckIPHeader -> IPFilter(allow dst port 80, deny all) -> Unstrip(14) -> ToDevice(b)", "more than"),
    ("FromDevice(a) -> Strip(14) -> CheckIPHeader -> SetIPDSCP(4) -> Unstrip(14) -> ToDevice(b)", "changes more of packets"),
    ("FromDevice(a) -> t :: Tee -> ToDevice(b); t[1] -> ToDevice(c)", "go different ways"),
])
def test_other_boxes_are_refused_with_the_reason(text: str, reason: str) -> None:
    network = Network()
    network.add_box("x", text)
    network.add_host("a")
    network.add_host("b")
    network.link("a", "x:a")
    network.link("x:b", "b")
    with pytest.raises(NotPlain, match=reason):
        forwarding_classes(network)
