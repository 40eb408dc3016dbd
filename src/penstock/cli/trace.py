"""``penstock trace``: the middleboxes on a path."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from penstock.tracebox.path import Path
    from penstock.tracebox.settings import Settings

__all__ = ["add_arguments", "main"]


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("destinations", nargs="*", metavar="DESTINATION", help="name or address")
    parser.add_argument("-p", "--probe", default="options", metavar="PROBE",
                        help="what to send: a line like 'IP / TCP / mss(9000)', or syn, options, mptcp, ecn, tfo, udp, icmp, sctp, http, "
                             "https, dns (default: options)")
    parser.add_argument("-P", "--port", type=int, metavar="PORT", help="destination port, where the probe gives none")
    parser.add_argument("-6", "--ipv6", action="store_true", help="over IPv6")
    parser.add_argument("-i", "--interface", metavar="NAME", help="leave by this interface, or pcap:OUT:IN for no network at all")
    parser.add_argument("-m", "--max-hops", type=int, default=30, metavar="N")
    parser.add_argument("-M", "--min-hops", type=int, default=1, metavar="N")
    parser.add_argument("-w", "--wait", type=float, default=1.5, metavar="SECONDS", help="what silent hops may cost in all (1.5)")
    parser.add_argument("--tries", type=int, default=3, metavar="N", help="how often a silent TTL is tried (3)")
    parser.add_argument("--pace", type=int, default=4000, metavar="PPS", help="probes a second at most (4000)")
    parser.add_argument("--flows", type=int, default=1, metavar="N", help="as many flows: shows what load balancers have beside")
    parser.add_argument("--one-by-one", action="store_true", help="a TTL only when the one before has answered")
    parser.add_argument("-n", "--numeric", action="store_true", help="no names of routers")
    parser.add_argument("-a", "--all-fields", action="store_true", help="every difference at every hop")
    parser.add_argument("--explain", action="store_true", help="what each hop showed of each finding, and why silent ones are silent")
    parser.add_argument("-t", "--test", action="append", metavar="NAME", default=[],
                        help="ask one question instead ('list' lists them, 'all' asks all)")
    parser.add_argument("--pcap", metavar="FILE", help="write all that was sent and received")
    parser.add_argument("--json", action="store_true", help="one JSON object a destination")


def _settings(args: argparse.Namespace) -> Settings:
    from penstock.tracebox.settings import Settings

    return Settings(hops_max=args.max_hops, hops_min=args.min_hops, silence_s=args.wait, tries=args.tries, pace_pps=args.pace,
                    one_by_one=args.one_by_one, interface=args.interface)


def main(name: str, args: argparse.Namespace) -> int:
    from penstock.packet.capture import CaptureWriter
    from penstock.tracebox.api import trace_many
    from penstock.tracebox.language import ProbeError
    from penstock.tracebox.names import add_names
    from penstock.tracebox.report import as_dict, explanation, table, verdicts
    from penstock.tracebox.settings import NetworkError

    if args.test:
        return _ask(args)
    if not args.destinations:
        print("penstock trace: whereto? 'penstock trace --help' tells more", file=sys.stderr)
        return 2
    failed = 0

    def tell(destination: str, error: NetworkError) -> None:
        nonlocal failed
        failed += 1
        print(f"penstock trace: {error}", file=sys.stderr)

    with ExitStack() as stack:
        try:
            settings = _settings(args)
            capture = None
            if args.pcap:
                capture = CaptureWriter(args.pcap, link_type=101, snap_bytes=65535)
                stack.callback(capture.close)
            for i, path in enumerate(trace_many(args.destinations, probe=args.probe, port=args.port, wide=args.ipv6, settings=settings,
                                                flows=max(args.flows, 1), capture=capture, on_error=tell)):
                if not args.numeric:
                    add_names([path])
                if args.explain and not (args.interface or "").startswith("pcap:"):
                    _explain_silence(path, args, settings)
                if path.error:
                    failed += 1
                if args.json:
                    print(json.dumps(as_dict(path)))
                    continue
                if i:
                    print()
                bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
                for line in verdicts(path):
                    print(f"{bold}{line}{plain}")
                print()
                for number, line in enumerate(table(path, all_fields=args.all_fields)):
                    print(f"{dim}{line}{plain}" if number == 0 else line)
                if args.explain:
                    print()
                    print("\n".join(explanation(path)) or "nothing to explain: no finding")
        except (NetworkError, ProbeError, ValueError) as error:
            print(f"penstock trace: {error}", file=sys.stderr)
            return 1
        except OSError as error:
            print(f"penstock trace: {error.filename or ''}: {error.strerror}", file=sys.stderr)
            return 1
    return 1 if failed else 0


def _explain_silence(path: Path, args: argparse.Namespace, settings: Settings) -> None:
    """Ask routers that answered late or never why that was."""
    from penstock.tracebox.language import parse_probe
    from penstock.tracebox.silence import explain_silence

    heard = max((h.ttl for h in path.hops if h.address), default=0)
    for hop in path.hops:
        if hop.ttl < heard and (hop.kind == "silent" or (hop.kind == "router" and hop.tries > 1)):
            hop.note = str(explain_silence(path.destination, hop.ttl, probe=parse_probe(args.probe), settings=settings))


def _ask(args: argparse.Namespace) -> int:
    """Detections: one line a verdict, what belongs to it below."""
    from penstock.tracebox.api import resolve
    from penstock.tracebox.detections import Subject, detections, run
    from penstock.tracebox.report import as_dict
    from penstock.tracebox.settings import NetworkError

    known = detections()
    if "list" in args.test:
        width = max(map(len, known))
        for name, text in known.items():
            print(f"{name:{width}}  {text}")
        return 0
    names = list(known) if "all" in args.test else args.test
    unknown = [n for n in names if n not in known]
    if unknown or not args.destinations:
        said = f"there is no test '{unknown[0]}'; '--test list' lists them" if unknown else "whereto? 'penstock trace --help' tells more"
        print(f"penstock trace: {said}", file=sys.stderr)
        return 2
    failed = 0
    for destination in args.destinations:
        try:
            settings = _settings(args)
            wide = args.ipv6 or ":" in destination
            subject = Subject(resolve(destination, wide=wide), args.port or 80, args.port or 53, args.port or 21, wide, settings)
        except (NetworkError, ValueError) as error:
            print(f"penstock trace: {error}", file=sys.stderr)
            failed += 1
            continue
        for name in names:
            try:
                verdict = run(name, subject)
            except NetworkError as error:
                failed += 1
                print(f"{name}: unknown: {error}", file=sys.stderr)
                continue
            if args.json:
                print(json.dumps({"test": name, "destination": destination, "state": verdict.state, "text": verdict.text,
                                  "details": verdict.details, "path": as_dict(verdict.path) if verdict.path is not None else None}))
                continue
            print(verdict)
            for line in verdict.details:
                print(f"  {line}")
    return 1 if failed else 0
