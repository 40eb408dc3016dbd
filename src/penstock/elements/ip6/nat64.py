"""NAT64: IPv6 clients and IPv4 servers (RFC 6146)."""

from penstock.datapath.checksum import word_delta
from penstock.elements import NONE, ConfigureError, HandlerError, Packet, Struct, Table, abstraction, datapath, u16, u32, u64, u128
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.elements.reaping import ReapingElement
from penstock.elements.translation import WELL_KNOWN_PREFIX, Translation
from penstock.lang.arguments import ArgumentError, Seconds, UInt32, parse_ip, unparse_ip

__all__ = ["NAT64"]

_ICMP, _TCP, _UDP, _ICMP6 = 1, 6, 17, 58
#: in keys, beside the protocol: the address is one of the pool's
_POOL = 0x100
_LOW_64 = (1 << 64) - 1
#: RFC 6146, section 4: a TCP connection that is opening or ending
_TRANSITORY_S = 240
_OUTWARD, _INWARD, _ENDED = 1, 2, 4


class Binding(Struct):
    """One direction: what takes the place of an end's address and port (an address of the pool, or of a client)."""

    LINKS = ("peer",)

    high: u64
    low: u64
    port: u32
    peer: u32
    expiry_s: u32
    #: which directions were seen, and whether the connection ended
    seen: u32


class NAT64(ReapingElement, Translation):
    """Translate between IPv6 clients and IPv4 servers, with state (RFC 6146).

    Input 0 takes IPv6 packets to addresses in PREFIX, and output 0 gives them as IPv4 packets from an address of POOL; input 1 takes
    IPv4 packets to POOL, and output 1 gives those of known bindings as IPv6 packets. Each data must start at a checked header. A client's
    address and port keep one address and port of the pool towards all servers (endpoint-independent mapping and filtering, RFC
    4787), by TCP, UDP and ICMP's echo; errors of ICMP are translated with what they quote. Fragments behind the first one, and what
    belongs to no binding, are dropped. Hop limits stay as they are.

    Arguments:
        POOL: an address or a range of them (``192.0.2.1-192.0.2.4``). PREFIX: 64:ff9b::/96. MIN_PORT, MAX_PORT: 1024 to 65535.
        CAPACITY: bindings that are remembered (65536). UDP_TIMEOUT (300 s), TCP_TIMEOUT (7440 s), ICMP_TIMEOUT (60 s).

    Handlers:
        bindings (read): a line each. count, drops, failures (read): bindings, packets without one, and for want of one. clear (write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(2001:db8::1, 4000, 64:ff9b::2.0.0.2, 53) -> CheckIP6Header
        -> n :: NAT64(192.0.2.1); n[0] -> CheckIPHeader -> IPPrint -> IPMirror -> [1] n; n[1] -> IP6Print -> Discard;
    """

    ports = "2/2"
    processing = "h/h"
    takes_state = True

    failures: u64

    def configure(self, pool: str, prefix: str = WELL_KNOWN_PREFIX, *, min_port: UInt32 = 1024, max_port: UInt32 = 65535,
                  capacity: UInt32 = 65536, udp_timeout: Seconds = 300, tcp_timeout: Seconds = 7440, icmp_timeout: Seconds = 60) -> None:
        self.set_prefix(prefix)
        low, _, high = pool.partition("-")
        try:
            self.first, last = parse_ip(low.strip(), self.router.context), parse_ip((high or low).strip(), self.router.context)
        except ArgumentError as error:
            raise ConfigureError(f"POOL: {error}") from None
        self.addresses = last - self.first + 1
        if not 1 <= self.addresses <= 65536:
            raise ConfigureError("POOL: 1 to 65536 addresses, the lower one first")
        if not 1 <= min_port <= max_port <= 65535:
            raise ConfigureError("MIN_PORT: 1 to MAX_PORT, which is 65535 at most")
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.min_port, self.span = min_port, max_port - min_port + 1
        self.choices = self.addresses * self.span
        self.timeouts = int(udp_timeout), int(tcp_timeout), int(icmp_timeout)
        self.table = Table((u128, u32, u16), Binding, 2 * capacity)
        self.watch()

    def add_handlers(self) -> None:
        self.add_drops_handler()
        self.add_data("failures", "failures")
        self.add_read("count", lambda: self.table.entries // 2)
        self.add_read("bindings", self._bindings)
        self.add_write("clear", self._clear, flags="b")

    def _bindings(self) -> str:
        names = {_ICMP: "icmp", _TCP: "tcp", _UDP: "udp"}
        lines = [f"{names.get(kind, kind)} [{unparse_ip6(address)}]:{port} {unparse_ip(value.low)}:{value.port}\n"
                 for (address, port, kind), value in self.table.items() if not kind & _POOL]
        return "".join(sorted(lines))

    def _clear(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.table.clear()

    # Bindings

    @datapath
    def now_s(self) -> u32:
        return u32(self.clock.recent >> 30)

    @datapath
    def lifetime_s(self, kind: u32, seen: u32) -> u32:
        if kind == _TCP:
            return u32(self.timeouts[1]) if seen == _OUTWARD | _INWARD else u32(_TRANSITORY_S)
        return u32(self.timeouts[0]) if kind == _UDP else u32(self.timeouts[2])

    @datapath(rare=True)
    def bind(self, client: u128, port: u32, kind: u32) -> u32:
        """A new binding; NONE where the table or the pool has no room."""
        if self.table.entries + 2 > self.table.capacity:
            self.failures += 1
            return u32(NONE)
        pick = self.first_free(self.random.next() % self.choices, kind)
        if pick == NONE:
            self.failures += 1
            return u32(NONE)
        address = u32(self.first) + pick // self.span
        mine = u32(self.min_port) + pick % self.span
        i = self.table.insert((client, port, u16(kind)))
        k = self.table.insert((u128(address), mine, u16(kind | _POOL)))
        if i == NONE or k == NONE:
            self.failures += 1
            return u32(NONE)
        there = self.table.slots[i].value
        there.high = 0
        there.low = address
        there.port = mine
        there.peer = k
        there.seen = 0
        there.expiry_s = 0
        back = self.table.slots[k].value
        back.high = u64(client >> 64)
        back.low = u64(client)
        back.port = port
        back.peer = i
        back.seen = 0
        back.expiry_s = 0
        return i

    @datapath
    def first_free(self, start: u32, kind: u32) -> u32:
        """The first address and port from ``start`` on that nobody has; NONE where all are taken."""
        for n in range(self.choices):
            pick = (start + n) % self.choices
            address = u32(self.first) + pick // self.span
            if self.table.find((u128(address), u32(self.min_port) + pick % self.span, u16(kind | _POOL))) == NONE:
                return pick
        return u32(NONE)

    @abstraction(of=first_free)
    def any_free(self, start: u32, kind: u32) -> u32:
        """Other clients may have the first choice, but not all of them."""
        return self.random.next() % self.choices

    @datapath
    def refresh(self, i: u32, kind: u32, direction: u32, flags: u32) -> None:
        """A packet of a binding came; both of its entries live as long."""
        mine = self.table.slots[i].value
        seen: u32 = mine.seen
        if kind == _TCP and (flags & 2) != 0 and direction == _OUTWARD:
            # A connection that opens (SYN) begins anew.
            seen = 0
        seen = seen | direction
        if kind == _TCP and (flags & 5) != 0:
            seen = seen | _ENDED
        mine.seen = seen
        mine.expiry_s = self.now_s() + self.lifetime_s(kind, seen)
        other = self.table.slots[mine.peer].value
        other.seen = seen
        other.expiry_s = mine.expiry_s

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return bool(u32(now_ns >> 30) > self.table.slots[i].value.expiry_s)

    @datapath
    def end_entry(self, i: u32) -> None:
        peer = self.table.slots[i].value.peer
        self.table.remove(i)
        self.table.remove(peer)

    # Packets

    @datapath
    def set_port(self, p: Packet, kind: u32, offset: u32, port: u32) -> None:
        """Put in a port (of an echo its identifier), and into the checksum."""
        change = word_delta(u32(p.transport.u16[offset]), port)
        p.transport.u16[offset] = port
        self.adjust(p, kind, change)

    @datapath
    def outward(self, p: Packet) -> bool:
        kind, at, fragment = self.upper_layer(p)
        if not self.is_embedded(p.ip6.dst) or (fragment & 0xFFF8) != 0 or not p.transport.has(0, 8):
            return False
        dst = self.extracted(p.ip6.dst)
        if kind == _ICMP6 and p.transport.u8[0] < 128:
            return self.error_outward(p, at, dst)
        flags: u32 = 0
        offset: u32 = 0
        own: u32 = kind
        if kind == _ICMP6:
            if p.transport.u8[0] != 128:
                return False
            offset = 4
            own = u32(_ICMP)
        elif kind == _TCP:
            if not p.transport.has(0, 20):
                return False
            flags = p.transport.u8[13]
        elif kind != _UDP:
            return False
        port = u32(p.transport.u16[offset])
        i = self.table.find((p.ip6.src, port, u16(own)))
        if i == NONE:
            i = self.bind(p.ip6.src, port, own)
            if i == NONE:
                return False
        self.refresh(i, own, u32(_OUTWARD), flags)
        address = u32(self.table.slots[i].value.low)
        self.set_port(p, own, offset, u32(self.table.slots[i].value.port))
        return self.to_ip4(p, kind, at, fragment, address, dst)

    @datapath
    def error_outward(self, p: Packet, at: u32, dst: u32) -> bool:
        """An error that a client, or a router before it, sends about a packet that came through here."""
        if not p.transport.has(0, 56) or not self.is_embedded(p.transport.u128[16]):
            return False
        kind: u32 = p.transport.u8[14]
        offset: u32 = 50
        if kind == _ICMP6:
            kind = u32(_ICMP)
            offset = 52
        i = self.table.find((p.transport.u128[32], u32(p.transport.u16[offset]), u16(kind)))
        if i == NONE:
            return False
        p.transport.u16[offset] = self.table.slots[i].value.port
        mine = u32(self.table.slots[i].value.low)
        return self.error_to_ip4(p, at, mine, dst, self.extracted(p.transport.u128[16]), mine)

    @datapath
    def inward(self, p: Packet) -> bool:
        ip = p.ip
        kind: u32 = ip.protocol
        if (ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 8):
            return False
        flags: u32 = 0
        offset: u32 = 2
        if kind == _ICMP:
            if p.transport.u8[0] != 0:
                return self.error_inward(p)
            offset = 4
        elif kind == _TCP:
            if not p.transport.has(0, 20):
                return False
            flags = p.transport.u8[13]
        elif kind != _UDP:
            return False
        i = self.table.find((u128(u32(ip.dst)), u32(p.transport.u16[offset]), u16(kind | _POOL)))
        if i == NONE:
            return False
        self.refresh(i, kind, u32(_INWARD), flags)
        there = self.table.slots[i].value
        client = (u128(there.high) << 64) | u128(there.low)
        if kind != _UDP or p.transport.u16[6] != 0:
            self.set_port(p, kind, offset, u32(there.port))
        else:
            p.transport.u16[offset] = there.port
        return self.to_ip6(p, self.embedded(u32(ip.src)), client)

    @datapath
    def error_inward(self, p: Packet) -> bool:
        """An error about a packet that went out from here: what it quotes was sent by an address of the pool."""
        if not p.transport.has(0, 36):
            return False
        kind: u32 = p.transport.u8[17]
        offset: u32 = 28
        if kind == _ICMP:
            offset = 32
        i = self.table.find((u128(u32(p.transport.u32[20])), u32(p.transport.u16[offset]), u16(kind | _POOL)))
        if i == NONE:
            return False
        there = self.table.slots[i].value
        client = (u128(there.high) << 64) | u128(there.low)
        p.transport.u16[offset] = there.port
        return self.error_to_ip6(p, self.embedded(u32(p.ip.src)), client, client, self.embedded(u32(p.transport.u32[24])))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if port == 0:
            if self.outward(p):
                self.output(0).push(p)
            else:
                self.drop(p)
        elif self.inward(p):
            self.output(1).push(p)
        else:
            self.drop(p)
