"""``penstock bridge`` and ``penstock lb``: netmap's small programs between two ports, and between one and many."""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import syslog
import time
from collections.abc import Callable

from penstock.cli.endpoint import KINDS
from penstock.toolstack.errors import DomainError

__all__ = ["add_arguments", "main"]

#: looks in vain before going to sleep
_SPINS = 20


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    if name == "bridge":
        parser.add_argument("-i", dest="ports", action="append", required=True, metavar="PORT",
                            help=f"{KINDS}; -i twice: from each to the other (once: to the host's stack, as a TAP interface)")
        parser.add_argument("-L", "--loop", action="store_true", help="send back what comes from the first port")
        parser.add_argument("-c", "--copy", action="store_true", help="copy frames (always done: ports share no memory)")
        parser.add_argument("-v", "--verbose", action="store_true", help="print counters every second")
    else:
        parser.add_argument("-i", dest="port", required=True, metavar="PORT", help=KINDS)
        parser.add_argument("-p", dest="groups", action="append", required=True, metavar="[NAME:]N",
                            help="N pipes, NAME:0 to NAME:N-1 of the switch valeNAME (named after the port); -p again: another group, "
                                 "which is given every frame as well")
        parser.add_argument("-B", dest="extra", type=int, default=0, metavar="N", help="frames that may wait at each pipe (at least 1,024)")
        parser.add_argument("-W", "--busy", action="store_true", help="look for frames all the time, never sleep")
        parser.add_argument("-s", dest="syslog_s", type=float, default=0, metavar="S", help="seconds between two reports to syslog")
        parser.add_argument("-o", dest="report_s", type=float, default=0, metavar="S", help="seconds between two reports (JSON lines)")
    parser.add_argument("-b", "--burst", type=int, default=512, metavar="N", help="frames at a time (512)")
    parser.add_argument("-w", "--wait", type=float, default=0.0, metavar="S", help="seconds to wait before it starts, for links to come up")


def main(name: str, options: argparse.Namespace) -> int:
    from penstock.ring import RingError

    try:
        if options.burst < 1:
            raise DomainError(f"-b {options.burst}: 1 at least")
        return _bridge(options) if name == "bridge" else _balance(options)
    except (DomainError, RingError, OSError) as error:
        print(f"penstock {name}: {error}", file=sys.stderr)
        return 1


def _until_stopped(turn: Callable[[], int], wait: Callable[[], None], report: Callable[[], None] | None, interval_s: float) -> None:
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: stopped.append(number))
    idle, due = 0, time.monotonic() + interval_s
    while not stopped:
        idle = 0 if turn() else idle + 1
        if idle > _SPINS:
            wait()
        if report is not None and time.monotonic() >= due:
            due += interval_s
            report()


def _bridge(o: argparse.Namespace) -> int:
    from penstock.cli.endpoint import opened
    from penstock.switch.relay import Relay

    names = list(o.ports)
    if len(names) > 2 or (o.loop and len(names) > 1):
        raise DomainError("a bridge has two ends, and a loop has one")
    if len(names) == 1 and not o.loop:
        interface = names[0].rpartition(":")[2]
        names.append(f"tap:{interface[:10]}-host")
    with contextlib.ExitStack() as stack:
        relay = stack.enter_context(Relay([stack.enter_context(opened(name)) for name in names], [(i, 1) for i in range(len(names))]))
        time.sleep(o.wait)

        def turn() -> int:
            if o.loop:
                return relay.move(0, 0, burst=o.burst)
            return relay.move(0, 1, burst=o.burst) + relay.move(1, 0, burst=o.burst)

        def report() -> None:
            rows = zip(names, relay.counters())
            print(", ".join(f"{name}: {taken} frames in, {given} out" for name, (taken, given, _) in rows), flush=True)

        print(f"{names[0]} and {'itself' if o.loop else names[1]}: ready", flush=True)
        _until_stopped(turn, relay.wait, report if o.verbose else None, 1.0)
        report()
    return 0


def _groups(o: argparse.Namespace) -> list[tuple[str, int]]:
    usual = o.port.rpartition(":")[2]
    found: list[tuple[str, int]] = []
    for text in o.groups:
        name, _, count = text.rpartition(":")
        if not count.isdigit() or not 1 <= int(count) <= 120:
            raise DomainError(f"-p {text}: [NAME:]N is expected, with N from 1 to 120")
        found.append((name or usual, int(count)))
    names = [name for name, _ in found]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise DomainError(f"two groups of pipes named {twice}: give them names (-p NAME:N)")
    if sum(count for _, count in found) > 120:
        raise DomainError("more than 120 pipes")
    return found


def _balance(o: argparse.Namespace) -> int:
    from penstock.cli.endpoint import SLOTS, opened
    from penstock.switch.relay import Relay
    from penstock.toolstack.client import Client
    from penstock.toolstack.openport import RemotePort

    groups = _groups(o)
    slots = SLOTS
    while slots < min(o.extra, 4096):
        slots *= 2
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client())
        there = {info["name"] for info in client.switch_list()}
        entry = stack.enter_context(opened(o.port, slots=slots))
        pipes: list[list[RemotePort]] = []
        for name, count in groups:
            switch = f"vale{name}"
            if switch in there:
                raise DomainError(f"there is a switch {switch} already: give the pipes another name (-p NAME:{count})")
            client.switch_make(switch=switch, module="patch " + " ".join(f"{i}={i}.lb" for i in range(count)))
            stack.callback(client.switch_destroy, switch=switch)
            pipes.append([stack.enter_context(RemotePort(f"{switch}:{i}.lb", slots=slots)) for i in range(count)])
        groups_of_ports, at = [(0, 1)], 1
        for _, count in groups:
            groups_of_ports.append((at, count))
            at += count
        relay = stack.enter_context(Relay([entry, *(pipe.memory for group in pipes for pipe in group)], groups_of_ports))
        names = [f"vale{name}:{i}" for name, count in groups for i in range(count)]
        time.sleep(o.wait)

        def turn() -> int:
            moved = relay.move(0, 1, n_groups=len(groups), burst=o.burst)
            return moved + sum(relay.move(i, 0, burst=o.burst) for i in range(1, len(names) + 1))

        def state() -> str:
            first, *rest = relay.counters()
            rows = [{"pipe": name, "frames": given, "lost": lost, "back": taken} for name, (taken, given, lost) in zip(names, rest)]
            return json.dumps({"port": o.port, "frames": first[0], "sent": first[1], "pipes": rows})

        def report() -> None:
            if o.report_s:
                print(state(), flush=True)
            if o.syslog_s:
                syslog.syslog(syslog.LOG_INFO, f"penstock lb: {state()}")

        print(f"{o.port}: ready, with {', '.join(names)}", flush=True)
        interval = min(x for x in (o.report_s, o.syslog_s, 3600) if x)
        _until_stopped(turn, (lambda: None) if o.busy else relay.wait, report, interval)
        print(state(), flush=True)
    return 0
