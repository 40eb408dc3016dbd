"""RFC2507Comp and RFC2507Decomp: compressed headers of TCP over IPv4 on slow links."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import NONE, Array, ConfigureError, Element, Packet, Struct, abstraction, boolean, datapath, u8, u32, u64

__all__ = ["RFC2507Comp", "RFC2507Decomp"]

#: what PPP calls them (RFC 2509, section 2.1, and RFC 1332)
_IPV4, _FULL, _COMPRESSED = 0x0021, 0x0061, 0x0063
#: which fields follow (RFC 2507, section 6)
_R, _O, _I, _P, _S, _A, _W, _U = 0x80, 0x40, 0x20, 0x10, 8, 4, 2, 1
#: of segments that go on where the last one ended: data one way, and an echo (RFC 1144, section 3.2.3)
_ONE_WAY, _ECHO = _S | _A | _W | _U, _S | _W | _U
_PSH, _ACK, _URG = 0x08, 0x10, 0x20
_OPTION_BYTES = 40


class _Context(Struct):
    """What both sides know of a connection: its last header."""

    used: boolean
    src: u32
    dst: u32
    ports: u32
    tos_ttl: u32
    fragment: u32
    ident: u32
    sequence: u32
    acknowledgement: u32
    flags: u32
    window: u32
    urgent: u32
    option_bytes: u32
    #: data bytes of the last segment
    size: u32
    #: by the count of packets
    touched: u64


class _Contexts(Element):
    def make_contexts(self, count: int) -> None:
        if not 1 <= count <= 256:
            raise ConfigureError("CONTEXTS: must be between 1 and 256")
        self.number_of_contexts = count
        self.contexts = Array(_Context, count)
        self.options = Array(u8, count * _OPTION_BYTES)

    @datapath
    def note(self, c: u32, p: Packet, head: u32, size: u32) -> None:
        """Remember the header that the network header position shows."""
        mine = self.contexts[c]
        mine.src = p.network.u32[12]
        mine.dst = p.network.u32[16]
        mine.ports = p.network.u32[20]
        mine.tos_ttl = (u32(p.network.u8[1]) << 8) | p.network.u8[8]
        mine.fragment = p.network.u16[6]
        mine.ident = p.network.u16[4]
        mine.sequence = p.network.u32[24]
        mine.acknowledgement = p.network.u32[28]
        mine.flags = p.network.u16[32] & 0x0FFF
        mine.window = p.network.u16[34]
        mine.urgent = p.network.u16[38]
        mine.option_bytes = head - 20
        mine.size = size
        mine.used = True
        for i in range(_OPTION_BYTES):
            if 20 + u32(i) < head:
                self.options[c * _OPTION_BYTES + i] = p.network.u8[40 + i]


class RFC2507Comp(_Contexts):
    """Compress the headers of TCP over IPv4 to a few bytes (RFC 2507), for links where 40 bytes of headers take long.

    Each packet leaves with PPP's two bytes of protocol number in front (RFC 2509): 0061 for a full header, whose length field names
    the context, 0063 for a compressed header, 0021 for what is not compressed: other protocols, fragments, options of IP. A header is
    compressed where it differs from the connection's last one by what the format can say; a segment that is sent again has a full
    header, which mends contexts that a loss broke.

    Arguments:
        CONTEXTS: connections that are remembered (16); the one that was silent longest makes room.

    Handlers:
        count, compressed, saved (read): packets; those with a compressed header; and bytes that were saved.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> RFC2507Comp -> c :: RFC2507Decomp -> IPPrint -> Discard;
    """

    count: u64
    compressed: u64
    saved: u64

    def configure(self, contexts: int = 16) -> None:
        self.make_contexts(contexts)

    def add_handlers(self) -> None:
        for name in ("count", "compressed", "saved"):
            self.add_data(name, name)

    @datapath
    def context_of(self, p: Packet) -> u32:
        for i in range(self.number_of_contexts):
            mine = self.contexts[i]
            if mine.used and mine.src == p.ip.src and mine.dst == p.ip.dst and mine.ports == p.network.u32[20]:
                return u32(i)
        return u32(NONE)

    @datapath
    def silent_longest(self) -> u32:
        best: u32 = 0
        for i in range(self.number_of_contexts):
            mine = self.contexts[i]
            if not mine.used:
                return u32(i)
            if mine.touched < self.contexts[best].touched:
                best = u32(i)
        return best

    @datapath
    def put(self, p: Packet, at: u32, value: u32) -> u32:
        """A difference at byte ``at``, of one byte or of three; gives where it ends."""
        if value >= 1 and value <= 255:
            p.data.u8[at] = value
            return at + 1
        p.data.u8[at] = 0
        p.data.u16[at + 1] = value
        return at + 3

    @datapath
    def has_other_options(self, c: u32, p: Packet, head: u32) -> bool:
        other = self.contexts[c].option_bytes != head - 20
        for i in range(_OPTION_BYTES):
            if 20 + u32(i) < head and self.options[c * _OPTION_BYTES + i] != p.network.u8[40 + i]:
                other = True
        return other

    @datapath
    def compress(self, c: u32, p: Packet, head: u32, size: u32) -> bool:
        """Put the compressed header in place of the whole one; False where it cannot say what changed."""
        mine = self.contexts[c]
        flags: u32 = p.network.u16[32] & 0x0FFF
        ahead: u32 = p.network.u32[24] - mine.sequence
        acked: u32 = p.network.u32[28] - mine.acknowledgement
        window: u32 = (u32(p.network.u16[34]) - mine.window) & 0xFFFF
        ident: u32 = (u32(p.network.u16[4]) - mine.ident) & 0xFFFF
        urgent: u32 = p.network.u16[38]
        # Only PSH and URG, and what the R octet carries, may differ.
        if ((flags ^ mine.flags) & 0x17) != 0 or ahead > 0xFFFF or acked > 0xFFFF:
            return False
        if mine.tos_ttl != ((u32(p.network.u8[1]) << 8) | p.network.u8[8]) or mine.fragment != p.network.u16[6]:
            return False
        if (flags & _URG) == 0 and urgent != mine.urgent:
            return False
        what: u32 = 0
        if ahead != 0:
            what |= _S
        if acked != 0:
            what |= _A
        if window != 0:
            what |= _W
        if (flags & _URG) != 0:
            what |= _U
        if (what & _ONE_WAY) in (_ONE_WAY, _ECHO):
            return False
        goes_on = ahead == mine.size and mine.size != 0
        if what == _S and goes_on:
            what = _ONE_WAY
        elif what == (_S | _A) and goes_on and acked == mine.size:
            what = _ECHO
        if ident != 1:
            what |= _I
        if (flags & _PSH) != 0:
            what |= _P
        if (flags >> 6) != (mine.flags >> 6):
            what |= _R
        has_options = self.has_other_options(c, p, head)
        if has_options:
            what |= _O
        checksum: u32 = p.network.u16[36]
        self.note(c, p, head, size)
        p.pull(20 + head)
        # At most 4 bytes, one for R, two for U, and three each for W, A, S and I; then length and options.
        length: u32 = self.length_of(what, window, acked, ahead, ident) + (1 + head - 20 if has_options else u32(0))
        p.push(length)
        p.clear_network()
        p.clear_transport()
        p.data.u8[0] = c
        p.data.u8[1] = what
        p.data.u16[2] = checksum
        at: u32 = 4
        if (what & _R) != 0:
            p.data.u8[at] = flags >> 6
            at += 1
        special = (what & _ONE_WAY) in (_ONE_WAY, _ECHO)
        if not special:
            if (what & _U) != 0:
                p.data.u16[at] = urgent
                at += 2
            if (what & _W) != 0:
                at = self.put(p, at, window)
            if (what & _A) != 0:
                at = self.put(p, at, acked)
            if (what & _S) != 0:
                at = self.put(p, at, ahead)
        if (what & _I) != 0:
            at = self.put(p, at, ident)
        if has_options:
            p.data.u8[at] = head - 20
            for i in range(_OPTION_BYTES):
                if 20 + u32(i) < head:
                    p.data.u8[at + 1 + i] = self.options[c * _OPTION_BYTES + i]
        self.saved += 20 + head - length
        return True

    @datapath
    def length_of(self, what: u32, window: u32, acked: u32, ahead: u32, ident: u32) -> u32:
        """Bytes of a compressed header, without options."""
        length: u32 = 4
        if (what & _R) != 0:
            length += 1
        if (what & _ONE_WAY) not in (_ONE_WAY, _ECHO):
            if (what & _U) != 0:
                length += 2
            if (what & _W) != 0:
                length += self.bytes_of(window)
            if (what & _A) != 0:
                length += self.bytes_of(acked)
            if (what & _S) != 0:
                length += self.bytes_of(ahead)
        if (what & _I) != 0:
            length += self.bytes_of(ident)
        return length

    @datapath
    def bytes_of(self, value: u32) -> u32:
        return u32(1) if value >= 1 and value <= 255 else u32(3)

    @datapath
    def mark(self, p: Packet, protocol: u32) -> Packet:
        p.push(2)
        p.data.u16[0] = protocol
        return p

    @datapath
    def is_fit(self, p: Packet) -> bool:
        """A whole TCP segment without options of IP, that is no fragment and begins and ends no connection."""
        if not p.network.has(0, 40) or p.network_offset != 0 or p.network.u8[0] != 0x45 or p.ip.protocol != 6:
            return False
        if (p.ip.fragment & 0x3FFF) != 0 or p.length != p.ip.length or (p.network.u8[33] & 7) != 0:
            return False
        # With an ACK, as all have but the first ones.
        return (p.network.u8[33] & _ACK) != 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.count += 1
        if not self.is_fit(p):
            return self.mark(p, u32(_IPV4))
        head = (u32(p.network.u8[32]) >> 4) * 4
        if head < 20 or p.length < 20 + head:
            return self.mark(p, u32(_IPV4))
        size: u32 = p.length - 20 - head
        c = self.context_of(p)
        if c != NONE:
            self.contexts[c].touched = self.count
            if self.compress(c, p, head, size):
                self.compressed += 1
                return self.mark(p, u32(_COMPRESSED))
        else:
            c = self.silent_longest()
            self.contexts[c].touched = self.count
        self.note(c, p, head, size)
        p.network.u16[2] = c << 8
        return self.mark(p, u32(_FULL))

    @abstraction(of=simple_action)
    def any_action(self, p: Packet) -> Packet | None:
        """The whole packet, marked as one: what the other end makes of it, in any case."""
        self.count += 1
        return self.mark(p, u32(_IPV4))


class RFC2507Decomp(_Contexts):
    """Make whole headers again of what RFC2507Comp compressed.

    A segment whose checksum is wrong once its header is whole is dropped: something before it was lost. Its context is then
    believed no more, until a full header comes. (What no checksum covers is IP's identification: that may be wrong behind a loss.)
    Packets of IPv4 leave as they came in, without PPP's protocol number; what has another number is dropped.

    Arguments:
        CONTEXTS: as the other end's (16).

    Handlers:
        count, drops (read): packets, and those that were dropped.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> RFC2507Comp -> c :: RFC2507Decomp -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64
    broken: boolean
    #: the next byte of a compressed header
    place: u32

    def configure(self, contexts: int = 16) -> None:
        self.make_contexts(contexts)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    @datapath
    def drop(self, p: Packet) -> None:
        self.drops += 1
        self.checked_output_push(1, p)

    @datapath
    def take_delta(self, p: Packet) -> u32:
        """The difference at byte ``place``, which moves behind it."""
        if not p.data.has(self.place, 1):
            self.broken = True
            return u32(0)
        value: u32 = p.data.u8[self.place]
        self.place += 1
        if value != 0:
            return value
        if not p.data.has(self.place, 2):
            self.broken = True
            return u32(0)
        value = p.data.u16[self.place]
        self.place += 2
        return value

    @datapath
    def take_flags(self, p: Packet, what: u32, before: u32) -> u32:
        """PSH and URG, and what the R octet says."""
        flags: u32 = before & 0xFFFF_FFD7
        if (what & _R) != 0:
            if not p.data.has(4, 1):
                self.broken = True
                return flags
            flags = (flags & 0x3F) | ((u32(p.data.u8[4]) & 0x3F) << 6)
            self.place = 5
        if (what & _P) != 0:
            flags |= _PSH
        return flags

    @datapath
    def take_options(self, p: Packet, c: u32) -> None:
        if not p.data.has(self.place, 1):
            self.broken = True
            return
        count: u32 = p.data.u8[self.place]
        if count > _OPTION_BYTES or (count & 3) != 0 or not p.data.has(self.place + 1, count):
            self.broken = True
            return
        for i in range(_OPTION_BYTES):
            if u32(i) < count:
                self.options[c * _OPTION_BYTES + i] = p.data.u8[self.place + 1 + i]
        self.contexts[c].option_bytes = count
        self.place += 1 + count

    @datapath
    def take_changes(self, p: Packet, c: u32) -> None:
        """Bring the context to what the compressed header says."""
        mine = self.contexts[c]
        what: u32 = p.data.u8[1]
        self.place = 4
        flags = self.take_flags(p, what, u32(mine.flags))
        kind: u32 = what & _ONE_WAY
        if kind in (_ONE_WAY, _ECHO):
            mine.sequence = mine.sequence + mine.size
            if kind == _ECHO:
                mine.acknowledgement = mine.acknowledgement + mine.size
        else:
            if (what & _U) != 0:
                flags |= _URG
                if p.data.has(self.place, 2):
                    mine.urgent = p.data.u16[self.place]
                else:
                    self.broken = True
                self.place += 2
            if (what & _W) != 0:
                mine.window = (mine.window + self.take_delta(p)) & 0xFFFF
            if (what & _A) != 0:
                mine.acknowledgement = mine.acknowledgement + self.take_delta(p)
            if (what & _S) != 0:
                mine.sequence = mine.sequence + self.take_delta(p)
        if (what & _I) != 0:
            mine.ident = (mine.ident + self.take_delta(p)) & 0xFFFF
        else:
            mine.ident = (mine.ident + 1) & 0xFFFF
        mine.flags = flags
        if (what & _O) != 0:
            self.take_options(p, c)

    @datapath
    def write_header(self, p: Packet, c: u32, checksum: u32) -> None:
        """The whole header in front of the data."""
        mine = self.contexts[c]
        head: u32 = 20 + mine.option_bytes
        p.push(20 + head)
        p.set_network(0)
        p.set_transport(20)
        p.data.u32[0] = 0x4500_0000 | ((mine.tos_ttl >> 8) << 16) | (p.length & 0xFFFF)
        p.data.u32[4] = (mine.ident << 16) | mine.fragment
        p.data.u32[8] = ((mine.tos_ttl & 0xFF) << 24) | 0x0006_0000
        p.data.u32[12] = mine.src
        p.data.u32[16] = mine.dst
        p.data.u16[10] = checksum_finish(p.data.checksum(0, 20))
        p.data.u32[20] = mine.ports
        p.data.u32[24] = mine.sequence
        p.data.u32[28] = mine.acknowledgement
        p.data.u16[32] = (head << 10) | mine.flags
        p.data.u16[34] = mine.window
        p.data.u16[36] = checksum
        p.data.u16[38] = mine.urgent
        for i in range(_OPTION_BYTES):
            if u32(i) < mine.option_bytes:
                p.data.u8[40 + i] = self.options[c * _OPTION_BYTES + i]

    @datapath
    def is_right(self, p: Packet) -> bool:
        """The segment's own checksum tells whether the context was that of the other end."""
        length: u32 = p.length - 20
        return p.data.checksum(20, length, pseudo_header_sum(p.data.u32[12], p.data.u32[16], u32(6), length)) == 0xFFFF

    @datapath
    def expand(self, p: Packet) -> Packet | None:
        if not p.data.has(0, 4) or p.data.u8[0] >= u32(self.number_of_contexts):
            self.drop(p)
            return None
        c: u32 = p.data.u8[0]
        if not self.contexts[c].used:
            self.drop(p)
            return None
        checksum: u32 = p.data.u16[2]
        self.broken = False
        self.take_changes(p, c)
        if self.broken or p.length < self.place or p.length - self.place > 65_400:
            self.contexts[c].used = False
            self.drop(p)
            return None
        p.pull(self.place)
        self.contexts[c].size = p.length
        self.write_header(p, c, checksum)
        if not self.is_right(p):
            self.contexts[c].used = False
            self.drop(p)
            return None
        p.dst_ip = p.ip.dst
        return p

    @datapath
    def take_full(self, p: Packet) -> Packet | None:
        if not p.data.has(0, 40) or p.length > 65_535 or p.data.u8[0] != 0x45 or p.data.u8[9] != 6:
            self.drop(p)
            return None
        c: u32 = p.data.u8[2]
        head = (u32(p.data.u8[32]) >> 4) * 4
        if c >= u32(self.number_of_contexts) or head < 20 or not p.data.has(20, head):
            self.drop(p)
            return None
        p.data.u16[2] = p.length
        p.set_network(0)
        p.set_transport(20)
        if p.data.checksum(0, 20) != 0xFFFF:
            self.drop(p)
            return None
        self.note(c, p, head, p.length - 20 - head)
        p.dst_ip = p.ip.dst
        return p

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        self.count += 1
        if not p.data.has(0, 2):
            self.drop(p)
            return None
        protocol: u32 = p.data.u16[0]
        p.pull(2)
        if protocol == _IPV4:
            p.set_network(0)
            return p
        if protocol == _FULL:
            return self.take_full(p)
        if protocol == _COMPRESSED:
            return self.expand(p)
        self.drop(p)
        return None

    @abstraction(of=expand)
    def any_expanded(self, p: Packet) -> Packet | None:
        """The other end is not known: what it compressed is not followed."""
        self.drop(p)
        return None
