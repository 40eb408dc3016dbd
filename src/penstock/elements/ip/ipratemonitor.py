"""IPRateMonitor."""

from penstock.elements import Array, ConfigureError, Element, HandlerError, Packet, Struct, datapath, u32, u64
from penstock.lang.arguments import UInt32, Word, parse_int

__all__ = ["IPRateMonitor"]

_NONE = 0
_SECOND_NS = 1_000_000_000
_FWD_RATE, _REV_RATE = 20, 24


class _Counter(Struct):
    """One value of one byte of an address: rates in both directions, and the node for the next byte (0: there is none)."""

    count: u32
    back_count: u32
    rate: u32
    back_rate: u32
    second: u32
    node: u32


class IPRateMonitor(Element):
    """Measure the rates of packets or bytes from and to addresses, the more exactly the more there is of them.

    Rates are kept for each first byte of an address; where one is above THRESH, also for each second byte behind it, and so on up to
    whole hosts. Packets on input 0 count as sent by their source address, those on input 1, if there is one, as sent to their
    destination address. A rate is that of the second before, smoothed. When there is no memory left, nothing is divided further.

    Arguments:
        TYPE: PACKETS or BYTES. RATIO: the part of packets that is counted, and counts for all (1). THRESH: a second, when an
        address is looked at more closely. MEMORY: kilobytes for rates (1024). ANNO: put the rates of the finest address known into
        the annotations FWD_RATE and REV_RATE.

    Handlers:
        look (read): address, bytes of it that are meant, rate from it, and to it. thresh (read/write). mem (read): bytes in use.
        reset (write).

    Example:
        MemSource(FLOWS 3, LIMIT 1000, STOP true) -> Strip(14) -> CheckIPHeader -> m :: IPRateMonitor(BYTES, 1, 100) -> Discard;
    """

    ports = "1-2/1-2"
    processing = "h/h"
    flow = "#/#"

    thresh: u32
    used: u32

    def configure(self, type: Word, ratio: float, thresh: UInt32, *, memory: UInt32 = 1024, anno: bool = False) -> None:
        if type.upper() not in ("PACKETS", "BYTES"):
            raise ConfigureError("TYPE: monitor type should be \"PACKETS\" or \"BYTES\"")
        if not 0 < ratio <= 1:
            raise ConfigureError("RATIO: must be above 0 and at most 1")
        if self.ninputs != self.noutputs:
            raise ConfigureError("need as many outputs as inputs")
        self.bytes, self.share, self.weight, self.anno = type.upper() == "BYTES", int(ratio * 0xFFFFFFFF), round(1 / ratio), anno
        self.thresh = thresh
        self.nodes = max(1, memory * 1024 // (256 * 32))
        if self.nodes > 1 << 16:
            raise ConfigureError("MEMORY: out of range, bound 524288")
        self.counters = Array(_Counter, self.nodes * 256)
        self.used = 1

    def add_handlers(self) -> None:
        self.add_read("look", self._look)
        self.add_data("thresh", "thresh", lambda text: parse_int(text.strip(), 0, 0xFFFFFFFF))
        self.add_read("mem", lambda: self.used * 256 * 32)
        self.add_write("reset", self._reset, flags="b")

    def _look(self) -> str:
        lines: list[str] = []

        def show(node: int, prefix: tuple[int, ...]) -> None:
            for byte in range(256):
                counter = self.counters[node * 256 + byte]
                if counter.rate or counter.back_rate or counter.count or counter.back_count:
                    here = (*prefix, byte)
                    address = ".".join(map(str, (*here, *([0] * (4 - len(here))))))
                    lines.append(f"{address}/{8 * len(here)}\t{counter.rate}\t{counter.back_rate}\n")
                    if counter.node:
                        show(int(counter.node), here)

        show(0, ())
        return "".join(lines)

    def _reset(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.counters.view()[:] = bytes(self.counters.size_bytes)
        self.used = 1

    @datapath
    def age(self, at: u32, second: u32) -> None:
        """When a second has passed: the counts become rates, smoothed with those before."""
        c = self.counters[at]
        passed = second - c.second
        if passed != 0:
            c.rate = (c.rate + c.count) >> 1
            c.back_rate = (c.back_rate + c.back_count) >> 1
            if passed > 1:
                # Seconds in which nothing came.
                shift = min(passed - 1, u32(31))
                c.rate = c.rate >> shift
                c.back_rate = c.back_rate >> shift
            c.count = 0
            c.back_count = 0
            c.second = second

    @datapath
    def note(self, p: Packet, address: u32, is_back: bool, second: u32) -> None:
        amount: u32 = p.length if self.bytes else u32(1)
        amount = amount * self.weight
        node: u32 = 0
        for level in range(4):
            at: u32 = node * 256 + ((address >> (24 - 8 * u32(level))) & 0xFF)
            self.age(at, second)
            c = self.counters[at]
            if is_back:
                c.back_count += amount
            else:
                c.count += amount
            if self.anno:
                p.anno32[_FWD_RATE] = c.rate
                p.anno32[_REV_RATE] = c.back_rate
            if level < 3 and c.node == _NONE and max(c.rate, c.back_rate) > self.thresh and self.used < u32(self.nodes):
                c.node = self.used
                self.used += 1
            if c.node == _NONE:
                break
            node = c.node

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.network.has(0, 20) and (self.share == 0xFFFFFFFF or self.random.next() <= self.share):
            second = u32((p.timestamp if p.timestamp != 0 else u64(self.clock.recent)) // _SECOND_NS)
            self.note(p, p.ip.src if port == 0 else p.ip.dst, port != 0, second)
        self.output(port).push(p)
