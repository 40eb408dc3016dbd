"""SnoopTCP: lost segments are sent again by who sits before the link that loses them."""

from penstock.elements import NONE, ConfigureError, Packet, Struct, Table, Timer, abstraction, datapath, take, u32, u64
from penstock.elements.portwise import PortwiseElement
from penstock.elements.reaping import ReapingElement
from penstock.elements.segments import HALF, SegmentPool
from penstock.elements.tcppayload import is_tcp_segment, tcp_payload_bytes
from penstock.elements.tcpspeaking import ACK, FIN, RST, SYN
from penstock.lang.arguments import Seconds, UInt32

__all__ = ["SnoopTCP"]

_TICK_NS, _LEAST_RTO_NS, _FIRST_RTO_NS = 10_000_000, 40_000_000, 200_000_000
_MAX_TRIES = 8
_IDLE_NS = 120_000_000_000
_WALK = 512


class _Flow(Struct):
    """One direction of a connection: what a host on the wire sends."""

    acked: u32
    window: u32
    #: behind the last byte that was seen
    highest: u32
    repeats: u32
    #: the link to the first of its segments, and how many there are
    first: u32
    count: u32
    rtt_ns: u64
    seen_ns: u64


class SnoopTCP(PortwiseElement, ReapingElement):
    """Keep the segments of TCP flows until they are acknowledged, and send those again that a lossy link beyond has lost.

    A base station between a wired network and a wireless one runs it (Balakrishnan, Seshan, Amir and Katz, Improving TCP/IP Performance
    over Wireless Networks, MobiCom 1995). Input 0 takes what comes from the wire, which leaves by output 0 for the mobile host; input 1
    what comes from the mobile host, which leaves by output 1. When an acknowledgement comes again, and the segment that is asked for is
    kept, that segment is sent again, by output 2, and the acknowledgement goes to output 3, so that the sender does not take the loss
    for congestion. A segment that is not acknowledged after twice the round trip is sent again too. Packets need network and transport
    headers.

    Arguments:
        CAPACITY: segments kept (4096); FLOW_CAPACITY: of one flow (64). FLOWS: connections (1024).
        LATEST: for how long at most a segment may be sent again (10 s).

    Handlers:
        flows, kept (read): connections, and segments that are kept. count (read): segments sent again. suppressed (read): acknowledgements
        that were held back. clear (write): forget all.

    Example:
        s :: SnoopTCP; FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> s -> Discard; Idle -> [1] s; s[1] -> Discard;
        s[2] -> Discard; s[3] -> Discard;
    """

    ports = "2/4"
    processing = "aa/aahh"
    flow = "xy/xyxy"

    walked: u32
    count: u64
    suppressed: u64

    def configure(self, *, capacity: UInt32 = 4096, flow_capacity: UInt32 = 64, flows: UInt32 = 1024, latest: Seconds = 10) -> None:
        for name, value, bound in (("CAPACITY", capacity, 1 << 16), ("FLOW_CAPACITY", flow_capacity, 1024), ("FLOWS", flows, 1 << 16)):
            if not 1 <= value <= bound:
                raise ConfigureError(f"{name}: out of range, bound {bound}")
        self.capacity, self.flow_capacity, self.latest_ns = capacity, flow_capacity, int(latest * 1e9)
        self.packets_held = capacity + 1
        self.table = Table((u32, u32, u32), _Flow, flows)
        self.kept = SegmentPool(capacity)
        self.watch()
        self.repeat_timer = Timer(self, "send_late_ones")

    def started(self) -> None:
        super().started()
        self.repeat_timer.schedule_after(_TICK_NS)

    def add_handlers(self) -> None:
        self.add_read("flows", lambda: self.table.entries)
        self.add_read("kept", lambda: self.kept.count)
        for name in ("count", "suppressed"):
            self.add_data(name, name)
        self.add_write("clear", lambda text: self.forget_all(), flags="b")

    # What is kept

    @datapath
    def forget_first(self, i: u32) -> None:
        """Let go of a flow's first segment."""
        flow = self.table.slots[i].value
        link: u32 = flow.first
        flow.first = self.kept.slots[link - 1].after
        flow.count -= 1
        p = self.kept.take(link)
        if p is not None:
            p.kill()

    @datapath
    def forget(self, i: u32) -> None:
        for _ in range(self.flow_capacity):
            if self.table.slots[i].value.first == 0:
                break
            self.forget_first(i)

    @datapath
    def forget_all(self) -> None:
        for i in range(self.table.top):
            if self.table.used(i):
                self.end_entry(i)

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return bool(now_ns > self.table.slots[i].value.seen_ns + _IDLE_NS)

    @datapath
    def end_entry(self, i: u32) -> None:
        self.forget(i)
        self.table.remove(i)

    @datapath
    def keep(self, i: u32, p: Packet, sequence: u32, end: u32) -> None:
        """A copy, at its place in the flow's list."""
        flow = self.table.slots[i].value
        if flow.count >= u32(self.flow_capacity):
            return
        before, at = self.kept.find(u32(flow.first), sequence, u32(self.flow_capacity))
        if at != 0 and self.kept.slots[at - 1].sequence == sequence:
            # The sender sends it again: this copy counts from now on.
            self.kept.slots[at - 1].at_ns = self.clock.recent
            return
        if self.kept.is_full():
            return
        q = p.clone()
        if q is None:
            return
        link = self.kept.put(q, before, at, sequence, end, i, u64(self.clock.recent))
        if before == 0:
            flow.first = link
        flow.count += 1

    @datapath
    def send_again(self, place: u32) -> None:
        mine = self.kept.slots[place]
        mine.tries += 1
        mine.at_ns = self.clock.now()
        p = take(mine.packet)
        if p is not None:
            q = p.clone()
            mine.packet = p
            if q is not None:
                self.count += 1
                self.output(2).push(q)

    @datapath
    def send_late_ones(self) -> bool:
        """The first segment of a flow, when it waits for too long."""
        now: u64 = self.clock.now()
        for _ in range(min(self.kept.top, u32(_WALK))):
            self.walked = self.walked + 1 if self.walked + 1 < self.kept.top else u32(0)
            mine = self.kept.slots[self.walked]
            if mine.used != 0:
                flow = self.table.slots[mine.owner].value
                wait: u64 = max(2 * flow.rtt_ns, u64(_LEAST_RTO_NS)) if flow.rtt_ns != 0 else u64(_FIRST_RTO_NS)
                is_due = now > mine.at_ns + (wait << mine.tries) and now < flow.seen_ns + self.latest_ns
                if is_due and flow.first == self.walked + 1 and mine.sequence == flow.acked and mine.tries < _MAX_TRIES:
                    self.send_again(u32(self.walked))
        self.repeat_timer.schedule_after(_TICK_NS)
        return True

    # Packets

    @datapath
    def is_whole(self, p: Packet) -> bool:
        return is_tcp_segment(p) and p.network.has(0, u32(p.ip.length))

    @datapath
    def from_wire(self, p: Packet) -> None:
        flags = u32(p.tcp.flags)
        sequence: u32 = p.tcp.sequence
        size: u32 = tcp_payload_bytes(p)
        i = self.table.find((p.ip.src, p.ip.dst, p.transport.u32[0]))
        if (flags & (SYN | RST)) != 0:
            if i != NONE:
                self.end_entry(i)
            return
        if size == 0:
            return
        if i == NONE:
            i = self.table.insert((p.ip.src, p.ip.dst, p.transport.u32[0]))
            if i == NONE:
                return
            fresh = self.table.slots[i].value
            fresh.acked = sequence
            fresh.highest = sequence
            fresh.first = 0
            fresh.count = 0
            fresh.repeats = 0
            fresh.window = 0
            fresh.rtt_ns = 0
        flow = self.table.slots[i].value
        flow.seen_ns = self.clock.recent
        end: u32 = sequence + size
        if end - flow.acked - 1 >= HALF:
            # The mobile host has it.
            return
        if end - flow.highest < HALF:
            flow.highest = end
        self.keep(i, p, sequence, end)

    @datapath
    def acknowledged(self, i: u32, number: u32) -> None:
        flow = self.table.slots[i].value
        flow.acked = number
        flow.repeats = 0
        for _ in range(self.flow_capacity):
            if flow.first == 0:
                break
            mine = self.kept.slots[flow.first - 1]
            if number - mine.end >= HALF:
                break
            if mine.tries == 0:
                rtt: u64 = self.clock.recent - mine.at_ns
                flow.rtt_ns = (7 * flow.rtt_ns + rtt) >> 3 if flow.rtt_ns != 0 else max(rtt, u64(1))
            self.forget_first(i)

    @datapath
    def is_to_be_suppressed(self, p: Packet) -> bool:
        """Take in an acknowledgement of the mobile host's; true where the sender must not see it."""
        flags = u32(p.tcp.flags)
        ports: u32 = p.transport.u32[0]
        i = self.table.find((p.ip.dst, p.ip.src, (ports << 16) | (ports >> 16)))
        if i == NONE:
            return False
        if (flags & (SYN | RST)) != 0:
            self.end_entry(i)
            return False
        flow = self.table.slots[i].value
        flow.seen_ns = self.clock.recent
        number: u32 = p.tcp.acknowledgement
        ahead: u32 = number - flow.acked
        if (flags & ACK) == 0 or ahead - 1 < HALF - 1:
            if (flags & ACK) != 0 and flow.highest - number < HALF:
                self.acknowledged(i, number)
            flow.window = p.tcp.window
            return False
        is_pure = tcp_payload_bytes(p) == 0 and (flags & FIN) == 0
        if ahead != 0:
            # Older than what the sender knows already.
            return is_pure
        if not is_pure or p.tcp.window != flow.window or flow.first == 0:
            flow.window = p.tcp.window
            return False
        place: u32 = flow.first - 1
        if self.kept.slots[place].sequence != number:
            # It was lost before it came here: the sender must know.
            return False
        flow.repeats += 1
        # Each round trip of repetitions asks once: those that follow are of segments that were on their way.
        if flow.repeats == 1 or self.clock.recent > self.kept.slots[place].at_ns + max(u64(flow.rtt_ns), u64(_TICK_NS)):
            if self.kept.slots[place].tries < _MAX_TRIES:
                self.send_again(place)
            else:
                return False
        return True

    @datapath
    def handle(self, port: int, p: Packet) -> Packet | None:
        if self.is_whole(p):
            if port == 0:
                self.from_wire(p)
            elif self.is_to_be_suppressed(p):
                self.suppressed += 1
                self.output(3).push(p)
                return None
        return p

    @abstraction(of=handle)
    def any_handle(self, port: int, p: Packet) -> Packet | None:
        """What is sent again is like what was sent; acknowledgements may be held back."""
        if self.is_whole(p) and port == 1:
            if tcp_payload_bytes(p) == 0 and (self.random.next() & 1) != 0:
                self.suppressed += 1
                self.output(3).push(p)
                return None
        return p
