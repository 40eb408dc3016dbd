"""Large configurations: how long they take to install with nothing cached, and what they cost a packet.

    python bench/large.py [--json]

A thousand elements, of one kind and of ten; a filter of 10,000 rules (two prefixes, protocol, port); a table of 1,000,000 prefixes.
Each in a process of its own with an image cache of its own; the cost is CPU nanoseconds a packet of random flows, source and header
check included, once the image is there.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time

from table import show

ROUNDS = 3
KINDS = ("Counter", "Strip(0)", "Paint(3)", "CheckLength(2000)", "Queue(10) -> Unqueue", "SetTimestamp", "Null", "Align(4, 0)",
         "StoreData(0, \\<00>)", "Unstrip(0)")
SOURCE = "m :: MemSource(FLOWS 65536, RANDOM true, LIMIT {}, STOP true) -> Strip(14) -> CheckIPHeader -> SetRandIPAddress(0.0.0.0/0) -> "
PACKETS = 1_000_000
LENGTHS = ([24, 23, 22, 21, 20, 16, 19, 18, 17, 32], [55, 10, 10, 6, 6, 3, 5, 3, 1, 1])


def rules(count: int) -> str:
    r = random.Random(1)
    return ", ".join(f"{r.choice(('allow', 'deny'))} src net {r.randrange(256)}.{r.randrange(256)}.{r.randrange(256)}.0/24 && "
                     f"dst net {r.randrange(256)}.{r.randrange(256)}.0.0/16 && tcp dst port {r.randrange(65536)}" for _ in range(count))


def prefixes(count: int) -> str:
    r = random.Random(1)
    seen: set[tuple[int, int]] = set()
    while len(seen) < count:
        length = r.choices(*LENGTHS)[0]
        seen.add((r.getrandbits(32) >> (32 - length) << (32 - length), length))
    return ", ".join(f"{a >> 24}.{a >> 16 & 255}.{a >> 8 & 255}.{a & 255}/{n} {i % 4}" for i, (a, n) in enumerate(seen))


def text_of(name: str) -> str:
    if name.endswith("elements"):
        kinds = KINDS if "ten" in name else KINDS[:1]
        return "m :: InfiniteSource(LIMIT 1000, STOP true) -> " + " -> ".join(kinds[i % len(kinds)] for i in range(998)) + " -> Discard"
    if name.endswith("rules"):
        return SOURCE.format(PACKETS) + f"IPFilter({rules(10_000)}, allow all) -> Discard"
    return SOURCE.format(PACKETS) + f"r :: DirectIPLookup({prefixes(1_000_000)}); " + "; ".join(f"r[{i}] -> Discard" for i in range(4))


def measure(name: str) -> None:
    """In a process of its own: prints seconds to the first packet, and nanoseconds a packet afterwards."""
    from penstock import Router

    text = text_of(name)
    started = time.perf_counter()
    with Router.from_text(text) as router:
        router.step(1)
        first = time.perf_counter() - started
        router.run()
        best = float("inf")
        for _ in range(3):
            router.write("m.reset", "")
            router.driver.runcount = 1
            before, cpu = int(router.read("m.count")), time.process_time()
            router.run()
            count = int(router.read("m.count")) - before
            best = min(best, (time.process_time() - cpu) / max(count, 1) * 1e9)
    print(json.dumps([first, best]))


NAMES = {
    "1,000 elements": (3.0, None), "ten kinds of 1,000 elements": (3.0, None), "10,000 rules": (2.0, 60.0),
    "1,000,000 prefixes": (2.0, 40.0),
}


def main() -> None:
    if len(sys.argv) > 2 and sys.argv[1] == "--measure":
        measure(sys.argv[2])
        return
    rows: list[list[object]] = []
    for name, (install_s, cost_ns) in NAMES.items():
        found = []
        for _ in range(1 if "prefixes" in name else ROUNDS):
            with tempfile.TemporaryDirectory() as folder:
                done = subprocess.run([sys.executable, __file__, "--measure", name], capture_output=True, text=True, check=True,
                                      env={**os.environ, "XDG_CACHE_HOME": folder})
            found.append(json.loads(done.stdout.splitlines()[-1]))
        cost = statistics.median(f[1] for f in found) if "elements" not in name else None
        rows.append([name, statistics.median(f[0] for f in found), install_s, cost, cost_ns])
    show("Large configurations", ["what", "installed, s", "promised", "ns a packet", "promised"], rows)


if __name__ == "__main__":
    main()
