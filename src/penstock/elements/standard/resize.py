"""Pad and Resize: longer and shorter packets."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u32
from penstock.lang.arguments import UInt32

__all__ = ["Pad", "Resize"]


class Pad(Element):
    """Make packets at least so long.

    Arguments:
        LENGTH: bytes; without it packets grow by their extra-length annotation, what was cut off from them.
        ZERO: the new bytes are zero (they always are).

    Example:
        InfiniteSource(DATA "short", LIMIT 1, STOP true) -> Pad(60) -> Print -> Discard;
    """

    def configure(self, length: UInt32 = 0, *, zero: bool = True) -> None:
        if length > 65535:
            raise ConfigureError("LENGTH: out of range, bound 65535")
        self.wanted = length
        self.buffer_bytes = length

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        wanted: u32 = self.wanted
        if self.wanted == 0:
            wanted = p.length + p.extra_length
        if p.length < wanted:
            missing = wanted - p.length
            p.put(missing)
            p.extra_length = p.extra_length - missing if p.extra_length > missing else u32(0)
        return p


class Resize(Element):
    """Add bytes to (or with negative numbers remove them from) the front and the end of packets.

    Packets that have fewer than are to be removed are dropped.

    Arguments:
        HEAD, TAIL: bytes.

    Example:
        InfiniteSource(LENGTH 64, LIMIT 1, STOP true) -> Resize(-14, 4) -> Print -> Discard;
    """

    def configure(self, head: int = 0, tail: int = 0) -> None:
        if abs(head) > 65535 or abs(tail) > 65535:
            raise ConfigureError("HEAD, TAIL: out of range, bound 65535")
        self.head, self.tail = head, tail

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.head < 0:
            if p.length < -self.head:
                p.kill()
                return None
            p.pull(-self.head)
        if self.head > 0:
            p.push(self.head)
        if self.tail < 0:
            if p.length < -self.tail:
                p.kill()
                return None
            p.take(-self.tail)
        if self.tail > 0:
            p.put(self.tail)
        return p
