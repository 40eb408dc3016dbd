"""ARPResponder."""

from penstock.elements import Array, ConfigureError, Element, HandlerError, Packet, datapath, u16, u32, u48
from penstock.lang.arguments import ArgumentError, Raw, parse_ether, parse_ip, parse_prefix, unparse_ether, unparse_prefix
from penstock.lang.text import split_words, unquote
from penstock.packet.headers import ARP, Ether

__all__ = ["ARPResponder"]

_SPARE_ENTRIES = 16

Entry = tuple[int, int, int]


class ARPResponder(Element):
    """Answer ARP requests for given addresses.

    Ethernet frames with an ARP request for one of them become the answer, on output 0. Other frames go to
    output 1, or are dropped. The entry with the longest matching prefix wins.

    Arguments:
        IP/MASK [IP/MASK...] ETH, ...: prefixes, and the address to answer with.

    Handlers:
        table (read): the entries.
        lookup (read): the Ethernet address for the IP address given as parameter.
        add (write): an entry as in the arguments. remove (write): a prefix.

    Example:
        FromDump(f.pcap, STOP true) -> ARPResponder(1.0.0.1 1:1:1:1:1:1, 2.0.0.0/8 2:2:2:2:2:2) -> Print -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"
    can_live_reconfigure = True

    count: u32

    def configure(self, *entries: Raw) -> None:
        if not entries:
            raise ConfigureError("IP/MASK ETH: required argument missing")
        table: list[Entry] = []
        for text in entries:
            table += self._entries(text)
        capacity = len(table) + _SPARE_ENTRIES
        self.addresses, self.masks, self.ethers = Array(u32, capacity), Array(u32, capacity), Array(u48, capacity)
        self.capacity = capacity
        self._store(table)

    def _entries(self, text: str) -> list[Entry]:
        prefixes: list[tuple[int, int]] = []
        ether: int | None = None
        for word in map(unquote, split_words(text)):
            try:
                prefixes.append(parse_prefix(word, self.router.context))
                continue
            except ArgumentError:
                pass
            try:
                if ether is not None:
                    raise ArgumentError("more than one Ethernet address")
                ether = parse_ether(word, self.router.context)
            except ArgumentError:
                raise ArgumentError(f"'{word}' is neither an IP prefix nor the entry's one Ethernet address") from None
        if ether is None or not prefixes:
            raise ArgumentError(f"entry '{text}' needs IP addresses and an Ethernet address, as in '1.0.0.1 0:1:2:3:4:5'")
        return [(address & mask, mask, ether) for address, mask in prefixes]

    def _store(self, table: list[Entry]) -> None:
        """The longest prefixes first, so that the first match is the best one."""
        unique = {(a, m): (a, m, e) for a, m, e in table}
        if len(unique) > self.capacity:
            raise HandlerError(f"the table is full ({self.capacity} entries)")
        self.table = sorted(unique.values(), key=lambda entry: -entry[1].bit_count())
        for i, (address, mask, ether) in enumerate(self.table):
            self.addresses[i], self.masks[i], self.ethers[i] = address, mask, ether
        self.count = len(self.table)

    def add_handlers(self) -> None:
        self.add_read("table", lambda: "".join(f"{unparse_prefix(a, m)}\t{unparse_ether(e)}\n" for a, m, e in self.table))
        self.add_read("lookup", self._lookup, parameter=True)
        self.add_write("add", lambda text: self._store(self.table + self._entries(text)))
        self.add_write("remove", self._remove)

    def _lookup(self, text: str) -> str:
        address = parse_ip(text.strip(), self.router.context)
        return next((unparse_ether(e) for a, m, e in self.table if address & m == a), "")

    def _remove(self, text: str) -> None:
        address, mask = parse_prefix(text.strip(), self.router.context)
        left = [entry for entry in self.table if entry[:2] != (address & mask, mask)]
        if len(left) == len(self.table):
            raise HandlerError(f"no entry {unparse_prefix(address, mask)}")
        self._store(left)

    @datapath
    def find(self, address: u32) -> u32:
        for i in range(self.count):
            if (address & self.masks[i]) == self.addresses[i]:
                return u32(i)
        return u32(0xFFFF_FFFF)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(0, 42):
            self.checked_output_push(1, p)
            return None
        ether = p.data.header(Ether, 0)
        arp = p.data.header(ARP, 14)
        if (ether.type != 0x0806 or arp.hardware != 1 or arp.protocol != 0x0800 or arp.operation != 1
                or u16(arp.hardware_length << 8 | arp.protocol_length) != 0x0604):
            self.checked_output_push(1, p)
            return None
        wanted = arp.target_ip
        entry = self.find(wanted)
        if entry == 0xFFFF_FFFF:
            self.checked_output_push(1, p)
            return None
        mine = self.ethers[entry]
        if p.length > 42:
            p.take(p.length - 42)
        asker = arp.sender_ether
        asker_ip = arp.sender_ip
        ether.dst = asker
        ether.src = mine
        arp.operation = 2
        arp.sender_ether = mine
        arp.sender_ip = wanted
        arp.target_ether = asker
        arp.target_ip = asker_ip
        p.set_mac(0)
        p.set_network(14)
        return p
