"""The firewall keeps what its README promises, on the recorded capture."""

from __future__ import annotations

from pathlib import Path

from penstock.packet.capture import CaptureReader
from penstock.runtime.router import Router

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
