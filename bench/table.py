"""What the benchmarks share: repeated measurements, and the tables that they print."""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Callable

__all__ = ["median_of", "show", "wants_json"]


def wants_json() -> bool:
    return "--json" in sys.argv[1:]


def median_of(measure: Callable[[], float], times: int = 5) -> float:
    return statistics.median(measure() for _ in range(times))


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
