"""The verifier: lines of stateful middleboxes, filters, forwarding tables, what-ifs, policies.

    python bench/verify.py [--json] [--many]

Published figures are SymNet's (HotMiddlebox 2013; 11 s for 100 middleboxes on the authors' machine).
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

from penstock.datapath.lpm import LPM
from penstock.verify import Network, parse_policy, parse_traffic
from penstock.verify.admission import Tenant, admit
from penstock.verify.box import Box
from penstock.verify.classes import forwarding_classes
from penstock.verify.conversation import connect
from penstock.verify.forwarding import Partition, partition_of
from penstock.verify.hosts import make_packet
from penstock.verify.intervals import Intervals
from penstock.verify.readers.routes import parse_routes, router_configuration
from penstock.verify.traffic import all_packets
from penstock.verify.whatif import what_if
from table import show

ROOT = Path(__file__).parents[1]
FIREWALL = """FromDevice(0) -> Strip(14) -> CheckIPHeader -> state :: IPRewriter(keep 0 1, drop) -> Unstrip(14) -> ToDevice(1);
FromDevice(1) -> Strip(14) -> CheckIPHeader -> [1] state; state[1] -> Unstrip(14) -> ToDevice(0)"""
TENANT = " -> ".join([
    "FromDevice(0)", "Strip(14)", "CheckIPHeader", "Counter", "DecIPTTL", "Counter", "CheckIPHeader",
    "IPFilter(allow udp dst port 53, allow tcp dst port 80, deny all)", "Counter", "Paint(1)", "CheckPaint(1)", "Counter", "SetIPDSCP(0)",
    "Counter", "Counter", "Counter", "IPMirror", "Counter", "Unstrip(14)", "EtherMirror", "ToDevice(0)",
])


def command(*words: str) -> float:
    """Milliseconds of ``penstock verify``, as users have it: with its byte code on disk."""
    with tempfile.TemporaryDirectory() as cache:
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPYCACHEPREFIX": cache}
        work = [sys.executable, "-m", "penstock.cli.main", "verify", *words, "-b"]
        times = [seconds(lambda: subprocess.run(work, check=True, capture_output=True, cwd=ROOT, env=environment)) for _ in range(6)]
    return statistics.median(times[1:]) * 1e3


def line(boxes: int) -> Network:
    network = Network()
    network.add_host("client", ["10.0.0.0/8"])
    network.add_host("server", ["198.51.100.7"])
    for i in range(boxes):
        network.add_box(f"b{i}", FIREWALL)
    network.link("client", "b0:0")
    for i in range(boxes - 1):
        network.link(f"b{i}:1", f"b{i + 1}:0")
    network.link(f"b{boxes - 1}:1", "server")
    return network


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def opening(network: Network) -> float:
    """Seconds that the question takes."""
    started = time.perf_counter()
    ways = connect(network, "client", "server", parse_traffic(["tcp", "port", "80"]))
    if not any(way.works for way in ways):
        raise RuntimeError("TCP does not get through")
    return time.perf_counter() - started


def lines(sizes: list[int]) -> list[list[object]]:
    rows: list[list[object]] = []
    times: list[tuple[float, float]] = []
    promised = {100: 20.0, 10_000: 2000.0, 100_000: 30_000.0}
    published = {100: 11_000.0}
    for size in sizes:
        network = line(size)
        # The one kind of box is executed once; what grows is measured.
        once = opening(network)
        took = statistics.median([opening(network) for _ in range(5 if size <= 1000 else 1)])
        times.append((math.log(size), math.log(took)))
        what = f"TCP through {size:,} stateful middleboxes"
        rows.append([what, took * 1e3, promised.get(size), published.get(size), f"{once * 1e3:.0f} ms the first time"])
    mean_x, mean_y = (statistics.mean(t[i] for t in times[1:]) for i in (0, 1))
    slope = sum((x - mean_x) * (y - mean_y) for x, y in times[1:]) / sum((x - mean_x) ** 2 for x, _ in times[1:])
    rows.append(["growth exponent from 1,000 boxes on", slope, 1.05, None, ""])
    tracemalloc.start()
    network = line(1000)
    before = tracemalloc.get_traced_memory()[0]
    network = line(3000)
    rows.append(["KiB a box", (tracemalloc.get_traced_memory()[0] - before) / 2000 / 1024, 2.0, None, ""])
    tracemalloc.stop()
    return rows


def command_line() -> list[object]:
    folder = ROOT / "bench" / "build"
    folder.mkdir(exist_ok=True)
    boxes = "\n".join(f"[box.b{i}]\nclick = 'firewall.click'" for i in range(100))
    links = ", ".join(['"client b0:0"', *(f'"b{i}:1 b{i + 1}:0"' for i in range(99)), '"b99:1 server"'])
    (folder / "firewall.click").write_text(FIREWALL)
    hosts = "[host.client]\naddress = '10.0.0.0/8'\n[host.server]\naddress = '198.51.100.7'"
    (folder / "line.toml").write_text(f"links = [{links}]\n{hosts}\n{boxes}\n")
    question = "allow tcp port 80 from client to server"
    return ["the same 100, from the command line", command(str(folder / "line.toml"), question), 500.0, None, ""]


def rules(count: int) -> str:
    chance = random.Random(5)

    def rule() -> str:
        source = f"src net {chance.randrange(1, 223)}.{chance.randrange(256)}.0.0/{chance.choice([8, 16, 24])}"
        target = f"dst net 10.{chance.randrange(256)}.{chance.randrange(256)}.0/24"
        ends = f"{source} && {target} && {chance.choice(['tcp', 'udp'])} && dst port {chance.randrange(1, 1000)}"
        return f"{chance.choice(['allow', 'deny'])} {ends}"

    listing = ", ".join(rule() for _ in range(count))
    return f"FromDevice(0) -> Strip(14) -> CheckIPHeader -> IPFilter({listing}, deny all) -> Unstrip(14) -> ToDevice(1)"


def first_packet(box: Box) -> float:
    return seconds(lambda: box.run("0", make_packet("tcp")))


def prefixes(count: int, hops: int, seed: int) -> dict[tuple[int, int], int]:
    chance = random.Random(seed)
    found: dict[tuple[int, int], int] = {}
    while len(found) < count:
        length = chance.choice([8, 16, 20, 22, 24, 24, 24])
        found[chance.getrandbits(32) >> (32 - length) << (32 - length), length] = chance.randrange(hops)
    return found


def table(count: int) -> list[object]:
    lpm = LPM(1)
    lpm.prefixes = prefixes(count, 8, 1)
    took = seconds(lambda: Partition(lpm.prefixes))
    return [f"{count:,} prefixes: sets by next hop", took * 1e3, 2500.0 if count == 1_000_000 else None, None, ""]


def backbone(routers: int, prefixes_each: int) -> tuple[Network, float]:
    """Routers that all know all prefixes, each of which is behind one of them; shortest paths over a ring with chords. Seconds to read."""
    neighbours = {i: sorted({(i + d) % routers for d in (1, -1, 7, -7)}) for i in range(routers)}
    table = prefixes(prefixes_each, routers, 2)
    network = Network()
    started = time.perf_counter()
    for router in range(routers):
        hop: dict[int, int] = {router: -1}
        edge = [(n, n) for n in neighbours[router]]
        while edge:
            target, first = edge.pop(0)
            if target not in hop:
                hop[target] = first
                edge += [(n, first) for n in neighbours[target]]
        ports = {-1: "host", **{n: f"to{n}" for n in neighbours[router]}}
        lines = [f"{address >> 24}.{address >> 16 & 255}.{address >> 8 & 255}.{address & 255}/{length} {ports[hop[owner]]}"
                 for (address, length), owner in table.items()]
        network.add_box(f"r{router}", router_configuration(parse_routes("\n".join(lines))))
        network.add_host(f"h{router}")
        network.link(f"h{router}", f"r{router}:host")
    for router in range(routers):
        for n in neighbours[router]:
            if router < n:
                network.link(f"r{router}:to{n}", f"r{n}:to{router}")
    return network, time.perf_counter() - started


def from_each_port(routers: int, prefixes_each: int) -> list[list[object]]:
    network, loaded = backbone(routers, prefixes_each)
    is_whole = prefixes_each == 100_000
    packet, path = all_packets("udp")
    labelled = seconds(lambda: [partition_of(e.lpm) for b in network.boxes.values() for e in b.router.elements if hasattr(e, "lpm")])  # type: ignore[attr-defined]
    network.send("h0", packet, path)
    chance = random.Random(3)
    times = [seconds(lambda: network.send(f"h{chance.randrange(1, routers)}", packet, path)) for _ in range(3)]
    loops = seconds(lambda: forwarding_classes(network).loops)
    what = f"{routers} routers of {prefixes_each:,} prefixes"
    return [[f"{what}: from a port to all", statistics.median(times) * 1e3, 1000.0 if is_whole else None, None,
             f"{loaded:.0f} s to read, {labelled:.0f} s to label"],
            [f"{what}: loops in the whole network", loops * 1e3, 5000.0 if is_whole else None, None, ""]]


def whole_network() -> list[object]:
    """Classes of addresses, loops, and where each leads from each of 93 hosts."""
    routers, prefixes_each = 93, 7770
    network, loaded = backbone(routers, prefixes_each)
    found: list[object] = []

    def ask() -> None:
        classes = forwarding_classes(network)
        pairs = sum(len(classes.ends_from(host)) for host in classes.first)
        found.append(f"{classes.count} classes, {len(classes.loops)} loops, {pairs} pairs; {loaded:.0f} s to read")

    took = seconds(ask)
    return [f"{routers * prefixes_each:,} rules in {routers} routers: classes, loops, all pairs", took * 1e3, 3000.0, None, found[0]]


def tree(depth: int) -> Network:
    """Routers in a tree, a host at each leaf: 2^depth - 1 boxes."""
    network = Network()
    leaves = 2 ** depth

    def subtree(name: str, low: int, high: int) -> None:
        middle = (low + high) // 2
        halves = [(low, middle), (middle, high)]
        routes = [f"10.{leaf >> 8}.{leaf & 255}.0/24 {side}" for side, (a, b) in enumerate(halves) for leaf in range(a, b)]
        network.add_box(name, router_configuration(parse_routes("\n".join([*routes, "0.0.0.0/0 up"]))))
        for side, (a, b) in enumerate(halves):
            if b - a == 1:
                network.add_host(f"h{a}", [f"10.{a >> 8}.{a & 255}.0/24"])
                network.link(f"{name}:{side}", f"h{a}")
            else:
                subtree(f"{name}{side}", a, b)
                network.link(f"{name}:{side}", f"{name}{side}:up")

    subtree("r", 0, leaves)
    return network


def variations() -> list[object]:
    network = tree(10)
    policy = parse_policy("reach udp to 10.3.255.9 from h0 to h1023\ndeny udp to 10.3.255.9 from h0 to h1", network)
    count = 0

    def ask() -> None:
        nonlocal count
        count = sum(1 for _ in what_if(network, policy))

    took = seconds(ask)
    return [f"{count:,} what-ifs on {len(network.boxes):,} routers", took * 1e3, 5000.0 * count / 1000, None, ""]


def policy() -> list[list[object]]:
    text, assertions = (ROOT / "boxes/firewall/firewall.click").read_text(), (ROOT / "boxes/firewall/firewall.policy").read_text()

    def check() -> None:
        network = Network()
        network.add_box("firewall", text)
        for host in ("in", "out"):
            network.add_host(host)
            network.link(host, f"firewall:{host}")
        if not all(a.check(network).holds for a in parse_policy(assertions, network)):
            raise RuntimeError("the firewall breaks its promises")

    own = Intervals(((0x0A010000, 0x0A01FFFF),))
    check()
    return [
        ["the 19 promises of boxes/firewall", statistics.median(seconds(check) for _ in range(5)) * 1e3, 100.0, None, ""],
        ["the same, from the command line", command("boxes/firewall/firewall.click"), 500.0, None, ""],
        ["admission of a configuration of 20 elements", statistics.median(
            seconds(lambda: admit(Box(TENANT), Tenant(own))) for _ in range(5)) * 1e3, 50.0, None, ""],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--many", action="store_true", help="also 100,000 boxes and 1,000,000 prefixes")
    args = parser.parse_args()
    rows = lines([100, 1000, 10_000, *([100_000] if args.many else [])])
    rows.append(command_line())
    times = [first_packet(Box(rules(686))) for _ in range(6)]
    once = f"{times[0] * 1e3:.0f} ms the first time"
    rows.append(["686 five-tuple rules, TCP", statistics.median(times[1:]) * 1e3, 100.0, None, once])
    rows += [table(100_000), *([table(1_000_000)] if args.many else [])]
    rows += [*from_each_port(30, 100_000 if args.many else 2000), whole_network(), variations(), *policy()]
    show("The verifier: milliseconds where nothing else is said", ["what", "measured", "promised", "published", ""], rows)


if __name__ == "__main__":
    main()
