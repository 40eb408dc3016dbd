"""Elements that set, shift, store and add up timestamps."""

from penstock.elements import ConfigureError, Element, Packet, boolean, datapath, i64, u64
from penstock.elements.printing import timestamp_text
from penstock.lang.arguments import Word, parse_real

__all__ = ["AdjustTimestamp", "SetTimestamp", "SetTimestampDelta", "StoreTimestamp", "TimeRange", "TimestampAccum"]

_SECOND_NS = 10**9
_UNSET = 0


def _signed_ns(text: str, name: str) -> int:
    """Seconds with a fraction and perhaps a sign."""
    try:
        return round(parse_real(text.strip()) * 1e9)
    except ValueError as error:
        raise ConfigureError(f"{name}: {error}") from None


class SetTimestamp(Element):
    """Set packets' timestamps to the time at which they pass, or to one that is given.

    Arguments:
        TIMESTAMP: seconds since the epoch; without it, the time of passing.
        FIRST: set the annotation FIRST_TIMESTAMP instead.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetTimestamp(1.5) -> Print(TIMESTAMP true) -> Discard;
    """

    def configure(self, timestamp: Word = "", *, first: bool = False) -> None:
        self.first = first
        self.fixed_ns = _signed_ns(timestamp, "TIMESTAMP") if timestamp else -1
        if timestamp and self.fixed_ns < 0:
            raise ConfigureError("TIMESTAMP: must be >= 0")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        stamp = self.clock.now() if self.fixed_ns < 0 else u64(self.fixed_ns)
        if self.first:
            p.first_timestamp = stamp
        else:
            p.timestamp = stamp
        return p


class AdjustTimestamp(Element):
    """Add a number of seconds to packets' timestamps.

    Arguments:
        DELTA: seconds, with a fraction; it may be negative.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> AdjustTimestamp(-1.5) -> Discard;
    """

    def configure(self, delta: Word) -> None:
        self.delta_ns = _signed_ns(delta, "DELTA")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.timestamp = u64(i64(p.timestamp) + self.delta_ns)
        return p


class SetTimestampDelta(Element):
    """Make packets' timestamps differences: from the first packet's, from now, or from their first-timestamp annotation.

    Arguments:
        TYPE: RANGE (since the first packet), NOW (until now) or FIRST (since the annotation FIRST_TIMESTAMP).

    Handlers:
        first (read): the first packet's timestamp. reset (write): forget it.

    Example:
        FromDump(f.pcap, STOP true) -> SetTimestampDelta -> Discard;
    """

    first_ns: u64

    def configure(self, type: Word = "RANGE") -> None:
        if type.upper() not in ("RANGE", "NOW", "FIRST"):
            raise ConfigureError("TYPE: must be 'RANGE', 'FIRST' or 'NOW'")
        self.kind = type.upper()

    def add_handlers(self) -> None:
        self.add_read("first", lambda: timestamp_text(self.first_ns))
        self.add_write("reset", lambda text: setattr(self, "first_ns", _UNSET), flags="b")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.kind == "NOW":
            p.timestamp = self.clock.now() - p.timestamp
        elif self.kind == "FIRST":
            p.timestamp = p.timestamp - p.first_timestamp
        else:
            if self.first_ns == 0:
                self.first_ns = p.timestamp
            p.timestamp = p.timestamp - self.first_ns
        return p


class StoreTimestamp(Element):
    """Store packets' timestamps in their data: four bytes of seconds and four of microseconds, in network order.

    Packets that are too short are passed unchanged.

    Arguments:
        OFFSET: where; TAIL: in the last eight bytes.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetTimestamp(2.25) -> StoreTimestamp(0) -> Print -> Discard;
    """

    def configure(self, offset: int = -1, *, tail: bool = False) -> None:
        if (offset >= 0) == tail:
            raise ConfigureError("supply exactly one of OFFSET and TAIL")
        self.offset, self.tail = offset, tail

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.length >= 8:
            at = p.length - 8 if self.tail else self.offset
            if p.data.has(at, 8):
                p.data.u32[at] = p.timestamp // _SECOND_NS
                p.data.u32[at + 4] = p.timestamp % _SECOND_NS // 1000
        return p


class TimeRange(Element):
    """Note the earliest and the latest timestamp of passing packets.

    Arguments:
        SIMPLE: only the first packet's and the last one's are looked at (faster where they are in order).

    Handlers:
        first, last, range, interval (read), reset (write).

    Example:
        FromDump(f.pcap, STOP true) -> TimeRange -> Discard;
    """

    any_seen: boolean
    first_ns: u64
    last_ns: u64

    def configure(self, *, simple: bool = False) -> None:
        self.simple = simple

    def add_handlers(self) -> None:
        self.add_read("first", lambda: timestamp_text(self.first_ns))
        self.add_read("last", lambda: timestamp_text(self.last_ns))
        self.add_read("range", lambda: f"{timestamp_text(self.first_ns)} {timestamp_text(self.last_ns)}")
        self.add_read("interval", lambda: timestamp_text(self.last_ns - self.first_ns))
        self.add_write("reset", self._reset, flags="b")

    def _reset(self, text: str) -> None:
        self.any_seen = False
        self.first_ns = self.last_ns = 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        time = p.timestamp
        if not self.any_seen:
            self.any_seen = True
            self.first_ns = time
            self.last_ns = time
        elif self.simple:
            self.last_ns = time
        else:
            self.first_ns = min(self.first_ns, time)
            self.last_ns = max(self.last_ns, time)
        return p


class TimestampAccum(Element):
    """Add up how long packets have been under way: the time now less their timestamps.

    Handlers:
        count, time, average_time (read), reset_counts (write).

    Example:
        InfiniteSource(LIMIT 10, STOP true) -> Queue -> Unqueue -> TimestampAccum -> Discard;
    """

    count: u64
    total_ns: u64

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("time", lambda: f"{self.total_ns / 1e9:.9f}")
        self.add_read("average_time", lambda: f"{self.total_ns / 1e9 / self.count if self.count else 0:.9f}")
        self.add_write("reset_counts", self._reset, flags="b")

    def _reset(self, text: str) -> None:
        self.count = self.total_ns = 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.count += 1
        self.total_ns += self.clock.now() - p.timestamp
        return p
