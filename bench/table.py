"""What the benchmarks share: repeated measurements, and the tables that they print."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock import Router

__all__ = ["cpu_ns_a_packet", "median_of", "show", "wants_json"]


def wants_json() -> bool:
    return "--json" in sys.argv[1:]


def median_of(measure: Callable[[], float], times: int = 5) -> float:
    return statistics.median(measure() for _ in range(times))


def cpu_ns_a_packet(router: Router, packets: int) -> float:
    """Of one more run of a router whose source ``src`` makes that many packets and stops."""
    router.write("src.reset")
    router.driver.runcount = 1
    before = time.process_time_ns()
    router.run()
    return (time.process_time_ns() - before) / packets


def show(title: str, columns: list[str], rows: list[list[object]]) -> None:
    """A table for people, or with --json an object for programs."""
    if wants_json():
        print(json.dumps({"title": title, "rows": [dict(zip(columns, row)) for row in rows]}))
        return
    cells = [columns, *([f"{v:.2f}" if isinstance(v, float) else "-" if v is None else str(v) for v in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    print(f"\n{title}\n")
    for row in cells:
        print("  " + "  ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))))
