"""Unqueue."""

from penstock.elements import Element, Task, boolean, datapath, i64, u32, u64
from penstock.elements.signals import downstream_signal, upstream_signal
from penstock.lang.arguments import parse_bool, parse_int

__all__ = ["Unqueue"]


class Unqueue(Element):
    """Pull packets as fast as they come and push them.

    Arguments:
        BURST: packets moved at a time; negative means all there are.
        LIMIT: packets to move in all; negative for no limit.
        ACTIVE: false stops it.

    Handlers:
        count (read): packets moved.
        active (read/write), burst (read/write), limit (read/write).
        reset (write): set the count to zero and go on.

    Example:
        InfiniteSource(LIMIT 5) -> Queue -> Unqueue(BURST 8) -> Discard;
    """

    processing = "l/h"

    count: u64
    burst: u32
    limit: i64
    active: boolean

    def configure(self, burst: int = 1, *, active: bool = True, limit: int = -1) -> None:
        self.burst = burst if burst > 0 else 0x7FFFFFFF
        self.limit, self.active = limit, active
        self.task = Task(self, active=active)

    def initialize(self) -> None:
        self.signal = upstream_signal(self, 0, self.task)
        self.room = downstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("active", lambda: str(bool(self.active)).lower(), flags="c")
        self.add_write("active", self._set_active)
        self.add_read("burst", lambda: self.burst if self.burst < 0x7FFFFFFF else -1)
        self.add_write("burst", self._set_burst)
        self.add_read("limit", lambda: self.limit)
        self.add_write("limit", self._set_limit)
        self.add_write("reset", self._reset, flags="b")

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.task.reschedule()

    def _set_burst(self, text: str) -> None:
        burst = parse_int(text.strip())
        self.burst = burst if burst > 0 else 0x7FFFFFFF

    def _set_limit(self, text: str) -> None:
        self.limit = parse_int(text.strip())
        self.task.reschedule()

    def _reset(self, text: str) -> None:
        self.count = 0
        self.task.reschedule()

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        n = self.burst
        if self.limit >= 0:
            if self.count >= u64(self.limit):
                return False
            if u64(self.limit) - self.count < n:
                n = u32(u64(self.limit) - self.count)
        moved: u32 = 0
        for _ in range(n):
            if not self.room.active():
                break
            p = self.input(0).pull()
            if p is None:
                break
            moved += 1
            self.count += 1
            self.output(0).push(p)
        if self.room.active() and (moved > 0 or self.signal.active()):
            self.task.reschedule()
        return moved > 0


