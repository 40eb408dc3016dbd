"""TimeSortedSched and AggregateLast."""

from typing import Any, cast

from penstock.elements import (
    NONE,
    Array,
    ConfigureError,
    Element,
    Packet,
    PacketSlot,
    Struct,
    Table,
    Task,
    boolean,
    datapath,
    take,
    u8,
    u32,
    u64,
)
from penstock.lang.arguments import ElementName, UInt32

__all__ = ["AggregateLast", "TimeSortedSched"]

_BURST = 32


class TimeSortedSched(Element):
    """Merge the inputs by timestamp: of the packets that the inputs have, pull the oldest.

    Arguments:
        STOP: stop the driver when no input has a packet.

    Handlers:
        held (read): packets that wait for older ones of other inputs.

    Example:
        FromDump(f.pcap, STOP true) -> Queue -> s :: TimeSortedSched -> Unqueue -> Discard; FromDump(f.pcap) -> Queue -> [1] s;
    """

    ports = "-/1"
    processing = "l/l"

    held: u32
    stopped: boolean

    def configure(self, *, stop: bool = False) -> None:
        self.stop = stop
        self.heads: Array[Any] = Array(cast(Any, PacketSlot), max(self.ninputs, 1))
        self.times = Array(u64, max(self.ninputs, 1))
        self.full = Array(u8, max(self.ninputs, 1))
        self.packets_held = self.ninputs + 1

    def add_handlers(self) -> None:
        self.add_data("held", "held")

    @datapath
    def pull(self, port: int) -> Packet | None:
        for i in tuple(range(self.ninputs)):
            if self.full[i] == 0:
                q = self.input(i).pull()
                if q is not None:
                    self.times[i] = q.timestamp
                    self.heads[i] = q
                    self.full[i] = 1
                    self.held += 1
        best: u32 = self.ninputs
        for j in tuple(range(self.ninputs)):
            if self.full[j] != 0:
                if best == self.ninputs or self.times[j] < self.times[best]:
                    best = u32(j)
        if best == self.ninputs:
            if self.stop and not self.stopped:
                self.stopped = True
                self.stop_driver()
            return None
        self.full[best] = 0
        self.held -= 1
        return take(self.heads[best])


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
