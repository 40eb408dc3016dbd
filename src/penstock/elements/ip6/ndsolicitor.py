"""IP6NDSolicitor."""

from penstock.elements import (
    NONE,
    ConfigureError,
    Packet,
    PacketSlot,
    Struct,
    Table,
    boolean,
    datapath,
    take,
    u8,
    u32,
    u48,
    u64,
    u128,
)
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.elements.neighbours import NEIGHBOUR_FRAME_BYTES, NeighbourElement
from penstock.lang.arguments import EtherAddress, IP6Address, Seconds, UInt32, unparse_ether

__all__ = ["IP6NDSolicitor"]

_SECOND_NS = 1_000_000_000
_SOLICITATION, _ADVERTISEMENT = 135, 136
_SOURCE_ADDRESS, _TARGET_ADDRESS, _ADVERTISEMENT_BYTES = 1, 2, 32
_NODE_PREFIX = 0xFF02_0000_0000_0000_0000_0001_FF00_0000


class _Neighbour(Struct):
    ether: u48
    known: u8
    learned_ns: u64
    asked_ns: u64
    waiting: PacketSlot


class IP6NDSolicitor(NeighbourElement):
    """Put an Ethernet header on IPv6 packets, with the address of the neighbour that the destination annotation names.

    Neighbours are found by solicitations (RFC 4861); while an answer is awaited, the last packet for the neighbour is kept, and it is
    asked again no sooner than after a second. Packets come on input 0, Ethernet frames with advertisements on input 1.
    Packets to multicast addresses go to the Ethernet address that belongs to them (RFC 2464).

    Arguments:
        IP6, ETH: this interface's addresses. TIMEOUT: how long an answer is good (300 s). CAPACITY: neighbours remembered (4096).

    Handlers:
        table (read): neighbours. queries, responses, drops (read). clear (write): forget all.

    Example:
        n :: IP6NDSolicitor(3ffe::1, 1:1:1:1:1:1); InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> n -> Print
        -> Discard; Idle -> [1] n;
    """

    ports = "2/1-2"
    processing = "h/h"
    flow = "xy/x"

    queries: u64
    responses: u64
    drops: u64
    found: boolean

    def configure(self, ip6: IP6Address, eth: EtherAddress, *, timeout: Seconds = 300, capacity: UInt32 = 4096) -> None:
        if not 1 <= capacity <= 1 << 20:
            raise ConfigureError("CAPACITY: out of range, bound 1048576")
        self.address, self.ether = ip6, eth
        self.timeout_ns = int(timeout * 1e9) if timeout > 0 else 1 << 62
        self.table = Table((u128,), _Neighbour, capacity)
        self.packets_held = capacity + 2

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(
            f"{unparse_ip6(k[0])} {'ok' if v.known else '??'} {unparse_ether(v.ether)}\n" for k, v in self.table.items()))
        for name in ("queries", "responses", "drops"):
            self.add_data(name, name)
        self.add_write("clear", self._clear, flags="b")

    def _clear(self, text: str) -> None:
        for key, _ in list(self.table.items()):
            self.forget(key[0])

    @datapath
    def forget(self, address: u128) -> None:
        i = self.table.find((address,))
        if i != NONE:
            p = take(self.table.slots[i].value.waiting)
            if p is not None:
                p.kill()
            self.table.remove(i)

    @datapath
    def send(self, p: Packet, to: u64) -> None:
        p.push(14)
        p.data.u48[0] = to
        p.data.u48[6] = self.ether
        p.data.u16[12] = 0x86DD
        p.set_mac(0)
        self.output(0).push(p)

    @datapath
    def ask(self, target: u128) -> None:
        """A neighbour solicitation (RFC 4861, section 4.3) to the solicited-node address."""
        q = self.pool.allocate(NEIGHBOUR_FRAME_BYTES)
        if q is None:
            self.drops += 1
            return
        low = u32(target & 0xFF_FFFF)
        self.write_message(q, 0x3333_FF00_0000 | u64(low), u64(self.ether), u128(self.address), u128(_NODE_PREFIX) | u128(low),
                           u32(_SOLICITATION), u32(0), target, u32(_SOURCE_ADDRESS))
        q.set_mac(0)
        self.queries += 1
        self.checked_output_push(self.query_port(), q)

    @datapath
    def query_port(self) -> u32:
        return u32(self.noutputs - 1)

    @datapath
    def packet(self, p: Packet) -> None:
        target: u128 = p.dst_ip6
        if (target >> 120) == 0xFF:
            self.send(p, 0x3333_0000_0000 | u64(target & 0xFFFF_FFFF))
            return
        now = self.clock.now()
        i = self.table.find((target,))
        if i == NONE:
            i = self.table.insert((target,))
            if i == NONE:
                self.drops += 1
                p.kill()
                return
            fresh = self.table.slots[i].value
            fresh.known = 0
            fresh.ether = 0
            fresh.asked_ns = 0
            fresh.learned_ns = 0
        entry = self.table.slots[i].value
        if entry.known != 0 and now - entry.learned_ns <= self.timeout_ns:
            self.send(p, entry.ether)
            return
        old = take(entry.waiting)
        entry.waiting = p
        if old is not None:
            self.drops += 1
            old.kill()
        if entry.asked_ns == 0 or now - entry.asked_ns >= _SECOND_NS:
            entry.asked_ns = now
            self.ask(target)

    @datapath
    def is_advertisement(self, p: Packet) -> bool:
        """With its option: an advertisement without one tells no Ethernet address."""
        return self.is_message(p, u32(_ADVERTISEMENT), u32(_ADVERTISEMENT_BYTES)) and p.data.u16[78] == (_TARGET_ADDRESS << 8 | 1)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if port == 0:
            self.packet(p)
            return
        if self.is_advertisement(p):
            i = self.table.find((u128(p.data.u128[62]),))
            if i != NONE:
                entry = self.table.slots[i].value
                entry.ether = p.data.u48[80]
                entry.known = 1
                entry.learned_ns = self.clock.now()
                self.responses += 1
                waiting = take(entry.waiting)
                if waiting is not None:
                    self.send(waiting, entry.ether)
        p.kill()
