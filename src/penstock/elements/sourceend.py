"""What sources do when they have no more packets (STOP the driver, or write to a handler: END_CALL), and how they are pushed or pulled."""

from __future__ import annotations

from penstock.datapath.sched import Notifier, Task
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, Element
from penstock.packet.integers import boolean

__all__ = ["EndingSource", "TwoSidedSource"]


class EndingSource(Element):
    """A source that may come to an end. ``end()`` is called in packet code, any number of times; it acts once."""

    ended: boolean
    calls_out: boolean

    def set_end(self, stop: bool, end_call: str) -> None:
        if stop and end_call:
            raise ConfigureError("'END_CALL' and 'STOP' are mutually exclusive")
        self.stop, self.end_call = stop, end_call

    def started(self) -> None:
        if self.end_call:
            self.router.calls.after_run.append(self._call_out)

    def _call_out(self) -> None:
        if self.calls_out:
            self.calls_out = False
            self.router.call_handler(self.end_call, self)

    @datapath
    def end(self) -> None:
        if not self.ended:
            self.ended = True
            if self.stop:
                self.stop_driver()
            elif len(self.end_call) > 0:
                self.calls_out = True
                self.driver.attention = 1


class TwoSidedSource(EndingSource):
    """A source that is pushed by its own task, or pulled, as what is downstream wants it; who pulls sleeps while there is nothing."""

    ports = "0/1"
    may_generate = True

    def set_side(self, active: bool) -> None:
        self.is_push = self.output_codes[0] == "h"
        #: who pulls need not ask before
        self.ready = Notifier(active=True)
        if self.is_push:
            self.task = Task(self, active=active)

    def empty_notifier(self, port: int) -> Notifier:
        return self.ready

    def wake(self) -> None:
        """There may be packets again."""
        if self.is_push:
            self.task.reschedule()
        else:
            self.ready.wake()
