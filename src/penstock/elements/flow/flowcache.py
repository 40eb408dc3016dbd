"""FlowCache: one table of the TCP and UDP flows for all elements of a configuration."""

import ipaddress

from penstock.elements import NONE, Array, ConfigureError, Element, HandlerError, Packet, Struct, Table, Timer, datapath, u8, u32, u64, u128
from penstock.lang.arguments import Anno4, Seconds, UInt32

__all__ = ["FlowCache"]

_TCP, _UDP = 6, 17
_SECOND_NS = 1_000_000_000
_REAP_PARTS, _REAP_NS = 64, 250_000_000
_AGGREGATE = 20
_MAPPED = 0xFFFF << 32
#: in a reference: it is one of the UDP table
UDP_FLOW = 0x8000_0000
_FIN, _SYN, _RST, _ACK = 1, 2, 4, 16
#: states of a TCP connection, as seen from the middle; PICKED_UP: its beginning was not seen
PICKED_UP, SYN_SENT, SYN_RECEIVED, ESTABLISHED, HALF_CLOSED, CLOSED = range(6)
STATES = ("picked-up", "syn-sent", "syn-received", "established", "half-closed", "closed")
#: why a record was made (IPFIX flowEndReason, RFC 5102, section 5.11.3)
IDLE, ACTIVE, ENDED, FORCED, NO_ROOM = range(1, 6)
MAX_FLOWS = 1 << 22


class Flow(Struct):
    """What is known of a flow. Forward is the direction of its first packet."""

    number: u32
    last_ns: u64
    #: since when the counts are, which a record of a long flow begins anew
    since_ns: u64
    packets: u64
    bytes: u64
    back_packets: u64
    back_bytes: u64
    #: TCP flags seen
    flags: u8
    back_flags: u8
    state: u8
    #: the first packet came from the larger end
    turned: u8


class Record(Struct):
    """A flow that ended, or that goes on for long."""

    src_high: u64
    src_low: u64
    dst_high: u64
    dst_low: u64
    ports: u32
    first_ns: u64
    last_ns: u64
    packets: u64
    bytes: u64
    back_packets: u64
    back_bytes: u64
    protocol: u8
    flags: u8
    back_flags: u8
    reason: u8


class FlowCache(Element):
    """Remember TCP and UDP flows, IPv4 and IPv6, with their counts and the state of their connections.

    Each packet of a flow gets a reference to it in an annotation, by which the elements behind find it (TCPInOrder, CheckTCPFlow,
    IPFIXExport name their FlowCache), and the paint annotation: 0 in the direction of the flow's first packet, 1 in the other one.
    A SYN on the ports of a closed connection, or of one that was silent for its timeout, begins a new flow. Packets that belong to
    no flow (other protocols, fragments, cut headers) have the reference 0 and pass. A packet of a new flow for which there is no
    room goes to output 1, or is dropped. Network and transport headers must be set. Time is that of the packets' timestamps, where
    they have some, else the clock's.

    Arguments:
        TCP_TIMEOUT, TCP_DONE_TIMEOUT, UDP_TIMEOUT: for how long a silent flow is remembered: of a connection (24 h), of one that is
        closed, or not yet established (30 s), of UDP (60 s).
        RESOURCE_TCP_MAX_FLOWS, RESOURCE_UDP_MAX_FLOWS: how many flows (65536 each).
        RESOURCE_TCP_MAX_BUCKETS, RESOURCE_TCP_MAX_BUCKET_LENGTH, RESOURCE_UDP_MAX_BUCKETS, RESOURCE_UDP_MAX_BUCKET_LENGTH: where both are
        given their product is a limit as well; the table here has one entry in a place, and takes memory as flows come.
        RESOURCE_TCP_INITIAL_BUCKETS, RESOURCE_UDP_INITIAL_BUCKETS: accepted, for that reason.
        ANNO: the annotation of four bytes for the reference (AGGREGATE).

    Handlers:
        count, tcp, udp (read): flows remembered. numbered (read): flows so far. drops (read): packets without room.
        table (read): the flows, at most 1000: number, protocol, ends, packets and bytes each way, state. clear (write): forget all.

    Example:
        MemSource(FLOWS 10, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> FlowCache(UDP_TIMEOUT 10s) -> Discard;
    """

    ports = "1/1-2"
    processing = "h/h"

    numbered: u32
    drops: u64
    hand: u32
    udp_hand: u32
    #: time as the packets have it, and how far it is behind the clock
    latest_ns: u64
    lag_ns: u64
    #: records that were read, made, and lost for want of a reader
    read: u32
    made: u32
    lost: u64

    def configure(self, *, tcp_timeout: Seconds = 86400, tcp_done_timeout: Seconds = 30, udp_timeout: Seconds = 60,
                  resource_tcp_max_flows: UInt32 = 65536, resource_tcp_max_buckets: UInt32 = 0, resource_tcp_max_bucket_length: UInt32 = 0,
                  resource_tcp_initial_buckets: UInt32 = 0, resource_udp_max_flows: UInt32 = 65536, resource_udp_max_buckets: UInt32 = 0,
                  resource_udp_max_bucket_length: UInt32 = 0, resource_udp_initial_buckets: UInt32 = 0, anno: Anno4 = _AGGREGATE) -> None:
        self.tcp_ns, self.done_ns, self.udp_ns = (max(int(t * 1e9), 1) for t in (tcp_timeout, tcp_done_timeout, udp_timeout))
        self.anno = anno
        tcp, udp = (_capacity(*resources) for resources in (
            ("TCP", resource_tcp_max_flows, resource_tcp_max_buckets, resource_tcp_max_bucket_length, resource_tcp_initial_buckets),
            ("UDP", resource_udp_max_flows, resource_udp_max_buckets, resource_udp_max_bucket_length, resource_udp_initial_buckets)))
        self.tcp, self.udp = Table((u128, u128, u32), Flow, tcp), Table((u128, u128, u32), Flow, udp)
        self.active_ns = 0
        self.timer = Timer(self)
        self.set_records(0)

    def set_records(self, count: int) -> None:
        """Room for records that an exporter reads."""
        self.records_mask = max(count, 1) - 1
        self.records = Array(Record, max(count, 1))
        self.exports = count > 0

    def started(self) -> None:
        self.timer.schedule_after(_REAP_NS)

    def add_handlers(self) -> None:
        self.add_read("count", lambda: self.tcp.entries + self.udp.entries)
        self.add_read("tcp", lambda: self.tcp.entries)
        self.add_read("udp", lambda: self.udp.entries)
        self.add_data("numbered", "numbered")
        self.add_data("drops", "drops")
        self.add_read("table", self._rows)
        self.add_write("clear", self._clear, flags="b")

    def _clear(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.tcp.clear()
        self.udp.clear()

    def _rows(self) -> str:
        rows: list[str] = []
        for name, table in (("tcp", self.tcp), ("udp", self.udp)):
            for (low, high, ports), flow in table.items():
                ends = [(low, ports >> 16), (high, ports & 0xFFFF)]
                if flow.turned:
                    ends.reverse()
                text = " > ".join(f"{_unparse(address)} {port}" for address, port in ends)
                state = f" {STATES[flow.state]}" if name == "tcp" else ""
                rows.append(f"{flow.number} {name} {text} {flow.packets} {flow.bytes} {flow.back_packets} {flow.back_bytes}{state}\n")
                if len(rows) >= 1000:
                    return "".join(rows)
        return "".join(rows)

    # The end of flows

    @datapath
    def limit_ns(self, table: Table, i: u32, is_tcp: bool) -> u64:
        if not is_tcp:
            return u64(self.udp_ns)
        state = u32(table.slots[i].value.state)
        return u64(self.done_ns) if state in (CLOSED, SYN_SENT, SYN_RECEIVED) else u64(self.tcp_ns)

    @datapath
    def note(self, table: Table, i: u32, is_tcp: bool, reason: u32) -> None:
        """Leave a record for an exporter."""
        if self.exports:
            if self.made - self.read > u32(self.records_mask):
                self.lost += 1
                return
            flow = table.slots[i].value
            low, high, ports = u128(table.slots[i].k0), u128(table.slots[i].k1), u32(table.slots[i].k2)
            src = high if flow.turned != 0 else low
            dst = low if flow.turned != 0 else high
            r = self.records[self.made & u32(self.records_mask)]
            r.src_high = u64(src >> 64)
            r.src_low = u64(src)
            r.dst_high = u64(dst >> 64)
            r.dst_low = u64(dst)
            r.ports = (ports << 16 | ports >> 16) if flow.turned != 0 else ports
            r.first_ns = flow.since_ns
            r.last_ns = flow.last_ns
            r.packets = flow.packets
            r.bytes = flow.bytes
            r.back_packets = flow.back_packets
            r.back_bytes = flow.back_bytes
            r.flags = flow.flags
            r.back_flags = flow.back_flags
            r.protocol = u8(_TCP) if is_tcp else u8(_UDP)
            r.reason = reason
            self.made += 1

    @datapath
    def reap(self, table: Table, is_tcp: bool, hand: u32, parts: u32) -> u32:
        """Look at a part of the table; where the next look begins."""
        at: u32 = hand
        for _ in range(table.top // parts + 1):
            i = table.after(at)
            at = i
            if table.used(i):
                flow = table.slots[i].value
                if self.latest_ns > flow.last_ns and self.latest_ns - flow.last_ns > self.limit_ns(table, i, is_tcp):
                    self.note(table, i, is_tcp, u32(ENDED) if flow.state == CLOSED else u32(IDLE))
                    table.remove(i)
                elif self.exports and self.active_ns != 0 and flow.last_ns > flow.since_ns + u64(self.active_ns):
                    self.note(table, i, is_tcp, u32(ACTIVE))
                    self.begin_counts(table, i, u64(flow.last_ns))
        return at

    @datapath
    def begin_counts(self, table: Table, i: u32, now_ns: u64) -> None:
        flow = table.slots[i].value
        flow.since_ns = now_ns
        flow.packets = 0
        flow.bytes = 0
        flow.back_packets = 0
        flow.back_bytes = 0
        flow.flags = 0
        flow.back_flags = 0

    @datapath
    def run_timer(self) -> bool:
        # Between packets, which may bring a time of their own, time goes on as the clock does.
        self.latest_ns = self.clock.now() - self.lag_ns
        self.hand = self.reap(self.tcp, True, u32(self.hand), u32(_REAP_PARTS))
        self.udp_hand = self.reap(self.udp, False, u32(self.udp_hand), u32(_REAP_PARTS))
        self.timer.schedule_after(_REAP_NS)
        return True

    @datapath
    def end_all(self) -> None:
        """A record of every flow, before the router ends."""
        for i in range(self.tcp.top):
            if self.tcp.used(u32(i)):
                self.note(self.tcp, u32(i), True, u32(FORCED))
                self.tcp.remove(u32(i))
        for k in range(self.udp.top):
            if self.udp.used(u32(k)):
                self.note(self.udp, u32(k), False, u32(FORCED))
                self.udp.remove(u32(k))

    # Packets

    @datapath
    def enter(self, table: Table, is_tcp: bool, src: u128, dst: u128, ports: u32, now_ns: u64, flags: u32, length: u32) -> tuple[u32, u32]:
        """The flow's place in the table plus one (0: no room), and the direction."""
        turned: u32 = 0
        # The key has the smaller end first, so that both directions find it.
        if src > dst or (src == dst and (ports >> 16) > (ports & 0xFFFF)):
            turned = 1
        low: u128 = dst if turned == 1 else src
        high: u128 = src if turned == 1 else dst
        both = (ports << 16 | ports >> 16) if turned == 1 else ports
        i = table.find((low, high, both))
        fresh = False
        if i == NONE:
            i = table.insert((low, high, both))
            if i == NONE:
                return u32(0), u32(0)
            fresh = True
        flow = table.slots[i].value
        if not fresh:
            silent = now_ns > flow.last_ns and now_ns - flow.last_ns > self.limit_ns(table, i, is_tcp)
            if silent or (is_tcp and flow.state == CLOSED and (flags & (_SYN | _ACK)) == _SYN):
                self.note(table, i, is_tcp, u32(IDLE) if silent else u32(ENDED))
                fresh = True
        if fresh:
            self.numbered += 1
            self.begin_counts(table, i, now_ns)
            flow.number = self.numbered
            flow.turned = turned
            flow.state = PICKED_UP
        flow.last_ns = now_ns
        direction = turned ^ flow.turned
        if direction == 0:
            flow.packets += 1
            flow.bytes += length
            flow.flags |= flags
        else:
            flow.back_packets += 1
            flow.back_bytes += length
            flow.back_flags |= flags
        if is_tcp:
            flow.state = self.next_state(u32(flow.state), direction, flags, u32(flow.flags), u32(flow.back_flags))
        return i + 1, direction

    @datapath
    def next_state(self, state: u32, direction: u32, flags: u32, seen: u32, back: u32) -> u32:
        if (flags & _RST) != 0:
            return u32(CLOSED)
        if (flags & _SYN) != 0:
            if direction == 0 and (flags & _ACK) == 0:
                return u32(SYN_SENT) if state in (PICKED_UP, SYN_SENT) else state
            if direction == 1 and state == SYN_SENT:
                return u32(SYN_RECEIVED)
            return state
        if (seen & back & _FIN) != 0:
            return u32(CLOSED)
        if ((seen | back) & _FIN) != 0:
            return u32(HALF_CLOSED)
        if state == SYN_RECEIVED and direction == 0 and (flags & _ACK) != 0:
            return u32(ESTABLISHED)
        return state

    @datapath
    def push(self, port: int, p: Packet) -> None:
        p.anno32[self.anno] = 0
        version: u32 = 0
        if p.network.has(0, 20):
            version = u32(p.network.u8[0]) >> 4
        protocol: u32 = 0
        src: u128 = 0
        dst: u128 = 0
        length: u32 = 0
        if version == 4:
            ip = p.ip
            if (ip.fragment & 0x3FFF) == 0:
                protocol = u32(ip.protocol)
            src = u128(u64(_MAPPED) | u64(ip.src))
            dst = u128(u64(_MAPPED) | u64(ip.dst))
            length = u32(ip.length)
        elif version == 6 and p.network.has(0, 40):
            protocol = u32(p.ip6.next_header)
            src = p.ip6.src
            dst = p.ip6.dst
            length = u32(p.ip6.length) + 40
        if (protocol != _TCP and protocol != _UDP) or not p.transport.has(0, 20 if protocol == _TCP else 8):
            self.output(0).push(p)
            return
        now_ns: u64 = p.timestamp
        if now_ns == 0:
            now_ns = self.clock.recent
        self.latest_ns = now_ns
        self.lag_ns = self.clock.recent - now_ns
        ports = p.transport.u32[0]
        if protocol == _TCP:
            at, way = self.enter(self.tcp, True, src, dst, ports, now_ns, u32(p.transport.u8[13]), length)
            self.send(p, at, u32(0), way)
        else:
            there, back = self.enter(self.udp, False, src, dst, ports, now_ns, u32(0), length)
            self.send(p, there, u32(UDP_FLOW), back)

    @datapath
    def send(self, p: Packet, at: u32, kind: u32, direction: u32) -> None:
        if at == 0:
            self.drops += 1
            self.checked_output_push(1, p)
            return
        p.anno32[self.anno] = at | kind
        p.paint = direction
        self.output(0).push(p)


def find_cache(element: Element, name: str) -> FlowCache:
    """The FlowCache that an element behind it names; raises ConfigureError where that is none."""
    found = element.router.find(name, element.name)
    if not isinstance(found, FlowCache):
        raise ConfigureError(f"FLOWCACHE: '{name}' is no FlowCache")
    return found


def _unparse(address: int) -> str:
    whole = ipaddress.IPv6Address(int(address))
    return str(whole.ipv4_mapped or whole)


def _capacity(name: str, flows: int, buckets: int, length: int, initial: int) -> int:
    if buckets and initial > buckets:
        raise ConfigureError(f"RESOURCE_{name}_INITIAL_BUCKETS: more than RESOURCE_{name}_MAX_BUCKETS")
    capacity = min(flows, buckets * length) if buckets and length else flows
    if not 1 <= capacity <= MAX_FLOWS:
        raise ConfigureError(f"RESOURCE_{name}_MAX_FLOWS: out of range, bound {MAX_FLOWS}")
    return capacity
