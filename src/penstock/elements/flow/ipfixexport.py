"""IPFIXExport: the flows of a FlowCache as IPFIX messages."""

import struct

from penstock.elements import Array, ConfigureError, Element, Packet, Timer, datapath, u8, u32, u64, u128
from penstock.elements.flow.flowcache import Record, find_cache
from penstock.lang.arguments import ElementName, Seconds, UInt32

__all__ = ["IPFIXExport"]

_VERSION, _TEMPLATE_SET = 10, 2
#: identifiers of the two templates: IPv4 and IPv6
_IP4, _IP6 = 256, 257
_HEADER, _SET_HEADER = 16, 4
#: enterprise number of what is counted in the reverse direction (RFC 5103, section 6.1)
_REVERSE = 29305
#: information elements (IANA's registry) and their bytes, behind the addresses
_FIELDS = [(7, 2), (11, 2), (4, 1), (136, 1), (6, 1), (152, 8), (153, 8), (2, 8), (1, 8)]
_REVERSED = [(2, 8), (1, 8), (6, 1)]
_COMMON_BYTES = sum(size for _, size in _FIELDS + _REVERSED)
_RECORDS = 4096
_MILLISECOND_NS = 1_000_000


def _template(identifier: int, addresses: list[tuple[int, int]]) -> bytes:
    fields = b"".join(struct.pack(">HH", *field) for field in addresses + _FIELDS)
    reverse = b"".join(struct.pack(">HHI", 0x8000 | number, size, _REVERSE) for number, size in _REVERSED)
    return struct.pack(">HH", identifier, len(addresses + _FIELDS + _REVERSED)) + fields + reverse


class IPFIXExport(Element):
    """Send a record of each flow of a FlowCache that ended, and of those that go on, as IPFIX messages (RFC 7011).

    Packets are the messages alone: put UDP and IP around them (UDPIPEncap), or give them to a Socket. Records are bidirectional
    (RFC 5103): addresses, ports, protocol, why it ended, TCP flags, first and last time in milliseconds, packets and bytes, and
    packets, bytes and TCP flags of the way back. A FlowCache has one exporter; while it has no time to read, 4096 records wait.

    Arguments:
        FLOWCACHE: the FlowCache's name.
        INTERVAL: time between two looks for records (1 s). ACTIVE_TIMEOUT: how often a long flow is reported (30 min; 0: at its end).
        TEMPLATE_INTERVAL: how often templates are sent again (10 min). DOMAIN: the observation domain (0). MTU: bytes of a
        message at most (1400).

    Handlers:
        count (read): records sent. messages (read). lost (read): records for which there was no room. flush (write): end all flows and
        send their records now.

    Example:
        MemSource(FLOWS 10, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> f :: FlowCache -> Discard;
        e :: IPFIXExport(f) -> UDPIPEncap(10.0.0.1, 4739, 10.0.0.2, 4739) -> Print -> Discard;
        DriverManager(pause, write e.flush, wait 10ms, stop);
    """

    ports = "0/1"
    processing = "h/h"
    may_generate = True

    count: u64
    messages: u64
    templates_at: u64

    def configure(self, flowcache: ElementName, *, interval: Seconds = 1, active_timeout: Seconds = 1800, template_interval: Seconds = 600,
                  domain: UInt32 = 0, mtu: UInt32 = 1400) -> None:
        if interval <= 0:
            raise ConfigureError("INTERVAL: must be > 0")
        if not 256 <= mtu <= 1472:
            raise ConfigureError("MTU: 256 to 1472 bytes are expected")
        self.name_of_cache, self.domain, self.mtu = flowcache, domain, mtu
        self.interval_ns, self.active_ns, self.template_ns = (int(t * 1e9) for t in (interval, active_timeout, template_interval))
        templates = _template(_IP4, [(8, 4), (12, 4)]) + _template(_IP6, [(27, 16), (28, 16)])
        content = struct.pack(">HH", _TEMPLATE_SET, _SET_HEADER + len(templates)) + templates
        self.templates = Array(u8, len(content), content)
        self.template_bytes = len(content)
        self.timer = Timer(self)

    def initialize(self) -> None:
        found = find_cache(self, self.name_of_cache)
        if found.exports:
            raise ConfigureError(f"FLOWCACHE: '{self.name_of_cache}' has an exporter already")
        found.set_records(_RECORDS)
        found.active_ns = self.active_ns
        self.cache = found

    def started(self) -> None:
        self.timer.schedule_after(self.interval_ns)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("messages", "messages")
        self.add_read("lost", lambda: self.cache.lost)
        self.add_write("flush", lambda text: self.flush(), flags="b")

    @datapath
    def flush(self) -> None:
        self.cache.end_all()
        self.send_all()

    @datapath
    def run_timer(self) -> bool:
        self.send_all()
        self.timer.schedule_after(self.interval_ns)
        return True

    @datapath
    def send_all(self) -> None:
        for _ in range(_RECORDS):
            if self.cache.made == self.cache.read:
                break
            if not self.send_message():
                break

    @datapath
    def waits(self, index: u32) -> bool:
        return self.cache.made != index

    @datapath
    def is_ip4(self, r: Record) -> bool:
        return r.src_high == 0 and (r.src_low >> 32) == 0xFFFF

    @datapath
    def send_message(self) -> bool:
        """One message with as many records of one kind of address as there are next to each other, and fit."""
        now = self.clock.now()
        head: u32 = _HEADER
        with_templates = self.messages == 0 or now - self.templates_at >= u64(self.template_ns)
        if with_templates:
            head += self.template_bytes
        first: u32 = self.cache.read
        mask: u32 = self.cache.records_mask
        ip4 = self.is_ip4(self.cache.records[first & mask])
        size: u32 = (8 if ip4 else 32) + _COMMON_BYTES
        room: u32 = (u32(self.mtu) - head - _SET_HEADER) // size
        number: u32 = 0
        for _ in range(room):
            if not self.waits(first + number) or self.is_ip4(self.cache.records[(first + number) & mask]) != ip4:
                break
            number += 1
        length: u32 = head + _SET_HEADER + number * size
        p = self.make_packet(length)
        if p is None:
            return False
        p.data.u16[0] = _VERSION
        p.data.u16[2] = length
        p.data.u32[4] = u32(now // 1_000_000_000)
        p.data.u32[8] = u32(self.count)
        p.data.u32[12] = u32(self.domain)
        if with_templates:
            self.templates_at = now
            for i in range(self.template_bytes):
                p.data.u8[_HEADER + i] = self.templates[i]
        p.data.u16[head] = _IP4 if ip4 else _IP6
        p.data.u16[head + 2] = _SET_HEADER + number * size
        for k in range(number):
            self.write(p, head + _SET_HEADER + u32(k) * size, self.cache.records[(first + u32(k)) & mask], ip4)
        self.cache.read = first + number
        self.count += number
        self.messages += 1
        p.timestamp = now
        self.output(0).push(p)
        return True

    @datapath
    def write(self, p: Packet, start: u32, r: Record, ip4: bool) -> None:
        at: u32 = start
        if ip4:
            p.data.u32[at] = u32(r.src_low)
            p.data.u32[at + 4] = u32(r.dst_low)
            at += 8
        else:
            p.data.u128[at] = (u128(r.src_high) << 64) | u128(r.src_low)
            p.data.u128[at + 16] = (u128(r.dst_high) << 64) | u128(r.dst_low)
            at += 32
        p.data.u32[at] = r.ports
        p.data.u8[at + 4] = r.protocol
        p.data.u8[at + 5] = r.reason
        p.data.u8[at + 6] = r.flags
        p.data.u64[at + 7] = r.first_ns // _MILLISECOND_NS
        p.data.u64[at + 15] = r.last_ns // _MILLISECOND_NS
        p.data.u64[at + 23] = r.packets
        p.data.u64[at + 31] = r.bytes
        p.data.u64[at + 39] = r.back_packets
        p.data.u64[at + 47] = r.back_bytes
        p.data.u8[at + 55] = r.back_flags
