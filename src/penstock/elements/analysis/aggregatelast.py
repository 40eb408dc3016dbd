"""AggregateLast."""

from penstock.elements import NONE, ConfigureError, Element, Packet, PacketSlot, Struct, Table, Task, datapath, take, u32
from penstock.lang.arguments import ElementName, UInt32

__all__ = ["AggregateLast"]

_BURST = 32


class _Last(Struct):
    packet: PacketSlot


class AggregateLast(Element):
    """Keep the last packet of each aggregate; send it when it is told that there are no more.

    A packet that is followed by another of its aggregate goes to output 1, or is dropped.

    Arguments:
        NOTIFIER: accepted: the element that gives the numbers.
        STOP_AFTER_CLEAR: stop the driver when all packets have been sent.
        CAPACITY: aggregates that are remembered (65536); packets of further ones go to output 1.

    Handlers:
        clear (write): send all that is kept. count (read): aggregates kept.

    Example:
        FromDump(f.pcap) -> AggregateLength -> a :: AggregateLast -> Print -> Discard; Script(wait 0.1s, write a.clear, wait 0.1s, stop);
    """

    ports = "1/1-2"
    processing = "h/h"

    hand: u32

    def configure(self, *, notifier: ElementName = "", stop_after_clear: bool = False, capacity: UInt32 = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.notifier, self.stop_after_clear = notifier, stop_after_clear
        self.table = Table((u32,), _Last, capacity)
        self.packets_held = min(capacity, 1 << 16) + 1
        self.task = Task(self, active=False)

    def initialize(self) -> None:
        if self.notifier and self.router.find(self.notifier, self.name) is None:
            raise ConfigureError(f"no element named '{self.notifier}'")

    def add_handlers(self) -> None:
        self.add_read("count", lambda: self.table.entries)
        self.add_write("clear", lambda text: self.task.reschedule(), flags="b")

    @datapath
    def push(self, port: int, p: Packet) -> None:
        key = (p.aggregate,)
        i = self.table.find(key)
        if i == NONE:
            i = self.table.insert(key)
            if i == NONE:
                self.checked_output_push(1, p)
                return
        old = take(self.table.slots[i].value.packet)
        self.table.slots[i].value.packet = p
        if old is not None:
            self.checked_output_push(1, old)

    @datapath
    def run_task(self) -> bool:
        moved = False
        for _ in range(_BURST):
            if self.hand >= self.table.top:
                break
            i = self.hand
            self.hand += 1
            if self.table.used(i):
                p = take(self.table.slots[i].value.packet)
                self.table.remove(i)
                if p is not None:
                    moved = True
                    self.output(0).push(p)
        if self.hand < self.table.top:
            self.task.reschedule()
        else:
            self.hand = 0
            if self.stop_after_clear:
                self.stop_driver()
        return moved
