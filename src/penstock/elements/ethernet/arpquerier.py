"""ARPQuerier."""

from penstock.elements import (
    NONE,
    ConfigureError,
    Element,
    HandlerError,
    Packet,
    PacketSlot,
    Struct,
    Table,
    Timer,
    abstraction,
    datapath,
    take,
    u8,
    u32,
    u48,
    u64,
)
from penstock.lang.arguments import Seconds, UInt32, Word, parse_ether, parse_ip, unparse_ether, unparse_ip
from penstock.packet.headers import ARP, Ether

__all__ = ["ARPQuerier"]

_BROADCAST = 0xFFFF_FFFF_FFFF
_QUERY_INTERVAL_NS = 100_000_000
_TICK_NS = 1_000_000_000


class _Neighbour(Struct):
    ether: u48
    queried_ns: u64
    head: PacketSlot
    waiting: u32
    age_s: u32
    known: u8
    polls: u8


class ARPQuerier(Element):
    """Find Ethernet addresses of IPv4 hosts with ARP (RFC 826), and put Ethernet headers in front of packets.

    Input 0 takes IP packets with the destination annotation set. Where the annotation's Ethernet address is
    known, the packet leaves with its header; otherwise it waits, and a query leaves. Input 1 takes Ethernet frames
    with ARP replies, which are remembered and set waiting packets free. Queries leave on output 1 where there is
    one, else on output 0, as everything else does. Broadcast and multicast addresses need no query.

    A packet that comes when CAPACITY packets wait is dropped, and so is one for a new address when ENTRY_CAPACITY
    addresses are remembered.

    Arguments:
        IP, ETH: this interface's addresses; or one name that AddressInfo gives both.
        CAPACITY: packets that may wait (2048).
        ENTRY_CAPACITY: addresses remembered (0: 4096).
        ENTRY_PACKET_CAPACITY: packets that may wait for one address (0: no limit of its own).
        TIMEOUT: how long an address is remembered (5 min); 0: for ever.
        POLL_TIMEOUT: a known address in use is asked for again after this time (1 min); 0: never.
        BROADCAST: IP address that is sent to all hosts, beside 255.255.255.255.
        BROADCAST_POLL: accepted; queries for known addresses are broadcast.

    Handlers:
        ipaddr, broadcast (read/write): addresses.
        table (read): remembered addresses: IP, whether known, Ethernet address, age in seconds.
        stats (read), queries, responses, drops, length (read): counts.
        count (read): addresses remembered.
        insert (write): IP and Ethernet address. delete (write): an IP address. clear (write): forget all.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 1.0.0.2, 2) -> q :: ARPQuerier(1.0.0.1, 1:1:1:1:1:1)
        -> Print -> Discard; Idle -> [1] q;
    """

    ports = "2/1-2"
    processing = "h/h"
    flow = "xy/x"
    takes_state = True

    ip: u32
    broadcast: u32
    queries: u64
    responses: u64
    drops: u64
    waiting: u32
    ticking: u8
    #: what is left of a list that is being turned round
    turning: PacketSlot

    def configure(self, ip: Word, eth: Word = "", *, capacity: UInt32 = 2048, entry_capacity: UInt32 = 0,
                  entry_packet_capacity: UInt32 = 0, timeout: Seconds = 300, poll_timeout: Seconds = 60,
                  broadcast: Word = "", broadcast_poll: bool = False) -> None:
        context = self.router.context
        self.ip, self.ether = parse_ip(ip, context), parse_ether(eth or ip, context)
        self.broadcast = parse_ip(broadcast, context) if broadcast else 0xFFFFFFFF
        if capacity > 1 << 20 or entry_capacity > 1 << 20:
            raise ConfigureError("CAPACITY, ENTRY_CAPACITY: out of range, bound 1048576")
        self.capacity = capacity
        self.entry_packets = entry_packet_capacity or capacity
        self.timeout_s, self.poll_s = max(int(timeout), int(timeout > 0)), max(int(poll_timeout), int(poll_timeout > 0))
        self.table = Table((u32,), _Neighbour, entry_capacity or 4096)
        self.timer = Timer(self)
        self.packets_held = capacity + 2

    def add_handlers(self) -> None:
        def address(text: str) -> int:
            return parse_ip(text.strip(), self.router.context)

        self.add_data("ipaddr", "ip", address, unparse_ip)
        self.add_data("broadcast", "broadcast", address, unparse_ip)
        self.add_read("table", self._table)
        self.add_read("stats", lambda: f"{self.drops} packets killed\n{self.queries} ARP queries sent\n")
        for name in ("queries", "responses", "drops"):
            self.add_data(name, name)
        self.add_data("length", "waiting")
        self.add_read("count", lambda: self.table.entries)
        self.add_write("insert", self._insert)
        self.add_write("delete", lambda text: self.forget(address(text)))
        self.add_write("clear", self._clear, flags="b")

    def _table(self) -> str:
        lines = [f"{unparse_ip(key[0])} {'ok' if entry.known else '??'} {unparse_ether(entry.ether)} {entry.age_s}\n"
                 for key, entry in self.table.items()]
        return "".join(lines)

    def _insert(self, text: str) -> None:
        words = text.split()
        if len(words) != 2:
            raise HandlerError("expected an IP address and an Ethernet address")
        self.learn(parse_ip(words[0], self.router.context), parse_ether(words[1], self.router.context))

    def _clear(self, text: str) -> None:
        for key, _ in list(self.table.items()):
            self.forget(key[0])

    # The table

    @datapath
    def entry_for(self, ip: u32) -> u32:
        """The index of the address's entry, made where there is none; NONE where the table is full."""
        i = self.table.find((ip,))
        if i != NONE:
            return i
        made = self.table.insert((ip,))
        if made == NONE:
            return u32(NONE)
        neighbour = self.table.slots[made].value
        neighbour.known = 0
        neighbour.polls = 0
        neighbour.age_s = 0
        neighbour.waiting = 0
        neighbour.queried_ns = 0
        neighbour.ether = 0
        if self.ticking == 0:
            self.ticking = 1
            self.timer.schedule_after(_TICK_NS)
        return made

    @datapath
    def learn(self, ip: u32, ether: u64) -> None:
        i = self.entry_for(u32(ip))
        if i != NONE:
            neighbour = self.table.slots[i].value
            neighbour.ether = ether
            neighbour.known = 1
            neighbour.polls = 0
            neighbour.age_s = 0
            self.release_waiting(i)

    @datapath
    def next_waiting(self, i: u32) -> Packet | None:
        """Take the first packet off entry ``i``'s list."""
        neighbour = self.table.slots[i].value
        p = take(neighbour.head)
        if p is None:
            return None
        following = take(p.next)
        neighbour.head = following
        return p

    @datapath
    def release_waiting(self, i: u32) -> None:
        """Send what waits for entry ``i``, the oldest first: the list has the newest first, so turn it round."""
        neighbour = self.table.slots[i].value
        ordered = take(neighbour.head)
        if ordered is not None:
            rest = take(ordered.next)
            neighbour.head = ordered
            n = neighbour.waiting
            # Move the rest in front of what is turned already, one by one.
            self.turning = rest
            for _ in range(n):
                q = take(self.turning)
                if q is None:
                    break
                after = take(q.next)
                self.turning = after
                before = take(neighbour.head)
                q.next = before
                neighbour.head = q
            self.waiting -= n
            neighbour.waiting = 0
            for _ in range(n):
                p = self.next_waiting(i)
                if p is None:
                    break
                self.encapsulate(p, u64(neighbour.ether))

    @datapath
    def forget(self, ip: u32) -> None:
        i = self.table.find((u32(ip),))
        if i != NONE:
            self.drop_entry(i)

    @datapath
    def drop_entry(self, i: u32) -> None:
        neighbour = self.table.slots[i].value
        n = neighbour.waiting
        for _ in range(n):
            p = self.next_waiting(i)
            if p is None:
                break
            self.drops += 1
            p.kill()
        self.waiting -= n
        self.table.remove(i)

    @datapath
    def run_timer(self) -> bool:
        """Once a second while there are entries: they get older, and are polled or forgotten."""
        for i in range(self.table.top):
            if self.table.used(i):
                neighbour = self.table.slots[i].value
                neighbour.age_s += 1
                if self.timeout_s > 0 and neighbour.age_s > self.timeout_s:
                    self.drop_entry(i)
                elif self.poll_s > 0 and neighbour.known != 0 and neighbour.age_s >= self.poll_s:
                    neighbour.polls = 1
        if self.table.entries > 0:
            self.timer.schedule_after(_TICK_NS)
        else:
            self.ticking = 0
        return True

    # Packets

    @datapath
    def encapsulate(self, p: Packet, ether: u64) -> None:
        p.push(14)
        p.set_mac(0)
        header = p.ether
        header.dst = ether
        header.src = self.ether
        header.type = 0x0800
        self.output(0).push(p)

    @datapath
    def send_query(self, ip: u32) -> None:
        p = self.make_packet(42)
        if p is not None:
            p.set_mac(0)
            p.set_network(14)
            ether = p.data.header(Ether, 0)
            ether.dst = _BROADCAST
            ether.src = self.ether
            ether.type = 0x0806
            arp = p.data.header(ARP, 14)
            arp.hardware = 1
            arp.protocol = 0x0800
            arp.hardware_length = 6
            arp.protocol_length = 4
            arp.operation = 1
            arp.sender_ether = self.ether
            arp.sender_ip = self.ip
            arp.target_ip = ip
            p.timestamp = self.clock.now()
            self.queries += 1
            self.output(1 if self.noutputs > 1 else 0).push(p)

    @datapath
    def handle_ip(self, p: Packet) -> None:
        ip = p.dst_ip
        if ip == 0xFFFFFFFF or ip == self.broadcast:
            self.encapsulate(p, u64(_BROADCAST))
        elif (ip >> 28) == 0xE:
            # RFC 1112, section 6.4
            self.encapsulate(p, u64(0x0100_5E00_0000) | (u64(ip) & 0x7F_FFFF))
        elif ip == 0:
            self.drops += 1
            p.kill()
        else:
            self.to_neighbour(p, ip)

    @datapath
    def to_neighbour(self, p: Packet, ip: u32) -> None:
        i = self.entry_for(ip)
        if i == NONE:
            self.drops += 1
            p.kill()
        else:
            neighbour = self.table.slots[i].value
            if neighbour.known != 0:
                if neighbour.polls != 0:
                    neighbour.polls = 0
                    self.send_query(ip)
                self.encapsulate(p, u64(neighbour.ether))
            else:
                if self.waiting >= self.capacity or neighbour.waiting >= self.entry_packets:
                    self.drops += 1
                    p.kill()
                else:
                    before = take(neighbour.head)
                    p.next = before
                    neighbour.head = p
                    neighbour.waiting += 1
                    self.waiting += 1
                now = self.clock.now()
                if now - neighbour.queried_ns >= _QUERY_INTERVAL_NS:
                    neighbour.queried_ns = now
                    self.send_query(ip)

    @abstraction(of=to_neighbour)
    def to_any_neighbour(self, p: Packet, ip: u32) -> None:
        """Neighbours answer, each with an address of its own."""
        self.send_query(ip)
        self.encapsulate(p, u64(self.random.next()) | (u64(self.random.next() & 0x7FFF) << 32))

    @datapath
    def handle_reply(self, p: Packet) -> None:
        if p.data.has(0, 42):
            ether = p.data.header(Ether, 0)
            arp = p.data.header(ARP, 14)
            if ether.type == 0x0806 and arp.hardware == 1 and arp.protocol == 0x0800 and arp.operation == 2:
                self.responses += 1
                ip = arp.sender_ip
                address = arp.sender_ether
                # Only what was asked for: an answer to no question is not believed.
                if self.table.find((ip,)) != NONE and (address >> 40) & 1 == 0:
                    self.learn(ip, address)
        p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if port == 0:
            self.handle_ip(p)
        else:
            self.handle_reply(p)
