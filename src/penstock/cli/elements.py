"""``penstock elements``: the reference of element classes."""

from __future__ import annotations

import argparse
import difflib
import json
import sys

from penstock.elements import catalog
from penstock.elements.reference import Reference, reference_of

__all__ = ["add_arguments", "main"]


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", metavar="NAME", help="an element class; without one, all are listed")
    parser.add_argument("--group", help="list this group only")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--markdown", action="store_true", help="the page as Markdown")
    parser.add_argument("--elements", action="append", default=[], metavar="FILE.py", help="Python file with more element classes")


def _record(page: Reference) -> dict[str, object]:
    return {
        "name": page.name, "group": page.group, "summary": page.summary, "ports": page.ports, "processing": page.processing,
        "flow": page.flow, "synopsis": page.synopsis(), "description": page.description, "sections": page.sections,
        "arguments": [{"keyword": a.keyword, "type": a.kind.name, "positional": a.positional, "mandatory": a.mandatory}
                      for a in page.arguments],
    }


def _page(name: str) -> Reference | None:
    cls = catalog.find(name)
    return reference_of(cls) if cls is not None else None


def main(name: str, args: argparse.Namespace) -> int:
    for file in args.elements:
        try:
            catalog.load_file(file)
        except (OSError, SyntaxError, ImportError) as error:
            print(f"penstock elements: {file}: {error}", file=sys.stderr)
            return 1
    if args.name is not None:
        page = _page(args.name)
        if page is None:
            near = difflib.get_close_matches(args.name, catalog.class_names(), 3, 0.5)
            hint = f" (did you mean {', '.join(near)}?)" if near else ""
            print(f"penstock elements: unknown element class '{args.name}'{hint}", file=sys.stderr)
            return 1
        print(json.dumps(_record(page), indent=1) if args.json else page.markdown() if args.markdown else page.text())
        return 0
    pages = [page for n in catalog.class_names() if (page := _page(n)) is not None]
    if args.group:
        pages = [p for p in pages if p.group == args.group]
    if args.json:
        print(json.dumps([_record(p) for p in pages], indent=1))
        return 0
    width = max((len(p.name) for p in pages), default=0) + 2
    for group in sorted({p.group for p in pages}):
        print(f"{group}:")
        for page in pages:
            if page.group == group:
                print(f"  {page.name:{width}}{page.summary}")
    return 0
