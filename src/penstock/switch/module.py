"""The contract of a switch's module: it says where each frame goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

from penstock.datapath.frames import Frame, frame
from penstock.datapath.memory import Stateful
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u64

if TYPE_CHECKING:
    from penstock.switch.fabric import Fabric

__all__ = ["BROADCAST", "DROP", "MAX_PORTS", "Module", "ModuleError"]

MAX_PORTS = 4096
#: a frame goes to every port but the one it came from
BROADCAST = MAX_PORTS
#: a frame goes nowhere. Anything else that is no port of the switch is the same.
DROP = MAX_PORTS + 1


class ModuleError(ValueError):
    """A module was given what it does not understand; the message says what and how to write it."""


class Module(Stateful):
    """Base of all modules. ``lookup`` is packet code, compiled into the forwarding loop; state is declared by annotation.

    A lookup that faults (reads past the end of the frame) drops that frame and counts in ``faults``; nothing else notices.
    """

    is_root = True
    #: the name on the command line
    name: ClassVar[str] = ""

    faults: u64
    #: where the frame lies that ``lookup`` looks at, for modules that change its size
    at: u64
    resizes: ClassVar[bool] = False
    #: what ``lookup`` reads is not changed by it: several workers may ask at once
    is_parallel: ClassVar[bool] = False
    #: set by the switch
    fabric: Fabric

    def configure(self, arguments: Sequence[str]) -> None:
        """Take what stands behind the module's name on the command line; raises ModuleError."""
        if arguments:
            raise ModuleError(f"the module {self.name} takes no arguments ('{arguments[0]}')")

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        """The number of a port, BROADCAST or DROP. The frame may be rewritten where it lies."""
        raise NotImplementedError

    @datapath(inline=False)
    def decide(self, at: u64, length: u32, source: u32) -> u32:
        """What ``lookup`` says of the frame at byte ``at`` of the ports' memory, plus one: 0 is a fault."""
        if self.resizes:
            self.at = at
        return u32(self.lookup(frame(self.fabric.memory, at, length), source)) + 1

    def port_attached(self, number: int, name: str) -> None:
        """A port came; the switch stands still."""

    def port_detached(self, number: int) -> None:
        """A port went; the switch stands still."""

    def command(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """What people tell the module while it works; the switch stands still. Raises ModuleError; gives rows to show."""
        raise ModuleError(f"the module {self.name} takes no commands")

    def report(self) -> list[tuple[str, ...]]:
        """Rows for people, the first one the titles: what the module knows."""
        return []
