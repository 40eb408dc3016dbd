"""ForceIP, ForceTCP, ForceUDP and ForceICMP: make random packets look good enough for what comes behind."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import Element, Packet, datapath, u8, u16, u32
from penstock.lang.arguments import IPAddress

__all__ = ["ForceICMP", "ForceIP", "ForceTCP", "ForceUDP"]

_PORTS = (80, 22, 25, 53, 21, 110, 143, 23)


class ForceIP(Element):
    """Make the start of a packet an IPv4 header that CheckIPHeader takes: version, lengths, checksum; no fragment.

    Packets of less than 20 bytes are dropped.

    Arguments:
        DADDR: destination address; left out, it stays.

    Example:
        RandomSource(64, LIMIT 1, STOP true) -> ForceIP(1.0.0.1) -> CheckIPHeader -> Discard;
    """

    def configure(self, daddr: IPAddress | None = None) -> None:
        self.daddr = daddr

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.data.has(0, 20):
            p.kill()
            return None
        p.set_network(0)
        p.set_transport(20)
        ip = p.ip
        ip.version_length = 0x45
        ip.length = p.length
        ip.fragment = 0
        if self.daddr is not None:
            ip.dst = u32(self.daddr)
        # Addresses that no packet may come from.
        if ip.src == 0 or ip.src == 0xFFFF_FFFF:
            ip.src = 0x0102_0304
        ip.checksum = 0
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        p.dst_ip = ip.dst
        return p


class _ForcedTransport(Element):
    """What the transports share."""

    @datapath
    def set_protocol(self, p: Packet, protocol: u32) -> None:
        """Say in the IP header which protocol follows."""
        ip = p.ip
        ip.protocol = protocol
        ip.checksum = 0
        ip.checksum = checksum_finish(p.network.checksum(0, ip.header_length * 4))


class ForceTCP(_ForcedTransport):
    """Make what follows the IP header a TCP header: data offset, checksum, and where it is wanted the port and the flags.

    Packets that have no room for it are dropped.

    Arguments:
        DPORT: destination port; 0: it stays.
        RANDOM: half of the packets get a well-known port, drawn by lot.
        FLAGS: the flags; -1: they stay.

    Example:
        RandomSource(64, LIMIT 1, STOP true) -> ForceIP -> ForceTCP(80) -> CheckTCPHeader -> Discard;
    """

    def configure(self, dport: int = 0, random: bool = False, flags: int = -1) -> None:
        self.dport, self.is_random, self.flags = max(dport, 0) & 0xFFFF, random, flags

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.transport.has(0, 20):
            p.kill()
            return None
        self.set_protocol(p, u32(6))
        ip = p.ip
        length = p.length - u32(p.transport_offset)
        tcp = p.tcp
        if self.dport != 0:
            tcp.dst = self.dport
        if self.is_random and (self.random.next() & 1) == 0:
            choice = self.random.next() & 7
            for i in (0, 1, 2, 3, 4, 5, 6, 7):
                if choice == i:
                    tcp.dst = _PORTS[i]
        if self.flags >= 0:
            tcp.flags = u8(self.flags & 0xFF)
        tcp.offset = 5
        tcp.checksum = 0
        tcp.checksum = checksum_finish(p.transport.checksum(0, length, pseudo_header_sum(ip.src, ip.dst, u32(6), length)))
        return p


class ForceUDP(_ForcedTransport):
    """Make what follows the IP header a UDP header: length, checksum, and where it is wanted the port.

    Packets that have no room for it are dropped.

    Arguments:
        DPORT: destination port; 0: it stays.

    Example:
        RandomSource(64, LIMIT 1, STOP true) -> ForceIP -> ForceUDP(53) -> CheckUDPHeader -> Discard;
    """

    def configure(self, dport: int = 0) -> None:
        self.dport = max(dport, 0) & 0xFFFF

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.transport.has(0, 8):
            p.kill()
            return None
        self.set_protocol(p, u32(17))
        ip = p.ip
        length = p.length - u32(p.transport_offset)
        udp = p.udp
        if self.dport != 0:
            udp.dst = self.dport
        udp.length = u16(length)
        udp.checksum = 0
        value = checksum_finish(p.transport.checksum(0, length, pseudo_header_sum(ip.src, ip.dst, u32(17), length)))
        udp.checksum = 0xFFFF if value == 0 else value
        return p


class ForceICMP(_ForcedTransport):
    """Make what follows the IP header an ICMP header: checksum, and where it is wanted type and code.

    Packets that have no room for it are dropped.

    Arguments:
        TYPE, CODE: of the message; -1: they stay.

    Example:
        RandomSource(64, LIMIT 1, STOP true) -> ForceIP -> ForceICMP(8, 0) -> CheckICMPHeader -> Discard;
    """

    def configure(self, type: int = -1, code: int = -1) -> None:
        self.kind, self.code = type, code

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.transport.has(0, 8):
            p.kill()
            return None
        self.set_protocol(p, u32(1))
        length = p.length - u32(p.transport_offset)
        icmp = p.icmp
        if self.kind >= 0:
            icmp.type = u8(self.kind & 0xFF)
        if self.code >= 0:
            icmp.code = u8(self.code & 0xFF)
        icmp.checksum = 0
        icmp.checksum = checksum_finish(p.transport.checksum(0, length))
        return p
