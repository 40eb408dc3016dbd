"""TCPReflector and StatelessTCPResponder: TCP servers without any memory."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import Element, Packet, datapath, u32, u64
from penstock.elements.tcppayload import is_tcp_segment, tcp_payload_bytes

__all__ = ["StatelessTCPResponder", "TCPReflector"]

_FIN, _SYN, _RST, _PSH, _ACK = 1, 2, 4, 8, 16
_WINDOW = 60_000


class StatelessTCPResponder(Element):
    """Answer TCP packets as a server would that remembers nothing: what must be known stands in the packet itself.

    A SYN is answered with SYN and ACK; data and FIN with an ACK for them, a FIN also with a FIN. Acknowledgements alone, resets
    and everything that is not TCP are dropped. Packets need network and transport header positions.

    Handlers:
        count (read): answers.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> StatelessTCPResponder -> IPPrint -> Discard;
    """

    #: data are sent back to their sender
    reflects = False

    count: u64

    def add_handlers(self) -> None:
        self.add_data("count", "count")

    @datapath
    def turn_round(self, p: Packet, flags: u32, sequence: u32, acknowledgement: u32, size: u32) -> None:
        """Make the packet its own answer, with ``size`` bytes of what it carried."""
        ip = p.ip
        tcp = p.tcp
        src, dst = u32(ip.src), u32(ip.dst)
        ip.src = dst
        ip.dst = src
        ports = p.transport.u32[0]
        p.transport.u32[0] = (ports << 16) | (ports >> 16)
        tcp.sequence = sequence
        tcp.acknowledgement = acknowledgement
        tcp.flags = flags
        tcp.window = _WINDOW
        header = u32(ip.header_length) * 4
        length: u32 = header + u32(tcp.offset) * 4 + size
        ip.length = length
        ip.ttl = 64
        ip.checksum = 0
        ip.checksum = checksum_finish(p.network.checksum(0, header))
        whole = u32(p.network_offset) + length
        if p.length > whole:
            p.take(p.length - whole)
        tcp.checksum = 0
        tcp.checksum = checksum_finish(p.transport.checksum(0, length - header, pseudo_header_sum(dst, src, u32(6), length - header)))
        p.dst_ip = src
        self.count += 1

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not is_tcp_segment(p):
            p.kill()
            return None
        header = u32(p.ip.header_length) * 4
        options = u32(p.tcp.offset) * 4
        size = tcp_payload_bytes(p)
        flags = u32(p.tcp.flags)
        if options < 20 or header < 20 or not p.network.has(0, header + options + size) or (flags & _RST) != 0:
            p.kill()
            return None
        sequence: u32 = p.tcp.sequence
        mine: u32 = p.tcp.acknowledgement
        if (flags & _SYN) != 0:
            if (flags & _ACK) != 0:
                p.kill()
                return None
            # A number that needs no memory: it is a matter of who asks.
            self.turn_round(p, u32(_SYN | _ACK), sequence * 0x9E3779B1 ^ p.transport.u32[0], sequence + 1 + size, u32(0))
            return p
        if size == 0 and (flags & _FIN) == 0:
            p.kill()
            return None
        back: u32 = _ACK
        after: u32 = sequence + size
        if (flags & _FIN) != 0:
            back |= _FIN
            after += 1
        if self.reflects and size != 0:
            self.turn_round(p, back | _PSH, mine, after, size)
        else:
            self.turn_round(p, back, mine, after, u32(0))
        return p


class TCPReflector(StatelessTCPResponder):
    """Be a TCP server to everybody, without memory: connections are accepted, and data are sent back to who sent them.

    For measuring what lies between (a NAT, a load balancer) with real clients. As StatelessTCPResponder, but that answers to data
    carry them.

    Handlers:
        count (read): answers.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> TCPReflector -> IPPrint -> Discard;
    """

    reflects = True
