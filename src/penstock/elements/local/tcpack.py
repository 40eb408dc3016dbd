"""TCPAck: acknowledgements for what a TCPBuffer has."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import ConfigureError, Packet, Timer, datapath, u32, u64
from penstock.elements.local.tcpbuffer import buffer_behind
from penstock.elements.portwise import PortwiseElement
from penstock.elements.segments import HALF
from penstock.elements.tcppayload import tcp_payload_bytes
from penstock.elements.tcpspeaking import ACK, FIN, RST, SYN, TCPSpeaker
from penstock.lang.arguments import Seconds

__all__ = ["TCPAck"]

_SEGMENTS = 2


class TCPAck(PortwiseElement, TCPSpeaker):
    """Acknowledge what comes in of a TCP connection, by what goes out of it, or by segments of its own.

    Input 0 takes the peer's segments, which go on to output 0; input 1 takes segments for the peer, which get the acknowledgement number
    and go on to output 1. Every second segment with data, and one that comes out of order, is acknowledged at once, by a segment to
    output 2, and every other one after ACK_DELAY, if nothing went out by then (RFC 1122, section 4.2.3.2). What is acknowledged is what
    the TCPBuffer behind output 0 has; there must be one.

    Arguments:
        ACK_DELAY: how long an acknowledgement may wait (20 ms).

    Handlers:
        count (read): acknowledgements of its own.

    Example:
        a :: TCPAck; FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> IPClassifier(tcp) -> a -> TCPBuffer -> Unqueue -> Discard;
        Idle -> [1] a; a[1] -> Discard; a[2] -> IPPrint -> Discard;
    """

    ports = "2/3"
    processing = "aa/aah"
    flow = "xy/xyz"
    may_generate = True

    #: ends of the connection, as the peer's segments say
    src: u32
    dst: u32
    tcp_ports: u32
    #: what the last acknowledgement of the peer's was, which is the number that is sent next
    number: u32
    owed: u32
    #: the buffer's, to which these belong
    connection: u32
    count: u64

    def configure(self, ack_delay: Seconds = 0.02) -> None:
        if not 0 <= ack_delay <= 0.5:
            raise ConfigureError("ACK_DELAY: must be between 0 and 0.5 s")
        self.delay_ns = int(ack_delay * 1e9)
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.buffer = buffer_behind(self)

    def add_handlers(self) -> None:
        self.add_data("count", "count")

    @datapath
    def room(self) -> u32:
        """What the buffer has room for, in segments of a usual size."""
        return min((self.buffer.capacity - self.buffer.kept.count) * 1460, u32(65535))

    @datapath
    def acknowledge(self) -> None:
        self.owed = 0
        p = self.make_segment(u32(ACK), u32(self.number), u32(self.buffer.next), self.room(), u32(0), u32(0))
        if p is not None:
            self.address(p, u32(self.src), u32(self.dst), u32(self.tcp_ports))
            self.count += 1
            self.output(2).push(p)

    @datapath
    def run_timer(self) -> bool:
        if self.owed != 0:
            self.acknowledge()
        return True

    @datapath
    def incoming(self, p: Packet) -> None:
        """Note what must be acknowledged, when the buffer has it."""
        tcp = p.tcp
        flags = u32(tcp.flags)
        size = tcp_payload_bytes(p) + (flags & FIN)
        if (flags & (SYN | RST)) != 0:
            return
        if self.connection != self.buffer.connection:
            self.connection = self.buffer.connection
            self.number = tcp.acknowledgement
        self.src = p.ip.dst
        self.dst = p.ip.src
        ports: u32 = p.transport.u32[0]
        self.tcp_ports = (ports << 16) | (ports >> 16)
        if (flags & ACK) != 0 and tcp.acknowledgement - self.number < HALF:
            self.number = tcp.acknowledgement
        if size != 0:
            was: u32 = self.owed
            self.owed = was + 1
            if tcp.sequence != self.buffer.next or (flags & FIN) != 0:
                self.owed = _SEGMENTS
            if self.owed >= _SEGMENTS:
                self.timer.schedule_after(0)
            elif was == 0:
                self.timer.schedule_after(self.delay_ns)

    @datapath
    def outgoing(self, p: Packet) -> None:
        """Put the acknowledgement into it."""
        tcp = p.tcp
        if not self.buffer.begun or (tcp.flags & (SYN | RST)) != 0:
            return
        tcp.acknowledgement = self.buffer.next
        tcp.flags = u32(tcp.flags) | ACK
        tcp.window = self.room()
        end: u32 = tcp.sequence + tcp_payload_bytes(p) + (u32(tcp.flags) & FIN)
        if end - self.number < HALF:
            self.number = end
        tcp.checksum = 0
        length: u32 = u32(p.ip.length) - u32(p.ip.header_length) * 4
        tcp.checksum = checksum_finish(p.transport.checksum(0, length, pseudo_header_sum(u32(p.ip.src), u32(p.ip.dst), u32(6), length)))
        self.owed = 0

    @datapath
    def handle(self, port: int, p: Packet) -> Packet | None:
        if p.network.has(0, 20) and p.ip.protocol == 6 and p.transport.has(0, 20) and p.network.has(0, u32(p.ip.length)):
            if port == 0:
                self.incoming(p)
            else:
                self.outgoing(p)
        return p
