"""``penstock``: the front door. A subcommand's module is imported when it is used, not before."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from penstock import __version__

__all__ = ["SUBCOMMANDS", "main", "run"]

#: name -> (module, what it does)
SUBCOMMANDS = {
    "run": ("run", "run a configuration"),
    "check": ("language", "check a configuration, and report everything that is wrong with it"),
    "test": ("test", "run test files in the format of Click's regression tests"),
    "explain": ("explain", "show one packet's way through a configuration"),
    "elements": ("elements", "list the element classes, or show the reference page of one"),
    "verify": ("verify", "prove what a configuration, or a network of them, does to every packet"),
    "handlers": ("handlers", "list, read and write handlers, of a file or of a running router"),
    "fmt": ("language", "print a configuration in the standard style"),
    "flatten": ("language", "print a configuration without compound elements"),
    "vm": ("vm", "domains: make them, look at them, move them, end them"),
    "switch": ("switch", "switches: their ports, counters and modules"),
    "chain": ("chain", "a path of domains, joined by a switch"),
    "trace": ("trace", "find the middleboxes on a path, and between which hops they are"),
    "campaign": ("campaign", "trace thousands of paths into a database, and report on them"),
    "bridge": ("bridge", "join two ports or interfaces (netmap's bridge)"),
    "lb": ("bridge", "spread a port's flows over many (netmap's lb)"),
    "tap": ("tap", "what a port of a switch sends and is sent, as a capture"),
    "doctor": ("doctor", "say what this machine lacks, and the command that mends it"),
    "graph": ("language", "draw a configuration (SVG or Graphviz)"),
}


def _parser() -> argparse.ArgumentParser:
    width = max(map(len, SUBCOMMANDS)) + 2
    listing = "\n".join(f"  {name:{width}}{text}" for name, (_, text) in SUBCOMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="penstock", formatter_class=argparse.RawDescriptionHelpFormatter, usage="penstock COMMAND [ARGUMENTS]",
        description="Middleboxes written as Click configurations, compiled to machine code.\n\ncommands:\n" + listing,
        epilog="'penstock COMMAND --help' tells more. The command 'click' takes Click's own options.",
    )
    parser.add_argument("--version", action="version", version=f"penstock {__version__}")
    parser.add_argument("command", help=argparse.SUPPRESS)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; gives the exit status."""
    words = sys.argv[1:] if arguments is None else arguments
    if not words or words[0].startswith("-"):
        parser = _parser()
        parser.parse_args(words or ["--help"])
    name = words[0]
    if name not in SUBCOMMANDS:
        import difflib

        near = difflib.get_close_matches(name, SUBCOMMANDS, 1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        print(f"penstock: unknown command '{name}'{hint}; 'penstock --help' lists them", file=sys.stderr)
        return 2
    module = importlib.import_module(f"penstock.cli.{SUBCOMMANDS[name][0]}")
    parser = argparse.ArgumentParser(prog=f"penstock {name}", description=SUBCOMMANDS[name][1].capitalize() + ".")
    module.add_arguments(name, parser)
    try:
        # Options may stand between files where a command has both.
        parse = parser.parse_intermixed_args if getattr(module, "INTERMIXED", False) else parser.parse_args
        status: int = module.main(name, parse(words[1:]))
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130
    return status


def run() -> None:
    """The entry point of the installed command."""
    sys.exit(main())


if __name__ == "__main__":
    run()
