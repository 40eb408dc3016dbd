"""Strip, Unstrip and relatives: moving the start of the data."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u32
from penstock.lang.arguments import UInt32

__all__ = ["Strip", "StripToNetworkHeader", "Truncate", "Unstrip"]


class Strip(Element):
    """Remove the first LENGTH bytes of packets. Their content stays where it is, so Unstrip brings it back.

    A packet shorter than that is dropped.

    Example:
        InfiniteSource(LENGTH 64, LIMIT 1, STOP true) -> Strip(14) -> Print -> Discard;
    """

    def configure(self, length: UInt32) -> None:
        self.bytes = length

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.length < self.bytes:
            p.kill()
            return None
        p.pull(self.bytes)
        return p


class Unstrip(Element):
    """Bring LENGTH bytes at the front back, for example after Strip.

    Example:
        InfiniteSource(LENGTH 64, LIMIT 1, STOP true) -> Strip(14) -> Unstrip(14) -> Print -> Discard;
    """

    def configure(self, length: UInt32) -> None:
        self.bytes = length

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(self.bytes)
        return p


class StripToNetworkHeader(Element):
    """Remove everything before the network header; packets without one stay as they are.

    Example:
        FromDump(f.pcap, STOP true) -> MarkIPHeader(14) -> StripToNetworkHeader -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.has_network:
            return p
        offset = p.network_offset
        if offset > 0:
            p.pull(u32(offset))
        elif offset < 0:
            p.push(u32(0 - offset))
        return p


class Truncate(Element):
    """Cut packets to at most LENGTH bytes.

    Arguments:
        LENGTH: bytes to keep; NBYTES is the same.
        EXTRA_ANNO: add what was cut off to the extra length.

    Example:
        InfiniteSource(LENGTH 64, LIMIT 1, STOP true) -> Truncate(20) -> Print -> Discard;
    """

    def configure(self, length: UInt32 | None = None, *, nbytes: UInt32 | None = None, extra_anno: bool = True) -> None:
        bytes_ = length if length is not None else nbytes
        if bytes_ is None:
            raise ConfigureError("LENGTH: required argument missing")
        self.bytes, self.extra = bytes_, extra_anno

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.length > self.bytes:
            cut = p.length - self.bytes
            p.take(cut)
            if self.extra:
                p.extra_length = p.extra_length + cut
        return p
