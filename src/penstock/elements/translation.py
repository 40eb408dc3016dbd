"""Between IPv4 and IPv6: what the translators share. Headers as in RFC 7915, addresses within a prefix as in RFC 6052."""

from __future__ import annotations

from penstock.datapath.checksum import checksum_apply, checksum_finish, fold
from penstock.datapath.memory import Array
from penstock.datapath.packet import Packet
from penstock.datapath.source import abstraction, datapath
from penstock.elements.element import ConfigureError, Element
from penstock.lang.arguments import parse_ip6
from penstock.packet.integers import u8, u16, u32, u64, u128

__all__ = ["WELL_KNOWN_PREFIX", "Translation"]

#: RFC 6052, section 2.1
WELL_KNOWN_PREFIX = "64:ff9b::/96"
_LENGTHS = (32, 40, 48, 56, 64, 96)
_ICMP, _TCP, _UDP, _FRAGMENT, _ICMP6 = 1, 6, 17, 44, 58
#: what is dropped: no type of a message
_NONE = 0xFFFF_FFFF
#: in tables: there is no counterpart
_NOTHING = 0xFF
#: code of Destination Unreachable -> type and code of ICMPv6
_UNREACHABLE_6 = {**dict.fromkeys((0, 1, 5, 6, 7, 8, 11, 12), 0x10), 2: 0x41, 3: 0x14, **dict.fromkeys((9, 10, 13, 15), 0x11)}
_POINTER_6 = {0: 0, 1: 1, 2: 4, 3: 4, 8: 7, 9: 6, **dict.fromkeys(range(12, 16), 8), **dict.fromkeys(range(16, 20), 24)}
#: code of Destination Unreachable -> code in ICMP
_UNREACHABLE_4 = {0: 1, 1: 10, 2: 1, 3: 1, 4: 3}
_POINTER_4 = {0: 0, 1: 1, 4: 2, 5: 2, 6: 9, 7: 8, **dict.fromkeys(range(8, 24), 12), **dict.fromkeys(range(24, 40), 16)}
#: packets up to this length may be fragmented behind the translator (RFC 7915, section 5.1)
_MAY_BE_FRAGMENTED_BYTES = 1260


class Translation(Element):
    """A packet's headers, at the start of its data, in the place of the other IP's. What has no counterpart is dropped and counted."""

    drops: u64
    id: u16

    def set_prefix(self, text: str) -> None:
        """``ADDRESS/LENGTH``, in which IPv4 addresses lie. Raises ConfigureError."""
        address, _, length = text.partition("/")
        if not length.isdigit() or int(length) not in _LENGTHS:
            raise ConfigureError(f"PREFIX: '{text}' must have a length of {', '.join(map(str, _LENGTHS[:-1]))} or 96 (RFC 6052)")
        self.prefix_bits = int(length)
        self.mask = (1 << 128) - (1 << (128 - self.prefix_bits))
        self.prefix = parse_ip6(address)
        if self.prefix & ~self.mask:
            raise ConfigureError(f"PREFIX: '{text}' has bits behind its length")
        #: so many bits of an address lie behind the byte of zeros (bits 64 to 71)
        self.behind = self.prefix_bits - 32
        self.fill_tables()

    def fill_tables(self) -> None:
        """What errors become (RFC 7915, sections 4.2 and 5.2): by code, and by the place in the header that a pointer names."""
        self.unreachable6, self.pointer6 = Array(u8, 256), Array(u8, 256)
        self.unreachable4, self.pointer4 = Array(u8, 256), Array(u8, 256)
        for table, content in ((self.unreachable6, _UNREACHABLE_6), (self.pointer6, _POINTER_6), (self.unreachable4, _UNREACHABLE_4),
                               (self.pointer4, _POINTER_4)):
            for i in range(256):
                table[i] = content.get(i, _NOTHING)

    def add_drops_handler(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def drop(self, p: Packet) -> None:
        self.drops += 1
        p.kill()

    # Addresses

    @datapath
    def embedded(self, address: u32) -> u128:
        """The IPv6 address that stands for an IPv4 address."""
        if self.prefix_bits == 96:
            return u128(self.prefix) | u128(address)
        if self.behind == 32:
            return u128(self.prefix) | (u128(address) << 24)
        if self.behind == 0:
            return u128(self.prefix) | (u128(address) << 64)
        front = u128(address >> self.behind) << 64
        back = u128(address & ((1 << self.behind) - 1)) << (56 - self.behind)
        return u128(self.prefix) | front | back

    @datapath
    def is_embedded(self, address: u128) -> bool:
        """Whether an address lies within the prefix."""
        return (address & u128(self.mask)) == u128(self.prefix)

    @datapath
    def extracted(self, address: u128) -> u32:
        """The IPv4 address that an IPv6 address stands for."""
        if self.prefix_bits == 96:
            return u32(address)
        if self.behind == 32:
            return u32(address >> 24)
        if self.behind == 0:
            return u32(address >> 64)
        return (u32(address >> 64) << self.behind) | (u32(address >> (56 - self.behind)) & ((1 << self.behind) - 1))

    # Checksums

    @datapath
    def words(self, address: u128) -> u32:
        """The sum of an IPv6 address's 16-bit words, not folded."""
        high = u64(address >> 64)
        low = u64(address)
        total = (high >> 48) + ((high >> 32) & 0xFFFF) + ((high >> 16) & 0xFFFF) + (high & 0xFFFF)
        return u32(total + (low >> 48) + ((low >> 32) & 0xFFFF) + ((low >> 16) & 0xFFFF) + (low & 0xFFFF))

    @datapath
    def words4(self, one: u32, other: u32) -> u32:
        """The sum of two IPv4 addresses' words, not folded."""
        return (one >> 16) + (one & 0xFFFF) + (other >> 16) + (other & 0xFFFF)

    @datapath
    def adjust(self, p: Packet, protocol: u32, change: u32) -> None:
        """The checksum of TCP or UDP after the sum of what it covers besides changed."""
        if protocol == _TCP:
            if p.transport.has(0, 18):
                p.transport.u16[16] = checksum_apply(p.transport.u16[16], change)
        elif protocol == _UDP:
            if p.transport.has(0, 8):
                after = checksum_apply(p.transport.u16[6], change)
                p.transport.u16[6] = 0xFFFF if after == 0 else after

    @datapath
    def sum_icmp(self, p: Packet, length: u32, pseudo: u32) -> None:
        """The checksum of ICMP, or of ICMPv6 with its pseudo header."""
        p.transport.u16[2] = 0
        p.transport.u16[2] = checksum_finish(p.transport.checksum(0, length, pseudo))

    @abstraction(of=sum_icmp)
    def any_sum(self, p: Packet, length: u32, pseudo: u32) -> None:
        """It is one of all numbers."""
        p.transport.u16[2] = self.random.next() & 0xFFFF

    # IPv4 to IPv6

    @datapath
    def to_ip6(self, p: Packet, src: u128, dst: u128) -> bool:
        """Translate a whole packet, or a fragment, but for ICMP's errors. False where that cannot be."""
        ip = p.ip
        header = u32(ip.header_length) * 4
        protocol: u32 = ip.protocol
        fragment: u32 = ip.fragment & 0x3FFF
        length = u32(ip.length) - header
        first = (fragment & 0x1FFF) == 0
        kind: u32 = protocol
        if protocol == _ICMP:
            # Its checksum covers the length of the whole message.
            if fragment != 0 or not p.transport.has(0, 8):
                return False
            if p.transport.u8[0] == 8:
                p.transport.u8[0] = 128
            elif p.transport.u8[0] == 0:
                p.transport.u8[0] = 129
            else:
                return False
            kind = u32(_ICMP6)
            self.sum_icmp(p, length, self.words(src) + self.words(dst) + length + _ICMP6)
        elif first:
            if protocol == _UDP and p.transport.has(0, 8) and p.transport.u16[6] == 0:
                # Without a checksum there is no UDP over IPv6 (RFC 7915, section 4.5).
                if fragment != 0:
                    return False
                pseudo = self.words(src) + self.words(dst) + length + _UDP
                made = checksum_finish(p.transport.checksum(0, length, pseudo))
                p.transport.u16[6] = 0xFFFF if made == 0 else made
            else:
                before = fold(self.words4(u32(ip.src), u32(ip.dst)))
                self.adjust(p, protocol, (before ^ 0xFFFF) + fold(self.words(src) + self.words(dst)))
        tos: u32 = ip.tos
        hops: u32 = ip.ttl
        identification: u32 = ip.identification
        p.pull(header)
        if fragment != 0:
            p.push(8)
            p.data.u8[0] = kind
            p.data.u8[1] = 0
            p.data.u16[2] = ((fragment & 0x1FFF) << 3) | (fragment >> 13)
            p.data.u32[4] = identification
            self.put_ip6(p, src, dst, u32(_FRAGMENT), hops, tos)
        else:
            self.put_ip6(p, src, dst, kind, hops, tos)
        return True

    @datapath
    def put_ip6(self, p: Packet, src: u128, dst: u128, kind: u32, hops: u32, tos: u32) -> None:
        """An IPv6 header in front of all the data."""
        length = p.length
        p.push(40)
        p.set_network(0)
        p.set_transport(40)
        ip6 = p.ip6
        ip6.first_word = (6 << 28) | (tos << 20)
        ip6.length = length
        ip6.next_header = kind
        ip6.hop_limit = hops
        ip6.src = src
        ip6.dst = dst
        p.dst_ip6 = dst

    @datapath
    def error_to_ip6(self, p: Packet, src: u128, dst: u128, inner_src: u128, inner_dst: u128) -> bool:
        """Translate an error of ICMP, with the packet that it quotes. False where that cannot be."""
        ip = p.ip
        header = u32(ip.header_length) * 4
        length = u32(ip.length) - header
        if (ip.fragment & 0x3FFF) != 0 or not p.transport.has(0, 28):
            return False
        if p.transport.u8[8] != 0x45 or length < 28:
            # Options in what is quoted are as good as never there.
            return False
        kind, code, word = self.error6(u32(p.transport.u8[0]), u32(p.transport.u8[1]), u32(p.transport.u32[4]))
        if kind == _NONE or (p.transport.u16[14] & 0x1FFF) != 0:
            return False
        tos: u32 = ip.tos
        hops: u32 = ip.ttl
        inner_tos: u32 = p.transport.u8[9]
        inner_length = u32(p.transport.u16[10]) - 20
        inner_hops: u32 = p.transport.u8[16]
        inner_kind: u32 = p.transport.u8[17]
        p.pull(header + 28)
        if inner_kind == _ICMP:
            inner_kind = u32(_ICMP6)
            if p.length > 0 and (p.data.u8[0] == 8 or p.data.u8[0] == 0):
                p.data.u8[0] = 128 if p.data.u8[0] == 8 else 129
        self.put_ip6(p, inner_src, inner_dst, inner_kind, inner_hops, inner_tos)
        p.ip6.length = inner_length
        p.push(8)
        p.data.u8[0] = kind
        p.data.u8[1] = code
        p.data.u32[4] = word
        self.put_ip6(p, src, dst, u32(_ICMP6), hops, tos)
        whole = p.length - 40
        self.sum_icmp(p, whole, self.words(src) + self.words(dst) + whole + _ICMP6)
        return True

    @datapath
    def error6(self, kind: u32, code: u32, word: u32) -> tuple[u32, u32, u32]:
        """Type, code and second word of an error in ICMPv6 (RFC 7915, section 4.2)."""
        if kind == 3 and code == 4:
            mtu = (word & 0xFFFF) + 20
            return u32(2), u32(0), u32(1280) if mtu < 1280 else mtu
        if kind == 3:
            found: u32 = self.unreachable6[code]
            return u32(_NONE) if found == _NOTHING else found >> 4, found & 15, u32(6) if found == 0x41 else u32(0)
        if kind == 11:
            return u32(3), code, u32(0)
        pointer: u32 = self.pointer6[word >> 24]
        if kind == 12 and (code == 0 or code == 2) and pointer != _NOTHING:
            return u32(4), u32(0), pointer
        return u32(_NONE), u32(0), u32(0)

    # IPv6 to IPv4

    @datapath
    def upper_layer(self, p: Packet) -> tuple[u32, u32, u32]:
        """What follows the IPv6 header and its extension headers, where, and the fragment's place (bits as in its header, and 1 on top).

        Sets the transport header; gives 0xFFFFFFFF for what cannot be followed.
        """
        kind: u32 = p.ip6.next_header
        at: u32 = 40
        fragment: u32 = 0
        for _ in range(6):
            if kind == _FRAGMENT:
                if fragment != 0 or not p.network.has(at, 8):
                    return u32(_NONE), at, fragment
                fragment = 0x10000 | u32(p.network.u16[at + 2])
                kind = p.network.u8[at]
                at += 8
            elif kind == 0 or kind == 43 or kind == 60:
                if not p.network.has(at, 8):
                    return u32(_NONE), at, fragment
                if kind == 43 and p.network.u8[at + 3] != 0:
                    # It is still to go elsewhere (RFC 7915, section 5.1).
                    return u32(_NONE), at, fragment
                kind = p.network.u8[at]
                at += 8 + 8 * u32(p.network.u8[at + 1])
            else:
                if at > 40 + u32(p.ip6.length):
                    return u32(_NONE), at, fragment
                p.set_transport(at)
                return kind, at, fragment
        return u32(_NONE), at, fragment

    @datapath
    def to_ip4(self, p: Packet, kind: u32, at: u32, fragment: u32, src: u32, dst: u32) -> bool:
        """Translate a packet whose upper layer was found, but for ICMPv6's errors. False where that cannot be."""
        length = u32(p.ip6.length) + 40 - at
        protocol = kind
        change = (fold(self.words(p.ip6.src) + self.words(p.ip6.dst)) ^ 0xFFFF) + fold(self.words4(src, dst))
        if kind == _ICMP6:
            if (fragment & 0xFFF9) != 0 or not p.transport.has(0, 8):
                return False
            if p.transport.u8[0] == 128:
                p.transport.u8[0] = 8
            elif p.transport.u8[0] == 129:
                p.transport.u8[0] = 0
            else:
                return False
            protocol = u32(_ICMP)
            self.sum_icmp(p, length, u32(0))
        elif (fragment & 0xFFF8) == 0:
            self.adjust(p, protocol, change)
        tos = (u32(p.ip6.first_word) >> 20) & 0xFF
        hops: u32 = p.ip6.hop_limit
        identification: u32 = 0
        if fragment != 0:
            identification = u32(p.network.u16[at - 2])
        p.pull(at)
        flags: u32 = 0
        if (fragment & 0xFFF9) != 0:
            flags = ((fragment & 1) << 13) | ((fragment & 0xFFF8) >> 3)
        elif length + 20 > _MAY_BE_FRAGMENTED_BYTES:
            flags = 0x4000
        if fragment == 0 and flags == 0:
            identification = self.id
            self.id += 1
        self.put_ip4(p, src, dst, protocol, hops, tos, identification, flags)
        return True

    @datapath
    def put_ip4(self, p: Packet, src: u32, dst: u32, protocol: u32, hops: u32, tos: u32, identification: u32, fragment: u32) -> None:
        """An IPv4 header in front of all the data."""
        p.push(20)
        p.set_network(0)
        p.set_transport(20)
        ip = p.ip
        ip.version_length = 0x45
        ip.tos = tos
        ip.length = p.length
        ip.identification = identification
        ip.fragment = fragment
        ip.ttl = hops
        ip.protocol = protocol
        ip.checksum = 0
        ip.src = src
        ip.dst = dst
        ip.checksum = checksum_finish(p.network.checksum(0, 20))
        p.dst_ip = dst

    @datapath
    def error_to_ip4(self, p: Packet, at: u32, src: u32, dst: u32, inner_src: u32, inner_dst: u32) -> bool:
        """Translate an error of ICMPv6, with the packet that it quotes. False where that cannot be."""
        if not p.transport.has(0, 48) or p.transport.u8[8] >> 4 != 6:
            return False
        kind, code, word = self.error4(u32(p.transport.u8[0]), u32(p.transport.u8[1]), u32(p.transport.u32[4]))
        inner_kind: u32 = p.transport.u8[14]
        if kind == _NONE or inner_kind == _FRAGMENT or inner_kind == 0 or inner_kind == 43 or inner_kind == 60:
            return False
        tos = (u32(p.ip6.first_word) >> 20) & 0xFF
        hops: u32 = p.ip6.hop_limit
        inner_tos = (u32(p.transport.u32[8]) >> 20) & 0xFF
        inner_length = u32(p.transport.u16[12]) + 20
        inner_hops: u32 = p.transport.u8[15]
        p.pull(at + 48)
        if inner_kind == _ICMP6:
            inner_kind = u32(_ICMP)
            if p.length > 0 and (p.data.u8[0] == 128 or p.data.u8[0] == 129):
                p.data.u8[0] = 8 if p.data.u8[0] == 128 else 0
        self.put_ip4(p, inner_src, inner_dst, inner_kind, inner_hops, inner_tos, u32(0), u32(0))
        p.ip.length = inner_length
        p.ip.checksum = 0
        p.ip.checksum = checksum_finish(p.network.checksum(0, 20))
        p.push(8)
        p.data.u8[0] = kind
        p.data.u8[1] = code
        p.data.u32[4] = word
        self.put_ip4(p, src, dst, u32(_ICMP), hops, tos, u32(0), u32(0))
        self.sum_icmp(p, p.length - 20, u32(0))
        return True

    @datapath
    def error4(self, kind: u32, code: u32, word: u32) -> tuple[u32, u32, u32]:
        """Type, code and second word of an error in ICMP (RFC 7915, section 5.2)."""
        if kind == 1:
            found: u32 = self.unreachable4[code]
            return u32(_NONE) if found == _NOTHING else u32(3), found, u32(0)
        if kind == 2:
            return u32(3), u32(4), u32(0xFFFF) if word > 0xFFFF + 20 else (word - 20) & 0xFFFF
        if kind == 3:
            return u32(11), code, u32(0)
        if kind == 4 and code == 1:
            return u32(3), u32(2), u32(0)
        if kind == 4 and code == 0 and word < 40:
            pointer: u32 = self.pointer4[word]
            if pointer != _NOTHING:
                return u32(12), u32(0), pointer << 24
        return u32(_NONE), u32(0), u32(0)
