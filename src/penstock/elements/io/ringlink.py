"""RingLink."""

from penstock.elements import BUFFER_BYTES, Element, Packet, datapath, u64

__all__ = ["RingLink"]


class RingLink(Element):
    """Pass packets on as a ring between two domains would: as bytes of a frame, without anything that was noted on them.

    It stands between configurations that were one domain each and are fused into one (``penstock chain --fuse``). The MAC
    header is where the packet starts; other headers are not known, annotations are 0. A packet longer than a slot of a
    ring is dropped.

    Handlers:
        count (read): packets passed on. drops (read): packets too long.
        reset_counts (write).

    Example:
        InfiniteSource(LIMIT 5, STOP true) -> Paint(3) -> RingLink -> c :: Counter -> Discard;
    """

    ports = "1/1"
    processing = "h/h"

    count: u64
    drops: u64

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")
        self.add_write("reset_counts", self._reset, flags="b")

    def _reset(self, text: str) -> None:
        self.count = self.drops = 0

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.length > BUFFER_BYTES:
            self.drops += 1
            p.kill()
            return
        self.count += 1
        for at in (0, 8, 16, 24, 32, 40):
            p.anno64[at] = 0
        p.timestamp = 0
        p.packet_type = 0
        p.device = 0
        p.extra_length = 0
        p.clear_network()
        p.clear_transport()
        p.set_mac(0)
        self.output(0).push(p)
