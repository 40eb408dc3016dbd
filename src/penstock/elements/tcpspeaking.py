"""What elements share that speak TCP themselves: segments, and the sending side of a connection (RFC 9293, 5681, 6298, 6582)."""

from __future__ import annotations

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.datapath.packet import Packet
from penstock.datapath.sched import Timer
from penstock.datapath.source import abstraction, datapath
from penstock.elements.element import ConfigureError, Element
from penstock.elements.outerheader import write_ip4
from penstock.elements.segments import HALF
from penstock.elements.tcppayload import tcp_option
from penstock.packet.integers import boolean, u32, u64

__all__ = ["ACK", "FIN", "PSH", "RST", "SYN", "TCPSender", "TCPSpeaker"]

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
_FIRST_RTO_NS, _LEAST_RTO_NS, _LONGEST_RTO_NS = 1_000_000_000, 200_000_000, 60_000_000_000
_MAX_TRIES = 12
_MAX_WINDOW = 1 << 24
_MSS_OPTION, _MSS_OPTION_BYTES = 2, 4
_DEFAULT_MSS = 536
_MOST_OPTIONS = 40
_LONGEST_MSS = 1460


class TCPSpeaker(Element):
    """Makes segments, and reads the options of others'."""

    @datapath
    def make_segment(self, flags: u32, sequence: u32, acknowledgement: u32, window: u32, size: u32, mss: u32) -> Packet | None:
        """Header, with an MSS option where ``mss`` is not 0, and ``size`` bytes that are not written yet. It has no ports yet."""
        head: u32 = 20
        if mss != 0:
            head = 24
        p = self.pool.allocate(head + size)
        if p is None:
            return None
        self.write_header(p, flags, sequence, acknowledgement, window, head)
        if mss != 0:
            p.data.u32[20] = (_MSS_OPTION << 24) | (_MSS_OPTION_BYTES << 16) | mss
        return p

    @datapath
    def write_header(self, p: Packet, flags: u32, sequence: u32, acknowledgement: u32, window: u32, head: u32) -> None:
        """The first bytes become a header of ``head`` bytes, without ports and checksum."""
        p.data.fill(0, head, 0)
        p.data.u32[4] = sequence
        p.data.u32[8] = acknowledgement
        p.data.u16[12] = (head << 10) | flags
        p.data.u16[14] = window
        p.set_transport(0)

    @datapath
    def address(self, p: Packet, src: u32, dst: u32, ports: u32) -> None:
        """Put ports and an IP header to a segment, and its checksum."""
        length: u32 = p.length
        p.data.u32[0] = ports
        p.data.u16[16] = 0
        p.data.u16[16] = checksum_finish(p.data.checksum(0, length, pseudo_header_sum(src, dst, u32(6), length)))
        p.push(20)
        p.set_network(0)
        p.set_transport(20)
        # Nothing of it may be fragmented: its size is the peer's choice.
        write_ip4(p, src, dst, u32(6), u32(64), u32(0), u32(0), u32(0x4000))
        p.dst_ip = dst

    @datapath
    def mss_of(self, p: Packet) -> u32:
        """What a SYN says of the longest segment; 536 where it says nothing (RFC 9293, section 3.7.1)."""
        end: u32 = p.tcp.offset * 4
        at: u32 = 20
        if end > 20 and p.transport.has(0, end):
            for _ in range(_MOST_OPTIONS):
                kind, length = tcp_option(p, at, end)
                if kind == 0:
                    break
                if kind == _MSS_OPTION and length == _MSS_OPTION_BYTES:
                    return u32(max(p.transport.u16[at + 2], u32(64)))
                at += length
        return u32(_DEFAULT_MSS)

    @abstraction(of=mss_of)
    def any_mss(self, p: Packet) -> u32:
        """Any options."""
        return 64 + self.random.next() % 65000


class TCPSender(TCPSpeaker):
    """Says how much may be sent, and when what was sent must be sent again.

    A subclass sends: new bytes, which it reports to ``sent``; in ``resend`` the oldest ones that are not acknowledged; in ``probe``
    something that the peer answers with its window; and it gives up in ``give_up``.
    """

    una: u32
    nxt: u32
    cwnd: u32
    ssthresh: u32
    #: what the peer has room for
    window: u32
    mss: u32
    repeats: u32
    recover: u32
    recovering: boolean
    is_timed: boolean
    timed: u32
    timed_at_ns: u64
    srtt_ns: u64
    rttvar_ns: u64
    rto_ns: u64
    #: 0: nothing is waited for
    deadline_ns: u64
    tries: u32
    retransmissions: u64
    timeouts: u64

    def set_sender(self, mss: int) -> None:
        if not 64 <= mss <= _LONGEST_MSS:
            raise ConfigureError(f"MSS: must be between 64 and {_LONGEST_MSS}")
        self.own_mss = mss
        self.timer = Timer(self)

    def begin_soon(self) -> None:
        """Have ``probe`` called, in which a sender that is closed begins."""
        self.una, self.nxt, self.deadline_ns = 0, 0, 1
        self.timer.schedule_after(0)

    def add_handlers(self) -> None:
        for name in ("cwnd", "retransmissions", "timeouts", "mss"):
            self.add_data(name, name)
        self.add_read("rtt", lambda: f"{self.srtt_ns / 1e9:.6f}")

    @datapath
    def resend(self) -> None:
        """Send the oldest bytes again."""

    @datapath
    def probe(self) -> None:
        """The peer had no room: ask it."""

    @datapath
    def give_up(self) -> None:
        """The peer does not answer."""

    @datapath
    def begin_sending(self, first: u32) -> None:
        """What is sent next has that number."""
        self.una = first
        self.nxt = first
        self.recovering = False
        self.is_timed = False
        self.repeats = 0
        self.tries = 0
        self.srtt_ns = 0
        self.rto_ns = _FIRST_RTO_NS
        self.deadline_ns = 0
        self.ssthresh = _MAX_WINDOW

    @datapath
    def open_window(self, p: Packet, mss: u32) -> None:
        """The connection is established by this packet, of a peer that takes segments that long: ten may go (RFC 6928)."""
        self.mss = min(mss, u32(self.own_mss))
        self.acknowledged(u32(p.tcp.acknowledgement), u32(p.tcp.window), u32(0))
        self.window = p.tcp.window
        self.cwnd = 10 * self.mss

    @datapath
    def room(self) -> u32:
        """Bytes that may be sent now."""
        limit = min(self.cwnd, self.window)
        flight: u32 = self.nxt - self.una
        return limit - flight if limit > flight else u32(0)

    @datapath
    def arm(self) -> None:
        self.deadline_ns = self.clock.now() + self.rto_ns
        self.timer.schedule_at(self.deadline_ns)

    @datapath
    def sent(self, size: u32) -> None:
        """So many new numbers are on their way."""
        if not self.is_timed:
            self.is_timed = True
            self.timed = self.nxt + size
            self.timed_at_ns = self.clock.now()
        self.nxt = self.nxt + size
        if self.deadline_ns == 0:
            self.arm()

    @datapath
    def measure(self) -> None:
        """A round trip ended (RFC 6298, section 2); segments that were sent again tell nothing."""
        rtt: u64 = self.clock.now() - self.timed_at_ns
        self.is_timed = False
        if self.srtt_ns == 0:
            self.srtt_ns = max(rtt, u64(1))
            self.rttvar_ns = rtt >> 1
        else:
            apart: u64 = self.srtt_ns - rtt if self.srtt_ns > rtt else rtt - self.srtt_ns
            self.rttvar_ns = (3 * self.rttvar_ns + apart) >> 2
            self.srtt_ns = (7 * self.srtt_ns + rtt) >> 3

    @datapath
    def lose(self) -> None:
        """Something is lost: send it again, with half the window (RFC 5681, equation 4)."""
        self.ssthresh = max((self.nxt - self.una) >> 1, 2 * self.mss)
        self.recovering = True
        self.recover = self.nxt
        self.is_timed = False
        self.retransmissions += 1
        self.resend()

    @datapath
    def acknowledged(self, number: u32, window: u32, size: u32) -> u32:
        """An acknowledgement came, in a segment with ``size`` bytes of data; gives how many numbers are new in it."""
        flight: u32 = self.nxt - self.una
        ahead: u32 = number - self.una
        if ahead > flight:
            return u32(0)
        was: u32 = self.window
        self.window = window
        if ahead == 0:
            if flight == 0:
                self.look_at_window()
            elif size == 0 and window == was:
                self.repeated()
            return u32(0)
        if self.is_timed and self.timed - self.una <= ahead:
            self.measure()
        self.una = number
        self.tries = 0
        self.repeats = 0
        if self.srtt_ns != 0:
            # Something came through: the next loss is waited for no longer than the first one was.
            self.rto_ns = min(max(self.srtt_ns + 4 * self.rttvar_ns, u64(_LEAST_RTO_NS)), u64(_LONGEST_RTO_NS))
        if self.recovering:
            left: u32 = self.recover - number
            if left == 0 or left >= HALF:
                self.recovering = False
                self.cwnd = self.ssthresh
            else:
                # An acknowledgement of a part: what follows it is lost, too (RFC 6582, section 3.2).
                self.cwnd = (self.cwnd - ahead if self.cwnd > ahead else u32(0)) + self.mss
                self.retransmissions += 1
                self.resend()
        elif self.cwnd < self.ssthresh:
            self.cwnd = min(self.cwnd + min(ahead, self.mss), u32(_MAX_WINDOW))
        else:
            self.cwnd = min(self.cwnd + max(self.mss * self.mss // self.cwnd, u32(1)), u32(_MAX_WINDOW))
        if self.una == self.nxt:
            self.look_at_window()
        else:
            self.arm()
        return ahead

    @abstraction(of=acknowledged)
    def any_acknowledged(self, number: u32, window: u32, size: u32) -> u32:
        """It may be of something new, and something may be lost."""
        self.window = window
        if (self.random.next() & 1) != 0:
            self.resend()
        ahead: u32 = self.random.next() % 65536
        self.una = self.una + ahead
        return ahead

    @datapath
    def look_at_window(self) -> None:
        """All is acknowledged: wait for nothing, or for room (RFC 9293, section 3.8.6.1)."""
        if self.window != 0:
            self.deadline_ns = 0
        elif self.deadline_ns == 0:
            self.arm()

    @datapath
    def repeated(self) -> None:
        self.repeats += 1
        if self.recovering:
            self.cwnd = min(self.cwnd + self.mss, u32(_MAX_WINDOW))
        elif self.repeats == 3:
            self.lose()
            self.cwnd = self.ssthresh + 3 * self.mss

    @datapath
    def run_timer(self) -> bool:
        now: u64 = self.clock.now()
        if self.deadline_ns == 0:
            return False
        if now < self.deadline_ns:
            self.timer.schedule_at(self.deadline_ns)
            return False
        self.rto_ns = min(self.rto_ns * 2, u64(_LONGEST_RTO_NS))
        if self.una == self.nxt:
            self.probe()
        else:
            self.tries += 1
            if self.tries > _MAX_TRIES:
                self.deadline_ns = 0
                self.give_up()
                return True
            self.timeouts += 1
            self.repeats = 0
            self.lose()
            self.cwnd = self.mss
        self.arm()
        return True
