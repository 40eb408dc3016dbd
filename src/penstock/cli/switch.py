"""``penstock switch``: switches, their ports and modules."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError, NoToolstack

__all__ = ["add_arguments", "main"]

_Options = argparse.Namespace
_LOSSES = ("dropped", "nowhere", "full", "too_large", "refused")
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)(bit|B)?(/s|ps)?")


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns as wide as what is in them; the first column to the left, numbers to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])] + [c.rjust(w) if c[:1].isdigit() or row is rows[0] else c.ljust(w)
                                             for c, w in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _infos(o: _Options, name: str = "") -> list[dict[str, Any]]:
    """Where no toolstack runs there are no switches."""
    try:
        with Client(o.socket, start=False) as client:
            found: list[dict[str, Any]] = client.switch_list(switch=name)
            return found
    except NoToolstack:
        if name:
            raise
        return []


def _list(o: _Options) -> None:
    infos = _infos(o, o.switch or "")
    if o.json:
        print(json.dumps(infos, indent=2))
        return
    if not infos:
        print("no switches")
    for info in infos:
        count = len(info["ports"])
        stays = ", stays without ports" if info["persistent"] else ""
        stays += f", {info['workers']} workers" if info["workers"] > 1 else ""
        stays += ", its programs forward themselves" if info["trusting"] else ""
        print(f"{info['name']}: module {info['module']}, {count} port{'s' * (count != 1)}{stays}")
        if info["ports"]:
            rows = [("  port", "no", "kind", "slots", "frames in", "bytes in", "frames out", "bytes out", "lost")]
            for port in info["ports"]:
                c = port["counters"]
                lost = ", ".join(f"{c[k]} {k.replace('_', ' ')}" for k in _LOSSES if c[k]) or "-"
                rows.append((f"  {c['name']}", str(c["number"]), port["kind"], str(port["slots"]), str(c["packets_in"]), str(c["bytes_in"]),
                             str(c["packets_out"]), str(c["bytes_out"]), lost))
            print(table(rows))
        for port in info["ports"]:
            name = port["counters"]["name"]
            if port["limit_bytes_per_s"]:
                print(f"  {name} may send {port['limit_bytes_per_s'] * 8 / 1e6:g} Mbit/s")
            if port["allowed"]:
                print(f"  {name} may send from {', '.join(port['allowed'])}")
        for name, why in info["lost"]:
            print(f"  {name} was detached: {why}")


def _make(o: _Options) -> None:
    with Client(o.socket) as client:
        client.switch_make(switch=o.switch, module=_module_words(o.module) or "learning", workers=o.workers, trusting=o.trusting)


def _module_words(words: Sequence[str]) -> str:
    """A module's file is meant from where the command runs, not from where the toolstack does."""
    if words and words[0].endswith(".py"):
        words = [os.path.abspath(words[0]), *words[1:]]
    return " ".join(words)


def _destroy(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        client.switch_destroy(switch=o.switch)


def _attach(o: _Options) -> None:
    with Client(o.socket) as client:
        number = client.switch_attach(name=o.port, host=o.host, slots=o.slots, method=o.method)
        print(f"{o.port} is port {number}")


def _tap(o: _Options) -> None:
    with Client(o.socket) as client:
        number = client.switch_tap(name=o.port, slots=o.slots)
        print(f"{o.port} is port {number}")


def _detach(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        client.switch_detach(name=o.port)


def _limit(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        client.switch_limit(name=o.port, bytes_per_s=_bytes_per_s(o.rate), burst_bytes=o.burst)


def _bytes_per_s(text: str) -> int:
    """``100Mbit``, ``2.5GB/s``; a number alone is bits, as for tc(8)."""
    if text == "none":
        return 0
    found = _RATE.fullmatch(text)
    if not found:
        raise DomainError(f"'{text}' is no rate (as in 100Mbit, 2.5GB, none)")
    value = float(found[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[found[2]]
    return max(1, int(value if found[3] == "B" else value / 8))


def _allow(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        client.switch_allow(name=o.port, addresses=[] if o.addresses == ["any"] else o.addresses)


def _module(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        print(client.switch_module(switch=o.switch, module=_module_words(o.module)))


def _modules(o: _Options) -> None:
    from penstock.switch.catalog import module_classes

    for name, cls in module_classes().items():
        print(f"{name:<12} {(cls.__doc__ or '').strip().split(chr(10))[0]}")


def _tell(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        for row in client.switch_command(switch=o.switch, command=o.words):
            print(" ".join(row))


def _table(o: _Options) -> None:
    with Client(o.socket, start=False) as client:
        rows = client.switch_report(switch=o.switch)
    if o.json:
        print(json.dumps([dict(zip(rows[0], row)) for row in rows[1:]] if rows else [], indent=2))
    elif rows:
        print(table(rows))


def _top(o: _Options) -> None:
    """Rates between two looks; on a terminal again and again."""
    live = sys.stdout.isatty() and not o.once
    before, at = _counters(o), time.monotonic()
    while True:
        time.sleep(o.interval)
        after, now = _counters(o), time.monotonic()
        rows = [("port", "Mpps in", "Gbit/s in", "Mpps out", "Gbit/s out", "lost/s")]
        for name, c in after.items():
            old = before.get(name, c)

            def rate(key: str, scale: float, c: dict[str, Any] = c, old: dict[str, Any] = old, since: float = at, to: float = now) -> str:
                return f"{(c[key] - old[key]) * scale / (to - since):.3f}"

            lost = sum(c[k] - old[k] for k in _LOSSES) / (now - at)
            rows.append((name, rate("packets_in", 1e-6), rate("bytes_in", 8e-9), rate("packets_out", 1e-6), rate("bytes_out", 8e-9),
                         f"{lost:.0f}"))
        print(("\x1b[H\x1b[2J" if live else "") + table(rows), flush=True)
        if not live:
            return
        before, at = after, now


def _counters(o: _Options) -> dict[str, dict[str, Any]]:
    return {f"{info['name']}:{port['counters']['name']}": port["counters"] for info in _infos(o, o.switch or "") for port in info["ports"]}


_SWITCH = (("switch",), {"help": "the switch, as in vale0"})
_PORT = (("port",), {"help": "the port, as in vale0:p1"})
_MAYBE = (("switch",), {"nargs": "?", "help": "one switch alone"})
_JSON = (("--json",), {"action": "store_true", "help": "as JSON"})
_SLOTS = (("--slots",), {"type": int, "default": 256, "metavar": "N", "help": "slots of its rings (16 to 4096, a power of two; 256)"})
_Argument = tuple[tuple[str, ...], dict[str, Any]]
COMMANDS: dict[str, tuple[Callable[[_Options], None], str, tuple[_Argument, ...]]] = {
    "list": (_list, "the switches, their ports and counters", (_MAYBE, _JSON)),
    "top": (_top, "rates of all ports", (_MAYBE, (("-i", "--interval"), {"type": float, "default": 1.0, "metavar": "S", "help": "seconds"}),
                                         (("--once",), {"action": "store_true", "help": "one look"}))),
    "make": (_make, "make a switch that stays without ports", (
        (("--workers",), {"type": int, "default": 0, "metavar": "N", "help": "threads that forward, before its name (1)"}),
        (("--trusting",), {"action": "store_true", "help": "programs forward what they send themselves, in memory that all share"}),
        _SWITCH, (("module",), {"nargs": argparse.REMAINDER, "help": "its module and the module's arguments (learning)"}))),
    "destroy": (_destroy, "detach all ports; the switch goes", (_SWITCH,)),
    "attach": (_attach, "attach an interface of this machine, as in vale0:eth0", (
        _PORT, _SLOTS, (("--host",), {"action": "store_true", "help": "the host's stack gets a port too, as a TAP interface"}),
        (("--method",), {"choices": ("xdp", "packet"), "default": "", "help": "how frames are fetched: in the driver, past the host's "
                         "stack (if nothing is said: where the host has no address on it), or by a packet socket"}))),
    "tap-interface": (_tap, "make a TAP interface and attach it, as in vale0:tap0", (_PORT, _SLOTS)),
    "detach": (_detach, "take a port off", (_PORT,)),
    "limit": (_limit, "how much a port may send: what comes quicker waits in its ring", (
        _PORT, (("rate",), {"help": "bits (or bytes) a second, as in 100Mbit or 20MB; none"}),
        (("--burst",), {"type": int, "default": 0, "metavar": "BYTES", "help": "at once (a hundredth of a second's)"}))),
    "allow": (_allow, "the Ethernet addresses that a port may send from", (
        _PORT, (("addresses",), {"nargs": "+", "help": "up to 8 addresses; any"}))),
    "module": (_module, "say which module works, or put another one in its place while frames flow", (
        _SWITCH, (("module",), {"nargs": argparse.REMAINDER, "help": "a name or a .py file, and its arguments"}))),
    "modules": (_modules, "the modules that there are", ()),
    "tell": (_tell, "a command for the module", (_SWITCH, (("words",), {"nargs": argparse.REMAINDER, "help": "the command"}))),
    "table": (_table, "what the module knows: addresses, rules, flows", (_SWITCH, _JSON)),
}


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", type=Path, help="the toolstack's socket, where it is not the usual one")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for word, (_, help_text, arguments) in COMMANDS.items():
        one = commands.add_parser(word, help=help_text, description=help_text.capitalize() + ".")
        for flags, options in arguments:
            one.add_argument(*flags, **options)


def main(name: str, options: argparse.Namespace) -> int:
    try:
        COMMANDS[options.command][0](options)
    except (DomainError, OSError) as error:
        print(f"penstock switch: {error}", file=sys.stderr)
        return 1
    return 0
