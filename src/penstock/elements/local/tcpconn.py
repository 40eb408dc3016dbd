"""TCPConn: begin and end of a TCP connection, and its sending side."""

from penstock.elements import ConfigureError, HandlerError, Notifier, Packet, PacketRing, abstraction, boolean, datapath, u8, u32, u64
from penstock.elements.local.tcpbuffer import buffer_behind
from penstock.elements.segments import HALF
from penstock.elements.signals import upstream_signal
from penstock.elements.tcppayload import is_tcp_segment, tcp_payload_bytes
from penstock.elements.tcpspeaking import ACK, FIN, PSH, RST, SYN, TCPSender
from penstock.lang.arguments import IPAddress, Port, UInt16, UInt32, unparse_ip

__all__ = ["TCPConn"]

_CLOSED, _LISTENING, _OPENING, _ANSWERING, _OPEN = 0, 1, 2, 3, 4
_STATES = ("closed", "listening", "opening", "answering", "open")
_WINDOW = 60_000


class TCPConn(TCPSender):
    """One end of a TCP connection, with a TCPAck and a TCPBuffer for what comes in.

    Input 0 takes the peer's packets; those with data leave by output 0, for a TCPAck and the TCPBuffer behind it, which must be there.
    Input 1 is pulled for what is to be sent: packets of payload, each of which becomes a segment, pulled from output 1 (through the
    TCPAck). Output 2 has what the connection needs beside: SYN, FIN, RST, and segments that are sent again. Congestion control and
    timeouts are ToyTCP's. When the peer has ended its side, and there is no more to pull, this side is ended too.

    Arguments:
        SADDR, SPORT: its own address and port. DADDR, DPORT: the peer's; without them any peer may connect, one at a time.
        ACTIVE: begin the connection, instead of waiting for the peer. MSS: longest payload (1460).
        CAPACITY: segments that may be on their way (256).

    Handlers:
        state (read): closed, listening, opening, answering or open. peer (read): its address and port.
        connections, failures, drops (read): opened, ended by a reset or silence, and payloads that were longer than a segment may be.
        cwnd, rtt, mss, retransmissions, timeouts (read): as ToyTCP's. open, close (write): begin a connection; end this side.

    Example:
        c :: TCPConn(1.0.0.1, 1024, 2.0.0.2, 80, ACTIVE true); a :: TCPAck; Idle -> c; c[0] -> a[0] -> TCPBuffer -> Unqueue -> Discard;
        InfiniteSource(LIMIT 3) -> Queue -> [1] c [1] -> [1] a [1] -> Unqueue -> Discard; c[2] -> IPPrint -> Discard; a[2] -> Discard;
        Script(wait 10ms, stop);
    """

    ports = "2/3"
    processing = "hl/hlh"
    flow = "xy/xyz"
    may_generate = True
    takes_state = False

    state: u8
    peer_ip: u32
    peer_port: u32
    #: this side is ended, and so is the peer's
    ended: boolean
    peer_ended: boolean
    #: the number behind the peer's FIN, where that came
    peer_end: u32
    has_peer_end: boolean
    #: both sides ended, and the peer may not have heard that this is known
    lingers: boolean
    connections: u64
    failures: u64
    drops: u64

    def configure(self, saddr: IPAddress, sport: Port, daddr: IPAddress = 0, dport: Port = 0, *, active: bool = False, mss: UInt16 = 1460,
                  capacity: UInt32 = 256) -> None:
        if active and not (daddr and dport):
            raise ConfigureError("ACTIVE: needs DADDR and DPORT")
        if not 1 <= capacity <= 4096:
            raise ConfigureError("CAPACITY: out of range, bound 4096")
        self.saddr, self.sport, self.daddr, self.dport, self.active = saddr, sport, daddr, dport, active
        self.capacity = capacity
        self.ring = PacketRing(capacity)
        self.packets_held = capacity + 1
        self.ready = Notifier(active=True)
        self.set_sender(mss)

    def initialize(self) -> None:
        self.buffer = buffer_behind(self)
        self.signal = upstream_signal(self, 1, None)
        self.state = _CLOSED if self.active else _LISTENING

    def held_notifier(self, port: int) -> Notifier | None:
        return self.ready if port == 1 else None

    def started(self) -> None:
        if self.active:
            self._open("")

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("state", lambda: _STATES[self.state])
        self.add_read("peer", lambda: f"{unparse_ip(self.peer_ip)} {self.peer_port}")
        for name in ("connections", "failures", "drops"):
            self.add_data(name, name)
        self.add_write("open", self._open, flags="b")
        self.add_write("close", self._close, flags="b")

    def _open(self, text: str) -> None:
        if not self.daddr or not self.dport:
            raise HandlerError("needs DADDR and DPORT")
        if self.state not in (_CLOSED, _LISTENING):
            raise HandlerError(f"the connection is {_STATES[self.state]}")
        self.state = _CLOSED
        self.begin_soon()

    def _close(self, text: str) -> None:
        if self.state != _OPEN:
            raise HandlerError(f"the connection is {_STATES[self.state]}")
        self.send_fin()

    # Out

    @datapath
    def transmit(self, flags: u32, sequence: u32, mss: u32) -> None:
        """A segment without data."""
        p = self.make_segment(flags, sequence, u32(self.buffer.next) if (flags & ACK) != 0 else u32(0), u32(_WINDOW), u32(0), mss)
        if p is not None:
            self.address(p, u32(self.saddr), u32(self.peer_ip), (u32(self.sport) << 16) | self.peer_port)
            self.output(2).push(p)

    @datapath
    def begin(self, peer_ip: u32, peer_port: u32) -> None:
        self.peer_ip = peer_ip
        self.peer_port = peer_port
        self.ended = False
        self.peer_ended = False
        self.has_peer_end = False
        self.lingers = False
        self.ring.drop_all()
        self.begin_sending(self.random.next())
        self.mss = u32(self.own_mss)

    @datapath
    def synchronise(self) -> None:
        """Send SYN, or SYN and ACK."""
        self.transmit(u32(SYN) if self.state == _OPENING else u32(SYN | ACK), u32(self.una), u32(self.own_mss))

    @datapath
    def send_fin(self) -> None:
        if not self.ended:
            self.ended = True
            self.transmit(u32(FIN | ACK), u32(self.nxt), u32(0))
            self.sent(u32(1))

    @datapath
    def resend(self) -> None:
        if self.state != _OPEN:
            self.synchronise()
            return
        p = self.ring.get()
        if p is None:
            self.transmit(u32(FIN | ACK), u32(self.una), u32(0))
            return
        q = p.clone()
        self.ring.put_front(p)
        if q is not None:
            self.output(2).push(q)

    @datapath
    def probe(self) -> None:
        if self.state == _CLOSED:
            self.begin(u32(self.daddr), u32(self.dport))
            self.state = _OPENING
            self.synchronise()
            self.sent(u32(1))
        elif self.state == _OPEN:
            self.transmit(u32(ACK), self.una - 1, u32(0))

    @datapath
    def give_up(self) -> None:
        self.failures += 1
        self.end()

    @datapath
    def end(self) -> None:
        self.deadline_ns = 0
        self.ring.drop_all()
        self.state = _CLOSED if self.active else _LISTENING

    @datapath
    def pull(self, port: int) -> Packet | None:
        if self.state != _OPEN or self.ended or self.ring.count() >= u32(self.capacity) or self.room() < self.mss:
            self.ready.sleep()
            return None
        p = self.input(1).pull()
        if p is None:
            self.ready.active = self.signal.active()
            if self.peer_ended:
                self.send_fin()
            return None
        if p.length > self.mss or p.length == 0:
            self.drops += 1
            p.kill()
            return None
        size: u32 = p.length
        p.push(20)
        self.write_header(p, u32(ACK | PSH), u32(self.nxt), u32(self.buffer.next), u32(_WINDOW), u32(20))
        self.address(p, u32(self.saddr), u32(self.peer_ip), (u32(self.sport) << 16) | self.peer_port)
        q = p.clone()
        if q is not None:
            self.ring.put(q)
        else:
            # It could not be sent again: it goes when there is memory.
            self.drops += 1
            p.kill()
            return None
        self.sent(size)
        return p

    # In

    @datapath
    def refuse(self, p: Packet) -> None:
        """Nobody knows such a connection (RFC 9293, section 3.10.7.1)."""
        tcp = p.tcp
        if (tcp.flags & RST) != 0:
            return
        size: u32 = tcp_payload_bytes(p) + ((tcp.flags & SYN) >> 1) + (tcp.flags & FIN)
        q = self.make_segment(u32(RST | ACK), u32(tcp.acknowledgement), tcp.sequence + size, u32(0), u32(0), u32(0))
        if q is not None:
            ports: u32 = p.transport.u32[0]
            self.address(q, u32(self.saddr), u32(p.ip.src), (ports << 16) | (ports >> 16))
            self.output(2).push(q)

    @datapath
    def release(self) -> None:
        """What is acknowledged need not be sent again."""
        for _ in range(self.ring.count()):
            p = self.ring.get()
            if p is None:
                break
            end: u32 = p.tcp.sequence + tcp_payload_bytes(p)
            if self.una - end >= HALF:
                self.ring.put_front(p)
                break
            p.kill()

    @datapath
    def established(self, p: Packet) -> None:
        self.state = _OPEN
        self.connections += 1
        self.open_window(p, u32(self.mss))
        self.ready.wake()

    @datapath
    def take_first(self, p: Packet) -> None:
        """A SYN for who waits for one, or the answer to one's own."""
        tcp = p.tcp
        flags = u32(tcp.flags)
        if self.state == _LISTENING:
            if (flags & (SYN | ACK | RST)) == SYN:
                self.begin(u32(p.ip.src), u32(tcp.src))
                self.buffer.begin(tcp.sequence + 1)
                self.mss = self.mss_of(p)
                self.state = _ANSWERING
                self.synchronise()
                self.sent(u32(1))
            else:
                self.refuse(p)
        elif (flags & ACK) == 0 or tcp.acknowledgement != self.nxt:
            if self.state == _ANSWERING and (flags & SYN) != 0:
                self.synchronise()
        elif (flags & RST) != 0:
            self.failures += 1
            self.end()
        elif self.state == _OPENING and (flags & SYN) != 0:
            self.buffer.begin(tcp.sequence + 1)
            self.mss = self.mss_of(p)
            self.established(p)
            self.transmit(u32(ACK), u32(self.nxt), u32(0))
        elif self.state == _ANSWERING and (flags & SYN) == 0:
            self.established(p)

    @datapath
    def take_answer(self, p: Packet) -> None:
        """What its acknowledgement says, of an open connection."""
        tcp = p.tcp
        flags = u32(tcp.flags)
        size = tcp_payload_bytes(p)
        if (flags & ACK) != 0:
            if self.acknowledged(u32(tcp.acknowledgement), u32(tcp.window), size) != 0:
                self.release()
            self.ready.wake()
        if (flags & FIN) != 0:
            self.has_peer_end = True
            self.peer_end = tcp.sequence + size + 1

    @datapath
    def look_for_end(self) -> None:
        if self.has_peer_end and self.buffer.next == self.peer_end and not self.peer_ended:
            self.peer_ended = True
            self.ready.wake()
        if self.ended and self.peer_ended and self.una == self.nxt:
            self.end()
            self.lingers = True

    @abstraction(of=take_answer)
    def any_answer(self, p: Packet) -> None:
        """It may be of something new, and the peer may end."""
        if (self.random.next() & 1) != 0:
            self.resend()

    @datapath
    def is_peer(self, p: Packet) -> bool:
        if self.state == _LISTENING:
            return (self.daddr == 0 or p.ip.src == self.daddr) and (self.dport == 0 or p.tcp.src == self.dport)
        return p.ip.src == self.peer_ip and p.tcp.src == self.peer_port

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if not is_tcp_segment(p):
            p.kill()
            return
        if self.lingers and (p.tcp.flags & (SYN | RST)) == 0 and p.ip.src == self.peer_ip and p.tcp.src == self.peer_port:
            if (p.tcp.flags & FIN) != 0:
                self.transmit(u32(ACK), u32(self.nxt), u32(0))
            p.kill()
            return
        if p.ip.dst != self.saddr or p.tcp.dst != self.sport or self.state == _CLOSED or not self.is_peer(p):
            if p.ip.dst == self.saddr:
                self.refuse(p)
            p.kill()
            return
        if self.state != _OPEN:
            self.take_first(p)
            if self.state != _OPEN or (p.tcp.flags & SYN) != 0:
                p.kill()
                return
        flags = u32(p.tcp.flags)
        if (flags & RST) != 0:
            # Only at the very number (RFC 5961, section 3.2).
            if p.tcp.sequence == self.buffer.next:
                self.failures += 1
                self.end()
            p.kill()
            return
        if (flags & SYN) != 0:
            # The peer did not hear the end of the handshake.
            self.transmit(u32(ACK), u32(self.nxt), u32(0))
            p.kill()
            return
        self.take_answer(p)
        if tcp_payload_bytes(p) != 0 or (flags & FIN) != 0:
            self.output(0).push(p)
        else:
            p.kill()
        self.look_for_end()
