"""Nanoseconds a packet, on one core, of the ClickOS paper's middleboxes: compiled here, and written by hand in C.

    python bench/middleboxes.py [--json] [--quick]

CPU time, source and Discard included, medians of seven rounds over all cases. The C program is built where there is a compiler.
The columns "Click" and "FastClick" are their userlevel drivers with the same source, measured on this kind of machine
(64 bytes; see SPECIFICATION.md); where a ``click`` with a MemSource is on the PATH as ``$CLICK``, it is measured too.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from penstock import Router
from table import cpu_ns_a_packet, show

HERE = Path(__file__).parent
FIREWALL = ("IPFilter(deny src host 1.2.3.4, deny dst port 80, deny src net 192.168.0.0/16, deny tcp dst port 22, "
            "deny dst net 7.0.0.0/8, deny icmp, deny dst host 1.1.1.1, deny dst host 2.1.1.1, deny src port 55, deny ip ttl 3, "
            "allow all)")
PATTERNS = ", ".join(f"42/{w.encode().hex()}" for w in ["abcd", "efgh", "ijkl", "mnop", "qrst", "uvwx", "yzab", "cdef", "ghij", "klmn"])
ROUTER = ("Strip(14) -> CheckIPHeader -> StaticIPLookup(10.0.0.0/8 0) -> DropBroadcasts -> IPGWOptions(10.128.0.1) "
          "-> FixIPSrc(10.128.0.1) -> DecIPTTL -> IPFragmenter(1500) -> EtherEncap(0x0800, 2:0:0:0:0:4, 2:0:0:0:0:3) -> Discard")
#: name -> (flows, what follows the source, case of the C program, Click and FastClick ns at 64 bytes)
CASES: dict[str, tuple[int, str, str, float | None, float | None]] = {
    "source to Discard": (1, "Discard", "discard", 7.9, 6.9),
    "wire (Queue, Unqueue)": (1, "Queue -> Unqueue(32) -> Discard", "wire", 12.4, 18.5),
    "EtherMirror": (1, "EtherMirror -> Discard", "mirror", 9.5, 8.1),
    "IP router, one route": (1, ROUTER, "router", 43.8, 26.2),
    "firewall, ten rules": (1, f"Strip(14) -> CheckIPHeader -> {FIREWALL} -> Discard", "firewall", 35.7, 31.4),
    "NAT, 1 flow": (1, "Strip(14) -> CheckIPHeader -> IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0) -> Discard", "nat", 48.9, 53.9),
    "NAT, 1,000 flows": (1000, "Strip(14) -> CheckIPHeader -> IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0) -> Discard", "nat",
                         62.7, 64.0),
    "NAT, 50,000 flows": (50000, "Strip(14) -> CheckIPHeader -> IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0) -> Discard", "nat",
                          162.0, 240.0),
    "load balancer, 1,000 flows": (1000, "h :: HashSwitch(34, 4); h[0] -> Discard; h[1] -> Discard; h[2] -> Discard; h[3] -> Discard",
                                   "balancer", 17.2, 14.1),
    "flow monitor, 1,000 flows": (1000, "Strip(14) -> CheckIPHeader -> AggregateIPFlows -> AggregateCounter -> Discard", "monitor",
                                  78.3, 62.9),
    "Classifier, ten patterns": (1, f"c :: Classifier({PATTERNS}, -); " + " ".join(f"c[{i}] -> Discard;" for i in range(11)),
                                 "classifier", 58.3, 31.0),
    "Counter": (1, "Counter -> Discard", "counter", 50.8, 9.6),
}


def _source(length: int, flows: int, limit: int) -> str:
    return f"src :: MemSource(LENGTH {length}, FLOWS {flows}, LIMIT {limit}, STOP true)"


class Compiled:
    """One configuration, ready to run again and again."""

    def __init__(self, rest: str, length: int, flows: int, packets: int):
        self.packets = packets
        self.router = Router.from_text(f"{_source(length, flows, packets)} -> {rest}")
        self.router.load()
        self.run()

    def run(self) -> float:
        return cpu_ns_a_packet(self.router, self.packets)


def build_c() -> Path | None:
    compiler = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
    if compiler is None:
        return None
    program = HERE / "build" / "middleboxes"
    program.parent.mkdir(exist_ok=True)
    subprocess.run([compiler, "-O3", "-march=native", "-o", program, HERE / "middleboxes.c"], check=True)
    return program


def run_c(program: Path, case: str, packets: int, length: int, flows: int) -> float:
    return float(subprocess.run([program, case, str(packets), str(length), str(flows)], check=True, capture_output=True,
                                text=True).stdout.split()[0])


def run_click(binary: str, rest: str, packets: int, length: int, flows: int) -> float | None:
    """CPU ns a packet of another Click, whose MemSource takes the same arguments; None where it does not run this."""
    done = subprocess.run([binary, "-t", "-e", f"{_source(length, flows, packets)} -> {rest}"], capture_output=True, text=True)
    words = done.stderr.split()
    return float(words[0].rstrip("u")) * 1e9 / packets if done.returncode == 0 and words and words[0].endswith("u") else None


def main() -> None:
    quick = "--quick" in sys.argv[1:]
    packets, runs = (200_000, 1) if quick else (5_000_000, 7)
    program = build_c()
    click = os.environ.get("CLICK")
    columns = ["middlebox", "bytes", "ours ns", "C ns", "ours/C", "Click ns", "FastClick ns", "best/ours", "image bytes"]
    cases = [(name, length, *case) for name, case in CASES.items() for length in (64, 1500)]
    ready = [Compiled(rest, length, flows, packets) for _, length, flows, rest, *_ in cases]
    mine: list[list[float]] = [[] for _ in cases]
    theirs: list[list[float]] = [[] for _ in cases]
    # In rounds over all cases: what else the machine does for a while falls on all of them.
    for _ in range(runs):
        for i, (_, length, flows, _, case, *_) in enumerate(cases):
            mine[i].append(ready[i].run())
            if program is not None:
                theirs[i].append(run_c(program, case, packets, length, flows))
    rows: list[list[object]] = []
    for i, (name, length, flows, rest, _, click_ns, fast_ns) in enumerate(cases):
        ns = statistics.median(mine[i])
        c_ns = statistics.median(theirs[i]) if theirs[i] else None
        measured = run_click(click, rest, packets, length, flows) if click else None
        reference = (measured or click_ns, fast_ns) if length == 64 else (measured, None)
        best = min((v for v in reference if v is not None), default=None)
        image = ready[i].router.image
        assert image is not None
        rows.append([name, length, ns, c_ns, ns / c_ns if c_ns else None, *reference, best / ns if best else None, len(image.code)])
    show("middleboxes: CPU nanoseconds a packet on one core", columns, rows)


if __name__ == "__main__":
    main()
