"""Two threads against one, in one run: million packets a second through paths that share nothing, and through a queue between them.

    python bench/threads.py [--json]
"""

from __future__ import annotations

import statistics
import time

from penstock import Router
from table import show

ROUNDS, SECONDS = 5, 0.7
FORWARD = """InfiniteSource(LENGTH 60, LIMIT -1) -> UDPIPEncap(10.0.0.{k}, 1, 2.0.0.2, 2) -> CheckIPHeader
-> RadixIPLookup(2.0.0.0/8 0, 0/0 0) -> DecIPTTL -> c{k} :: Counter -> Discard;"""
TRANSLATE = """InfiniteSource(LENGTH 60, LIMIT -1) -> UDPIPEncap(10.0.0.{k}, 1, 2.0.0.2, 2) -> CheckIPHeader
-> rw{k} :: IPRewriter(pattern 1.0.0.1 1024-65535 - - 0 0) -> c{k} :: Counter -> Discard;"""
SEARCH = """InfiniteSource(LENGTH 400, LIMIT -1) -> UDPIPEncap(10.0.0.{k}, 1, 2.0.0.2, 2) -> CheckIPHeader
-> s{k} :: PatternSearch("attack", "exploit"); s{k}[0] -> Discard; s{k}[1] -> Discard; s{k}[2] -> c{k} :: Counter -> Discard;"""
PIPE = """InfiniteSource(LENGTH 400, LIMIT -1) -> UDPIPEncap(10.0.0.1, 1, 2.0.0.2, 2) -> CheckIPHeader
-> s0 :: PatternSearch("attack", "exploit"); s0[0] -> Discard; s0[1] -> Discard; s0[2] -> Queue(1000) -> Unqueue(BURST 32)
-> s1 :: PatternSearch("botnet", "worm"); s1[0] -> Discard; s1[1] -> Discard; s1[2] -> c0 :: Counter -> Discard;"""
LIGHT = "InfiniteSource(LENGTH 60, LIMIT -1) -> Queue(1000) -> Unqueue(BURST 32) -> c0 :: Counter -> Discard;"


def rate(text: str, threads: int) -> float:
    with Router.from_text(text, threads=threads) as router:
        router.load()
        started = time.monotonic()
        router.run(until=lambda: time.monotonic() - started > SECONDS)
        passed = time.monotonic() - started
        return sum(int(router.read(f"{e.name}.count")) for e in router.elements if e.class_name == "Counter") / passed / 1e6


def main() -> None:
    rows: list[list[object]] = []
    for what, text, promised in (
        ("two paths that forward IPv4", FORWARD.format(k=1) + FORWARD.format(k=2), 1.7),
        ("two paths with address translation", TRANSLATE.format(k=1) + TRANSLATE.format(k=2), 1.7),
        ("two paths that search payload", SEARCH.format(k=1) + SEARCH.format(k=2), 1.7),
        ("one path in two halves, each searching", PIPE, None),
        ("a source and a sink, a queue between", LIGHT, None),
    ):
        found: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(ROUNDS):
            for threads in found:
                found[threads].append(rate(text, threads))
        one, two = statistics.median(found[1]), statistics.median(found[2])
        rows.append([what, one, two, statistics.median(b / a for a, b in zip(found[1], found[2])), promised])
    show("Threads: million packets a second", ["what", "one", "two", "ratio", "promised"], rows)


if __name__ == "__main__":
    main()
