"""Elements with several ways through, side by side."""

from __future__ import annotations

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import Element

__all__ = ["PortwiseElement"]


class PortwiseElement(Element):
    """What comes in at an input leaves by the output of that number, pushed or pulled, unless ``handle`` keeps it."""

    @datapath
    def handle(self, port: int, p: Packet) -> Packet | None:
        return p

    @datapath
    def push(self, port: int, p: Packet) -> None:
        q = self.handle(port, p)
        if q is not None:
            self.output(port).push(q)

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.input(port).pull()
        if p is None:
            return None
        return self.handle(port, p)
