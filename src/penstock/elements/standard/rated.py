"""Rate limits: RatedSource, RatedUnqueue, RatedSplitter, Shaper and their bandwidth versions."""

from penstock.datapath.clock import Clock
from penstock.elements import (
    ConfigureError,
    Element,
    Packet,
    Stateful,
    Task,
    Timer,
    boolean,
    datapath,
    i64,
    u32,
    u64,
)
from penstock.elements.contentsource import DEFAULT_DATA, ContentSource
from penstock.elements.shaping import ShapingElement
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import Bandwidth, Bytes, Seconds, parse_bandwidth, parse_bool, unparse_bandwidth

__all__ = [
    "BandwidthRatedSplitter", "BandwidthRatedUnqueue", "BandwidthShaper", "RatedSource", "RatedSplitter", "RatedUnqueue",
    "Shaper",
]

_BURST_NS = 20_000_000
#: so much credit a bucket may hold, or get or spend at once: sums stay below 2^63
_MOST = 1 << 61
_FRACTION_BITS, _AMOUNT_BITS = 20, 16


class TokenBucket(Stateful):
    """Tokens that arrive at a rate and are kept up to a burst. One token is one packet, or one byte.

    Counted is the time that tokens take to come (the virtual scheduling of ATM Forum's GCRA), in parts of a nanosecond: exact at any
    rate. A bucket may be in debt: a packet of more bytes than a burst goes, too, and is paid for afterwards.
    """

    credit: i64
    updated_ns: u64
    #: of one token
    cost: i64
    capacity: i64
    fraction_bits: u32
    #: in that time so much credit comes that it makes no difference
    longest_ns: u64

    def __init__(self, clock: Clock, rate: float, burst: float | None = None):
        self.clock = clock
        self.set_rate(rate, burst)

    def set_rate(self, rate: float, burst: float | None = None) -> None:
        """``rate`` in tokens a second; ``burst`` in tokens, by default 20 ms of them, at least one."""
        self.rate = rate
        cost_ns = 1e9 / rate if rate > 0 else float(_MOST)
        bits = _FRACTION_BITS
        while bits and cost_ns * 2.0 ** (bits + _AMOUNT_BITS) > _MOST:
            bits -= 1
        self.fraction_bits, self.longest_ns = bits, _MOST >> bits
        self.cost = max(min(round(cost_ns * 2.0**bits), _MOST), 1)
        tokens = max(1.0, rate * _BURST_NS / 1e9 if burst is None else burst)
        self.capacity = int(min(tokens * self.cost, _MOST))

    @datapath
    def refill(self) -> None:
        now = self.clock.now()
        if self.updated_ns == 0:
            self.updated_ns = now
            self.credit = self.cost
        passed = min(now - self.updated_ns, self.longest_ns)
        self.updated_ns = now
        more = self.credit + i64(passed << self.fraction_bits)
        self.credit = min(more, self.capacity)

    @datapath
    def has_one(self) -> bool:
        return self.credit >= self.cost

    @datapath
    def covers(self, amount: u32) -> bool:
        """Whether so many tokens are there; or all that can be, where those are fewer."""
        return self.credit >= min(i64(amount) * self.cost, self.capacity)

    @datapath
    def remove(self, amount: u32) -> None:
        """Take tokens, also those that are not there yet."""
        self.credit -= i64(amount) * self.cost

    @datapath
    def wait_ns(self) -> u64:
        """How long until there is a token."""
        if self.credit >= self.cost:
            return u64(0)
        return (u64(self.cost - self.credit) >> self.fraction_bits) + 1


class RatedSource(ContentSource):
    """Make packets at a rate, whether what is downstream has room for them or not.

    Arguments:
        DATA: the packet's content.
        RATE: packets a second.
        LIMIT: packets to make; negative for no limit.
        ACTIVE: false stops it.
        LENGTH: bytes a packet; DATA is repeated or cut.
        STOP: stop the driver at the limit.
        END_CALL: ``handler [value]``, written at the limit.
        BANDWIDTH: instead of RATE.

    Handlers:
        count (read), reset (write), rate, limit, active (read/write), data, length (read).

    Example:
        RatedSource(DATA "hello", RATE 1000, LIMIT 3, STOP true) -> Print -> Discard;
    """

    def configure(self, data: Bytes = DEFAULT_DATA, rate: float = 10, limit: int = -1, active: bool = True, *,
                  length: int = 0, stop: bool = False, bandwidth: Bandwidth | None = None, end_call: str = "") -> None:
        size = length or len(data)
        if bandwidth is not None:
            rate = bandwidth / max(size, 1)
        if rate < 0 or rate > 1e9:
            raise ConfigureError("RATE: out of range, bound 1000000000")
        self.set_end(stop, end_call)
        self.set_content(data, length, limit, active)
        self.bucket = TokenBucket(self.clock, rate)
        self.timer = Timer(self)

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("rate", lambda: f"{self.bucket.rate:g}")
        self.add_write("rate", self._set_rate)

    def _set_rate(self, text: str) -> None:
        self.bucket.set_rate(float(text))
        self.wake()

    @datapath
    def make(self) -> Packet | None:
        p = self.copy_content()
        if p is not None:
            p.timestamp = self.clock.now()
        return p

    @datapath
    def run_timer(self) -> bool:
        if self.is_push:
            self.task.reschedule()
        else:
            self.ready.wake()
        return True

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        if self.finished():
            self.end()
            return False
        self.bucket.refill()
        if not self.bucket.has_one():
            self.timer.schedule_after(self.bucket.wait_ns())
            return False
        p = self.make()
        if p is not None:
            self.bucket.remove(u32(1))
            self.count += 1
            self.output(0).push(p)
        self.task.reschedule()
        return True

    @datapath
    def pull(self, port: int) -> Packet | None:
        if not self.active:
            return None
        if self.finished():
            self.ready.sleep()
            self.end()
            return None
        self.bucket.refill()
        if not self.bucket.has_one():
            self.ready.sleep()
            self.timer.schedule_after(self.bucket.wait_ns())
            return None
        self.ready.active = True
        self.bucket.remove(u32(1))
        self.count += 1
        return self.make()


class _Limited(Element):
    """Something with a token bucket, whose rate is a handler: packets a second, or a bandwidth."""

    counts_bytes = False

    bucket: TokenBucket

    def add_handlers(self) -> None:
        if self.counts_bytes:
            self.add_read("rate", lambda: unparse_bandwidth(self.bucket.rate))
            self.add_write("rate", lambda text: self.bucket.set_rate(parse_bandwidth(text.strip())))
        else:
            self.add_read("rate", lambda: f"{self.bucket.rate:g}")
            self.add_write("rate", lambda text: self.bucket.set_rate(float(text)))


class RatedUnqueue(_Limited):
    """Pull packets at most at a rate and push them.

    Arguments:
        RATE: packets a second.
        BURST_DURATION, BURST_SIZE: how much may be caught up: a time, or a number of packets.
        ACTIVE: false stops it.

    Handlers:
        rate, active (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> RatedUnqueue(1000) -> Discard;
    """

    processing = "l/h"

    active: boolean

    def configure(self, rate: float, *, burst_duration: Seconds | None = None, burst_size: int | None = None,
                  active: bool = True) -> None:
        self.setup(rate, burst_duration, burst_size, active)

    def setup(self, rate: float, duration: float | None, size: int | None, active: bool) -> None:
        if duration is not None and size is not None:
            raise ConfigureError("cannot specify both BURST_DURATION and BURST_SIZE")
        burst = size if size is not None else (max(1.0, rate * duration) if duration is not None else None)
        self.bucket = TokenBucket(self.clock, rate, burst)
        self.active = active
        self.task = Task(self, active=active)
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.signal = upstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.task.reschedule()

    @datapath
    def run_timer(self) -> bool:
        self.task.reschedule()
        return True

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        self.bucket.refill()
        # With bytes, a packet goes when the bucket is not in debt; its length is paid for afterwards.
        if not self.bucket.has_one():
            self.timer.schedule_after(self.bucket.wait_ns())
            return False
        p = self.input(0).pull()
        if p is None:
            if self.signal.active():
                self.task.reschedule()
            return False
        self.bucket.remove(p.length if self.counts_bytes else u32(1))
        self.output(0).push(p)
        self.task.reschedule()
        return True


class BandwidthRatedUnqueue(RatedUnqueue):
    """Pull packets at most at a bandwidth and push them.

    Arguments:
        RATE: bandwidth, for example 10Mbps.
        BURST_DURATION, BURST_BYTES: how much may be caught up.
        ACTIVE: false stops it.

    Handlers:
        rate, active (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> BandwidthRatedUnqueue(10Mbps) -> Discard;
    """

    counts_bytes = True

    def configure(self, rate: Bandwidth, *, burst_duration: Seconds | None = None, burst_bytes: int | None = None,
                  active: bool = True) -> None:
        self.setup(rate, burst_duration, burst_bytes, active)


class RatedSplitter(_Limited):
    """Pass packets up to a rate on output 0, the rest on output 1.

    Arguments:
        RATE: packets a second.
        BURST_DURATION, BURST_SIZE: how much may be caught up.

    Handlers:
        rate (read/write).

    Example:
        InfiniteSource(LIMIT 3, STOP true) -> s :: RatedSplitter(1); s[0] -> Discard; s[1] -> Discard;
    """

    ports = "1/1-2"
    processing = "h/h"

    def configure(self, rate: float, *, burst_duration: Seconds | None = None, burst_size: int | None = None) -> None:
        burst = burst_size if burst_size is not None else (
            max(1.0, rate * burst_duration) if burst_duration is not None else None)
        self.bucket = TokenBucket(self.clock, rate, burst)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        amount: u32 = 1
        if self.counts_bytes:
            amount = p.length
        self.bucket.refill()
        if self.bucket.covers(amount):
            self.bucket.remove(amount)
            self.output(0).push(p)
        else:
            self.checked_output_push(1, p)


class BandwidthRatedSplitter(RatedSplitter):
    """Pass packets up to a bandwidth on output 0, the rest on output 1.

    Arguments:
        RATE: bandwidth, for example 10Mbps.
        BURST_DURATION, BURST_BYTES: how much may be caught up.

    Handlers:
        rate (read/write).

    Example:
        InfiniteSource(LIMIT 3, STOP true) -> s :: BandwidthRatedSplitter(1kbps); s[0] -> Discard; s[1] -> Discard;
    """

    counts_bytes = True

    def configure(self, rate: Bandwidth, *, burst_duration: Seconds | None = None, burst_bytes: int | None = None) -> None:
        burst = burst_bytes if burst_bytes is not None else (
            max(1.0, rate * burst_duration) if burst_duration is not None else None)
        self.bucket = TokenBucket(self.clock, rate, burst)


class Shaper(ShapingElement, _Limited):
    """Let packets be pulled at most at a rate.

    Arguments:
        RATE: packets a second.

    Handlers:
        rate (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> Shaper(1000) -> Unqueue -> Discard;
    """

    def configure(self, rate: float) -> None:
        self.setup(rate)

    def setup(self, rate: float) -> None:
        self.bucket = TokenBucket(self.clock, rate)
        self.set_shaper()

    @datapath
    def pull(self, port: int) -> Packet | None:
        self.bucket.refill()
        if not self.bucket.has_one():
            self.rest_until(self.clock.now() + self.bucket.wait_ns())
            return None
        p = self.input(0).pull()
        if p is not None:
            self.bucket.remove(p.length if self.counts_bytes else u32(1))
        self.go_on()
        return p


class BandwidthShaper(Shaper):
    """Let packets be pulled at most at a bandwidth.

    Arguments:
        RATE: bandwidth, for example 10Mbps.

    Handlers:
        rate (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> BandwidthShaper(10Mbps) -> Unqueue -> Discard;
    """

    counts_bytes = True

    def configure(self, rate: Bandwidth) -> None:
        self.setup(rate)


