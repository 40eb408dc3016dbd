"""patch: ports joined two by two, as by a cable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from penstock.datapath.frames import Frame
from penstock.datapath.memory import Array
from penstock.datapath.source import datapath
from penstock.packet.integers import u32
from penstock.switch.module import MAX_PORTS, Module, ModuleError

__all__ = ["Patch"]


class Patch(Module):
    """What one port sends goes to the port that it is joined to: ``patch a=b c=d``, and commands ``join A B``, ``part A``, ``list``.

    Ports are named; those that are not there yet are joined when they come.
    """

    name = "patch"
    is_parallel = True

    def __init__(self) -> None:
        #: the port at the other end, plus one; 0: none
        self.to = Array(u32, MAX_PORTS)
        self.ports: dict[str, int] = {}
        self.joined: dict[str, str] = {}

    def configure(self, arguments: Sequence[str]) -> None:
        for argument in arguments:
            a, equals, b = argument.partition("=")
            if not equals or not a or not b:
                raise ModuleError(f"'{argument}': PORT=PORT is expected")
            self._join(a, b)

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        # Without another end this is no port at all: the frame is dropped, and counted.
        return self.to[source] - 1

    def _join(self, a: str, b: str) -> None:
        if a == b:
            raise ModuleError(f"{a} is joined to itself")
        for end in (a, b):
            if self.joined.get(end, a + b) not in (a, b, a + b):
                raise ModuleError(f"{end} is joined to {self.joined[end]} already")
        self.joined[a], self.joined[b] = b, a

    def _set(self) -> None:
        for name, number in self.ports.items():
            other = self.ports.get(self.joined.get(name, ""))
            self.to[number] = cast(Any, 0 if other is None else other + 1)

    def port_attached(self, number: int, name: str) -> None:
        self.ports[name] = number
        self._set()

    def port_detached(self, number: int) -> None:
        self.ports = {name: n for name, n in self.ports.items() if n != number}
        self.to[number] = cast(Any, 0)
        self._set()

    def command(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        match list(words):
            case ["join", a, b]:
                self._join(a, b)
            case ["part", a] if a in self.joined:
                del self.joined[self.joined.pop(a)]
            case ["part", a]:
                raise ModuleError(f"{a} is not joined to anything")
            case ["list"]:
                return self.report()[1:]
            case _:
                raise ModuleError("patch knows 'join A B', 'part A' and 'list'")
        self._set()
        return []

    def report(self) -> list[tuple[str, ...]]:
        pairs = sorted({tuple(sorted(pair)) for pair in self.joined.items()})
        return [("port", "port", "state"),
                *((a, b, "up" if a in self.ports and b in self.ports else "waits for a port") for a, b in pairs)]
