"""What subcommands that take a configuration share: its arguments, loading it, and showing what is wrong."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.elements import catalog
from penstock.lang.configuration import Configuration
from penstock.lang.load import flatten, read_configuration
from penstock.lang.source import Diagnostics

if TYPE_CHECKING:
    from penstock.runtime.router import Router

__all__ = ["Loaded", "add_configuration", "install", "load", "report"]


@dataclass
class Loaded:
    """A configuration's text, and its flat form where it has no errors so far."""

    text: str
    file: str
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    flat: Configuration | None = None


def add_configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", nargs="?", help="configuration file ('-' or nothing: standard input)", metavar="FILE")
    parser.add_argument("-e", "--expression", metavar="TEXT", help="the configuration itself")
    parser.add_argument("-D", "--define", action="append", default=[], metavar="NAME=VALUE", help="set the variable $NAME")
    parser.add_argument("--elements", action="append", default=[], metavar="FILE.py", help="Python file with more element classes")
    parser.add_argument("--path", default=os.environ.get("CLICKPATH", ""), metavar="PATH", help="folders with a conf/ of libraries")


def load(args: argparse.Namespace, *, flat: bool = True) -> Loaded:
    """Read, and with ``flat`` parse and flatten too."""
    diagnostics = Diagnostics()
    for name in args.elements:
        try:
            catalog.load_file(name)
        except (OSError, SyntaxError, ImportError, TypeError) as error:
            diagnostics.error(f"{name}: {getattr(error, 'strerror', None) or error}", code="E052")
    if args.expression is not None and args.file is not None:
        diagnostics.error("give a FILE or -e TEXT, not both", code="E053")
        return Loaded("", "", diagnostics)
    if args.expression is not None:
        loaded = Loaded(args.expression, "config", diagnostics)
    else:
        text, shown = read_configuration(args.file or "-", diagnostics)
        loaded = Loaded(text, shown, diagnostics)
    diagnostics.sources[loaded.file] = loaded.text
    if diagnostics.errors or not flat:
        return loaded
    variables = dict(word.partition("=")[::2] for word in args.define)
    library = tuple(Path(folder) / "conf" for folder in args.path.split(":") if folder)
    loaded.flat = flatten(loaded.text, file=loaded.file, known_classes=catalog.is_known, class_names=catalog.class_names,
                          variables=variables, library_path=library, diagnostics=diagnostics)
    return loaded


def report(diagnostics: Diagnostics) -> bool:
    """Show errors and warnings on standard error; true if there were errors."""
    for line in diagnostics.pretty_lines():
        print(line, file=sys.stderr)
    return bool(diagnostics.errors)


def install(loaded: Loaded, **options: Any) -> Router | None:
    """The router of a configuration that was loaded; None where it cannot be, with the reasons on standard error."""
    from penstock.lang.source import ConfigurationError
    from penstock.runtime.router import Router

    if report(loaded.diagnostics) or loaded.flat is None:
        return None
    loaded.diagnostics.entries.clear()
    try:
        router = Router(loaded.flat, diagnostics=loaded.diagnostics, **options)
    except ConfigurationError:
        report(loaded.diagnostics)
        return None
    return router
