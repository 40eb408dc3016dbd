"""``penstock campaign``: traces to thousands of destinations."""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack

__all__ = ["add_arguments", "main"]


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parts = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = parts.add_parser("run", help="trace all destinations of a file, or go on where it stopped")
    run.add_argument("database", help="SQLite file, made if it is not there")
    run.add_argument("destinations", nargs="?", help="a file with a name or address a line ('-': standard input); left out to go on")
    run.add_argument("-p", "--probe", help="what to send (default: options)")
    run.add_argument("-P", "--port", type=int)
    run.add_argument("-6", "--ipv6", action="store_true")
    run.add_argument("-i", "--interface")
    run.add_argument("-m", "--max-hops", type=int, default=30)
    run.add_argument("-w", "--wait", type=float, default=1.5, metavar="SECONDS")
    run.add_argument("--pace", type=int, default=10000, metavar="PPS", help="probes a second at most (10000)")
    run.add_argument("--at-once", type=int, default=512, metavar="N", help="paths under way at once (512)")
    run.add_argument("--router-budget", type=int, default=100, metavar="PPS", help="probes a second that may end at one near router (100)")
    run.add_argument("--in-order", action="store_true", help="in the file's order, not at random")
    run.add_argument("--retry-failed", action="store_true")
    run.add_argument("--vantage", help="name of this place, for reports")
    run.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    export = parts.add_parser("export", help="write all paths as JSON lines, or hops as Parquet")
    export.add_argument("database")
    export.add_argument("output", help="NAME.jsonl or NAME.parquet")
    report = parts.add_parser("report", help="an HTML page with the figures")
    report.add_argument("databases", nargs="+", help="one a vantage point")
    report.add_argument("-o", "--output", default="campaign.html")
    status = parts.add_parser("status", help="how far a campaign is")
    status.add_argument("database")


def main(name: str, args: argparse.Namespace) -> int:
    import os

    from penstock.tracebox.campaign import Campaign, CampaignError
    from penstock.tracebox.settings import NetworkError

    try:
        if args.action == "run":
            return _run(args)
        databases = args.databases if args.action == "report" else [args.database]
        missing = [d for d in databases if not os.path.exists(d)]
        if missing:
            print(f"penstock campaign: {missing[0]}: there is no such file", file=sys.stderr)
            return 1
        with ExitStack() as stack:
            campaigns = [stack.enter_context(Campaign(d)) for d in databases]
            if args.action == "export":
                print(f"{campaigns[0].export(args.output):,} rows in {args.output}", file=sys.stderr)
            elif args.action == "report":
                from penstock.tracebox.campaign_report import report_page

                page = report_page(campaigns)
                with open(args.output, "w", encoding="utf-8") as file:
                    file.write(page)
                print(f"{args.output}: {len(page):,} bytes", file=sys.stderr)
            else:
                done, total, failed = campaigns[0].counts()
                print(f"{done:,} of {total:,} done, {failed:,} failed; probe: {campaigns[0].probe}; vantage point: {campaigns[0].vantage}")
    except (CampaignError, NetworkError, ValueError) as error:
        print(f"penstock campaign: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"penstock campaign: {error.filename or ''}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _read_destinations(name: str) -> list[str]:
    with ExitStack() as stack:
        file = sys.stdin if name == "-" else stack.enter_context(open(name, encoding="utf-8", errors="replace"))
        words = (line.split("#")[0].strip() for line in file)
        return [w for w in words if w]


def _run(args: argparse.Namespace) -> int:
    import platform

    from penstock.tracebox.campaign import Campaign, Progress
    from penstock.tracebox.settings import Settings

    settings = Settings(hops_max=args.max_hops, silence_s=args.wait, pace_pps=args.pace, interface=args.interface)
    with Campaign(args.database, probe=args.probe, vantage=args.vantage or platform.node()) as campaign:
        if args.destinations:
            campaign.add(_read_destinations(args.destinations))
        done, total, failed = campaign.counts()
        if not total:
            print("penstock campaign: no destinations: give a file with one a line", file=sys.stderr)
            return 2
        steps = campaign.run(settings=settings, port=args.port, wide=args.ipv6, most_at_once=args.at_once, router_pps=args.router_budget,
                             shuffle=not args.in_order, retry_failed=args.retry_failed)
        last = Progress(done, total, failed, None)
        if args.quiet or not sys.stderr.isatty():
            for step in steps:
                last = step
        else:
            from penstock.cli.progress import progress_bar

            with progress_bar() as bar:
                task = bar.add_task("paths", total=total, completed=done)
                for last in steps:
                    bar.update(task, completed=last.done)
        print(f"{last.done:,} of {last.total:,} done, {last.failed:,} failed", file=sys.stderr)
        return 1 if last.failed else 0
