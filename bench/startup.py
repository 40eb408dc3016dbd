"""How long it takes from configuration text to the first packet, and to check large configurations.

    python bench/startup.py [--json]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from penstock import Router
from penstock.elements import catalog
from penstock.lang.load import flatten
from penstock.runtime.image import ImageCache
from table import median_of, show

TWENTY = """
MemSource(LIMIT 1, STOP true) -> Strip(14) -> CheckIPHeader -> Counter
  -> IPFilter(deny src host 1.2.3.4, deny dst port 80, allow all)
  -> Paint(1) -> CheckPaint(1) -> DecIPTTL -> IPMirror -> SetIPDSCP(3) -> rt :: StaticIPLookup(10.0.0.0/8 0, 0.0.0.0/0 1);
rt [0] -> Counter -> q :: Queue -> Unqueue -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> EtherMirror -> Null -> Discard;
rt [1] -> CheckLength(1500) -> q;
"""
TARGETS = {"cold": 250.0, "cache": 10.0, "check": 1000.0, "help": 150.0}


def cold(folder: Path) -> float:
    """From text to the first packet done, with nothing in the image cache."""
    started = time.perf_counter()
    with Router.from_text(TWENTY) as router:
        router.run()
    return (time.perf_counter() - started) * 1e3


def cached(cache: ImageCache) -> float:
    started = time.perf_counter()
    with Router.from_text(TWENTY, cache=cache) as router:
        router.run()
        assert router.image_from_cache
    return (time.perf_counter() - started) * 1e3


def check_large() -> float:
    """What ``penstock check`` does with 2,000 elements."""
    chains = "\n".join(
        f"s{i} :: InfiniteSource -> Strip(14) -> c{i} :: CheckIPHeader -> Counter -> DecIPTTL -> Paint({i % 256}) -> q{i} :: Queue(200)"
        f" -> Unqueue -> EtherEncap(0x0800, 1:1:1:1:1:1, 2:2:2:2:2:2) -> d{i} :: Discard;" for i in range(200))
    started = time.perf_counter()
    flat = flatten(chains, known_classes=catalog.is_known, class_names=catalog.class_names)
    Router(flat, check_only=True)
    assert len(flat.elements) == 2000
    return (time.perf_counter() - started) * 1e3


def help_ms() -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "penstock.cli.main", "--help"], check=True, capture_output=True)
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        cache = ImageCache(Path(folder))
        with Router.from_text(TWENTY, cache=cache) as router:
            router.run()
        rows: list[list[object]] = [
            ["20 elements, compiled", median_of(lambda: cold(Path(folder))), TARGETS["cold"]],
            ["20 elements, from the image cache", median_of(lambda: cached(cache), 9), TARGETS["cache"]],
            ["check 2,000 elements", median_of(check_large), TARGETS["check"]],
            ["penstock --help", median_of(help_ms), TARGETS["help"]],
        ]
    show("from text to the first packet, milliseconds", ["what", "ms", "promised"], rows)


if __name__ == "__main__":
    main()
