"""dummy: the module that the fabric itself is measured with."""

from collections.abc import Sequence

from penstock.datapath.frames import Frame
from penstock.datapath.source import datapath
from penstock.packet.integers import u32
from penstock.switch.module import MAX_PORTS, Module, ModuleError

__all__ = ["Dummy"]


class Dummy(Module):
    """Every frame goes to one port, without a look at it: ``dummy PORT`` (1)."""

    name = "dummy"
    is_parallel = True

    def __init__(self, to: int = 1):
        self.to = to

    def configure(self, arguments: Sequence[str]) -> None:
        super().configure(arguments[1:])
        if arguments:
            if not arguments[0].isdigit() or int(arguments[0]) >= MAX_PORTS:
                raise ModuleError(f"'{arguments[0]}' is no port number (0 to {MAX_PORTS - 1})")
            self.to = int(arguments[0])

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        return u32(self.to)
