"""TimedSource, TimedSink and TimedUnqueue: packets at intervals."""

from penstock.elements import Array, ConfigureError, Element, Timer, boolean, datapath, i64, u8, u64
from penstock.elements.contentsource import DEFAULT_DATA
from penstock.lang.arguments import Bytes, Seconds, parse_bool, parse_seconds

__all__ = ["TimedSink", "TimedSource", "TimedUnqueue"]


class TimedSource(Element):
    """Make a packet every INTERVAL.

    Arguments:
        INTERVAL: time between packets.
        DATA: the packet's content.
        LIMIT: packets to make; negative for no limit.
        ACTIVE: false stops it.
        STOP: stop the driver at the limit.
        HEADROOM: accepted for compatibility.

    Handlers:
        count (read), reset (write), interval, active (read/write).

    Example:
        TimedSource(1ms, "hello", LIMIT 3, STOP true) -> Print -> Discard;
    """

    ports = "0/1"
    processing = "h/h"
    may_generate = True

    count: u64
    limit: i64
    active: boolean
    interval_ns: u64

    def configure(self, interval: Seconds = 0.5, data: Bytes = DEFAULT_DATA, *, limit: int = -1, active: bool = True,
                  stop: bool = False, headroom: int = 0) -> None:
        if interval <= 0:
            raise ConfigureError("INTERVAL: must be > 0")
        self.interval_ns = int(interval * 1e9)
        self.content, self.limit, self.active, self.stop = data, limit, active, stop
        self.buffer_bytes = len(data)
        self.store = Array(u8, max(len(data), 1), data)
        self.timer = Timer(self)

    def started(self) -> None:
        if self.active:
            self.timer.schedule_after(self.interval_ns)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("reset", self._reset, flags="b")
        self.add_read("interval", lambda: f"{self.interval_ns / 1e9:g}")
        self.add_write("interval", lambda text: setattr(self, "interval_ns", int(parse_seconds(text.strip()) * 1e9)))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)

    def _reset(self, text: str) -> None:
        self.count = 0
        self.started()

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        self.started()

    @datapath
    def run_timer(self) -> bool:
        if not self.active:
            return False
        if self.limit >= 0 and self.count >= u64(self.limit):
            if self.stop:
                self.stop_driver()
            return False
        p = self.pool.allocate(len(self.content))
        if p is not None:
            p.data.load_from(self.store, 0, 0, len(self.content))
            p.timestamp = self.clock.now()
            self.count += 1
            self.output(0).push(p)
        self.timer.schedule_after(self.interval_ns)
        return True


class TimedSink(Element):
    """Pull and drop one packet every INTERVAL.

    Arguments:
        INTERVAL: time between packets.

    Handlers:
        interval (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> TimedSink(1ms);
    """

    ports = "1/0"
    processing = "l/l"

    interval_ns: u64

    def configure(self, interval: Seconds = 0.5) -> None:
        if interval <= 0:
            raise ConfigureError("INTERVAL: must be > 0")
        self.interval_ns = int(interval * 1e9)
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(self.interval_ns)

    def add_handlers(self) -> None:
        self.add_read("interval", lambda: f"{self.interval_ns / 1e9:g}")
        self.add_write("interval", lambda text: setattr(self, "interval_ns", int(parse_seconds(text.strip()) * 1e9)))

    @datapath
    def run_timer(self) -> bool:
        p = self.input(0).pull()
        if p is not None:
            p.kill()
        self.timer.schedule_after(self.interval_ns)
        return True


class TimedUnqueue(Element):
    """Pull up to BURST packets every INTERVAL and push them.

    Arguments:
        INTERVAL: time between bursts.
        BURST: packets a burst.

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> TimedUnqueue(1ms, 2) -> Discard;
    """

    processing = "l/h"

    interval_ns: u64

    def configure(self, interval: Seconds, burst: int = 1) -> None:
        if interval <= 0:
            raise ConfigureError("INTERVAL: must be > 0")
        if burst <= 0:
            raise ConfigureError("BURST: must be > 0")
        self.interval_ns = int(interval * 1e9)
        self.burst = burst
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(self.interval_ns)

    @datapath
    def run_timer(self) -> bool:
        for _ in range(self.burst):
            p = self.input(0).pull()
            if p is None:
                break
            self.output(0).push(p)
        self.timer.schedule_after(self.interval_ns)
        return True


