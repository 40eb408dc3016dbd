"""What elements share that receive Ethernet frames, from a device or from a ring."""

from __future__ import annotations

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.packet.integers import boolean, u32, u64

__all__ = ["EthernetSource"]


class EthernetSource(Element):
    """Counts frames and passes them on; with ``force_ip`` the IP packets in them alone."""

    ports = "0/1"
    processing = "h/h"
    may_generate = True
    takes_state = False

    count: u64
    active: boolean

    force_ip: bool

    @datapath
    def deliver(self, p: Packet) -> None:
        self.count += 1
        if self.force_ip:
            kind: u32 = 0
            if p.data.has(0, 14):
                kind = p.data.u16[12]
            if kind not in (0x0800, 0x86DD):
                p.kill()
                return
            p.pull(14)
            p.set_network(0)
        self.output(0).push(p)
