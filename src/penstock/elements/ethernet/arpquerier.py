"""ARPQuerier."""

from penstock.elements import NONE, Element, HandlerError, Packet, Timer, abstraction, datapath, u8, u32, u64
from penstock.elements.arpstore import ARPStore
from penstock.elements.ethernet.arptable import ARPTable
from penstock.lang.arguments import ElementName, Seconds, UInt32, Word, parse_ether, parse_ip, unparse_ip
from penstock.packet.headers import ARP, Ether

__all__ = ["ARPQuerier"]

_BROADCAST = 0xFFFF_FFFF_FFFF
_QUERY_INTERVAL_NS = 100_000_000
_TICK_NS = 1_000_000_000


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
        TABLE: the name of an ARPTable that keeps the addresses, for several ARPQueriers; its capacities and timeout hold then.

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
    ticking: u8

    def configure(self, ip: Word, eth: Word = "", *, capacity: UInt32 = 2048, entry_capacity: UInt32 = 0,
                  entry_packet_capacity: UInt32 = 0, timeout: Seconds = 300, poll_timeout: Seconds = 60,
                  broadcast: Word = "", broadcast_poll: bool = False, table: ElementName = "") -> None:
        context = self.router.context
        self.ip, self.ether = parse_ip(ip, context), parse_ether(eth or ip, context)
        self.broadcast = parse_ip(broadcast, context) if broadcast else 0xFFFFFFFF
        self.table_name = table
        self.owns = not table
        if self.owns:
            self.store = ARPStore(capacity=capacity, entries=entry_capacity, entry_packets=entry_packet_capacity, timeout_s=timeout,
                                  poll_s=poll_timeout)
            self.packets_held = capacity + 2
        self.timer = Timer(self)

    def initialize(self) -> None:
        if not self.owns:
            self.store = self.named(self.table_name, ARPTable, keyword="TABLE").store

    def add_handlers(self) -> None:
        def address(text: str) -> int:
            return parse_ip(text.strip(), self.router.context)

        self.add_data("ipaddr", "ip", address, unparse_ip)
        self.add_data("broadcast", "broadcast", address, unparse_ip)
        self.add_read("table", self.store.rows)
        self.add_read("stats", lambda: f"{self.drops + self.store.drops} packets killed\n{self.queries} ARP queries sent\n")
        for name in ("queries", "responses"):
            self.add_data(name, name)
        self.add_read("drops", lambda: self.drops + self.store.drops)
        self.add_read("length", lambda: self.store.waiting)
        self.add_read("count", lambda: self.store.table.entries)
        self.add_write("insert", self._insert)
        self.add_write("delete", lambda text: self.store.forget(address(text)))
        self.add_write("clear", lambda text: self.store.clear(), flags="b")

    def _insert(self, text: str) -> None:
        words = text.split()
        if len(words) != 2:
            raise HandlerError("expected an IP address and an Ethernet address")
        self.learn(parse_ip(words[0], self.router.context), parse_ether(words[1], self.router.context))

    # The table

    @datapath
    def entry_for(self, ip: u32) -> u32:
        i = self.store.entry_for(ip)
        if self.owns and self.ticking == 0 and i != NONE:
            self.ticking = 1
            self.timer.schedule_after(_TICK_NS)
        return i

    @datapath
    def learn(self, ip: u32, ether: u64) -> None:
        i = self.entry_for(u32(ip))
        if i != NONE:
            self.store.set_ether(i, ether)
            self.release_waiting(i)

    @datapath
    def release_waiting(self, i: u32) -> None:
        """Send what waits for entry ``i``, the oldest first."""
        n = self.store.turn_round(i)
        for _ in range(n):
            p = self.store.next_waiting(i)
            if p is None:
                break
            self.encapsulate(p, u64(self.store.table.slots[i].value.ether))

    @datapath
    def run_timer(self) -> bool:
        """Once a second while there are entries: they get older, and are polled or forgotten."""
        if self.owns:
            self.store.age()
            if self.store.table.entries > 0:
                self.timer.schedule_after(_TICK_NS)
            else:
                self.ticking = 0
            return True
        return False

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
            neighbour = self.store.table.slots[i].value
            if neighbour.known != 0:
                if neighbour.polls != 0:
                    neighbour.polls = 0
                    self.send_query(ip)
                if neighbour.waiting != 0:
                    # Somebody else has learned the address of a table that several share.
                    self.release_waiting(i)
                self.encapsulate(p, u64(neighbour.ether))
            else:
                self.store.wait(p, i)
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
                if self.store.table.find((ip,)) != NONE and (address >> 40) & 1 == 0:
                    self.learn(ip, address)
        p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if port == 0:
            self.handle_ip(p)
        else:
            self.handle_reply(p)
