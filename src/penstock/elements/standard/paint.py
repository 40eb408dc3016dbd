"""Paint and the elements that look at it."""

from penstock.elements import Element, Packet, datapath, u8
from penstock.lang.arguments import Anno1, Byte, parse_int

__all__ = ["CheckPaint", "Paint", "PaintSwitch", "PaintTee"]


class _ColorElement(Element):
    """One colour, in one annotation byte."""

    color: u8

    def configure(self, color: Byte, anno: Anno1 = 16) -> None:
        self.color, self.anno = color, anno

    def add_handlers(self) -> None:
        self.add_data("color", "color", lambda t: parse_int(t.strip(), 0, 255))


class Paint(_ColorElement):
    """Set the paint annotation.

    Arguments:
        COLOR: 0 to 255.
        ANNO: which annotation byte (PAINT).

    Handlers:
        color (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> Paint(3) -> CheckPaint(3) -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.anno8[self.anno] = self.color
        return p


class CheckPaint(_ColorElement):
    """Pass packets of one colour on output 0, others on output 1 (or drop them).

    Arguments:
        COLOR: 0 to 255.
        ANNO: which annotation byte (PAINT).

    Handlers:
        color (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> Paint(3) -> CheckPaint(3) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.anno8[self.anno] != self.color:
            self.checked_output_push(1, p)
            return None
        return p


class PaintSwitch(Element):
    """Send each packet to the output that its colour names; other colours are dropped.

    Arguments:
        ANNO: which annotation byte (PAINT).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> Paint(1) -> s :: PaintSwitch; s[0] -> Discard; s[1] -> Print -> Discard;
    """

    ports = "1/-"
    processing = "h/h"

    def configure(self, anno: Anno1 = 16) -> None:
        self.anno = anno

    @datapath
    def push(self, port: int, p: Packet) -> None:
        color = p.anno8[self.anno]
        self.output(color).push(p)


class PaintTee(_ColorElement):
    """Pass all packets on output 0, and copies of those of one colour on output 1.

    Arguments:
        COLOR: 0 to 255.
        ANNO: which annotation byte (PAINT).

    Handlers:
        color (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> Paint(1) -> t :: PaintTee(1) -> Discard; t[1] -> Print -> Discard;
    """

    ports = "1/2"
    processing = "a/ah"
    packets_held = 2

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.anno8[self.anno] == self.color:
            q = p.clone()
            if q is not None:
                self.output(1).push(q)
        return p


