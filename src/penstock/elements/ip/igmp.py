"""IGMPQuerier, IGMPHost, IPMulticastFilter and IPMulticastEtherEncap: multicast on a link."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Array, ConfigureError, Element, HandlerError, Packet, Timer, abstraction, datapath, u32, u64, u128
from penstock.elements.membership import MAPPED, Membership
from penstock.lang.arguments import ArgumentError, ElementName, EtherAddress, IPAddress, Raw, Seconds, UInt32, parse_ip, unparse_ip

__all__ = ["IGMPHost", "IGMPQuerier", "IPMulticastEtherEncap", "IPMulticastFilter"]

_QUERY, _REPORT1, _REPORT2, _LEAVE, _REPORT3 = 0x11, 0x12, 0x16, 0x17, 0x22
_ALL_HOSTS, _ALL_ROUTERS3 = 0xE0000001, 0xE0000016
_ROUTER_ALERT = 0x94040000
_HEADER_BYTES = 24
_MAX_GROUPS = 64
_TICK_NS = 100_000_000


@datapath
def igmp_bytes(p: Packet) -> u32:
    """Bytes of an IGMP packet whose checksums are right; 0 for anything else."""
    if not p.network.has(0, 20) or p.ip.protocol != 2 or (p.ip.fragment & 0x3FFF) != 0:
        return u32(0)
    header = u32(p.ip.header_length) * 4
    if header < 20 or p.ip.length < header + 8 or not p.network.has(0, p.ip.length):
        return u32(0)
    size = u32(p.ip.length) - header
    return size if p.network.checksum(header, size) == 0xFFFF else u32(0)


@datapath
def complete_igmp(p: Packet, src: u32, dst: u32) -> None:
    """Complete a packet whose IGMP message stands behind a header with a Router Alert (RFC 3376, section 4)."""
    p.set_network(0)
    p.set_transport(_HEADER_BYTES)
    p.data.u16[0] = 0x46C0
    p.data.u16[2] = p.length
    p.data.u8[8] = 1
    p.data.u8[9] = 2
    p.data.u32[12] = src
    p.data.u32[16] = dst
    p.data.u32[20] = _ROUTER_ALERT
    p.data.u16[10] = checksum_finish(p.data.checksum(0, _HEADER_BYTES))
    p.data.u16[_HEADER_BYTES + 2] = checksum_finish(p.data.checksum(_HEADER_BYTES, p.length - _HEADER_BYTES))
    p.dst_ip = dst


class IGMPQuerier(Membership):
    """Ask who listens to which multicast groups on a link (IGMPv3, RFC 3376; hosts with versions 1 and 2 too), and remember it.

    Takes IGMP packets, and sends queries as IP packets with their destination in the annotation (IPMulticastEtherEncap puts
    them on the wire). IPMulticastFilter lets packets pass for which there are listeners. While a router with a lower address
    asks, this one keeps quiet.

    Arguments:
        ADDR: this router's address on the link.
        INTERVAL: between general queries (125 s). RESPONSE: in which hosts answer (10 s). LAST_MEMBER: likewise, when one has left (1 s).
        ROBUSTNESS: how many packets may be lost, plus one (2). CAPACITY: groups and sources (4096).

    Handlers:
        groups (read): group, source or ``*`` for any, and seconds that are left. count, queries, reports, bad (read). querier (read):
        whether this one asks. clear (write): forget all.

    Example:
        q :: IGMPQuerier(10.0.0.1) -> IPMulticastEtherEncap(2:0:0:0:0:1) -> Print -> Discard;
        Idle -> q; Script(wait 10ms, read q.queries, stop);
    """

    ports = "1/1"
    processing = "h/h"

    address_bytes = 4

    def configure(self, addr: IPAddress, *, interval: Seconds = 125, response: Seconds = 10, last_member: Seconds = 1, robustness: int = 2,
                  capacity: UInt32 = 4096) -> None:
        self.address = addr
        self.setup(interval=interval, response=response, robustness=robustness, last_member=last_member, capacity=capacity)

    @datapath
    def code(self, value: u32) -> u32:
        """A time in eight bits: above 127 as a floating-point number (RFC 3376, section 4.1.1)."""
        if value < 128:
            return value
        exponent: u32 = 0
        mantissa: u32 = value >> 3
        for _ in range(7):
            if mantissa < 32:
                break
            mantissa = mantissa >> 1
            exponent += 1
        return 0x80 | (exponent << 4) | (min(mantissa, u32(31)) & 15)

    @datapath
    def send_query(self, group: u128, source: u128, response_ns: u64) -> None:
        p = self.make_packet(u32(_HEADER_BYTES + 12) + (4 if source != 0 else 0))
        if p is not None:
            p.data.u8[_HEADER_BYTES] = _QUERY
            p.data.u8[_HEADER_BYTES + 1] = self.code(u32(response_ns // 100_000_000))
            p.data.u32[_HEADER_BYTES + 4] = u32(group)
            p.data.u8[_HEADER_BYTES + 8] = self.robustness
            p.data.u8[_HEADER_BYTES + 9] = self.code(u32(self.interval_s))
            if source != 0:
                p.data.u16[_HEADER_BYTES + 10] = 1
                p.data.u32[_HEADER_BYTES + 12] = u32(source)
            self.queries += 1
            complete_igmp(p, u32(self.address), u32(_ALL_HOSTS) if group == 0 else u32(group))
            p.timestamp = self.clock.now()
            self.output(0).push(p)

    @datapath
    def address_at(self, p: Packet, at: u32) -> u128:
        return u128(u64(MAPPED) | u64(p.network.u32[at]))

    @datapath
    def is_group(self, address: u128) -> bool:
        return (u32(address) >> 28) == 0xE

    @datapath
    def push(self, port: int, p: Packet) -> None:
        size = igmp_bytes(p)
        if size == 0:
            self.bad += 1
            p.kill()
            return
        at = u32(p.ip.header_length) * 4
        kind: u32 = p.network.u8[at]
        group = self.address_at(p, at + 4)
        now = self.clock.now()
        if kind == _REPORT3:
            self.read_report(p, at, size, now)
        elif (kind in (_REPORT1, _REPORT2)) and self.is_group(group):
            self.begin_record(u32(2), group, now)
        elif kind == _LEAVE and self.is_group(group):
            self.begin_record(u32(3), group, now)
        elif kind == _QUERY:
            self.heard_query(p.ip.src != 0 and p.ip.src < self.address, now)
        else:
            self.bad += 1
        p.kill()


class IPMulticastFilter(Element):
    """Let IP packets to multicast groups pass for which an IGMPQuerier or MLDQuerier knows listeners.

    Others go to output 1, or are dropped. Packets to groups of the link itself (224.0.0.0/24, ff02::/16) and to no group pass.

    Arguments:
        QUERIER: the name of the IGMPQuerier, or of the MLDQuerier for IPv6.

    Handlers:
        count (read): packets without a listener.

    Example:
        q :: IGMPQuerier(10.0.0.1) -> Discard; Idle -> q;
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.9, 1, 239.1.2.3, 2) -> CheckIPHeader
        -> f :: IPMulticastFilter(q) -> Discard; f[1] -> IPPrint(nobody) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u64

    def configure(self, querier: ElementName) -> None:
        self.querier_name = querier

    def initialize(self) -> None:
        self.querier = self.named(self.querier_name, Membership, keyword="QUERIER", noun="IGMPQuerier or MLDQuerier")

    def add_handlers(self) -> None:
        self.add_data("count", "count")

    @datapath
    def passes(self, p: Packet) -> bool:
        if not p.network.has(0, 20):
            return True
        version = u32(p.network.u8[0]) >> 4
        if version == 4:
            dst: u32 = p.ip.dst
            if (dst >> 28) != 0xE or (dst >> 8) == 0xE00000:
                return True
            return self.querier.wants(u128(u64(MAPPED) | u64(dst)), u128(u64(MAPPED) | u64(p.ip.src)), self.clock.recent)
        if version == 6 and p.network.has(0, 40):
            high = u32(p.network.u16[24])
            if (high >> 8) != 0xFF or (high & 15) <= 2:
                return True
            return self.querier.wants(p.ip6.dst, p.ip6.src, self.clock.recent)
        return True

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.passes(p):
            return p
        self.count += 1
        self.checked_output_push(1, p)
        return None


class IPMulticastEtherEncap(Element):
    """Put Ethernet headers in front of IP packets to multicast groups: no question is needed, the group says the address.

    IPv4 groups by their low 23 bits (RFC 1112, section 6.4), IPv6 groups by their low 32 bits (RFC 2464, section 7). Other packets go
    to output 1, or are dropped. The network header must be set.

    Arguments:
        SRC: the source address.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(10.0.0.9, 1, 239.1.2.3, 2)
        -> IPMulticastEtherEncap(2:0:0:0:0:1) -> Print -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    def configure(self, src: EtherAddress) -> None:
        self.src = src

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        version: u32 = 0
        if p.network.has(0, 20):
            version = u32(p.network.u8[0]) >> 4
        target: u64 = 0
        if version == 4 and (p.ip.dst >> 28) == 0xE:
            target = 0x0100_5E00_0000 | (u64(p.ip.dst) & 0x7F_FFFF)
        elif version == 6 and p.network.has(0, 40) and p.network.u8[24] == 0xFF:
            target = 0x3333_0000_0000 | u64(p.network.u32[36])
        if target == 0:
            self.checked_output_push(1, p)
            return None
        p.push(14)
        p.set_mac(0)
        p.ether.dst = target
        p.ether.src = self.src
        p.ether.type = 0x0800 if version == 4 else 0x86DD
        return p


class IGMPHost(Element):
    """Be a host that listens to multicast groups: answer queries with IGMPv3 reports (RFC 3376, section 5).

    Takes IGMP packets, and sends reports as IP packets with their destination in the annotation. Answers come after a random time
    in what the query allows. Joining and leaving is told at once, twice.

    Arguments:
        ADDR: this host's address.
        GROUP, ...: groups to listen to from the start; 64 at most.

    Handlers:
        groups (read): groups that are listened to. reports (read): sent so far. join, leave (write): a group.

    Example:
        h :: IGMPHost(10.0.0.2, 239.1.2.3) -> IPPrint -> Discard; Idle -> h; Script(wait 10ms, read h.groups, stop);
    """

    ports = "1/1"
    processing = "h/h"

    reports: u64
    pending: u32
    answer_ns: u64

    def configure(self, addr: IPAddress, *group: Raw) -> None:
        self.address = addr
        groups = [self._group(text) for text in group]
        if len(groups) > _MAX_GROUPS:
            raise ConfigureError(f"{_MAX_GROUPS} groups at most")
        #: the groups, 0 where a place is free; and how often a change is still to be told: joined, or (bit 7) left
        self.members = Array(u32, _MAX_GROUPS, groups)
        self.changes = Array(u32, _MAX_GROUPS, [2] * len(groups))
        self.asked = Array(u32, _MAX_GROUPS)
        self.timer = Timer(self)

    def _group(self, text: str) -> int:
        try:
            address = parse_ip(text.strip(), self.router.context)
        except ArgumentError as error:
            raise ConfigureError(f"GROUP: {error}") from None
        if address >> 28 != 0xE:
            raise ConfigureError(f"GROUP: {text} is no multicast group")
        return address

    def started(self) -> None:
        self.timer.schedule_after(1)

    def add_handlers(self) -> None:
        self.add_read("groups", lambda: "".join(f"{unparse_ip(self.members[i])}\n" for i in range(_MAX_GROUPS)
                                                if self.members[i] and not self.changes[i] & 0x80))
        self.add_data("reports", "reports")
        self.add_write("join", lambda text: self._change(text, joins=True))
        self.add_write("leave", lambda text: self._change(text, joins=False))

    def _change(self, text: str, *, joins: bool) -> None:
        try:
            group = self._group(text)
        except ConfigureError as error:
            raise HandlerError(str(error)) from None
        place = next((i for i in range(_MAX_GROUPS) if self.members[i] == group), None)
        if place is None and joins:
            place = next((i for i in range(_MAX_GROUPS) if not self.members[i]), None)
            if place is None:
                raise HandlerError(f"{_MAX_GROUPS} groups at most")
        if place is None:
            raise HandlerError(f"{unparse_ip(group)} is not listened to")
        self.members[place], self.changes[place] = group, 2 if joins else 0x82
        self.timer.schedule_after(1)

    @datapath
    def mark(self, group: u32) -> bool:
        """Which groups are asked for: that one, or (0) all. False where there is none."""
        found = False
        for i in range(_MAX_GROUPS):
            if self.members[i] != 0 and (group == 0 or group == self.members[i]):
                self.asked[i] = 1
                found = True
        return found

    @abstraction(of=mark)
    def may_mark(self, group: u32) -> bool:
        """Any groups may be listened to."""
        return (self.random.next() & 1) != 0

    @datapath
    def send_report(self, kind: u32, group: u32) -> None:
        """One record."""
        p = self.make_packet(u32(_HEADER_BYTES + 16))
        if p is not None:
            p.data.u8[_HEADER_BYTES] = _REPORT3
            p.data.u16[_HEADER_BYTES + 6] = 1
            p.data.u8[_HEADER_BYTES + 8] = kind
            p.data.u32[_HEADER_BYTES + 12] = group
            self.reports += 1
            complete_igmp(p, u32(self.address), u32(_ALL_ROUTERS3))
            p.timestamp = self.clock.now()
            self.output(0).push(p)

    @datapath
    def run_timer(self) -> bool:
        now = self.clock.now()
        answers = self.answer_ns != 0 and now >= self.answer_ns
        again = False
        for i in range(_MAX_GROUPS):
            group: u32 = self.members[i]
            if group != 0:
                change: u32 = self.changes[i]
                if change != 0:
                    self.send_report(u32(3) if change >= 0x80 else u32(4), group)
                    self.changes[i] = change - 1
                    if change == 0x81:
                        self.members[i] = 0
                        self.changes[i] = 0
                    elif change != 1:
                        again = True
                elif answers and self.asked[i] != 0:
                    self.send_report(u32(2), group)
                self.asked[i] = 0 if answers else u32(self.asked[i])
        if answers:
            self.answer_ns = 0
        if again or self.answer_ns != 0:
            self.timer.schedule_after(_TICK_NS)
        return True

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if igmp_bytes(p) != 0:
            at = u32(p.ip.header_length) * 4
            if p.network.u8[at] == _QUERY:
                group: u32 = p.network.u32[at + 4]
                limit: u32 = max(u32(p.network.u8[at + 1]), u32(1))
                if self.mark(group) and self.answer_ns == 0:
                    # Tenths of a second.
                    self.answer_ns = self.clock.now() + u64(self.random.next() % limit) * _TICK_NS + 1
                    self.timer.schedule_after(_TICK_NS)
        p.kill()
