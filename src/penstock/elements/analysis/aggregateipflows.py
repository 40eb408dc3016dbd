"""AggregateIPFlows."""

from penstock.elements import NONE, Array, ConfigureError, HostPacket, Packet, Struct, Table, datapath, u8, u32, u64
from penstock.elements.flowtrace import FlowTrace
from penstock.elements.reaping import ReapingElement
from penstock.lang.arguments import ElementName, Filename, Seconds, UInt32

__all__ = ["AggregateIPFlows"]

_SECOND_NS = 1_000_000_000
#: datagrams whose fragments are followed at a time, a power of two
_PIECES = 1 << 10


class _Flow(Struct):
    aggregate: u32
    last_s: u32
    ended: u8


class _Piece(Struct):
    """The flow of a datagram whose first fragment came."""

    src: u32
    dst: u32
    #: identification and protocol
    ident: u32
    aggregate: u32
    direction: u8
    seen_s: u32


class AggregateIPFlows(ReapingElement):
    """Number the flows: set the aggregate annotation to a number for the packet's flow, 1 and up.

    A flow is a pair of addresses, a pair of ports and a protocol, in both directions; the paint annotation is 0 for
    packets in the direction of the flow's first packet and 1 for the others. A flow that was silent for its timeout,
    or a TCP flow after its end, gets a new number. Packets that are not TCP or UDP, and what cannot be read, have the
    ports 0. Later fragments belong to the flow of their first one, where that came before; else they have the ports 0, too. With
    FRAGMENTS false, later fragments go to output 1, or are dropped.

    Time is that of the packets' timestamps where they have some, else the clock's.

    Arguments:
        TCP_TIMEOUT, TCP_DONE_TIMEOUT, UDP_TIMEOUT: seconds of silence (24 h, 30 s, 60 s).
        FRAGMENT_TIMEOUT: how long the flow of a first fragment is remembered (30 s). REAP: accepted for compatibility.
        ICMP: ICMP errors belong to the flow of the packet that they quote.
        FRAGMENTS: false gives fragments no number.
        TRACEINFO: a file that says in XML what each flow was: its ends, begin, duration, packets and bytes each way. SOURCE: the element
            that reads the trace, whose name stands there.
        CAPACITY: flows remembered (65536); when there is no room, packets of new flows go to output 1, or are dropped.

    Handlers:
        nflows (read): numbers given so far. active_flows (read): flows remembered. clear (write): forget all.

    Example:
        MemSource(FLOWS 10, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> a :: AggregateIPFlows -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    nflows: u32
    drops: u64
    latest_s: u32

    def configure(self, *, tcp_timeout: Seconds = 86400, tcp_done_timeout: Seconds = 30, udp_timeout: Seconds = 60,
                  fragment_timeout: Seconds = 30, reap: Seconds = 1200, icmp: bool = False, fragments: bool = True,
                  traceinfo: Filename = "", source: ElementName = "", capacity: UInt32 = 65536) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.tcp_s, self.done_s, self.udp_s = (max(int(t), 1) for t in (tcp_timeout, tcp_done_timeout, udp_timeout))
        self.icmp, self.fragments, self.trace_name, self.source_name = icmp, fragments, traceinfo, source
        self.fragment_s = max(int(fragment_timeout), 1)
        self.pieces = Array(_Piece, _PIECES)
        self.table = Table((u32, u32, u32, u8), _Flow, capacity)
        self.watch()

    def initialize(self) -> None:
        if self.source_name and self.router.find(self.source_name, self.name) is None:
            raise ConfigureError(f"SOURCE: no element named '{self.source_name}'")
        if self.trace_name:
            source = self.router.find(self.source_name, self.name) if self.source_name else None
            self.trace = FlowTrace(self.trace_name, str(getattr(source, "filename", "")), max(self.tcp_s, self.udp_s) * _SECOND_NS)

    def cleanup(self) -> None:
        if hasattr(self, "trace"):
            self.trace.close()
            del self.trace

    def host_packet(self, packet: HostPacket) -> None:
        self.trace.add(packet, self.clock.read())

    def add_handlers(self) -> None:
        self.add_data("nflows", "nflows")
        self.add_read("active_flows", lambda: self.table.entries)
        self.add_data("drops", "drops")
        self.add_write("clear", lambda text: self.table.clear(), flags="b")

    @datapath
    def limit_s(self, protocol: u32, ended: u32) -> u32:
        if protocol == 6:
            return u32(self.done_s) if ended == 3 else u32(self.tcp_s)
        return u32(self.udp_s)

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        """By the packets' time."""
        flow = self.table.slots[i].value
        silent = self.latest_s - flow.last_s > self.limit_s(u32(self.table.slots[i].k3), u32(flow.ended & 3))
        return bool(self.latest_s > flow.last_s) and silent

    @datapath
    def number(self, src: u32, dst: u32, ports: u32, protocol: u32, now_s: u32, flags: u32) -> tuple[u32, u32]:
        """The aggregate (0: no room) and the direction (0 or 1)."""
        turned: u32 = 0
        # The key has the smaller end first, so that both directions find it.
        if src > dst or (src == dst and (ports >> 16) > (ports & 0xFFFF)):
            turned = 1
        low = dst if turned == 1 else src
        high = src if turned == 1 else dst
        both = (ports << 16 | ports >> 16) if turned == 1 else ports
        i = self.table.find((low, high, both, protocol))
        fresh = False
        if i == NONE:
            i = self.table.insert((low, high, both, protocol))
            if i == NONE:
                return u32(0), u32(0)
            fresh = True
        flow = self.table.slots[i].value
        if not fresh:
            # A new connection on the old ports begins a new flow, as silence does.
            silent = now_s > flow.last_s and now_s - flow.last_s > self.limit_s(protocol, u32(flow.ended & 3))
            begins = protocol == 6 and (flow.ended & 3) == 3 and (flags & 0x12) == 2
            fresh = silent or begins
        if fresh:
            self.nflows += 1
            flow.aggregate = self.nflows
            # Bit 7: the first packet came from the larger end.
            flow.ended = turned << 7
        flow.last_s = now_s
        direction = turned ^ (flow.ended >> 7)
        if protocol == 6 and (flags & 1) != 0:
            flow.ended |= 1 << direction
        if protocol == 6 and (flags & 4) != 0:
            flow.ended |= 3
        return flow.aggregate, direction

    @datapath
    def ident_of(self, p: Packet) -> u32:
        return (u32(p.ip.identification) << 8) | p.ip.protocol

    @datapath
    def place_of(self, p: Packet) -> u32:
        """Where the datagram's flow is kept; another one of the same place takes it over."""
        mixed: u32 = (u32(p.ip.src) ^ (u32(p.ip.dst) * 0x9E37_79B1) ^ self.ident_of(p)) * 0x85EB_CA6B
        return mixed >> 22

    @datapath
    def assign(self, p: Packet, aggregate: u32, direction: u32) -> Packet | None:
        if aggregate == 0:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        p.aggregate = aggregate
        p.paint = direction
        if self.trace_name != "":
            self.to_host(p, u32(0), u32(p.network_offset) + 80)
        return p

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.network.has(0, 20):
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        ip = p.ip
        protocol = ip.protocol
        now_ns: u64 = p.timestamp
        if now_ns == 0:
            now_ns = self.clock.recent
        now_s = u32(now_ns // _SECOND_NS)
        self.latest_s = now_s
        later = (ip.fragment & 0x1FFF) != 0
        if later and not self.fragments:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        if self.icmp and protocol == 1 and not later and p.transport.has(0, 36):
            if p.transport.u8[0] in (3, 4, 5, 11, 12):
                header_bytes = (p.transport.u8[8] & 15) * 4
                inner = p.transport.u8[17]
                ports: u32 = 0
                if inner in (6, 17) and p.transport.has(8 + header_bytes, 4):
                    ports = p.transport.u32[8 + header_bytes]
                # The error goes against the direction of the packet that it quotes.
                a, d = self.number(p.transport.u32[24], p.transport.u32[20], ports << 16 | ports >> 16, inner, now_s, u32(0))
                return self.assign(p, a, d)
        if later:
            piece = self.pieces[self.place_of(p)]
            if piece.aggregate != 0 and piece.src == ip.src and piece.dst == ip.dst and piece.ident == self.ident_of(p):
                if now_s - piece.seen_s <= u32(self.fragment_s):
                    return self.assign(p, u32(piece.aggregate), u32(piece.direction))
        mine: u32 = 0
        flags: u32 = 0
        if protocol in (6, 17) and not later and p.transport.has(0, 4):
            mine = p.transport.u32[0]
            if protocol == 6 and p.transport.has(13, 1):
                flags = p.transport.u8[13]
        aggregate, direction = self.number(ip.src, ip.dst, mine, protocol, now_s, flags)
        if not later and (ip.fragment & 0x2000) != 0:
            first = self.pieces[self.place_of(p)]
            first.src = ip.src
            first.dst = ip.dst
            first.ident = self.ident_of(p)
            first.aggregate = aggregate
            first.direction = direction
            first.seen_s = now_s
        return self.assign(p, aggregate, direction)
