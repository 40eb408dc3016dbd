"""CheckIPHeader, CheckIPHeader2 and MarkIPHeader: where is the IP header, and is it a good one?"""


from penstock.elements import Element, HostPacket, Packet, datapath, u32, u64
from penstock.elements.headercheck import HeaderCheck
from penstock.lang.arguments import ArgumentError, IPAddressList, IPPrefixList, parse_int, parse_ip
from penstock.lang.text import split_words

__all__ = ["CheckIPHeader", "CheckIPHeader2", "MarkIPHeader"]

_OLD_BAD_SOURCES = (0, 0xFFFFFFFF)


class CheckIPHeader(HeaderCheck):
    """Check the IPv4 header: version, lengths, checksum and source address.

    A good packet gets its network and transport header positions and the destination annotation, and loses what
    follows the IP length. A bad one goes to output 1, or is dropped where that is not connected.

    Arguments:
        OFFSET: where the IP header starts.
        INTERFACES: prefixes of this router's interfaces: their broadcast addresses are bad sources.
        BADSRC: addresses that no packet may come from.
        GOODDST: destinations for which BADSRC does not count.
        CHECKSUM: false leaves the checksum alone.
        VERBOSE: report every bad packet, not the first one only.
        DETAILS: count bad packets by reason.

    Handlers:
        count (read): good packets.
        drops (read): bad packets.
        drop_details (read): bad packets by reason, with DETAILS.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> CheckIPHeader -> Discard;
    """

    what = "IP"
    reasons = ("tiny packet", "bad IP version", "bad IP header length", "bad IP length", "bad IP checksum", "bad source address")
    checks_checksum = True

    count: u64

    def configure(self, offset: str = "", *, interfaces: IPPrefixList = (), badsrc: IPAddressList = (),
                  gooddst: IPAddressList = (), checksum: bool = True, verbose: bool = False, details: bool = False) -> None:
        self.offset = 0
        bad = set(badsrc)
        if offset:
            try:
                self.offset = parse_int(offset, 0, 4096)
            except ArgumentError as error:
                # Before Click 1.5 the first argument was the list of bad sources.
                try:
                    bad |= {parse_ip(w, self.router.context) for w in split_words(offset)}
                except ArgumentError:
                    raise ArgumentError(f"OFFSET: {error}") from None
        for address, mask in interfaces:
            bad |= {address | (mask ^ 0xFFFFFFFF), address & mask}
        if interfaces:
            bad |= set(_OLD_BAD_SOURCES)
        good = set(gooddst) | {address for address, _ in interfaces}
        self.bad_sources = tuple(sorted(bad))
        self.good_destinations = tuple(sorted(good))
        self.checks_checksum = self.checks_checksum and checksum
        self.setup(verbose, details)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        super().add_handlers()

    def host_packet(self, packet: HostPacket) -> None:
        print(f"IP header check failed: {self.reasons[packet.tag]}", file=self.router.stderr, flush=True)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        return self.check(p)

    @datapath
    def check(self, p: Packet) -> Packet | None:
        length = p.length
        if length < self.offset + 20:
            self.bad(p, 0)
            return None
        p.set_network(self.offset)
        ip = p.ip
        header_bytes = ip.header_length * 4
        available = length - self.offset
        total = ip.length
        if ip.version != 4:
            self.bad(p, 1)
            return None
        if header_bytes < 20:
            self.bad(p, 2)
            return None
        if total > available or total < header_bytes:
            self.bad(p, 3)
            return None
        if self.checks_checksum:
            right = False
            if header_bytes == 20:
                right = p.network.checksum(0, 20) == 0xFFFF
            else:
                right = p.network.checksum(0, header_bytes) == 0xFFFF
            if not right:
                self.bad(p, 4)
                return None
        if len(self.bad_sources) > 0:
            if self.is_bad_source(ip.src, ip.dst):
                self.bad(p, 5)
                return None
        self.count += 1
        if available > total:
            p.take(available - total)
        p.set_transport(u32(self.offset) + header_bytes)
        p.dst_ip = ip.dst
        return p

    @datapath
    def is_bad_source(self, src: u32, dst: u32) -> bool:
        for address in self.good_destinations:
            if dst == address:
                return False
        for address in self.bad_sources:
            if src == address:
                return True
        return False


class CheckIPHeader2(CheckIPHeader):
    """CheckIPHeader without the checksum.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> CheckIPHeader2 -> Discard;
    """

    checks_checksum = False


class MarkIPHeader(Element):
    """Set the network and transport header positions without looking whether the header is good.

    Arguments:
        OFFSET: where the IP header starts.

    Example:
        FromDump(f.pcap, STOP true) -> MarkIPHeader(14) -> Discard;
    """

    def configure(self, offset: int = 0) -> None:
        self.offset = offset

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.set_network(self.offset)
        header_bytes = p.network.u8[0] & 0xF
        p.set_transport(u32(self.offset) + header_bytes * 4)
        return p
