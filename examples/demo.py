"""The demo: the firewall of boxes/firewall over a real capture. ``make demo`` runs it."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from penstock import Router
from penstock.runtime.image import ImageCache

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "boxes" / "firewall" / "firewall.click"
RULES = {
    "fw/bad_header": "broken IP header", "fw/fragments": "rule 1: fragments", "fw/spoofed": "rule 2: impossible source",
    "fw/worm_ports": "rule 3: telnet, SMB, RDP", "fw/bulk": "rule 4: iperf3", "fw/not_allowed": "rule 8: everything else",
    "not_ip": "not IPv4 (ARP)",
}


def filter_capture(capture: Path, output: Path) -> None:
    """Run the firewall over ``capture`` and show what became of the packets."""
    started = time.perf_counter()
    router = Router.from_text(CONFIGURATION.read_text(), file="boxes/firewall/firewall.click", cache=ImageCache(),
                              variables={"IN": str(capture), "OUT": str(output)})
    with router:
        router.load()
        ready = time.perf_counter()
        router.run()
        passed = time.perf_counter() - ready
        count = {name: int(router.read(f"{name}.count")) for name in ("all", "allowed", *RULES)}
    assert router.image is not None
    where = "from the image cache" if router.image_from_cache else "compiled"
    print(f"{capture.relative_to(ROOT)}: {count['all']} packets from curl, dig, ssh, ping and iperf3\n")
    print(f"  {count['allowed']:6}  passed")
    for name, words in RULES.items():
        print(f"  {count[name]:6}  dropped by {words}")
    print(f"\nimage: {len(router.image.code)} bytes of machine code, {where}, ready after {(ready - started) * 1e3:.0f} ms")
    print(f"speed: {count['all'] / passed:,.0f} packets a second, from file to file")


def measure_rules() -> None:
    """The same firewall with generated packets: the speed of the packet code itself, on one core."""
    text = CONFIGURATION.read_text()
    element = text[text.index("elementclass Firewall") : text.index("FromDump(")]
    limit = 3_000_000
    with Router.from_text(f"{element} MemSource(LIMIT {limit}, STOP true) -> Strip(14) -> Firewall -> Discard;",
                          cache=ImageCache()) as router:
        router.load()
        started = time.process_time()
        router.run()
        passed = time.process_time() - started
    print(f"       {limit / passed:,.0f} packets a second, from memory to memory")


def main() -> None:
    output = ROOT / "demo-out" / "allowed.pcap"
    output.parent.mkdir(exist_ok=True)
    filter_capture(ROOT / "examples" / "office.pcap", output)
    measure_rules()
    print(f"\nallowed packets: {output.relative_to(ROOT)} (open it with any program that reads captures)")


if __name__ == "__main__":
    sys.exit(main())
