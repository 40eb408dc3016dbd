"""TCPInOrder: the packets of TCP flows in the order of their data."""

from penstock.elements import Array, ConfigureError, Element, Packet, Struct, Timer, datapath, u32, u64
from penstock.elements.flow.flowcache import UDP_FLOW, find_cache
from penstock.elements.segments import HALF, SegmentPool
from penstock.elements.tcppayload import tcp_payload_bytes
from penstock.lang.arguments import ElementName, Seconds, UInt32

__all__ = ["TCPInOrder"]

_FIN, _SYN, _RST = 1, 2, 4
_TICK_NS = 20_000_000
_WALK = 256


class _Way(Struct):
    """One direction of a flow."""

    number: u32
    #: the sequence number that comes next; the link to the first packet that waits
    next: u32
    first: u32
    waiting: u32


class TCPInOrder(Element):
    """Put the packets of TCP flows in the order of their sequence numbers, for who reads their payload as one text.

    A packet that comes before its time waits until the gap before it is filled, or for TIMEOUT; then those that wait go, and the
    order begins anew behind the gap. Retransmissions of what has gone already go to output 1 where that is connected, else on.
    A packet that has old and new data goes on whole. Packets without data, and those of no TCP flow, go at once. Put it into
    a copy of the traffic (Tee), or take a short TIMEOUT: a receiver learns of a gap from what comes after it. Its FlowCache
    stands before it.

    Arguments:
        FLOWCACHE: the FlowCache's name.
        TIMEOUT: how long a packet waits at most (100 ms).
        CAPACITY: packets that wait at most (1024); FLOW_CAPACITY: of each direction of a flow (64). Beyond that the order begins anew.

    Handlers:
        held (read): packets that wait. reordered (read): packets that waited until their turn. gaps (read): where the order began anew.
        repeated (read): retransmissions.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> f :: FlowCache -> TCPInOrder(f)
        -> s :: PatternSearch("GET ", STREAM true); s[0] -> Discard; s[1] -> Discard;
    """

    ports = "1/1-2"
    processing = "h/h"

    hand: u32
    reordered: u64
    gaps: u64
    repeated: u64

    def configure(self, flowcache: ElementName, *, timeout: Seconds = 0.1, capacity: UInt32 = 1024, flow_capacity: UInt32 = 64) -> None:
        if not 1 <= capacity <= 1 << 16:
            raise ConfigureError("CAPACITY: out of range, bound 65536")
        if not 1 <= flow_capacity <= 1024:
            raise ConfigureError("FLOW_CAPACITY: out of range, bound 1024")
        self.name_of_cache, self.timeout_ns, self.capacity, self.flow_capacity = flowcache, int(timeout * 1e9), capacity, flow_capacity
        self.packets_held = capacity + 1
        self.repeats = self.noutputs > 1
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.cache = find_cache(self, self.name_of_cache)
        self.ways = Array(_Way, 2 * self.cache.tcp.capacity)
        self.held = SegmentPool(self.capacity)

    def started(self) -> None:
        self.timer.schedule_after(_TICK_NS)

    def add_handlers(self) -> None:
        self.add_read("held", lambda: self.held.count)
        for name in ("reordered", "gaps", "repeated"):
            self.add_data(name, name)

    @datapath
    def data_bytes(self, p: Packet) -> u32:
        """Sequence numbers that the packet takes."""
        size = tcp_payload_bytes(p)
        return size + 1 if (u32(p.tcp.flags) & _FIN) != 0 else size

    @datapath
    def hold(self, p: Packet, w: u32, sequence: u32, end: u32) -> Packet | None:
        """Put it among those that wait, in order; gives it back where there is no room."""
        way = self.ways[w]
        if way.waiting >= u32(self.flow_capacity) or self.held.is_full():
            return p
        before, at = self.held.find(u32(way.first), sequence, u32(self.flow_capacity))
        link = self.held.put(p, before, at, sequence, end, w, self.clock.recent + u64(self.timeout_ns))
        if before == 0:
            way.first = link
        way.waiting += 1
        return None

    @datapath
    def release_first(self, w: u32) -> Packet | None:
        """Take the first one that waits."""
        way = self.ways[w]
        link: u32 = way.first
        way.first = self.held.slots[link - 1].after
        way.waiting -= 1
        return self.held.take(link)

    @datapath
    def send_ready(self, w: u32) -> None:
        """Those whose turn it is."""
        way = self.ways[w]
        for _ in range(self.flow_capacity):
            if way.first == 0:
                break
            sequence, end = self.held.slots[way.first - 1].sequence, self.held.slots[way.first - 1].end
            if sequence != way.next and sequence - way.next < HALF:
                break
            p = self.release_first(w)
            if p is not None:
                is_old = end - way.next == 0 or end - way.next >= HALF
                if not is_old:
                    way.next = end
                    self.reordered += 1
                self.send(p, is_old)

    @datapath
    def skip_gap(self, w: u32) -> None:
        """The gap will not be filled: go on behind it."""
        way = self.ways[w]
        if way.first != 0:
            self.gaps += 1
            way.next = self.held.slots[way.first - 1].sequence
            self.send_ready(w)

    @datapath
    def send(self, p: Packet, is_old: bool) -> None:
        if is_old:
            self.repeated += 1
            if self.repeats:
                self.output(1).push(p)
                return
        self.output(0).push(p)

    @datapath
    def empty(self, w: u32) -> None:
        """Nothing waits any more: the order begins anew."""
        for _ in range(self.flow_capacity):
            if self.ways[w].first == 0:
                break
            p = self.release_first(w)
            if p is not None:
                self.output(0).push(p)

    @datapath
    def run_timer(self) -> bool:
        now = self.clock.now()
        for _ in range(min(self.held.top, u32(_WALK))):
            self.hand = self.hand + 1 if self.hand + 1 < self.held.top else u32(0)
            mine = self.held.slots[self.hand]
            if mine.used != 0 and now >= mine.at_ns:
                self.skip_gap(u32(mine.owner))
        self.timer.schedule_after(_TICK_NS)
        return True

    @datapath
    def follow(self, p: Packet, flow: u32, direction: u32) -> None:
        w: u32 = 2 * flow + direction
        way = self.ways[w]
        tcp = p.tcp
        flags = u32(tcp.flags)
        sequence: u32 = tcp.sequence
        size = self.data_bytes(p)
        if way.number != self.cache.tcp.slots[flow].value.number or (flags & _SYN) != 0:
            self.empty(w)
            way.number = self.cache.tcp.slots[flow].value.number
            if (flags & _SYN) != 0:
                size += 1
            way.next = sequence
        if (flags & _RST) != 0:
            self.empty(w)
        if size == 0 or (flags & _RST) != 0:
            self.output(0).push(p)
            return
        end: u32 = sequence + size
        ahead: u32 = sequence - way.next
        if ahead == 0 or ahead >= HALF:
            is_old = end - way.next == 0 or end - way.next >= HALF
            if not is_old:
                way.next = end
            self.send(p, is_old)
            self.send_ready(w)
            return
        rest = self.hold(p, w, sequence, end)
        if rest is not None:
            self.skip_gap(w)
            if sequence - way.next != 0 and sequence - way.next < HALF:
                self.gaps += 1
            if end - way.next < HALF:
                way.next = end
            self.output(0).push(rest)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        reference = u32(p.anno32[self.cache.anno])
        if reference == 0 or reference >= UDP_FLOW:
            self.output(0).push(p)
            return
        self.follow(p, reference - 1, u32(p.paint) & 1)
