"""``penstock test``: run test files in the format of Click's regression tests."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

__all__ = ["add_arguments", "main"]

_SUFFIXES = (".testie", ".clicktest")


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE",
                        help="test files, or folders with *.testie and *.clicktest in them; NAME=VALUE sets a variable")
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N", help="tests at once (2)")
    parser.add_argument("-t", "--timeout", type=float, default=60, metavar="SECONDS", help="a script may take (60)")
    parser.add_argument("-q", "--quiet", action="store_true", help="only what failed")
    parser.add_argument("-v", "--verbose", action="store_true", help="each test, and what failing ones printed")


def _found(names: list[str]) -> Iterator[Path]:
    for name in names:
        path = Path(name)
        if path.is_dir():
            yield from sorted(p for p in path.rglob("*") if p.suffix in _SUFFIXES)
        else:
            yield path


def main(name: str, args: argparse.Namespace) -> int:
    from penstock.testing import Outcome, TestFileError, parse_test, run_test

    variables = dict(word.partition("=")[::2] for word in args.files if "=" in word and not Path(word).exists())
    paths = list(_found([w for w in args.files if w.partition("=")[0] not in variables or "=" not in w]))
    if not paths:
        print("penstock test: no test files there", file=sys.stderr)
        return 2

    def one(path: Path) -> Outcome:
        try:
            return run_test(parse_test(path.read_bytes(), str(path)), timeout_s=args.timeout, variables=variables)
        except TestFileError as error:
            return Outcome("failed", [str(error)])
        except OSError as error:
            return Outcome("failed", [f"{path}: {error.strerror}"])

    counts = {"passed": 0, "failed": 0, "left out": 0}
    with ThreadPoolExecutor(max(args.jobs, 1)) as pool:
        for path, outcome in zip(paths, pool.map(one, paths)):
            counts[outcome.state] += 1
            for problem in outcome.problems:
                if outcome.state == "failed" or not args.quiet:
                    print(problem)
            if args.verbose:
                print(f"{path}: {outcome.state}")
                if outcome.state == "failed":
                    sys.stdout.write(outcome.stdout + outcome.stderr)
    if not args.quiet or counts["failed"]:
        left = f", {counts['left out']} left out" if counts["left out"] else ""
        print(f"{counts['passed']} of {len(paths)} passed{left}", file=sys.stderr)
    return 1 if counts["failed"] else 0
