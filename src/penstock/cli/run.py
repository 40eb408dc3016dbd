"""``penstock run``: run a configuration, with a live table of counters on a terminal."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from penstock.cli.configuration import add_configuration, install, load, report

if TYPE_CHECKING:
    from penstock.runtime.router import Router

__all__ = ["add_arguments", "counters", "main"]

_REFRESH_S = 0.25


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument("--json", action="store_true", help="counters as JSON on standard output at the end")
    parser.add_argument("-q", "--quiet", action="store_true", help="no table")
    parser.add_argument("--time", type=float, metavar="S", help="stop after this many seconds")
    parser.add_argument("--engine", choices=["compiled", "interpreter"], default="compiled")
    parser.add_argument("-j", "--threads", type=int, default=1, metavar="N", help="run parts with queues between them in N threads (1)")
    parser.add_argument("--handler", action="append", default=[], metavar="E.H", help="print this read handler at the end")
    parser.add_argument("--no-cache", action="store_true", help="do not use images that were compiled before")


def counters(router: Router) -> dict[str, dict[str, int]]:
    """Declared numbers that are read handlers too and are not 0, and faults: by element."""
    found: dict[str, dict[str, int]] = {}
    for element in router.elements:
        values: dict[str, int] = {}
        for name, handler in element.handlers.items():
            if name in element.STATE and handler.read is not None and isinstance(value := getattr(element, name), int) and value:
                values[name] = value
        if element.faults:
            values["faults"] = element.faults
        if values and not element.name.startswith("click_driver@@"):
            found[element.name] = values
    return found


def _amount(value: float) -> str:
    for scale, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= scale * 10:
            return f"{value / scale:.1f}{letter}"
    return f"{value:.0f}"


class _Display:
    """The table: what has counted, and how fast."""

    def __init__(self, router: Router) -> None:
        from rich.console import Console
        from rich.live import Live

        self.router = router
        self.before: dict[str, dict[str, int]] = {}
        self.at = time.monotonic()
        self.live = Live(console=Console(stderr=True), auto_refresh=False, transient=False)
        self.live.start()

    def update(self) -> None:
        now = time.monotonic()
        if now - self.at >= _REFRESH_S:
            self.live.update(self._table(now - self.at), refresh=True)
            self.at = now

    def finish(self) -> None:
        self.live.update(self._table(0), refresh=True)
        self.live.stop()

    def _table(self, passed: float) -> Any:
        from rich.table import Table

        table = Table("element", "class", "packets", "rate", "other counters", box=None, header_style="bold")
        for column in table.columns[2:4]:
            column.justify = "right"
        now = counters(self.router)
        for name, values in now.items():
            count = values.get("count", 0)
            before = self.before.get(name, {}).get("count", 0)
            rate = f"{_amount((count - before) / passed)}/s" if passed > 0 and count else ""
            others = "  ".join(f"{k} {v}" for k, v in values.items() if k != "count")
            table.add_row(name, self.router.by_name[name].class_name, f"{count:,}" if count else "", rate, others)
        self.before = now
        return table


def main(name: str, args: argparse.Namespace) -> int:
    from penstock.datapath.source import DatapathError
    from penstock.runtime.driver import wake_on_signals
    from penstock.runtime.image import ImageCache

    if args.threads < 1:
        print("penstock run: -j: one thread at least", file=sys.stderr)
        return 2
    loaded = load(args)
    router = install(loaded, engine=args.engine, threads=args.threads, cache=None if args.no_cache else ImageCache())
    if router is None:
        return 1
    report(loaded.diagnostics)
    with router:
        try:
            router.load()
        except DatapathError as error:
            print(error, file=sys.stderr)
            return 1
        display = _Display(router) if sys.stderr.isatty() and not (args.quiet or args.json) else None
        end = time.monotonic() + args.time if args.time is not None else None

        def look() -> bool:
            if display is not None:
                display.update()
            return end is not None and time.monotonic() >= end

        if end is not None:
            router.calls.call_at(router.clock.read() + int(args.time * 1e9), lambda: None)
        undo = wake_on_signals(router)
        cpu, started = time.process_time(), time.monotonic()
        try:
            router.run(until=look)
        finally:
            undo()
        cpu, passed = time.process_time() - cpu, time.monotonic() - started
        router.drain_host()
        if display is not None:
            display.finish()
        return _finish(router, args, cpu, passed)


def _finish(router: Router, args: argparse.Namespace, cpu_s: float, passed_s: float) -> int:
    status = 0
    for handler in args.handler:
        try:
            value = router.read(handler)
        except (LookupError, ValueError) as error:
            print(f"penstock run: {error}", file=sys.stderr)
            status = 1
            continue
        print(value, end="" if value.endswith("\n") else "\n")
    if args.json:
        print(json.dumps({"seconds": round(passed_s, 6), "cpu_seconds": round(cpu_s, 6), "tasks": router.driver.steps,
                          "image_bytes": len(router.image.code) if router.image is not None else None,
                          "memory_bytes": router.memory_bytes, "pool_failures": router.pool.failures,
                          "interrupted": router.interrupted, "counters": counters(router)}, indent=1))
    return status
