"""Who listens to which multicast group, from which sources: the router's side of IGMPv3 (RFC 3376) and MLDv2 (RFC 3810).

The two are one protocol with different addresses; groups and sources are 128 bits wide here, IPv4 ones as IPv4-mapped addresses.
"""

from __future__ import annotations

import ipaddress

from penstock.datapath.containers import NONE, Table
from penstock.datapath.memory import Struct
from penstock.datapath.packet import Packet
from penstock.datapath.source import abstraction, datapath
from penstock.elements.element import ConfigureError
from penstock.elements.reaping import REAP_NS, ReapingElement
from penstock.packet.integers import u8, u32, u64, u128

__all__ = ["MAPPED", "Membership"]

MAPPED = 0xFFFF << 32
#: record types (RFC 3376, section 4.2.12)
_IS_INCLUDE, _IS_EXCLUDE, _TO_INCLUDE, _TO_EXCLUDE, _ALLOW, _BLOCK = range(1, 7)


class _Listener(Struct):
    """Until when somebody listens to the source (0: to any) of a group; or, blocked, nobody wants this source of any."""

    until_ns: u64
    blocked: u8


class Membership(ReapingElement):
    """What is known of groups, and the queries that keep it so. Subclasses read reports and write queries."""

    #: bytes of an address in messages
    address_bytes = 16

    queries: u64
    reports: u64
    bad: u64
    next_ns: u64
    #: another querier, with a lower address, does the asking until then
    quiet_until_ns: u64
    startup: u32

    def setup(self, *, interval: float, response: float, robustness: int, last_member: float, capacity: int) -> None:
        if not 1 <= robustness <= 7:
            raise ConfigureError("ROBUSTNESS: 1 to 7 is expected")
        if not 0 < response < interval or not 0 < last_member <= 25:
            raise ConfigureError("RESPONSE must be shorter than INTERVAL, and LAST_MEMBER at most 25 s")
        if not 1 <= capacity <= 1 << 20:
            raise ConfigureError("CAPACITY: out of range, bound 1048576")
        self.interval_ns, self.response_ns, self.last_ns = (int(t * 1e9) for t in (interval, response, last_member))
        self.robustness, self.interval_s = robustness, int(interval)
        # RFC 3376, sections 8.4, 8.5 and 8.9
        self.membership_ns = robustness * self.interval_ns + self.response_ns
        self.other_ns = robustness * self.interval_ns + self.response_ns // 2
        self.table = Table((u128, u128), _Listener, capacity)
        self.watch()

    def started(self) -> None:
        self.startup = self.robustness
        self.timer.schedule_after(1)

    def add_handlers(self) -> None:
        self.add_read("groups", self._rows)
        self.add_read("count", lambda: len({group for (group, _), v in self.table.items() if not v.blocked}))
        for name in ("queries", "reports", "bad"):
            self.add_data(name, name)
        self.add_read("querier", lambda: self.quiet_until_ns <= self.clock.read())
        self.add_write("clear", lambda text: self.table.clear(), flags="b")

    def _rows(self) -> str:
        def shown(address: int) -> str:
            whole = ipaddress.IPv6Address(int(address))
            return str(whole.ipv4_mapped or whole)

        now = self.clock.read()
        rows = [f"{shown(group)} {'*' if not source else shown(source)}{' blocked' if v.blocked else ''} "
                f"{max(int(v.until_ns) - now, 0) // 1_000_000_000}\n" for (group, source), v in self.table.items()]
        return "".join(sorted(rows))

    # What subclasses do

    @datapath
    def send_query(self, group: u128, source: u128, response_ns: u64) -> None:
        """A query: general (group 0), of a group (source 0), or of a source of it."""

    @datapath
    def address_at(self, p: Packet, at: u32) -> u128:
        """An address in a message."""
        return u128(0)

    @datapath
    def is_group(self, address: u128) -> bool:
        return False

    # Reports

    @datapath
    def read_report(self, p: Packet, at: u32, size: u32, now: u64) -> None:
        """The records of a report of the newest version (RFC 3376, section 4.2; RFC 3810, section 5.2)."""
        here: u32 = at + 8
        for _ in range(p.network.u16[at + 6]):
            if here + 4 + self.address_bytes > at + size:
                break
            kind, count = u32(p.network.u8[here]), u32(p.network.u16[here + 2])
            group = self.address_at(p, here + 4)
            sources: u32 = here + 4 + self.address_bytes
            whole: u32 = 4 + self.address_bytes * (count + 1) + 4 * u32(p.network.u8[here + 1])
            if here + whole > at + size:
                self.bad += 1
                break
            if self.is_group(group):
                self.begin_record(kind, group, now)
                for k in range(count):
                    self.record_source(kind, group, self.address_at(p, sources + self.address_bytes * u32(k)), now)
            here += whole

    @abstraction(of=read_report)
    def report_is_read(self, p: Packet, at: u32, size: u32, now: u64) -> None:
        """Who listens is any set of hosts in any case."""
        self.reports += 1

    # Listeners

    @datapath
    def listens(self, group: u128, source: u128, now: u64) -> bool:
        """Whether an entry is there, and good."""
        i = self.table.find((group, source))
        if i == NONE:
            return False
        return bool(self.table.slots[i].value.until_ns > now and self.table.slots[i].value.blocked == 0)

    @datapath
    def wants(self, group: u128, source: u128, now: u64) -> bool:
        """Whether packets of ``source`` to ``group`` have a listener here."""
        if self.listens(group, source, now):
            return True
        if not self.listens(group, u128(0), now):
            return False
        i = self.table.find((group, source))
        if i == NONE:
            return True
        return bool(self.table.slots[i].value.blocked == 0 or self.table.slots[i].value.until_ns <= now)

    @abstraction(of=wants)
    def may_want(self, group: u128, source: u128, now: u64) -> bool:
        """Listeners come and go."""
        return (self.random.next() & 1) != 0

    @datapath
    def set_entry(self, group: u128, source: u128, until_ns: u64, blocked: u32) -> None:
        i = self.table.find((group, source))
        if i == NONE:
            i = self.table.insert((group, source))
            if i == NONE:
                self.bad += 1
                return
        self.table.slots[i].value.until_ns = until_ns
        self.table.slots[i].value.blocked = blocked

    @datapath
    def lower(self, group: u128, source: u128, now: u64) -> None:
        """Somebody left: ask whether that was the last one (RFC 3376, section 6.4.2)."""
        i = self.table.find((group, source))
        if i != NONE:
            soon: u64 = now + u64(self.robustness) * u64(self.last_ns)
            if self.table.slots[i].value.blocked == 0 and self.table.slots[i].value.until_ns > soon:
                self.table.slots[i].value.until_ns = soon
                if now >= self.quiet_until_ns:
                    self.send_query(group, source, u64(self.last_ns))

    @datapath
    def begin_record(self, kind: u32, group: u128, now: u64) -> None:
        """What a record says of the group itself, before its sources."""
        self.reports += 1
        if kind in (_IS_EXCLUDE, _TO_EXCLUDE):
            self.set_entry(group, u128(0), now + u64(self.membership_ns), u32(0))
        elif kind == _TO_INCLUDE:
            self.lower(group, u128(0), now)

    @datapath
    def record_source(self, kind: u32, group: u128, source: u128, now: u64) -> None:
        if source == 0:
            return
        if kind in (_IS_INCLUDE, _TO_INCLUDE, _ALLOW):
            self.set_entry(group, source, now + u64(self.membership_ns), u32(0))
        elif kind == _BLOCK:
            self.lower(group, source, now)
        elif not self.listens(group, source, now):
            # Not wanted by who wants all others, and nobody else asked for it.
            self.set_entry(group, source, now + u64(self.membership_ns), u32(1))

    @datapath
    def heard_query(self, is_lower: bool, now: u64) -> None:
        """Another router asks: the one with the lower address goes on (RFC 3376, section 6.6.2)."""
        if is_lower:
            self.quiet_until_ns = now + u64(self.other_ns)

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return bool(self.table.slots[i].value.until_ns <= now_ns)

    @datapath
    def run_timer(self) -> bool:
        now = self.clock.now()
        if now >= self.next_ns:
            if now >= self.quiet_until_ns:
                self.send_query(u128(0), u128(0), u64(self.response_ns))
            # The first ones follow one another quickly (section 8.6).
            self.next_ns = now + (u64(self.interval_ns) // 4 if self.startup > 1 else u64(self.interval_ns))
            if self.startup > 1:
                self.startup -= 1
        self.reap(now)
        self.timer.schedule_after(REAP_NS)
        return True
