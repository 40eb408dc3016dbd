"""macs: source addresses to ports, as the original's module of that name."""

from penstock.datapath.containers import NONE, Table
from penstock.datapath.frames import Frame
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u48
from penstock.switch.module import DROP
from penstock.switch.static import StaticModule, To

__all__ = ["Macs"]


class Macs(StaticModule):
    """Source Ethernet address to port; any other frame to the default port (drop)."""

    name = "macs"

    def __init__(self) -> None:
        super().__init__()
        self.by_source = Table((u48,), To, 16384)

    def tables(self) -> list[tuple[str, Table]]:
        return [("ether", self.by_source)]

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(0, 14):
            return u32(DROP)
        to = self.port_of(self.by_source, (frame.ether.src,))
        return self.default if to == NONE else to
