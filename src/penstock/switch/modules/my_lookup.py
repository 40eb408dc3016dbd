"""my_lookup, the first module of the original's guide."""

from penstock.datapath.frames import Frame
from penstock.datapath.source import datapath
from penstock.packet.integers import u32
from penstock.switch.module import DROP, Module

__all__ = ["MyLookup"]


class MyLookup(Module):
    """The last byte of the IPv4 destination address is the number of the port."""

    name = "my_lookup"
    is_parallel = True

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if frame.data.has(0, 34) and frame.ether.type == 0x0800:
            return frame.data.u8[33]
        return u32(DROP)
