"""RoundRobinUnqueue."""

from penstock.elements import ConfigureError, Element, Task, boolean, datapath, u32, u64
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import parse_bool

__all__ = ["RoundRobinUnqueue"]


class RoundRobinUnqueue(Element):
    """Pull from the inputs in turn, and push what comes from input N to output N.

    Arguments:
        BURST: packets from an input before the next one's turn (1). ACTIVE: false stops it.

    Handlers:
        count (read): packets moved. active (read/write).

    Example:
        r :: RoundRobinUnqueue(BURST 2); InfiniteSource(LIMIT 5) -> Queue -> r -> Discard; InfiniteSource(LIMIT 5) -> Queue -> [1] r;
        r[1] -> Discard;
    """

    ports = "-/="
    processing = "l/h"
    flow = "#/#"

    count: u64
    turn: u32
    active: boolean

    def configure(self, burst: int = 1, *, active: bool = True) -> None:
        if burst < 1:
            raise ConfigureError("BURST: must be at least 1")
        self.burst, self.active = burst, active
        self.task = Task(self, active=active)

    def initialize(self) -> None:
        self.signals = [upstream_signal(self, i, self.task) for i in range(self.ninputs)]

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.task.reschedule()

    @datapath
    def move(self, port: int) -> bool:
        moved = False
        for _ in range(self.burst):
            p = self.input(port).pull()
            if p is None:
                break
            self.count += 1
            moved = True
            self.output(port).push(p)
        return moved

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        worked = False
        mine = self.turn
        self.turn = mine + 1 if mine + 1 < self.ninputs else u32(0)
        for i in tuple(range(self.ninputs)):
            if mine == i:
                worked = self.move(i)
        busy = worked
        for signal in self.signals:
            if signal.active():
                busy = True
        if busy:
            self.task.reschedule()
        return worked
