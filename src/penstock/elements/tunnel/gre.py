"""GREEncap and GREDecap (RFC 2784, RFC 2890)."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import ConfigureError, Element, Packet, datapath, u32, u64
from penstock.elements.outerheader import OuterHeader
from penstock.lang.arguments import IPAddress, UInt16, UInt32

__all__ = ["GREDecap", "GREEncap"]

_GRE = 47
_CHECKSUM, _KEY, _SEQUENCE = 0x8000, 0x2000, 0x1000


class GREEncap(OuterHeader):
    """Put a GRE and an IPv4 header in front of packets.

    Arguments:
        SRC, DST: addresses; DST may be DST_ANNO, the destination annotation.
        PROTO: ethertype of what is inside (0x0800; 0x6558 for Ethernet frames).
        KEY: the key; left out, there is none. SEQUENCE: number the packets. CHECKSUM: add one. TTL: of the outer header.

    Handlers:
        src, dst (read/write). count (read): packets.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> GREEncap(3.0.0.1, 4.0.0.1, KEY 7) -> IPPrint -> Discard;
    """

    count: u32

    def configure(self, src: IPAddress, dst: str, *, proto: UInt16 = 0x0800, key: UInt32 | None = None, sequence: bool = False,
                  checksum: bool = False, ttl: UInt32 = 64) -> None:
        if not 1 <= ttl <= 255:
            raise ConfigureError("TTL: must be between 1 and 255")
        self.set_ends(src, dst)
        self.key, self.sequence, self.checksum, self.protocol, self.ttl = key, sequence, checksum, proto, ttl
        self.flags = (_CHECKSUM if checksum else 0) | (_KEY if key is not None else 0) | (_SEQUENCE if sequence else 0)
        self.key_at = 8 if checksum else 4
        self.sequence_at = self.key_at + (4 if key is not None else 0)
        self.gre_bytes = self.sequence_at + (4 if sequence else 0)

    def add_handlers(self) -> None:
        self.add_end_handlers()
        self.add_data("count", "count")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.push(20 + self.gre_bytes)
        p.set_network(0)
        p.set_transport(20)
        p.transport.u16[0] = self.flags
        p.transport.u16[2] = self.protocol
        if self.checksum:
            p.transport.u32[4] = 0
        if self.key is not None:
            p.transport.u32[self.key_at] = self.key
        if self.sequence:
            p.transport.u32[self.sequence_at] = self.count
        if self.checksum:
            p.transport.u16[4] = checksum_finish(p.transport.checksum(0, p.length - 20))
        self.count += 1
        self.write_header(p, u32(_GRE), u32(self.ttl), u32(0), u32(0))
        return p


class GREDecap(Element):
    """Take the IPv4 and the GRE header off packets. What is no such packet goes to output 1, or is dropped.

    The IP header must have been checked. With KEY or PROTO, other keys and protocols are no such packets either; a wrong checksum
    is none. Packets older than one that has come (by their sequence number, RFC 2890) are dropped with IN_ORDER.

    Arguments:
        KEY: the key that packets must have. PROTO: the ethertype that must be inside; 0: any. IN_ORDER: as above.

    Handlers:
        count, drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> GREEncap(3.0.0.1, 4.0.0.1, KEY 7)
        -> GREDecap(KEY 7) -> CheckIPHeader -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64
    following: u32

    def configure(self, *, key: UInt32 | None = None, proto: UInt16 = 0, in_order: bool = False) -> None:
        self.key, self.protocol, self.in_order = key, proto, in_order

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    @datapath
    def inner_offset(self, p: Packet) -> u32:
        """Where the packet inside starts; 0 where this is not one for us."""
        if not p.network.has(0, 20) or p.ip.protocol != _GRE or (p.ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 4):
            return u32(0)
        flags = p.transport.u16[0]
        # Version 0, no routing (RFC 2784, section 2.3).
        if (flags & 0x4FFF) != 0:
            return u32(0)
        if self.protocol != 0 and p.transport.u16[2] != self.protocol:
            return u32(0)
        size: u32 = 4
        if (flags & _CHECKSUM) != 0:
            size += 4
            if not p.transport.has(0, size):
                return u32(0)
            if p.transport.checksum(0, p.length - u32(p.transport_offset)) != 0xFFFF:
                return u32(0)
        if (flags & _KEY) != 0:
            if not p.transport.has(size, 4):
                return u32(0)
            if self.key is not None:
                if p.transport.u32[size] != self.key:
                    return u32(0)
            size += 4
        elif self.key is not None:
            return u32(0)
        if (flags & _SEQUENCE) != 0:
            if not p.transport.has(size, 4):
                return u32(0)
            if self.in_order:
                number = p.transport.u32[size]
                if number - self.following >= 0x8000_0000:
                    return u32(0)
                self.following = number + 1
            size += 4
        return u32(p.transport_offset) + size

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        start = self.inner_offset(p)
        if start == 0:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        self.count += 1
        p.pull(start)
        p.clear_network()
        p.clear_transport()
        return p
