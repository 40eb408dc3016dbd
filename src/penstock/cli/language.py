"""``penstock check``, ``fmt``, ``flatten`` and ``graph``: configurations as text and drawings."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import json
import sys
from pathlib import Path

from penstock.cli.configuration import add_configuration, load, report
from penstock.elements import catalog

__all__ = ["add_arguments", "main"]


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    add_configuration(parser)
    if name == "check":
        parser.add_argument("--json", action="store_true", help="the findings as JSON on standard output")
    elif name == "fmt":
        parser.add_argument("-w", "--write", action="store_true", help="write the file itself")
        parser.add_argument("--diff", action="store_true", help="show what would change; exit 1 if anything would")
    elif name == "graph":
        parser.add_argument("--format", choices=["svg", "dot"], default="svg")
        parser.add_argument("-o", "--output", metavar="FILE", help="instead of standard output")


def main(name: str, args: argparse.Namespace) -> int:
    return {"check": _check, "fmt": _fmt, "flatten": _flatten, "graph": _graph}[name](args)


def _check(args: argparse.Namespace) -> int:
    from penstock.lang.source import ConfigurationError
    from penstock.runtime.router import Router

    loaded = load(args)
    count = len(loaded.flat.elements) if loaded.flat is not None else 0
    if loaded.flat is not None and not loaded.diagnostics.errors:
        with contextlib.suppress(ConfigurationError):
            Router(loaded.flat, diagnostics=loaded.diagnostics, check_only=True)
    errors = len(loaded.diagnostics.errors)
    if args.json:
        print(json.dumps([
            {"severity": d.severity, "code": d.code, "file": d.landmark.file, "line": d.landmark.line, "column": d.landmark.column,
             "message": d.message, "context": d.context, "suggestion": d.suggestion} for d in loaded.diagnostics.entries
        ], indent=1))
        return 1 if errors else 0
    if report(loaded.diagnostics):
        print(f"{loaded.file}: {errors} error{'s' if errors != 1 else ''}", file=sys.stderr)
        return 1
    print(f"{loaded.file}: {count} elements, no errors")
    return 0


def _fmt(args: argparse.Namespace) -> int:
    from penstock.lang.format import format_configuration

    loaded = load(args, flat=False)
    text = "" if loaded.diagnostics.errors else format_configuration(loaded.text, file=loaded.file, diagnostics=loaded.diagnostics)
    if report(loaded.diagnostics):
        return 1
    if args.diff:
        lines = list(difflib.unified_diff(loaded.text.splitlines(True), text.splitlines(True), loaded.file, "formatted"))
        sys.stdout.writelines(lines)
        return 1 if lines else 0
    if args.write and args.file not in (None, "-"):
        if text != loaded.text:
            Path(args.file).write_text(text, "utf-8", "surrogateescape")
        return 0
    sys.stdout.write(text)
    return 0


def _flatten(args: argparse.Namespace) -> int:
    loaded = load(args)
    if report(loaded.diagnostics) or loaded.flat is None:
        return 1
    sys.stdout.write(loaded.flat.text())
    return 0


def _graph(args: argparse.Namespace) -> int:
    from penstock.lang.graph import to_dot, to_svg

    loaded = load(args)
    if report(loaded.diagnostics) or loaded.flat is None:
        return 1
    text = (to_svg if args.format == "svg" else to_dot)(loaded.flat, catalog.port_rules)
    if args.output:
        try:
            Path(args.output).write_text(text)
        except OSError as error:
            print(f"penstock graph: {args.output}: {error.strerror}", file=sys.stderr)
            return 1
    else:
        sys.stdout.write(text)
    return 0
