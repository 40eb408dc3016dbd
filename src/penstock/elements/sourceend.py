"""What sources do when they have no more packets: STOP the driver, or write to a handler (END_CALL)."""

from __future__ import annotations

from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, Element
from penstock.packet.integers import boolean

__all__ = ["EndingSource"]


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
