"""Tables whose entries end: a timer that looks at a part of the table at a time, so that no look takes long."""

from __future__ import annotations

from penstock.datapath.containers import Table
from penstock.datapath.sched import Timer
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.packet.integers import u32, u64

__all__ = ["REAP_NS", "ReapingElement"]

#: between two looks, and how many looks see the whole table: 16 s
REAP_NS, REAP_PARTS = 250_000_000, 64


class ReapingElement(Element):
    """Has a ``table``, and says of an entry whether it ``is_over``, and how it is ended."""

    table: Table

    hand: u32

    def watch(self) -> None:
        """To be called where the table is made."""
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(REAP_NS)

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return False

    @datapath
    def end_entry(self, i: u32) -> None:
        self.table.remove(i)

    @datapath
    def reap(self, now_ns: u64) -> None:
        for _ in range(self.table.top // REAP_PARTS + 1):
            i = self.table.after(self.hand)
            self.hand = i
            if self.table.used(i):
                if self.is_over(i, now_ns):
                    self.end_entry(i)

    @datapath
    def run_timer(self) -> bool:
        self.reap(self.clock.now())
        self.timer.schedule_after(REAP_NS)
        return True
