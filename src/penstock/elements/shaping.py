"""What elements share that let packets be pulled later: who pulls sleeps until then."""

from __future__ import annotations

from penstock.datapath.sched import Notifier, Timer
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.elements.signals import upstream_signal
from penstock.packet.integers import u64

__all__ = ["ShapingElement"]


class ShapingElement(Element):
    """``pull`` ends with ``rest_until`` or ``go_on``: it says when to ask again, or that what is in front says so."""

    processing = "l/l"

    def set_shaper(self) -> None:
        self.ready = Notifier(active=True)
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.signal = upstream_signal(self, 0, None)

    def held_notifier(self, port: int) -> Notifier:
        return self.ready

    @datapath
    def rest_until(self, when_ns: u64) -> None:
        self.timer.schedule_at(when_ns)
        self.ready.sleep()

    @datapath
    def go_on(self) -> None:
        self.ready.active = self.signal.active()

    @datapath
    def run_timer(self) -> bool:
        self.ready.wake()
        return True
