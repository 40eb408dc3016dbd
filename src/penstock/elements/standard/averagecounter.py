"""AverageCounter."""

from penstock.elements import Element, Packet, datapath, u64
from penstock.lang.arguments import Seconds

__all__ = ["AverageCounter"]


class AverageCounter(Element):
    """Count packets and bytes, and tell their rates between the first packet and the last one.

    Arguments:
        IGNORE: count nothing in this time after the first packet.

    Handlers:
        count, byte_count (read), rate (read): packets a second, bit_rate, byte_rate (read), reset (write).

    Example:
        InfiniteSource(LIMIT 1000, STOP true) -> c :: AverageCounter -> Discard;
    """

    count: u64
    byte_count: u64
    first_ns: u64
    last_ns: u64

    def configure(self, ignore: Seconds = 0) -> None:
        self.ignore_ns = int(ignore * 1e9)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("byte_count", "byte_count")
        self.add_read("rate", lambda: self._rate(self.count))
        self.add_read("byte_rate", lambda: self._rate(self.byte_count))
        self.add_read("bit_rate", lambda: self._rate(self.byte_count * 8))
        self.add_write("reset", self._reset, flags="b")

    def _rate(self, amount: int) -> str:
        passed = self.last_ns - self.first_ns - self.ignore_ns
        return f"{amount * 1e9 / passed:g}" if passed > 0 else "0"

    def _reset(self, text: str) -> None:
        self.count = self.byte_count = self.first_ns = self.last_ns = 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        now = self.clock.now()
        if self.first_ns == 0:
            self.first_ns = now
        if now - self.first_ns >= self.ignore_ns:
            self.count += 1
            self.byte_count += p.length
        self.last_ns = now
        return p
