"""WebGen: many web clients."""

from penstock.elements import NONE, ConfigureError, HandlerError, Packet, Struct, Table, abstraction, boolean, datapath, u8, u32, u64
from penstock.elements.reaping import REAP_NS, ReapingElement
from penstock.elements.tcppayload import is_tcp_segment, tcp_payload_bytes
from penstock.elements.tcpspeaking import ACK, FIN, PSH, RST, SYN, TCPSpeaker
from penstock.lang.arguments import ArgumentError, IPAddress, IPPrefix, Port, Seconds, UInt32, parse_bool, parse_real

__all__ = ["WebGen"]

_OPENING, _ASKING, _READING, _ENDING = 0, 1, 2, 3
_TICK_NS = 5_000_000
_BURST = 256
_SECOND_NS = 1_000_000_000
_RETRY_NS, _MAX_TRIES = 1_000_000_000, 5
_WINDOW = 60_000
_MSS = 1460


class _Client(Struct):
    state: u8
    tries: u8
    first: u32
    expected: u32
    begun_ns: u64
    retry_ns: u64


class WebGen(ReapingElement, TCPSpeaker):
    """Be many web clients: open connections to a web server at a rate, each from an address and port at random, and fetch a page.

    Each client sends its request, reads until the server ends the connection, and ends it too. What is not answered is sent again
    after 1, 2, 4 … seconds, five times. Packets for it come with network and transport headers marked; those for other hosts go to
    no one. What goes out begins at the IP header.

    Arguments:
        PREFIX: where the clients' addresses are. DST: the server's address. RPS: connections a second.
        DPORT: the server's port (80). REQUEST: what is asked (``GET / HTTP/1.0`` and an empty line).
        LIMIT: connections in all (0: no limit). CAPACITY: connections at a time (16384). TIMEOUT: of a whole connection (60 s).
        ACTIVE: false opens none. STOP: stop the driver when LIMIT connections have ended.

    Handlers:
        count, completed, resets, silent (read): connections begun, fetched to the end, reset by the server, and given up.
        clients (read): connections that are open. bytes (read): of what servers sent. average_time (read): seconds from SYN to end.
        rate, active (read/write). reset_counts (write).

    Example:
        w :: WebGen(10.0.0.0/8, 1.0.0.1, 1000, LIMIT 5) -> IPPrint -> Discard; Idle -> w; Script(wait 10ms, stop);
    """

    processing = "h/h"
    may_generate = True
    takes_state = False

    active: boolean
    per_second: u64
    credit: u64
    last_ns: u64
    reaped_ns: u64
    count: u64
    ended: u64
    completed: u64
    resets: u64
    silent: u64
    bytes: u64
    spent_ns: u64

    def configure(self, prefix: IPPrefix, dst: IPAddress, rps: float, *, dport: Port = 80, request: str = "GET / HTTP/1.0\r\n\r\n",
                  limit: UInt32 = 0, capacity: UInt32 = 16384, timeout: Seconds = 60, active: bool = True, stop: bool = False) -> None:
        self.network, self.mask = prefix[0] & prefix[1], prefix[1]
        if not 0 < rps <= 1e6:
            raise ConfigureError("RPS: must be above 0, and at most 1000000")
        if not 1 <= capacity <= 1 << 20:
            raise ConfigureError("CAPACITY: out of range, bound 1048576")
        self.request = request.encode("latin-1", "replace")
        if not 1 <= len(self.request) <= _MSS:
            raise ConfigureError(f"REQUEST: must be 1 to {_MSS} bytes, so that it is one segment")
        self.dst, self.dport, self.limit, self.active, self.stop = dst, dport, limit, active, stop
        self.per_second, self.timeout_ns = int(rps * 1000), int(timeout * 1e9)
        self.table = Table((u32, u32), _Client, capacity)
        self.watch()

    def started(self) -> None:
        self.timer.schedule_after(_TICK_NS)

    def add_handlers(self) -> None:
        for name in ("count", "completed", "resets", "silent", "bytes"):
            self.add_data(name, name)
        self.add_read("clients", lambda: self.table.entries)
        self.add_read("average_time", lambda: f"{self.spent_ns / 1e9 / self.completed:.6f}" if self.completed else "0")
        self.add_read("rate", lambda: f"{self.per_second / 1000:g}")
        self.add_write("rate", self._set_rate)
        self.add_data("active", "active", lambda text: parse_bool(text.strip()))
        self.add_write("reset_counts", self._reset, flags="b")

    def _set_rate(self, text: str) -> None:
        try:
            rate = parse_real(text.strip())
        except ArgumentError as error:
            raise HandlerError(str(error)) from None
        if not 0 < rate <= 1e6:
            raise HandlerError("must be above 0, and at most 1000000")
        self.per_second = int(rate * 1000)

    def _reset(self, text: str) -> None:
        self.count = self.ended = self.completed = self.resets = self.silent = self.bytes = self.spent_ns = 0

    # Out

    @datapath
    def transmit(self, i: u32, flags: u32, sequence: u32, size: u32, mss: u32) -> None:
        client = self.table.slots[i].value
        p = self.make_segment(flags, sequence, u32(client.expected), u32(_WINDOW), size, mss)
        if p is not None:
            if size != 0:
                p.data.write(20, self.request)
            self.address(p, u32(self.table.slots[i].k0), u32(self.dst), (u32(self.table.slots[i].k1) << 16) | self.dport)
            self.output(0).push(p)

    @datapath
    def speak(self, i: u32) -> None:
        """What is due in its state, for the first time or again."""
        client = self.table.slots[i].value
        now: u64 = self.clock.now()
        client.retry_ns = now + (u64(_RETRY_NS) << client.tries)
        asked: u32 = client.first + 1 + len(self.request)
        if client.state == _OPENING:
            self.transmit(i, u32(SYN), u32(client.first), u32(0), u32(_MSS))
        elif client.state == _ASKING:
            self.transmit(i, u32(ACK | PSH), client.first + 1, u32(len(self.request)), u32(0))
        elif client.state == _READING:
            self.transmit(i, u32(ACK), asked, u32(0), u32(0))
        else:
            self.transmit(i, u32(FIN | ACK), asked, u32(0), u32(0))

    @datapath
    def begin(self) -> None:
        """One client more, if its end is free."""
        src: u32 = self.network | (self.random.next() & (0xFFFF_FFFF ^ self.mask))
        port: u32 = 1024 + self.random.next() % 64512
        if self.table.find((src, port)) != NONE:
            return
        i = self.table.insert((src, port))
        if i == NONE:
            return
        client = self.table.slots[i].value
        client.state = _OPENING
        client.tries = 0
        client.first = self.random.next()
        client.expected = 0
        client.begun_ns = self.clock.now()
        self.count += 1
        self.speak(i)

    @datapath
    def end(self, i: u32) -> None:
        self.table.remove(i)
        self.ended += 1
        if self.stop and self.limit != 0 and self.ended >= self.limit:
            self.stop_driver()

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        """Also sends again what was not answered."""
        client = self.table.slots[i].value
        if client.tries >= _MAX_TRIES or now_ns > client.begun_ns + self.timeout_ns:
            return bool(now_ns >= client.retry_ns or now_ns > client.begun_ns + self.timeout_ns)
        if now_ns >= client.retry_ns:
            client.tries += 1
            self.speak(i)
        return False

    @datapath
    def end_entry(self, i: u32) -> None:
        self.silent += 1
        self.end(i)

    @datapath
    def run_timer(self) -> bool:
        now: u64 = self.clock.now()
        if self.active and (self.limit == 0 or self.count < self.limit):
            if self.last_ns == 0:
                self.last_ns = now - _TICK_NS
            # In billionths of a thousandth of a connection; a late look makes up for a quarter of a second at most.
            self.credit += min(now - self.last_ns, u64(REAP_NS)) * self.per_second
            for _ in range(_BURST):
                if self.credit < 1000 * _SECOND_NS or (self.limit != 0 and self.count >= self.limit):
                    break
                self.credit -= 1000 * _SECOND_NS
                self.begin()
            self.credit = min(self.credit, u64(_BURST * 1000 * _SECOND_NS))
        self.last_ns = now
        if now >= self.reaped_ns + REAP_NS // 10:
            self.reaped_ns = now
            self.reap(now)
        self.timer.schedule_after(_TICK_NS)
        return True

    # In

    @datapath
    def is_from_server(self, p: Packet) -> bool:
        return is_tcp_segment(p) and bool(p.ip.src == self.dst and p.tcp.src == self.dport)

    @datapath
    def take(self, i: u32, p: Packet) -> None:
        client = self.table.slots[i].value
        tcp = p.tcp
        flags = u32(tcp.flags)
        sequence: u32 = tcp.sequence
        number: u32 = tcp.acknowledgement
        asked: u32 = client.first + 1 + len(self.request)
        if client.state == _OPENING:
            if (flags & ACK) == 0 or number != client.first + 1:
                return
            if (flags & RST) != 0:
                self.resets += 1
                self.end(i)
            elif (flags & SYN) != 0:
                client.expected = sequence + 1
                client.state = _ASKING
                client.tries = 0
                self.speak(i)
            return
        if (flags & RST) != 0:
            # Only at the very number (RFC 5961, section 3.2).
            if sequence == client.expected:
                self.resets += 1
                self.end(i)
            return
        if client.state == _ASKING and (flags & ACK) != 0 and number == asked:
            client.state = _READING
            client.tries = 0
        size = tcp_payload_bytes(p)
        if sequence == client.expected and client.state == _READING:
            self.bytes += size
            client.expected = sequence + size
            client.tries = 0
            if (flags & FIN) != 0:
                client.expected = sequence + size + 1
                client.state = _ENDING
        if client.state == _ENDING and (flags & ACK) != 0 and number == asked + 1:
            self.completed += 1
            self.spent_ns += self.clock.now() - client.begun_ns
            self.end(i)
        elif size != 0 or (flags & (SYN | FIN)) != 0:
            self.speak(i)

    @abstraction(of=take)
    def any_take(self, i: u32, p: Packet) -> None:
        """It is answered, or not."""
        if (self.random.next() & 1) != 0:
            self.transmit(i, u32(ACK), u32(p.tcp.acknowledgement), u32(0), u32(0))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.is_from_server(p):
            i = self.table.find((u32(p.ip.dst), u32(p.tcp.dst)))
            if i != NONE:
                self.take(i, p)
        p.kill()
