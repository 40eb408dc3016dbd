"""CheckIP6Header, MarkIP6Header, DecIP6HLIM, IP6Encap, IP6Mirror and those that set fields and annotations."""

from penstock.elements import Element, Packet, datapath, u32, u64, u128
from penstock.elements.ip.setip import SetIPDSCP
from penstock.elements.ip6.addresses6 import unparse_ip6
from penstock.lang.arguments import Byte, IP6Address, Raw, UInt32, parse_int, parse_ip6
from penstock.lang.text import split_words
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["CheckIP6Header", "DecIP6HLIM", "GetIP6Address", "IP6Encap", "IP6Mirror", "MarkIP6Header", "SetIP6Address", "SetIP6DSCP"]

_HEADER_BYTES = 40


class CheckIP6Header(Element):
    """Check IPv6 headers: version, length, and that the source is not a bad address. Bad packets go to output 1, or are dropped.

    Sets the positions of the network and transport headers (that one behind the fixed header), and the destination annotation;
    cuts what is behind the length that the header says.

    Arguments:
        BADADDRS: source addresses that are bad, beside multicast ones (RFC 4291, section 2.7).
        OFFSET: where the header begins.

    Handlers:
        drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> CheckIP6Header -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    drops: u64

    def configure(self, badaddrs: Raw = "", offset: UInt32 = 0) -> None:
        self.bad = tuple(parse_ip6(word) for word in split_words(badaddrs))
        self.offset = offset

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def is_good(self, p: Packet) -> bool:
        if not p.data.has(self.offset, _HEADER_BYTES):
            return False
        p.set_network(self.offset)
        ip6 = p.ip6
        if ip6.version != 6 or ip6.length + _HEADER_BYTES > p.length - self.offset:
            return False
        src: u128 = ip6.src
        if (src >> 120) == 0xFF:
            return False
        for address in self.bad:
            if src == address:
                return False
        return True

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not self.is_good(p):
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        whole = u32(p.ip6.length) + _HEADER_BYTES + self.offset
        # A length of 0 may be a jumbogram's (RFC 2675): such a packet is left as it is.
        if p.length > whole and p.ip6.length != 0:
            p.take(p.length - whole)
        p.set_transport(self.offset + _HEADER_BYTES)
        p.dst_ip6 = p.ip6.dst
        return p


class MarkIP6Header(Element):
    """Mark where packets' IPv6 header begins; the transport header's position is behind it. Nothing is checked.

    Arguments:
        OFFSET: bytes from the start of the data.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> MarkIP6Header -> Discard;
    """

    def configure(self, offset: UInt32 = 0) -> None:
        self.offset = offset

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.set_network(self.offset)
        p.set_transport(self.offset + _HEADER_BYTES)
        return p


class DecIP6HLIM(Element):
    """Decrement the hop limit. Packets whose hop limit is 1 or less go to output 1, or are dropped.

    Handlers:
        drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> DecIP6HLIM -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    drops: u64

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.ip6.hop_limit <= 1:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        p.ip6.hop_limit -= 1
        return p


class IP6Encap(Element):
    """Put an IPv6 header in front of packets.

    Arguments:
        PROTO: the next header, by number or name. SRC, DST: addresses; DST may be DST_ANNO, the destination annotation.
        HLIM: hop limit (250). CLASS: traffic class.

    Handlers:
        src, dst (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> Print -> Discard;
    """

    src_high: u64
    src_low: u64
    dst_high: u64
    dst_low: u64

    def configure(self, proto: str, src: IP6Address, dst: str, *, hlim: Byte = 250, class_: Byte = 0) -> None:
        self.protocol = PROTOCOL_NUMBERS.get(proto.lower(), -1)
        if not 0 <= self.protocol <= 255:
            self.protocol = parse_int(proto, 0, 255)
        self.uses_anno = dst.upper() == "DST_ANNO"
        self.hop_limit, self.traffic_class = hlim, class_
        self._set("src", src)
        self._set("dst", 0 if self.uses_anno else parse_ip6(dst))

    def _set(self, name: str, address: int) -> None:
        setattr(self, f"{name}_high", address >> 64)
        setattr(self, f"{name}_low", address & (1 << 64) - 1)

    def _get(self, name: str) -> str:
        return unparse_ip6(int(getattr(self, f"{name}_high")) << 64 | int(getattr(self, f"{name}_low")))

    def add_handlers(self) -> None:
        self.add_read("src", lambda: self._get("src"))
        self.add_read("dst", lambda: self._get("dst"))
        self.add_write("src", lambda text: self._set("src", parse_ip6(text.strip())))
        self.add_write("dst", lambda text: self._set("dst", parse_ip6(text.strip())))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        length = p.length
        p.push(_HEADER_BYTES)
        p.set_network(0)
        p.set_transport(_HEADER_BYTES)
        ip6 = p.ip6
        ip6.first_word = (6 << 28) | (self.traffic_class << 20)
        ip6.length = length
        ip6.next_header = self.protocol
        ip6.hop_limit = self.hop_limit
        ip6.src = (u128(self.src_high) << 64) | u128(self.src_low)
        if self.uses_anno:
            ip6.dst = p.dst_ip6
        else:
            ip6.dst = (u128(self.dst_high) << 64) | u128(self.dst_low)
            p.dst_ip6 = ip6.dst
        return p


class IP6Mirror(Element):
    """Swap source and destination addresses, and the ports of TCP and UDP. Checksums stay right.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> IP6Mirror -> Print -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip6 = p.ip6
        src: u128 = ip6.src
        ip6.src = ip6.dst
        ip6.dst = src
        if (ip6.next_header == 6 or ip6.next_header == 17) and p.transport.has(0, 4):
            port: u32 = p.transport.u16[0]
            p.transport.u16[0] = p.transport.u16[2]
            p.transport.u16[2] = port
        return p


class GetIP6Address(Element):
    """Put an IPv6 address from the packet into the destination annotation.

    Packets that are too short are passed unchanged.

    Arguments:
        OFFSET: where the address is, from the start of the data (24 is the destination's place in a header).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> GetIP6Address(24) -> Discard;
    """

    def configure(self, offset: UInt32) -> None:
        self.offset = offset

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.data.has(self.offset, 16):
            p.dst_ip6 = p.data.u128[self.offset]
        return p


class SetIP6Address(Element):
    """Set the destination annotation to an IPv6 address.

    Arguments:
        IPADDR: the address.

    Handlers:
        addr (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetIP6Address(3ffe::9) -> IP6Encap(17, 3ffe::1, DST_ANNO) -> Print -> Discard;
    """

    can_live_reconfigure = True

    def configure(self, ipaddr: IP6Address) -> None:
        self.address = ipaddr

    def add_handlers(self) -> None:
        self.add_read("addr", lambda: unparse_ip6(self.address))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.dst_ip6 = u128(self.address)
        return p


class SetIP6DSCP(SetIPDSCP):
    """Set the DSCP field of the IPv6 header (RFC 2474).

    Arguments:
        DSCP: 0 to 63.

    Handlers:
        dscp (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> SetIP6DSCP(46) -> Print -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip6 = p.ip6
        ip6.traffic_class = (self.dscp << 2) | (ip6.traffic_class & 3)
        return p
