"""CheckLength."""

from penstock.elements import Element, Packet, datapath, u32
from penstock.lang.arguments import UInt32, parse_int

__all__ = ["CheckLength"]


class CheckLength(Element):
    """Pass packets of at most LENGTH bytes; longer ones go to output 1, or are dropped.

    Arguments:
        LENGTH: the largest length.
        EXTRA_LENGTH: count what was cut off before, too.

    Handlers:
        length (read/write).

    Example:
        InfiniteSource(LENGTH 100, LIMIT 1, STOP true) -> c :: CheckLength(64) -> Discard; c[1] -> Print -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    limit: u32

    def configure(self, length: UInt32, *, extra_length: bool = True) -> None:
        self.limit, self.extra = length, extra_length

    def add_handlers(self) -> None:
        self.add_data("length", "limit", lambda t: parse_int(t.strip(), 0, 0xFFFFFFFF))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        n = p.length
        if self.extra:
            n = n + p.extra_length
        if n > self.limit:
            self.checked_output_push(1, p)
            return None
        return p
