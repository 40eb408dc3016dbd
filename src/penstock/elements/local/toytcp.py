"""ToyTCP: one TCP connection that sends as much as it may."""

from penstock.elements import ConfigureError, Packet, abstraction, boolean, datapath, u8, u32, u64
from penstock.elements.tcppayload import is_tcp_segment, tcp_payload_bytes
from penstock.elements.tcpspeaking import ACK, FIN, PSH, RST, SYN, TCPSender
from penstock.lang.arguments import Port, UInt16, UInt32

__all__ = ["ToyTCP"]

_CLOSED, _SYN_SENT, _OPEN, _ENDED = 0, 1, 2, 3
_STATES = ("closed", "opening", "open", "ended")
_WINDOW = 60_000
_BURST = 64
_FILLER = 0x78


class ToyTCP(TCPSender):
    """Connect to a port, and send data as fast as TCP's congestion control lets it (RFC 5681); what the peer sends is counted.

    For load that reacts as a host's does: to loss, to delay, and to the peer's window. Slow start, congestion avoidance, fast
    retransmit and recovery, timeouts. Packets for it come with network and transport headers marked; out go segments that begin with
    their TCP header: put ``IPEncap(6, SRC, DST) -> SetTCPChecksum`` behind. The data are one byte, again and again.

    Arguments:
        DPORT: the peer's port. SPORT: its own (a random one).
        LIMIT: bytes to send, then the connection is ended (0: no limit). MSS: bytes of a segment at most (1460).
        ACTIVE: false waits for the handler. STOP: stop the driver when the connection has ended.

    Handlers:
        state (read): closed, opening, open or ended. acked, received (read): bytes. failures (read): resets, and peers that fell silent.
        cwnd, rtt, mss, retransmissions, timeouts (read): of the connection. open (write): begin a new connection.

    Example:
        t :: ToyTCP(80, ACTIVE false) -> IPEncap(6, 1.0.0.1, 2.0.0.2) -> SetTCPChecksum -> IPPrint -> Discard;
        Idle -> t; Script(write t.open, wait 10ms, stop);
    """

    processing = "h/h"
    may_generate = True
    takes_state = False

    state: u8
    sport: u32
    first: u32
    #: the number that the peer sends next, and whether it sends no more
    expected: u32
    peer_ended: boolean
    received_bytes: u64
    acked: u64
    failures: u64

    def configure(self, dport: Port, sport: UInt16 = 0, *, limit: UInt32 = 0, mss: UInt16 = 1460, active: bool = True,
                  stop: bool = False) -> None:
        if dport == 0:
            raise ConfigureError("DPORT: must not be 0")
        self.dport, self.own_port, self.limit, self.active, self.stop = dport, sport, limit, active, stop
        self.set_sender(mss)

    def started(self) -> None:
        if self.active:
            self._open("")

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("state", lambda: _STATES[self.state])
        self.add_data("received", "received_bytes")
        for name in ("acked", "failures"):
            self.add_data(name, name)
        self.add_write("open", self._open, flags="b")

    def _open(self, text: str) -> None:
        self.state = _CLOSED
        self.begin_soon()

    # Out

    @datapath
    def transmit(self, flags: u32, sequence: u32, size: u32, mss: u32) -> None:
        p = self.make_segment(flags, sequence, u32(self.expected) if (flags & ACK) != 0 else u32(0), u32(_WINDOW), size, mss)
        if p is not None:
            p.data.u32[0] = (self.sport << 16) | self.dport
            if size != 0:
                p.data.fill(20, size, _FILLER)
            self.output(0).push(p)

    @datapath
    def connect(self) -> None:
        self.state = _SYN_SENT
        self.sport = self.own_port if self.own_port != 0 else 1024 + self.random.next() % 64512
        self.first = self.random.next()
        self.peer_ended = False
        self.acked = 0
        self.begin_sending(self.first)
        self.mss = u32(self.own_mss)
        self.transmit(u32(SYN), u32(self.first), u32(0), u32(self.own_mss))
        self.sent(u32(1))

    @datapath
    def left(self) -> u32:
        """Bytes that are still to be sent for the first time."""
        if self.limit == 0:
            return u32(0xFFFF_FFFF)
        done: u32 = self.nxt - self.first - 1
        return self.limit - done if done < self.limit else u32(0)

    @datapath
    def send_more(self) -> None:
        for _ in range(_BURST):
            size: u32 = min(min(self.left(), self.mss), self.room())
            # A short segment only at the end, or where the window is smaller than a segment (RFC 9293, section 3.8.6.2.1).
            if size == 0 or (size < self.mss and size < self.left() and self.nxt != self.una):
                break
            self.transmit(u32(ACK | PSH), u32(self.nxt), size, u32(0))
            self.sent(size)
        if self.limit != 0 and self.nxt - self.first == self.limit + 1:
            self.transmit(u32(FIN | ACK), u32(self.nxt), u32(0), u32(0))
            self.sent(u32(1))

    @abstraction(of=send_more)
    def send_some(self) -> None:
        """One segment stands for all: they differ in their numbers and lengths."""
        if (self.random.next() & 1) != 0:
            self.transmit(u32(ACK | PSH), u32(self.nxt), u32(self.own_mss), u32(0))
        elif self.limit != 0:
            self.transmit(u32(FIN | ACK), u32(self.nxt), u32(0), u32(0))

    @datapath
    def resend(self) -> None:
        if self.state == _SYN_SENT:
            self.transmit(u32(SYN), u32(self.first), u32(0), u32(self.own_mss))
            return
        before: u32 = self.una - self.first - 1
        size: u32 = min(self.nxt - self.una, self.mss)
        flags: u32 = ACK | PSH
        if self.limit != 0 and before + size > self.limit:
            size = self.limit - before
            if size == 0:
                flags = FIN | ACK
        self.transmit(flags, u32(self.una), size, u32(0))

    @abstraction(of=resend)
    def resend_some(self) -> None:
        self.send_some()

    @datapath
    def probe(self) -> None:
        if self.state == _CLOSED:
            self.connect()
        elif self.state == _OPEN:
            self.transmit(u32(ACK), self.una - 1, u32(0), u32(0))

    @datapath
    def give_up(self) -> None:
        self.failures += 1
        self.end()

    @datapath
    def end(self) -> None:
        self.state = _ENDED
        self.deadline_ns = 0
        if self.stop:
            self.stop_driver()

    # In

    @datapath
    def is_mine(self, p: Packet) -> bool:
        return is_tcp_segment(p) and bool(p.transport.u32[0] == ((u32(self.dport) << 16) | self.sport))

    @datapath
    def open_answer(self, p: Packet) -> None:
        tcp = p.tcp
        flags = u32(tcp.flags)
        if (flags & ACK) == 0 or tcp.acknowledgement != self.first + 1:
            return
        if (flags & RST) != 0:
            self.failures += 1
            self.end()
        elif (flags & SYN) != 0:
            self.expected = tcp.sequence + 1
            self.state = _OPEN
            self.open_window(p, self.mss_of(p))
            self.transmit(u32(ACK), u32(self.nxt), u32(0), u32(0))
            self.send_more()

    @datapath
    def take(self, p: Packet) -> None:
        tcp = p.tcp
        flags = u32(tcp.flags)
        size = tcp_payload_bytes(p)
        sequence: u32 = tcp.sequence
        if (flags & RST) != 0:
            # Only at the very number (RFC 5961, section 3.2).
            if sequence == self.expected:
                self.failures += 1
                self.end()
            return
        if (flags & ACK) != 0:
            self.acked += self.acknowledged(u32(tcp.acknowledgement), u32(tcp.window), size)
        answers = size != 0 or (flags & (SYN | FIN)) != 0
        if sequence == self.expected and not self.peer_ended:
            self.received_bytes += size
            self.expected = sequence + size
            if (flags & FIN) != 0:
                self.expected += 1
                self.peer_ended = True
        if answers:
            self.transmit(u32(ACK), u32(self.nxt), u32(0), u32(0))
        self.send_more()
        if self.limit != 0 and self.una - self.first == self.limit + 2:
            # The FIN, too, is acknowledged.
            self.acked = self.limit
            self.end()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.is_mine(p):
            if self.state == _SYN_SENT:
                self.open_answer(p)
            elif self.state == _OPEN:
                self.take(p)
            elif self.state == _ENDED and (p.tcp.flags & (FIN | RST)) == FIN:
                # The peer ends its side later, or did not hear that this was known.
                self.expected = p.tcp.sequence + tcp_payload_bytes(p) + 1
                self.transmit(u32(ACK), u32(self.nxt), u32(0), u32(0))
        p.kill()
