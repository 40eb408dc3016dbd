"""TimeSortedSched."""

from typing import Any, cast

from penstock.elements import Array, Element, Notifier, Packet, PacketSlot, boolean, datapath, take, u8, u32, u64
from penstock.elements.signals import upstream_signal

__all__ = ["TimeSortedSched"]


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
        self.has_some = Notifier()

    def held_notifier(self, port: int) -> Notifier:
        return self.has_some

    def initialize(self) -> None:
        self.signals = tuple(upstream_signal(self, i, None) for i in range(self.ninputs))

    @datapath
    def any_active(self) -> bool:
        on = False
        for signal in self.signals:
            on = on or signal.active()
        return on

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
            self.has_some.active = self.any_active()
            if self.stop and not self.stopped:
                self.stopped = True
                self.stop_driver()
            return None
        self.full[best] = 0
        self.held -= 1
        self.has_some.active = True
        return take(self.heads[best])
