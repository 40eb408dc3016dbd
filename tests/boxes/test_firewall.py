"""The firewall keeps what its README promises, on the recorded capture."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.packet.capture import CaptureReader
from penstock.runtime.router import Router
from penstock.verify import Network, parse_policy

ROOT = Path(__file__).parents[2]
CAPTURE = ROOT / "examples" / "office.pcap"
COUNTERS = ("fw/bad_header", "fw/fragments", "fw/spoofed", "fw/worm_ports", "fw/bulk", "fw/not_allowed", "not_ip", "allowed")


def test_counters_add_up_and_allowed_packets_leave_unchanged(tmp_path: Path) -> None:
    text = (ROOT / "boxes/firewall/firewall.click").read_text()
    with Router.from_text(text, variables={"IN": str(CAPTURE), "OUT": str(tmp_path / "out.pcap")}) as router:
        router.run()
        counts = {name: int(router.read(f"{name}.count")) for name in COUNTERS}
        total = int(router.read("all.count"))
    assert sum(counts.values()) == total == 691
    assert counts["fw/worm_ports"] == 3 and counts["allowed"] == 93
    with CaptureReader(str(CAPTURE)) as reader:
        before = list(reader)
    with CaptureReader(str(tmp_path / "out.pcap")) as reader:
        after = list(reader)
    assert len(after) == counts["allowed"]
    originals = {(p.timestamp_ns, p.data) for p in before}
    assert all((p.timestamp_ns, p.data) in originals for p in after)
    for packet in after:
        ip = packet.data[14:]
        ports = {ip[20] << 8 | ip[21], ip[22] << 8 | ip[23]}
        assert ip[9] == 1 or ports & {22, 53, 80}


MISTAKES = {
    "a worm port is forgotten": ("dst port 23 or dst port 445 or dst port 3389", "dst port 23 or dst port 445"),
    "fragments are let through": ("1 ip frag,", "0 ip frag,"),
    "sources that cannot be are let through": ("src net 127.0.0.0/8 or ", ""),
    "too much is allowed": ("0 port 53,", "0 udp,"),
    "web is forgotten": ("0 tcp port 80 or 22,", "0 tcp port 22,"),
    "the order is wrong": ("4 tcp port 5201 or udp port 5201,\n            0 icmp type echo or icmp type echo-reply,\n            0 port 53,",
                           "0 port 53,\n            4 tcp port 5201 or udp port 5201,\n            0 icmp type echo or icmp type echo-reply,"),
    "packets are changed": ("-> output;\n    checked [1]", "-> DecIPTTL -> output;\n    checked [1]"),
}


def failing(text: str) -> list[str]:
    network = Network()
    network.add_box("firewall", text)
    for host in ("in", "out"):
        network.add_host(host)
        network.link(host, f"firewall:{host}")
    policy = (ROOT / "boxes/firewall/firewall.policy").read_text()
    return [a.text for a in parse_policy(policy, network) if not a.check(network).holds]


def test_its_promises_hold_for_every_packet() -> None:
    assert failing((ROOT / "boxes/firewall/firewall.click").read_text()) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_it_are_found(mistake: str) -> None:
    text = (ROOT / "boxes/firewall/firewall.click").read_text()
    before, after = MISTAKES[mistake]
    assert before in text
    assert failing(text.replace(before, after))
