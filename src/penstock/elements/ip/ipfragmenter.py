"""IPFragmenter."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Array, ConfigureError, Element, Packet, datapath, u8, u32, u64
from penstock.lang.arguments import UInt32

__all__ = ["IPFragmenter"]

_MAX_FRAGMENTS = 8192


class IPFragmenter(Element):
    """Split IP packets that are longer than MTU (RFC 791).

    The data must start at the IP header. Packets that must not be fragmented (DF) go to output 1, for ICMPError, or
    are dropped. Options without the copy bit stay in the first fragment only. Fragments have the annotations of
    the packet.

    Arguments:
        MTU: bytes of a fragment, IP header included; at least 68.
        HONOR_DF: false fragments even packets with DF.
        VERBOSE, HEADROOM: accepted for compatibility.

    Handlers:
        drops (read): packets that were too long and had DF. fragments (read): fragments made.

    Example:
        InfiniteSource(LENGTH 1000, LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPFragmenter(576)
        -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "h/h"
    packets_held = 3

    drops: u64
    fragments: u64

    def configure(self, mtu: UInt32, honor_df: bool = True, verbose: bool = False, *, headroom: UInt32 = 28) -> None:
        if mtu < 68:
            raise ConfigureError("MTU: must be >= 68 (RFC 791)")
        self.mtu, self.honor_df = mtu, honor_df
        #: the options of later fragments
        self.options = Array(u8, 40)

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")
        self.add_data("fragments", "fragments")

    @datapath
    def copied_options(self, p: Packet, header_bytes: u32) -> u32:
        """Put the options with the copy bit into ``options``, padded; gives their length."""
        length: u32 = 0
        at: u32 = 20
        for _ in range(40):
            if at >= header_bytes:
                break
            kind = p.network.u8[at]
            if kind == 0:
                break
            if kind == 1:
                at += 1
            else:
                size: u32 = 0
                if at + 1 < header_bytes:
                    size = p.network.u8[at + 1]
                if size < 2 or at + size > header_bytes:
                    break
                if (kind & 0x80) != 0:
                    for i in range(size):
                        self.options[length + i] = p.network.u8[at + i]
                    length += size
                at += size
        for _ in range(3):
            if (length & 3) != 0:
                self.options[length] = 0
                length += 1
        return length

    @datapath
    def finish(self, p: Packet, header_bytes: u32, length: u32, offset: u32, more: u32) -> None:
        p.ip.version_length = 0x40 | (header_bytes >> 2)
        p.ip.length = length
        p.ip.fragment = (p.ip.fragment & 0xC000) | (offset >> 3) | more
        p.ip.checksum = 0
        p.ip.checksum = checksum_finish(p.network.checksum(0, header_bytes))
        self.fragments += 1

    @datapath
    def split(self, p: Packet) -> None:
        header_bytes = p.ip.header_length * 4
        total = p.ip.length
        old = p.ip.fragment
        base = (old & 0x1FFF) << 3
        last_more = old & 0x2000
        chunk = (self.mtu - header_bytes) & 0xFFFFFFF8
        options_bytes = self.copied_options(p, header_bytes)
        later_header = 20 + options_bytes
        later_chunk = (self.mtu - later_header) & 0xFFFFFFF8
        at = header_bytes + chunk
        # Later fragments are copies made before the first one is cut.
        for _ in range(_MAX_FRAGMENTS):
            if at >= total:
                break
            n = min(total - at, later_chunk)
            q = p.clone()
            if q is None:
                break
            q.network.copy(later_header, p.network, at, n)
            q.network.load_from(self.options, 0, 20, options_bytes)
            q.take(q.length - (later_header + n))
            q.set_transport(u32(later_header))
            self.finish(q, later_header, later_header + n, base + at - header_bytes, 0x2000 if at + n < total else last_more)
            at += n
            if at - n == header_bytes + chunk:
                # The first fragment goes first; what follows needs its payload, so a copy of it goes.
                first = p.clone()
                if first is not None:
                    first.take(first.length - (header_bytes + chunk))
                    self.finish(first, header_bytes, header_bytes + chunk, base, u32(0x2000))
                    self.output(0).push(first)
            self.output(0).push(q)
        p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.network_offset != 0:
            self.drops += 1
            p.kill()
            return
        length = p.ip.length
        header_bytes = p.ip.header_length * 4
        if length > p.length or header_bytes < 20 or length <= header_bytes:
            self.drops += 1
            p.kill()
        elif length <= self.mtu:
            if p.length > length:
                p.take(p.length - length)
            self.output(0).push(p)
        elif self.honor_df and (p.ip.fragment & 0x4000) != 0:
            self.drops += 1
            self.checked_output_push(1, p)
        else:
            if p.length > length:
                p.take(p.length - length)
            self.split(p)
