"""MLDQuerier: who listens to IPv6 multicast groups on a link."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Packet, datapath, u32, u64, u128
from penstock.elements.membership import Membership
from penstock.lang.arguments import IP6Address, Seconds, UInt32

__all__ = ["MLDQuerier"]

_QUERY, _REPORT, _DONE, _REPORT2 = 130, 131, 132, 143
_ICMP6, _HOP_BY_HOP = 58, 0
_ALL_NODES = 0xFF02_0000_0000_0000_0000_0000_0000_0001
#: the fixed header, and hop-by-hop options with a Router Alert (RFC 2711) and padding
_HEADER_BYTES = 48
_ALERT = 0x3A00_0502_0000_0100


class MLDQuerier(Membership):
    """Ask who listens to which multicast groups on a link (MLDv2, RFC 3810; hosts with version 1 too), and remember it.

    As IGMPQuerier, for IPv6. Takes IPv6 packets with MLD messages, and sends queries as IPv6 packets (IPMulticastEtherEncap puts them
    on the wire). IPMulticastFilter lets packets pass for which there are listeners.

    Arguments:
        ADDR: this router's link-local address.
        INTERVAL: between general queries (125 s). RESPONSE: in which hosts answer (10 s). LAST_MEMBER: likewise, when one has left (1 s).
        ROBUSTNESS: how many packets may be lost, plus one (2). CAPACITY: groups and sources (4096).

    Handlers:
        groups (read): group, source or ``*`` for any, and seconds that are left. count, queries, reports, bad (read). querier (read):
        whether this one asks. clear (write): forget all.

    Example:
        q :: MLDQuerier(fe80::1) -> IPMulticastEtherEncap(2:0:0:0:0:1) -> Print -> Discard;
        Idle -> q; Script(wait 10ms, read q.queries, stop);
    """

    ports = "1/1"
    processing = "h/h"

    address_bytes = 16

    def configure(self, addr: IP6Address, *, interval: Seconds = 125, response: Seconds = 10, last_member: Seconds = 1, robustness: int = 2,
                  capacity: UInt32 = 4096) -> None:
        self.address = addr
        self.setup(interval=interval, response=response, robustness=robustness, last_member=last_member, capacity=capacity)

    @datapath
    def send_query(self, group: u128, source: u128, response_ns: u64) -> None:
        size: u32 = 28 + (16 if source != 0 else 0)
        p = self.make_packet(u32(_HEADER_BYTES) + size)
        if p is not None:
            p.set_network(0)
            p.set_transport(_HEADER_BYTES)
            p.data.u32[0] = 0x6000_0000
            p.data.u16[4] = size + 8
            p.data.u16[6] = 1
            p.data.u128[8] = self.address
            p.data.u128[24] = u128(_ALL_NODES) if group == 0 else group
            p.data.u64[40] = _ALERT
            p.data.u8[_HEADER_BYTES] = _QUERY
            # Milliseconds; in the floating-point form above 32767 (RFC 3810, section 5.1.3).
            p.data.u16[_HEADER_BYTES + 4] = u32(min(response_ns // 1_000_000, u64(32767)))
            p.data.u128[_HEADER_BYTES + 8] = group
            p.data.u8[_HEADER_BYTES + 24] = self.robustness
            p.data.u8[_HEADER_BYTES + 25] = min(self.interval_s, 127)
            if source != 0:
                p.data.u16[_HEADER_BYTES + 26] = 1
                p.data.u128[_HEADER_BYTES + 28] = source
            p.data.u16[_HEADER_BYTES + 2] = checksum_finish(p.data.checksum(_HEADER_BYTES, size, p.data.checksum(8, 32, size + _ICMP6)))
            p.dst_ip6 = u128(_ALL_NODES) if group == 0 else group
            p.timestamp = self.clock.now()
            self.queries += 1
            self.output(0).push(p)

    @datapath
    def message(self, p: Packet) -> tuple[u32, u32]:
        """Where an ICMPv6 message with a right checksum begins, from the network header, and its bytes; 0 and 0 for anything else."""
        if not p.network.has(0, 48) or (u32(p.network.u8[0]) >> 4) != 6 or p.ip6.hop_limit != 1:
            return u32(0), u32(0)
        at: u32 = 40
        kind: u32 = p.ip6.next_header
        if kind == _HOP_BY_HOP:
            kind = p.network.u8[40]
            at += 8 * (1 + u32(p.network.u8[41]))
        end: u32 = 40 + u32(p.ip6.length)
        if kind != _ICMP6 or at + 24 > end or not p.network.has(0, end):
            return u32(0), u32(0)
        size: u32 = end - at
        if p.network.checksum(at, size, p.network.checksum(8, 32, size + _ICMP6)) != 0xFFFF:
            return u32(0), u32(0)
        return at, size

    @datapath
    def address_at(self, p: Packet, at: u32) -> u128:
        return p.network.u128[at]

    @datapath
    def is_group(self, address: u128) -> bool:
        return (address >> 120) == 0xFF

    @datapath
    def push(self, port: int, p: Packet) -> None:
        at, size = self.message(p)
        if size == 0:
            self.bad += 1
            p.kill()
            return
        kind: u32 = p.network.u8[at]
        now = self.clock.now()
        if kind == _REPORT2:
            self.read_report(p, at, size, now)
        elif kind == _REPORT and self.is_group(p.network.u128[at + 8]):
            self.begin_record(u32(2), p.network.u128[at + 8], now)
        elif kind == _DONE and self.is_group(p.network.u128[at + 8]):
            self.begin_record(u32(3), p.network.u128[at + 8], now)
        elif kind == _QUERY:
            self.heard_query(p.ip6.src < self.address, now)
        else:
            self.bad += 1
        p.kill()
