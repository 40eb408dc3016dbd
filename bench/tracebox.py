"""Tracebox: one path, a thousand paths, and every case twenty times with one packet in a hundred lost.

    python bench/tracebox.py [--json] [--cases]

Paths are chains of Linux routers in network namespaces, with delays in their wires (this project's DelayShaper). The round trip is
what ping measures on the same path. Needs root.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.tracebox.cases import CASES
from tests.tracebox.chain import Chain

from penstock.tracebox import trace
from table import show

DELAY = """
FromDevice(left, PROMISC true) -> Queue(20000) -> DelayShaper({0}) -> ToDevice(right);
FromDevice(right, PROMISC true) -> Queue(20000) -> DelayShaper({0}) -> ToDevice(left);
"""
ROUNDS, RUNS, MANY = 5, 20, 1000
COMMAND = "import sys; from penstock.cli.{0} import {1}; sys.exit({1}())"


def command(chain: Chain, module: str, *words: str, function: str = "main", first: tuple[str, ...] = ()) -> tuple[float, str]:
    program = COMMAND.format(module, function)
    if first:
        program = f"import sys; from penstock.cli.main import main; sys.exit(main({[*first, *words]!r}))"
        words = ()
    started = time.perf_counter()
    out = chain.run("client", [sys.executable, "-c", program, *words])
    return time.perf_counter() - started, out


def round_trip_s(chain: Chain) -> float:
    out = chain.run("client", f"ping -c 5 -i 0.2 {chain.server}")
    return float(out.rsplit("=", 1)[1].split("/")[1]) / 1000


def one_path(hops: int, *, silent: int = 0) -> list[object]:
    with Chain(hops, boxes={0: DELAY.format("0.005"), hops: DELAY.format("0.015")}) as chain:
        for i in range(silent):
            chain.nft(f"r{2 + i}", "filter hook output priority 0", "icmp type time-exceeded drop")
        trip = round_trip_s(chain)
        times = [command(chain, "tracebox", "-n", chain.server)[0] for _ in range(ROUNDS)]
        inside = []
        with chain.inside("client"):
            for _ in range(ROUNDS):
                started = time.perf_counter()
                path = trace(chain.server, probe="syn")
                inside.append(time.perf_counter() - started)
                assert path.length == hops + 1, path
    promised = 1.2 * trip + 0.03 if not silent else 1.5
    name = f"{hops} hops" + (f", {silent} silent" if silent else "")
    at_most_ms = 1900 if silent else 400
    at_most_ms = 1900 if silent else 400
    return [name, trip * 1000, statistics.median(inside) * 1000, promised * 1000, statistics.median(times) * 1000, at_most_ms]


def many_paths() -> list[list[object]]:
    with Chain(5, boxes={0: DELAY.format("0.005"), 5: DELAY.format("0.015")}) as chain:
        chain.run("server", "ip route add local 10.10.0.0/16 dev lo")
        for i, name in enumerate(chain.names[:-1]):
            chain.run(name, f"ip route add 10.10.0.0/16 via 10.9.{i}.2")
        with tempfile.TemporaryDirectory() as folder:
            names = Path(folder) / "names"
            names.write_text("".join(f"10.10.{i // 250}.{i % 250 + 1}\n" for i in range(MANY)))
            rows = []
            for budget in (100, 100000):
                times, found = [], 0
                for i in range(3):
                    base = str(Path(folder) / f"{budget}-{i}.db")
                    took, _ = command(chain, "main", base, str(names), "-q", "-p", "syn", "--pace", "20000", "--router-budget", str(budget),
                                      first=("campaign", "run"))
                    times.append(took)
                    from penstock.tracebox.campaign import Campaign

                    with Campaign(base) as campaign:
                        found = campaign.query("SELECT COUNT(*) FROM hop WHERE address IS NOT NULL")[0][0]
                        false = campaign.query("SELECT COUNT(*) FROM finding")[0][0]
                label = "near hops remembered" if budget == 100 else "every hop of every path asked"
                rows.append([f"{MANY} destinations, {label}", statistics.median(times), 2.0, 100 * found / (6 * MANY), false])
    return rows


def per_second(work: Callable[[], object], count: int = 3000) -> float:
    """How often ``work`` is done in a second, the best of three."""
    best = 0.0
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(count):
            work()
        best = max(best, count / (time.perf_counter() - started))
    return best


def packets() -> list[list[object]]:
    """Probes made, and errors read, a second on one core; scapy beside."""
    import random
    import warnings

    from penstock.tracebox.diff import compare
    from penstock.tracebox.flow import Flow
    from penstock.tracebox.language import parse_probe
    from penstock.tracebox.replies import parse_reply

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from scapy.layers.inet import ICMP, IP, TCP
    flow = Flow(parse_probe("options"), "192.0.2.1", "192.0.2.9", port=4000, chance=random.Random(1))
    probe = flow.probe(5)
    error = bytes(IP(src="10.0.0.1", dst="192.0.2.1") / ICMP(type=11) / probe)
    ours = [per_second(lambda: flow.probe(5)), per_second(lambda: parse_reply(error)), per_second(lambda: compare(probe, probe[:60]))]
    options = [("MSS", 1460), ("SAckOK", b""), ("Timestamp", (1, 0)), ("WScale", 14)]
    made = per_second(lambda: bytes(IP(dst="192.0.2.9", src="192.0.2.1", ttl=5) / TCP(options=options)), 300)
    theirs = [made, per_second(lambda: IP(error), 300), None]
    names = ("probes made", "errors read", "quotes compared")
    return [[name, a / 1000, b / 1000 if b else None, a / b if b else None] for name, a, b in zip(names, ours, theirs)]


def cases() -> list[list[object]]:
    wrong = missed = false = 0
    for case in CASES:
        with Chain(4, boxes=case.boxes) as chain:
            case.prepare(chain)
            chain.nft("r2", "filter hook prerouting priority -300", "ip ttl > 0 numgen random mod 100 == 0 drop")
            chain.nft("r2", "filter hook prerouting priority -300", "ip6 hoplimit > 0 numgen random mod 100 == 0 drop", family="ip6")
            with chain.inside("client"):
                for _ in range(RUNS):
                    path = trace(chain.server6 if case.wide else chain.server, probe=case.probe)
                    got = {(f.kind, f.after_hop, f.by_hop) for f in path.findings}
                    wanted = set(case.expected)
                    missed += len({k for k, _, _ in wanted} - {k for k, _, _ in got})
                    false += len({k for k, _, _ in got} - {k for k, _, _ in wanted})
                    if got != wanted:
                        wrong += 1
                        print(f"  {case.name}: {got} for {wanted}", file=sys.stderr)
    runs = RUNS * len(CASES)
    return [[f"{len(CASES)} cases, {RUNS} times each", runs, false, missed, wrong]]


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("this benchmark needs root")
    paths = [one_path(5), one_path(15), one_path(8, silent=1), one_path(8, silent=4)]
    many = many_paths()
    speed = packets()
    told = cases() if "--cases" in sys.argv else []
    if "--json" in sys.argv:
        print(json.dumps({"paths": paths, "many": many, "packets": speed, "cases": told}))
        return
    show("One path (milliseconds)", ["path", "round trip", "trace", "promised", "command 'tracebox'", "promised"], paths)
    show("Many paths from the command line (seconds)", ["what", "time", "promised", "hops known, %", "false findings"], many)
    show("Packets (thousand a second, one core)", ["what", "penstock", "scapy", "times"], speed)
    if told:
        show("Every case, 1 % of packets lost", ["what", "runs", "false findings", "missed", "wrong place"], told)


if __name__ == "__main__":
    main()
