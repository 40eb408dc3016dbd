"""AggregateIPAddrPair."""

from penstock.elements import NONE, ConfigureError, Element, Packet, Struct, Table, datapath, u32
from penstock.lang.arguments import UInt32

__all__ = ["AggregateIPAddrPair"]


class _Number(Struct):
    number: u32


class AggregateIPAddrPair(Element):
    """Number the pairs of IP addresses: set the aggregate annotation to a number for source and destination, 1 and up.

    Both directions of a pair have one number. Packets without an IP header, and of pairs beyond CAPACITY, go to output 1,
    or are dropped.

    Arguments:
        CAPACITY: pairs that are remembered (65536).

    Handlers:
        count (read): pairs. clear (write): forget them.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> AggregateIPAddrPair -> AggregateCounter -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u32

    def configure(self, *, capacity: UInt32 = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.pairs = Table((u32, u32), _Number, capacity)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("clear", self._clear, flags="b")

    def _clear(self, text: str) -> None:
        self.pairs.clear()
        self.count = 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.network.has(0, 20):
            a: u32 = min(p.ip.src, p.ip.dst)
            b: u32 = max(p.ip.src, p.ip.dst)
            i = self.pairs.find((a, b))
            if i == NONE:
                i = self.pairs.insert((a, b))
                if i != NONE:
                    self.count += 1
                    self.pairs.slots[i].value.number = self.count
            if i != NONE:
                p.aggregate = self.pairs.slots[i].value.number
                return p
        self.checked_output_push(1, p)
        return None
