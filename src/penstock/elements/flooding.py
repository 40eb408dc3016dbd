"""What elements share that repeat packets to all outputs but one."""

from __future__ import annotations

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import Element

__all__ = ["FloodingElement"]


class FloodingElement(Element):
    #: outputs at the end that are not repeated to
    listeners = 0

    @datapath
    def flood(self, port: int, p: Packet) -> None:
        """Clones to all outputs but number ``port``; the last of them gets the packet itself."""
        count = self.noutputs - self.listeners
        last = count - 1 if port != count - 1 else count - 2
        for i in tuple(range(self.noutputs - self.listeners)):
            if i != port and i != last:
                q = p.clone()
                if q is not None:
                    self.output(i).push(q)
        if last >= 0:
            self.output(last).push(p)
        else:
            p.kill()
