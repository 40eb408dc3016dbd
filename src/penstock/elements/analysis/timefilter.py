"""TimeFilter."""

from penstock.elements import ConfigureError, Element, Packet, boolean, datapath, u64
from penstock.elements.printing import timestamp_text
from penstock.lang.arguments import ArgumentError, parse_seconds

__all__ = ["TimeFilter"]

_FOREVER = 2**64 - 1


def _ns(text: str, name: str) -> int:
    """Seconds with a fraction, exact to the nanosecond where they are plain decimals."""
    whole, _, fraction = text.strip().partition(".")
    if whole.isdigit() and (not fraction or fraction.isdigit()):
        return int(whole) * 10**9 + int(fraction[:9].ljust(9, "0"))
    try:
        return int(parse_seconds(text.strip()) * 1e9)
    except ArgumentError as error:
        raise ConfigureError(f"{name}: {error}") from None


class TimeFilter(Element):
    """Pass packets whose timestamp lies in an interval; others go to output 1, or are dropped.

    Arguments:
        START, END: timestamps, in seconds since the epoch; END itself is not in the interval.
        START_DELAY, END_DELAY: the same, counted from the first packet.
        INTERVAL: END is this long after START.
        STOP: stop the driver when a packet at or after END comes.
        END_CALL ``handler [value]``: write to the handler then.

    Handlers:
        start, end (read/write), interval (write), extend_interval (write): move END.

    Example:
        FromDump(f.pcap, STOP true) -> TimeFilter(START_DELAY 1, INTERVAL 2.5) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    start_ns: u64
    end_ns: u64
    relative: boolean
    reached: boolean
    calls: boolean

    def configure(self, start: str = "", end: str = "", *, start_delay: str = "", end_delay: str = "", interval: str = "",
                  stop: bool = False, end_call: str = "") -> None:
        if (start and start_delay) or (end and end_delay) or (interval and (end or end_delay)) or (stop and end_call):
            raise ConfigureError("START and START_DELAY, END, END_DELAY and INTERVAL, STOP and END_CALL exclude each other")
        self.stop, self.end_call = stop, end_call
        self.start_ns = _ns(start, "START") if start else _ns(start_delay, "START_DELAY") if start_delay else 0
        self.end_ns = _FOREVER
        self.start_is_delay = not start
        self.end_is_delay = bool(end_delay or (interval and not start))
        if end:
            self.end_ns = _ns(end, "END")
        elif end_delay:
            self.end_ns = _ns(end_delay, "END_DELAY")
        elif interval:
            self.end_ns = self.start_ns + _ns(interval, "INTERVAL")
        self.relative = True

    def add_handlers(self) -> None:
        self.add_read("start", lambda: timestamp_text(self.start_ns))
        self.add_write("start", lambda text: setattr(self, "start_ns", _ns(text, "start")))
        self.add_read("end", lambda: timestamp_text(self.end_ns))
        self.add_write("end", lambda text: self._end(_ns(text, "end")))
        self.add_write("interval", lambda text: self._end(self.start_ns + _ns(text, "interval")))
        self.add_write("extend_interval", lambda text: self._end(self.end_ns + _ns(text, "extend_interval")))
        self.add_write("stop", lambda text: self.router.stop(), flags="b")

    def _end(self, ns: int) -> None:
        self.end_ns = min(ns, _FOREVER)
        self.reached = False

    def started(self) -> None:
        if self.end_call:
            self.router.calls.after_run.append(self._called)

    def _called(self) -> None:
        if self.calls:
            self.calls = False
            self.router.call_handler(self.end_call, self)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        time = p.timestamp
        if self.relative:
            self.relative = False
            if self.start_is_delay:
                self.start_ns += time
            if self.end_is_delay and self.end_ns != _FOREVER:
                self.end_ns += time
        if time >= self.end_ns:
            if not self.reached:
                self.reached = True
                if self.stop:
                    self.stop_driver()
                elif len(self.end_call) > 0:
                    self.calls = True
                    self.driver.attention = 1
            self.checked_output_push(1, p)
            return None
        if time < self.start_ns:
            self.checked_output_push(1, p)
            return None
        return p
