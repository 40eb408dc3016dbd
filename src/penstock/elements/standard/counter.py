"""Counter."""

import time
from functools import partial

from penstock.elements import ConfigureError, Element, HandlerError, Packet, datapath, u64
from penstock.lang.arguments import ArgumentError, parse_int
from penstock.lang.text import split_words

__all__ = ["Counter"]


class Counter(Element):
    """Count packets and bytes, and tell their rates.

    Arguments:
        COUNT_CALL n handler [value]: when the count reaches n, write ``value`` to the handler.
        BYTE_COUNT_CALL n handler [value]: likewise for bytes.

    Handlers:
        count (read/write): packets so far.
        byte_count (read): bytes so far.
        rate (read): recent packets a second.
        bit_rate (read): recent bits a second.
        byte_rate (read): recent bytes a second.
        reset, reset_counts (write): set the counts to zero.
        count_call, byte_count_call (write): set the calls.

    Example:
        InfiniteSource(LIMIT 5, STOP true) -> c :: Counter -> Discard;
    """

    count: u64
    byte_count: u64
    call_at: u64
    byte_call_at: u64
    calls: u64
    last_ns: u64
    last_count: u64
    last_bytes: u64

    def configure(self, *, count_call: str = "", byte_count_call: str = "") -> None:
        self.call_at = self.byte_call_at = 2**64 - 1
        self.call_text = self.byte_call_text = ""
        self.has_calls = bool(count_call or byte_count_call)
        if count_call:
            self.call_at, self.call_text = self._call(count_call)
        if byte_count_call:
            self.byte_call_at, self.byte_call_text = self._call(byte_count_call)
        self.rate_value = self.byte_rate_value = 0.0

    @staticmethod
    def _call(text: str) -> tuple[int, str]:
        words = split_words(text)
        if len(words) < 2:
            raise ConfigureError("COUNT_CALL: expected a count and a handler")
        try:
            return parse_int(words[0], 0), " ".join(words[1:])
        except ArgumentError as error:
            raise ConfigureError(f"COUNT_CALL: {error}") from None

    def add_handlers(self) -> None:
        self.add_data("count", "count", parse_int)
        self.add_data("byte_count", "byte_count")
        self.add_read("rate", lambda: f"{self._rates()[0]:g}")
        self.add_read("bit_rate", lambda: f"{self._rates()[1] * 8:g}")
        self.add_read("byte_rate", lambda: f"{self._rates()[1]:g}")
        self.add_write("reset", self._reset, flags="b")
        self.add_write("reset_counts", self._reset, flags="b")
        for name in ("count_call", "byte_count_call"):
            self.add_read(name, partial(self._show_call, name))
            self.add_write(name, partial(self._set_call, name))

    def _show_call(self, name: str) -> str:
        at, text = (self.call_at, self.call_text) if name == "count_call" else (self.byte_call_at, self.byte_call_text)
        return f"{at} {text}" if text else ""

    def _set_call(self, name: str, text: str) -> None:
        try:
            at, call = self._call(text)
        except ConfigureError as error:
            raise HandlerError(str(error)) from None
        if not self.has_calls:
            raise HandlerError("configure the element with COUNT_CALL or BYTE_COUNT_CALL to change calls later")
        if name == "count_call":
            self.call_at, self.call_text = at, call
        else:
            self.byte_call_at, self.byte_call_text = at, call

    def _reset(self, text: str) -> None:
        self.count = self.byte_count = self.last_count = self.last_bytes = 0

    def _rates(self) -> tuple[float, float]:
        """Packets and bytes a second since the last reading, or since the start."""
        now = self.router.clock.time if self.router.clock.simulated else time.time_ns()
        passed = now - self.last_ns
        if self.last_ns == 0 or passed >= 100_000_000:
            if self.last_ns and passed > 0:
                self.rate_value = (self.count - self.last_count) * 1e9 / passed
                self.byte_rate_value = (self.byte_count - self.last_bytes) * 1e9 / passed
            self.last_ns, self.last_count, self.last_bytes = now, self.count, self.byte_count
        return self.rate_value, self.byte_rate_value

    def started(self) -> None:
        self.last_ns = self.router.clock.time if self.router.clock.simulated else time.time_ns()
        if self.has_calls:
            self.router.calls.after_run.append(self.called)

    def called(self) -> None:
        """The datapath saw a threshold crossed: write the handlers, between two runs of the image."""
        if self.calls & 1 and self.call_text:
            self.router.call_handler(self.call_text, self)
        if self.calls & 2 and self.byte_call_text:
            self.router.call_handler(self.byte_call_text, self)
        self.calls = 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.count += 1
        self.byte_count += p.length
        if self.has_calls:
            if self.count == self.call_at:
                self.calls |= 1
                self.driver.attention = 1
            if self.byte_count >= self.byte_call_at:
                self.calls |= 2
                self.byte_call_at = u64(0xFFFF_FFFF_FFFF_FFFF)
                self.driver.attention = 1
        return p


