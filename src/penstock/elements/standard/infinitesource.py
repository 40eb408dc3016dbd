"""InfiniteSource."""

from penstock.elements import Array, ConfigureError, Packet, Task, boolean, datapath, i64, u8, u32, u64
from penstock.elements.signals import downstream_signal
from penstock.elements.sourceend import EndingSource
from penstock.lang.arguments import Bytes, parse_bool, parse_int
from penstock.lang.text import unquote

__all__ = ["InfiniteSource"]

DEFAULT_DATA = b"Random bullshit in a packet, at least 64 bytes long. Well, now it is."


class InfiniteSource(EndingSource):
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

    ports = "0/1"
    may_generate = True

    count: u64
    limit: i64
    burst: u32
    active: boolean

    def configure(self, data: Bytes = DEFAULT_DATA, limit: int = -1, burst: int = 1, active: bool = True, *,
                  length: int = 0, timestamp: bool = True, stop: bool = False, end_call: str = "") -> None:
        if burst < 1:
            raise ConfigureError("BURST: must be >= 1")
        if length and data:
            data = (data * (length // len(data) + 1))[:length]
        if len(data) > 65535 + 18:
            raise ConfigureError("LENGTH: out of range, bound 65553")
        self.limit, self.burst, self.active = limit, burst, active
        self.content, self.timestamp = data, timestamp
        self.set_end(stop, end_call)
        self.buffer_bytes = len(data)
        self.store = Array(u8, max(len(data), 1), data)
        self.is_push = self.output_codes[0] == "h"
        if self.is_push:
            self.task = Task(self, active=active)

    def initialize(self) -> None:
        if self.is_push:
            self.room = downstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("reset", self._reset, flags="b")
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_read("limit", lambda: self.limit)
        self.add_write("limit", self._set_limit)
        self.add_read("burst", lambda: self.burst)
        self.add_write("burst", lambda text: setattr(self, "burst", parse_int(text.strip(), 1, 1 << 30)))
        self.add_read("data", lambda: self.content.decode("latin-1"), flags="%")
        self.add_read("length", lambda: len(self.content))

    def _wake(self) -> None:
        if self.is_push and self.active:
            self.task.reschedule()

    def _reset(self, text: str) -> None:
        self.count = 0
        self.ended = False
        self._wake()

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(unquote(text.strip()))
        self._wake()

    def _set_limit(self, text: str) -> None:
        self.limit = parse_int(text.strip())
        self.ended = False
        self._wake()

    @datapath
    def make(self) -> Packet | None:
        p = self.pool.allocate(len(self.content))
        if p is None:
            return None
        p.data.load_from(self.store, 0, 0, len(self.content))
        if self.timestamp:
            p.timestamp = self.clock.now()
        return p

    @datapath
    def finished(self) -> bool:
        return self.limit >= 0 and self.count >= u64(self.limit)

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
            if self.active:
                self.end()
            return None
        p = self.make()
        if p is None:
            return None
        self.count += 1
        return p
