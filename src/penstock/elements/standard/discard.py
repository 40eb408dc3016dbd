"""Discard."""

from penstock.elements import Element, Packet, Task, boolean, datapath, u64
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import parse_bool

__all__ = ["Discard"]


class Discard(Element):
    """Drop all packets.

    As a pull element it pulls whenever packets are there, ``BURST`` of them at a time.

    Arguments:
        ACTIVE: false stops pulling.
        BURST: packets pulled at a time.

    Handlers:
        count (read): packets discarded.
        active (read/write): whether it pulls.
        reset_counts (write): set the count to zero.

    Example:
        InfiniteSource(LIMIT 5, STOP true) -> Discard;
    """

    ports = "1/0"

    discarded: u64
    active: boolean

    def configure(self, *, active: bool = True, burst: int = 1) -> None:
        self.active = active
        self.burst = max(burst, 1)
        self.pulls = self.input_codes[0] == "l"
        if self.pulls:
            self.task = Task(self, active=active)

    def initialize(self) -> None:
        if self.pulls:
            self.signal = upstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        self.add_data("count", "discarded")
        self.add_write("reset_counts", lambda text: setattr(self, "discarded", 0), flags="b")
        if self.pulls:
            self.add_read("active", lambda: str(bool(self.active)).lower(), flags="c")
            self.add_write("active", self._set_active)

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text)
        if self.active:
            self.task.reschedule()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.discarded += 1
        p.kill()

    @datapath
    def run_task(self) -> bool:
        worked = False
        if not self.active:
            return False
        for _ in range(self.burst):
            p = self.input(0).pull()
            if p is None:
                break
            self.discarded += 1
            worked = True
            p.kill()
        if worked or self.signal.active():
            self.task.reschedule()
        return worked
