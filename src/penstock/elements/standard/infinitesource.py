"""InfiniteSource."""

from penstock.elements import ConfigureError, Packet, datapath, u32, u64
from penstock.elements.contentsource import DEFAULT_DATA, ContentSource
from penstock.elements.signals import downstream_signal
from penstock.lang.arguments import Bytes, parse_int

__all__ = ["InfiniteSource"]


class InfiniteSource(ContentSource):
    """Make packets as fast as what is downstream takes them.

    Arguments:
        DATA: the packet's content.
        LIMIT: packets to make; negative for no limit.
        BURST: packets a task makes at a time.
        ACTIVE: false stops it.
        LENGTH: bytes a packet; DATA is repeated or cut. 0: the length of DATA.
        TIMESTAMP: set each packet's timestamp.
        STOP: stop the driver at the limit.
        END_CALL: ``handler [value]``, written at the limit.

    Handlers:
        count (read): packets made.
        reset (write): count from zero again.
        active, limit, burst (read/write).
        data, length (read).

    Example:
        InfiniteSource(DATA "hello", LIMIT 3, STOP true) -> Print(x) -> Discard;
    """

    burst: u32

    def configure(self, data: Bytes = DEFAULT_DATA, limit: int = -1, burst: int = 1, active: bool = True, *,
                  length: int = 0, timestamp: bool = True, stop: bool = False, end_call: str = "") -> None:
        if burst < 1:
            raise ConfigureError("BURST: must be >= 1")
        if max(len(data), length) > 65535 + 18:
            raise ConfigureError("LENGTH: out of range, bound 65553")
        self.burst, self.timestamp = burst, timestamp
        self.set_end(stop, end_call)
        self.set_content(data, length, limit, active)

    def initialize(self) -> None:
        if self.is_push:
            self.room = downstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("burst", lambda: self.burst)
        self.add_write("burst", lambda text: setattr(self, "burst", parse_int(text.strip(), 1, 1 << 30)))

    @datapath
    def make(self) -> Packet | None:
        p = self.copy_content()
        if p is None:
            return None
        if self.timestamp:
            p.timestamp = self.clock.now()
        return p

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        n = self.burst
        if self.limit >= 0:
            if self.finished():
                n = u32(0)
            elif u64(self.limit) - self.count < n:
                n = u32(u64(self.limit) - self.count)
        made: u32 = 0
        for _ in range(n):
            if not self.room.active():
                break
            p = self.make()
            if p is None:
                break
            made += 1
            self.count += 1
            self.output(0).push(p)
        if self.finished():
            self.end()
        elif self.room.active():
            self.task.reschedule()
        return made > 0

    @datapath
    def pull(self, port: int) -> Packet | None:
        if not self.active or self.finished():
            self.ready.sleep()
            if self.active:
                self.end()
            return None
        p = self.make()
        if p is None:
            return None
        self.count += 1
        return p
