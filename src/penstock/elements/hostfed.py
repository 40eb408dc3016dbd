"""What elements share that get their packets from Python, or give all of theirs to it."""

from __future__ import annotations

from penstock.datapath.host import HostSource
from penstock.datapath.packet import Packet
from penstock.datapath.sched import Task
from penstock.datapath.source import datapath
from penstock.elements.element import Element
from penstock.elements.signals import downstream_signal, upstream_signal
from penstock.elements.sourceend import TwoSidedSource
from penstock.lang.arguments import parse_bool
from penstock.packet.integers import boolean, u32, u64

__all__ = ["HostFedSource", "HostSink"]

_BURST = 32


class HostFedSource(TwoSidedSource):
    """A source whose packets Python puts into ``source``: ``feed`` is called before each run of the image.

    Push or pull, as what is downstream wants it. A subclass may look at each packet in ``accept``.
    """

    takes_state = False

    count: u64
    active: boolean

    def set_source(self, active: bool, burst: int = _BURST) -> None:
        self.active, self.burst = active, burst
        self.source = HostSource()
        self.buffer_bytes = 65536
        self.set_side(False)

    def listen(self) -> None:
        """To be called from ``initialize``."""
        if self.is_push:
            self.room = downstream_signal(self, 0, self.task)

    def started(self) -> None:
        super().started()
        self.router.calls.feeders.append(self.feed)

    def feed(self) -> bool:
        """Fill the ring; true if the datapath has something to do."""
        raise NotImplementedError

    @property
    def wants_more(self) -> bool:
        """Whether to fill the ring now: refilling a little at a time would cost a run of the image each."""
        return not self.source.closed and (bool(self.active) or not self.is_push) and self.source.room_bytes >= self.source.size // 2

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_write("stop", lambda text: self._stop(), flags="b")
        self.add_write("reset_counts", lambda text: setattr(self, "count", 0), flags="b")

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.wake()

    def _stop(self) -> None:
        self.active = False
        self.router.stop()

    @datapath
    def accept(self, p: Packet) -> Packet | None:
        return p

    @datapath
    def take_one(self) -> Packet | None:
        p = self.source.next(self.pool)
        if p is None:
            return None
        self.count += 1
        return self.accept(p)

    @datapath
    def at_end(self) -> None:
        if self.source.closed and self.source.written == self.source.read:
            self.end()

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        moved: u32 = 0
        for _ in range(self.burst):
            if not self.room.active() or self.source.written == self.source.read:
                break
            p = self.take_one()
            moved += 1
            if p is not None:
                self.output(0).push(p)
        if self.source.written != self.source.read:
            if self.room.active():
                self.task.reschedule()
        else:
            self.at_end()
        return moved > 0

    @datapath
    def pull(self, port: int) -> Packet | None:
        if self.active:
            for _ in range(self.burst):
                if self.source.written == self.source.read:
                    break
                p = self.take_one()
                if p is not None:
                    return p
            self.at_end()
        if not self.active or self.source.written == self.source.read:
            self.ready.sleep()
        return None


class HostSink(Element):
    """Gives a copy of each packet to Python (``record``, in packet code); the packet goes on, or ends here.

    Without an output and with a pull input it pulls by itself.
    """

    ports = "1/0-1"
    takes_state = False

    count: u64
    failed = False

    def set_sink(self) -> None:
        self.pulls = self.input_codes[0] == "l" and self.noutputs == 0
        if self.pulls:
            self.task = Task(self)

    def listen(self) -> None:
        """To be called from ``initialize``."""
        if self.pulls:
            self.signal = upstream_signal(self, 0, self.task)

    def give_up(self, message: str) -> None:
        """Report once that writing is not possible any more, and stop the router."""
        self.failed = True
        self.router.complain(message, self)
        self.router.stop()

    @datapath
    def record(self, p: Packet) -> None:
        self.to_host(p)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.count += 1
        self.record(p)
        if self.noutputs == 0:
            p.kill()
            return None
        return p

    @datapath
    def run_task(self) -> bool:
        moved = False
        for _ in range(_BURST):
            p = self.input(0).pull()
            if p is None:
                break
            moved = True
            self.count += 1
            self.record(p)
            p.kill()
        if moved or self.signal.active():
            self.task.reschedule()
        return moved
