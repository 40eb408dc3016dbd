"""Why nothing gets through: the two conditions, and where each is from."""

from __future__ import annotations

import pytest

from penstock.verify.contradiction import contradictions
from penstock.verify.network import Network
from penstock.verify.policy import parse_policy

EDGE = """FromDevice(lan) -> Strip(14) -> CheckIPHeader
  -> f :: IPFilter(deny dst host 8.8.8.8, allow tcp dst port 80, allow udp dst port 53 and src net 10.0.0.0/8, deny all)
  -> Unstrip(14) -> ToDevice(wan);
FromDevice(wan) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(drop) -> Unstrip(14) -> ToDevice(lan);"""


@pytest.mark.parametrize(("line", "said"), [
    ("reach tcp port 81 from lan to wan", [
        "rule 1: allow tcp dst port 80 (edge/f, edge.click:2) asks that tcp.dst is 80, but tcp.dst is 81 (tcp.dst as asked)",
        "rule 2: allow udp dst port 53 and src net 10.0.0.0/8 (edge/f, edge.click:2) asks that ip.protocol is 17, but ip.protocol is 6"]),
    ("reach udp port 53 src 11.0.0.1 from lan to wan", [
        "rule 1: allow tcp dst port 80 (edge/f, edge.click:2) asks that ip.protocol is 6, but ip.protocol is 17",
        "rule 2: allow udp dst port 53 and src net 10.0.0.0/8 (edge/f, edge.click:2) asks that ip.src is 10.0.0.0/8, but ip.src is 11.0.0.1 (ip.src as asked)"]),
    ("reach tcp port 80 to 8.8.8.8 from lan to wan", ["rule 0: deny dst host 8.8.8.8 (edge/f, edge.click:2) comes first"]),
    ("reach udp from wan to lan", []),
])
def test_the_two_conditions_are_named(line: str, said: list[str]) -> None:
    network = Network()
    network.add_box("edge", EDGE, file="edge.click")
    for host in ("lan", "wan"):
        network.add_host(host)
        network.link(host, f"edge:{host}")
    (answer,) = [a.check(network) for a in parse_policy(line, network)]
    assert answer.verdict == "no"
    assert [str(c) for c in contradictions(network, answer.ways)] == said
