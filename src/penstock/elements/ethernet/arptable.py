"""ARPTable: addresses of neighbours for several ARPQueriers."""

from penstock.elements import NONE, ConfigureError, Element, HandlerError, Timer, datapath, u32, u64
from penstock.elements.arpstore import ARPStore
from penstock.lang.arguments import ArgumentError, Seconds, UInt32, parse_ether, parse_ip

__all__ = ["ARPTable"]

_TICK_NS = 1_000_000_000


class ARPTable(Element):
    """Remember the Ethernet addresses of IPv4 hosts, and packets that wait for one, for all ARPQueriers that name this as their TABLE.

    Arguments:
        CAPACITY: packets that may wait (2048). ENTRY_CAPACITY: addresses (0: 4096). ENTRY_PACKET_CAPACITY: packets that may wait for one
        address (0: no limit of its own). TIMEOUT: how long an address is remembered (5 min; 0: for ever).
        CAPACITY_SLIM_FACTOR: accepted for compatibility.

    Handlers:
        table (read): addresses: IP, whether known, Ethernet address, age in seconds. count, length, drops (read): addresses, packets that
        wait, and packets dropped. insert (write): IP and Ethernet address. delete (write): an IP address. clear (write): forget all.

    Example:
        t :: ARPTable(TIMEOUT 60s); InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 1.0.0.2, 2)
        -> q :: ARPQuerier(1.0.0.1, 1:1:1:1:1:1, TABLE t) -> Print -> Discard; Idle -> [1] q;
    """

    ports = "0/0"
    configure_phase = 50
    takes_state = True

    def configure(self, *, capacity: UInt32 = 2048, entry_capacity: UInt32 = 0, entry_packet_capacity: UInt32 = 0, timeout: Seconds = 300,
                  capacity_slim_factor: UInt32 = 2) -> None:
        self.store = ARPStore(capacity=capacity, entries=entry_capacity, entry_packets=entry_packet_capacity, timeout_s=timeout, poll_s=60)
        self.timer = Timer(self)
        self.packets_held = capacity + 2

    def started(self) -> None:
        self.timer.schedule_after(_TICK_NS)

    def add_handlers(self) -> None:
        store = self.store
        self.add_read("table", store.rows)
        self.add_read("count", lambda: store.table.entries)
        self.add_read("length", lambda: store.waiting)
        self.add_read("drops", lambda: store.drops)
        self.add_write("insert", self._insert)
        self.add_write("delete", lambda text: store.forget(parse_ip(text.strip(), self.router.context)))
        self.add_write("clear", lambda text: store.clear(), flags="b")

    def _insert(self, text: str) -> None:
        words = text.split()
        if len(words) != 2:
            raise HandlerError("expected an IP address and an Ethernet address")
        try:
            self.learn(parse_ip(words[0], self.router.context), parse_ether(words[1], self.router.context))
        except (ArgumentError, ConfigureError) as error:
            raise HandlerError(str(error)) from None

    @datapath
    def learn(self, ip: u32, ether: u64) -> None:
        """Packets that wait go with the next one that an ARPQuerier has for this address."""
        i = self.store.entry_for(u32(ip))
        if i != NONE:
            self.store.set_ether(i, ether)

    @datapath
    def run_timer(self) -> bool:
        self.store.age()
        self.timer.schedule_after(_TICK_NS)
        return True
