"""``penstock explain``: one packet's way through a configuration."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from penstock.cli.configuration import add_configuration, install, load, report

if TYPE_CHECKING:
    from penstock.lang.configuration import Configuration
    from penstock.runtime.trace import PacketTrace

__all__ = ["add_arguments", "main"]

_MAX_ROUNDS_AFTER = 200


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    parser.add_argument("-n", "--packet", type=int, default=1, metavar="N", help="the sources' Nth packet (from 1)")
    parser.add_argument("--pcap", metavar="FILE", help="take packets from this capture, in the place of the first source")
    parser.add_argument("-b", "--brief", action="store_true", help="leave out the source lines that decided")
    parser.add_argument("--json", action="store_true")


def _use_capture(flat: Configuration, capture: str) -> bool:
    """Put FromDump in the place of the first source, and silence the others."""
    from penstock.elements import catalog
    from penstock.lang.text import quote_word

    replaced = False
    for use in flat.elements:
        cls = catalog.find(use.class_name)
        if cls is None or not cls.may_generate:
            continue
        if flat.ports(use.index)[0] or use.class_name == "ICMPPingSource":
            continue
        if replaced:
            use.class_name, use.arguments = "Idle", ""
        else:
            use.class_name, use.arguments = "FromDump", f"{quote_word(capture)}, STOP true"
            replaced = True
    return replaced


def main(name: str, args: argparse.Namespace) -> int:
    from penstock.runtime.trace import PacketTrace

    loaded = load(args)
    flat = None if loaded.diagnostics.errors else loaded.flat
    if args.pcap and flat is not None and not _use_capture(flat, args.pcap):
        report(loaded.diagnostics)
        print("penstock explain: no source in this configuration that --pcap could stand for", file=sys.stderr)
        return 1
    router = install(loaded, engine="interpreter", simulated_start_ns=0)
    if router is None:
        return 1
    with router:
        assert router.memory is not None
        trace = PacketTrace(router.memory, max(args.packet, 1))
        router.program.interpreter_for(router.memory).tracer = trace
        waited = 0

        def enough() -> bool:
            nonlocal waited
            waited += trace.subject != 0
            return trace.done or waited > _MAX_ROUNDS_AFTER

        router.run(until=enough, slice_steps=4)
        # A source that stops the driver may leave the packet in a queue: let the rest of the configuration go on.
        while trace.subject and not enough() and router.driver.runnable:
            router.driver.attention = 0
            router.step(4)
        trace.give_up()
    if not trace.steps:
        print(f"penstock explain: the sources gave {trace.seen} packet{'s' if trace.seen != 1 else ''}, "
              f"not {trace.number}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(trace.as_dict(), indent=1))
    else:
        _show(trace, brief=args.brief)
    return 0


def _show(trace: PacketTrace, *, brief: bool) -> None:
    from penstock.elements.printing import timestamp_text

    print(f"packet {trace.number}: {len(trace.first)} bytes, at {timestamp_text(trace.first_timestamp_ns)}")
    for i, step in enumerate(trace.steps, 1):
        element = step.element
        arguments = " ".join(element.arguments.split())
        shown = f"({arguments if len(arguments) < 60 else arguments[:59] + '…'})" if arguments else ""
        print(f"{i:3}  {element.name} :: {element.class_name}{shown}  {element.at}")
        if not brief:
            for d in step.decisions:
                print(f"       {'yes' if d.answer else 'no':3}  {d.source}    {d.file}:{d.line}")
        for change in step.changes:
            print(f"       {change}")
        print(f"       {step.outcome}")
