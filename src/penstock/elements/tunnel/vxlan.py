"""VXLANEncap, VXLANDecap (RFC 7348), GeneveEncap and GeneveDecap (RFC 8926): Ethernet frames in UDP."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u16, u32, u64
from penstock.elements.outerheader import OuterHeader
from penstock.lang.arguments import IPAddress, Port, UInt32

__all__ = ["GeneveDecap", "GeneveEncap", "VXLANDecap", "VXLANEncap"]

_VXLAN_PORT, _GENEVE_PORT = 4789, 6081
_HEADER_BYTES = 36
#: ports that an outer source port is taken from (RFC 7348, section 5)
_FIRST_PORT, _PORT_BITS = 49152, 14


class _Overlay(OuterHeader):
    """What both encapsulations share: outer IPv4 and UDP, with a source port that tells flows apart."""

    def set_overlay(self, src: int, dst: str, vni: int, dport: int, sport: int, ttl: int, first: int) -> None:
        if vni >> 24:
            raise ConfigureError("VNI: out of range, bound 16777215")
        if not 1 <= ttl <= 255:
            raise ConfigureError("TTL: must be between 1 and 255")
        self.set_ends(src, dst)
        self.vni, self.dport, self.sport, self.ttl = vni, dport, sport, ttl
        self.first = first

    def add_handlers(self) -> None:
        self.add_end_handlers()

    @datapath
    def source_port(self, p: Packet) -> u32:
        """One for each inner flow, so that routers balance them (RFC 7348, section 5)."""
        if self.sport != 0:
            return u32(self.sport)
        mix: u32 = 0
        if p.data.has(0, 14):
            mix = p.data.u32[0] ^ p.data.u32[4] ^ p.data.u32[8] ^ p.data.u16[12]
        if p.data.has(14, 24):
            mix = mix ^ p.data.u32[26] ^ p.data.u32[30] ^ p.data.u32[34] ^ p.data.u8[23]
        mix = (mix ^ (mix >> 15)) * 0x2C1B_3C6D
        return _FIRST_PORT + (mix >> (32 - _PORT_BITS))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        sport = self.source_port(p)
        p.push(_HEADER_BYTES)
        p.set_network(0)
        p.set_transport(20)
        self.write_header(p, u32(17), u32(self.ttl), u32(0), u32(0x4000))
        udp = p.udp
        udp.src = u16(sport)
        udp.dst = self.dport
        udp.length = p.length - 20
        # Zero: the inner packet has its own checksums (RFC 7348, section 5; RFC 8926, section 3.3).
        udp.checksum = 0
        p.transport.u32[8] = self.first
        p.transport.u32[12] = self.vni << 8
        return p


class VXLANEncap(_Overlay):
    """Put a VXLAN, a UDP and an IPv4 header in front of Ethernet frames.

    Arguments:
        SRC, DST: addresses; DST may be DST_ANNO, the destination annotation. VNI: the network's number.
        DPORT: destination port (4789). SPORT: source port; 0: one for each inner flow. TTL: of the outer header.

    Handlers:
        src, dst (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> VXLANEncap(3.0.0.1, 4.0.0.1, 42) -> IPPrint -> Discard;
    """

    def configure(self, src: IPAddress, dst: str, vni: UInt32, *, dport: Port = _VXLAN_PORT, sport: Port = 0, ttl: UInt32 = 64) -> None:
        self.set_overlay(src, dst, vni, dport, sport, ttl, 0x0800_0000)


class GeneveEncap(_Overlay):
    """Put a Geneve, a UDP and an IPv4 header in front of Ethernet frames, without options.

    Arguments:
        SRC, DST: addresses; DST may be DST_ANNO, the destination annotation. VNI: the network's number.
        DPORT: destination port (6081). SPORT: source port; 0: one for each inner flow. TTL: of the outer header.

    Handlers:
        src, dst (read/write).

    Example:
        FromDump(f.pcap, STOP true) -> GeneveEncap(3.0.0.1, 4.0.0.1, 42) -> IPPrint -> Discard;
    """

    def configure(self, src: IPAddress, dst: str, vni: UInt32, *, dport: Port = _GENEVE_PORT, sport: Port = 0, ttl: UInt32 = 64) -> None:
        self.set_overlay(src, dst, vni, dport, sport, ttl, 0x0000_6558)


class _Unpacking(Element):
    """What both decapsulations share."""

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64

    def set_wanted(self, vni: int | None, dport: int) -> None:
        if vni is not None and vni >> 24:
            raise ConfigureError("VNI: out of range, bound 16777215")
        self.vni, self.dport = vni, dport

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    @datapath
    def header_bytes(self, p: Packet) -> u32:
        """Bytes behind the UDP header; 0 where this is not one for us."""
        return u32(0)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        extra: u32 = 0
        if p.network.has(0, 20) and p.ip.protocol == 17 and (p.ip.fragment & 0x3FFF) == 0 and p.transport.has(0, 16):
            if p.udp.dst == self.dport:
                extra = self.header_bytes(p)
                if self.vni is not None:
                    if (p.transport.u32[12] >> 8) != self.vni:
                        extra = 0
        if extra == 0:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        self.count += 1
        p.pull(u32(p.transport_offset) + 8 + extra)
        p.clear_network()
        p.clear_transport()
        p.set_mac(0)
        return p


class VXLANDecap(_Unpacking):
    """Take the IPv4, UDP and VXLAN headers off packets. What is no such packet goes to output 1, or is dropped.

    The IP header must have been checked.

    Arguments:
        VNI: the network that packets must belong to; left out, any. DPORT: destination port (4789).

    Handlers:
        count, drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> VXLANEncap(3.0.0.1, 4.0.0.1, 42) -> CheckIPHeader -> VXLANDecap(42) -> Print -> Discard;
    """

    def configure(self, vni: UInt32 | None = None, *, dport: Port = _VXLAN_PORT) -> None:
        self.set_wanted(vni, dport)

    @datapath
    def header_bytes(self, p: Packet) -> u32:
        # The flag that says that there is a network's number.
        if (p.transport.u8[8] & 0x08) == 0 or not p.transport.has(16, 14):
            return u32(0)
        return u32(8)


class GeneveDecap(_Unpacking):
    """Take the IPv4, UDP and Geneve headers off packets. What is no such packet goes to output 1, or is dropped.

    Options are passed over; packets with a critical one are not for us (RFC 8926, section 3.4). The IP header must have been checked.

    Arguments:
        VNI: the network that packets must belong to; left out, any. DPORT: destination port (6081).

    Handlers:
        count, drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> GeneveEncap(3.0.0.1, 4.0.0.1, 42) -> CheckIPHeader -> GeneveDecap(42) -> Print -> Discard;
    """

    def configure(self, vni: UInt32 | None = None, *, dport: Port = _GENEVE_PORT) -> None:
        self.set_wanted(vni, dport)

    @datapath
    def header_bytes(self, p: Packet) -> u32:
        first = p.transport.u32[8]
        size: u32 = 8 + ((first >> 24) & 0x3F) * 4
        # Version 0, no critical options, Ethernet inside.
        if (first >> 30) != 0 or (first & 0x0040_0000) != 0 or (first & 0xFFFF) != 0x6558:
            return u32(0)
        if not p.transport.has(8 + size, 14):
            return u32(0)
        return size
