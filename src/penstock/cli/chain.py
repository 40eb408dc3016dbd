"""``penstock chain NAME a.click b.click …``: a path of domains, joined by a switch."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from penstock.toolstack.client import Client
from penstock.toolstack.errors import DomainError

__all__ = ["INTERMIXED", "add_arguments", "main"]

INTERMIXED = True


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.description = ("A path of domains: what the first one gets is what comes from the left. In each configuration FromDevice(0) and "
                          "ToDevice(0) are its left side, FromDevice(1) and ToDevice(1) its right one.")
    parser.add_argument("name", help="the name of the chain: its domains are NAME.1, NAME.2, …, its switch is valeNAME")
    parser.add_argument("files", nargs="*", metavar="FILE", help="Click configurations, from left to right")
    for side in ("left", "right"):
        help_text = (f"what is at the {side} end: tap:NAME, or an interface of this machine; without it a port that a program "
                     f"opens as valeNAME:{side}")
        parser.add_argument(f"--{side}", default="", metavar="END", help=help_text)
    parser.add_argument("--memory", type=int, default=16, metavar="MIB", help="of each domain (16)")
    parser.add_argument("--fuse", action="store_true", help="one domain with all configurations in one image: no rings between them")
    parser.add_argument("--destroy", action="store_true", help="end the chain of that name")
    parser.add_argument("--socket", type=Path, help="the toolstack's socket, where it is not the usual one")


def main(name: str, options: argparse.Namespace) -> int:
    try:
        if options.destroy:
            with Client(options.socket, start=False) as client:
                _destroy(client, options.name)
            return 0
        if not options.files:
            raise DomainError("a chain needs configurations")
        with Client(options.socket) as client:
            _make(client, options)
    except (DomainError, OSError) as error:
        print(f"penstock chain: {error}", file=sys.stderr)
        return 1
    return 0


def _members(client: Client, chain: str) -> list[str]:
    return [i["name"] for i in client.list() if i["name"].rpartition(".")[0] == chain and i["name"].rpartition(".")[2].isdigit()]


def _destroy(client: Client, chain: str) -> None:
    members = _members(client, chain)
    if not members:
        raise DomainError(f"there is no chain '{chain}'")
    for member in members:
        client.destroy(name=member)
    client.switch_destroy(switch=f"vale{chain}")


def _make(client: Client, o: argparse.Namespace) -> None:
    """All of it, or nothing."""
    switch = f"vale{o.name}"
    if _members(client, o.name):
        raise DomainError(f"there is a chain '{o.name}' already (--destroy ends it)")
    if any(info["name"] == switch for info in client.switch_list()):
        raise DomainError(f"there is a switch '{switch}' already")
    undo: list[Callable[[], object]] = []
    try:
        left, right = (_end(o, side) for side in ("left", "right"))
        # Read before anything is made: what is wrong with a file is said first.
        fused = _fused(o.files) if o.fuse else ""
        n = 1 if o.fuse else len(o.files)
        ends = [left, *(f"{i}{side}" for i in range(1, n + 1) for side in "lr"), right]
        client.switch_make(switch=switch, module="patch " + " ".join(f"{a}={b}" for a, b in zip(ends[::2], ends[1::2])))
        undo.append(lambda: client.switch_destroy(switch=switch))
        for i, file in enumerate(o.files[:n], 1):
            vifs = [f"bridge={switch},vifname={i}{side}" for side in "lr"]
            spec = {"name": f"{o.name}.{i}", "memory": o.memory, "vif": vifs}
            made = client.create(spec=spec if fused else {**spec, "click": os.path.abspath(file)})
            undo.append(lambda name=made["name"]: client.destroy(name=name))  # type: ignore[misc]
            if fused:
                client.start(name=made["name"], text=fused)
            print(f"{made['name']}: domain {made['id']} is {made['state']} ({made['isolation']}), {' '.join(o.files) if fused else file}")
        for end in (o.left, o.right):
            if end.startswith("tap:"):
                client.switch_tap(name=f"{switch}:{end[4:]}")
            elif end:
                client.switch_attach(name=f"{switch}:{end}")
    except BaseException:
        for step in reversed(undo):
            with contextlib.suppress(DomainError):
                step()
        raise


def _fused(files: list[str]) -> str:
    from penstock.toolstack.fuse import fuse

    return fuse([(file, Path(file).read_text("utf-8", "surrogateescape")) for file in files])


def _end(o: argparse.Namespace, side: str) -> str:
    """The name of the port at an end."""
    given: str = getattr(o, side)
    return given.removeprefix("tap:") or side
