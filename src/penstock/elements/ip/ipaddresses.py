"""Elements that read, set and exchange IP addresses: GetIPAddress, SetIPAddress, StoreIPAddress, IPMirror, FixIPSrc."""

from penstock.datapath.checksum import checksum_adjust32, checksum_finish
from penstock.elements import ConfigureError, Element, Packet, datapath, u32
from penstock.lang.arguments import Anno4, IPAddress, Word, parse_int, parse_ip, unparse_ip

__all__ = ["FixIPSrc", "GetIPAddress", "IPMirror", "SetIPAddress", "StoreIPAddress"]


@datapath
def update_transport_checksum(p: Packet, old: u32, new: u32) -> None:
    """Follow a change of an address in the pseudo header of TCP or UDP (RFC 1624)."""
    ip = p.ip
    if (ip.fragment & 0x1FFF) == 0:
        if ip.protocol == 6:
            if p.transport.has(0, 18):
                p.transport.u16[16] = checksum_adjust32(p.transport.u16[16], old, new)
        elif ip.protocol == 17:
            if p.transport.has(0, 8):
                before = p.transport.u16[6]
                # 0 means that there is no checksum (RFC 768).
                if before != 0:
                    after = checksum_adjust32(before, old, new)
                    p.transport.u16[6] = 0xFFFF if after == 0 else after


class GetIPAddress(Element):
    """Put an address from the packet into the destination annotation.

    Arguments:
        OFFSET: where the address is, from the start of the data; or ``ip src``, ``ip dst`` of the IP header.
        ANNO: the annotation (DST_IP).

    Example:
        FromDump(f.pcap, STOP true) -> GetIPAddress(30) -> Discard;
    """

    def configure(self, offset: str, anno: Anno4 = 0) -> None:
        self.field = {"ip src": "src", "ip dst": "dst"}.get(" ".join(offset.split()).lower(), "")
        self.offset = 0 if self.field else parse_int(offset, 0)
        self.anno = anno

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        address: u32 = 0
        if self.field == "src":
            address = p.ip.src
        elif self.field == "dst":
            address = p.ip.dst
        elif p.data.has(self.offset, 4):
            address = p.data.u32[self.offset]
        # Addresses are in network order in annotations.
        for i in (0, 1, 2, 3):
            p.anno8[self.anno + i] = (address >> (24 - 8 * i)) & 0xFF
        return p


class SetIPAddress(Element):
    """Set the destination annotation to an address.

    Arguments:
        IPADDR: the address.
        ANNO: the annotation (DST_IP).

    Handlers:
        addr (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetIPAddress(1.0.0.2) -> Print(PRINTANNO true) -> Discard;
    """

    addr: u32

    def configure(self, ipaddr: IPAddress, anno: Anno4 = 0) -> None:
        self.addr, self.anno = ipaddr, anno

    def add_handlers(self) -> None:
        self.add_data("addr", "addr", lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        for i in (0, 1, 2, 3):
            p.anno8[self.anno + i] = (self.addr >> (24 - 8 * i)) & 0xFF
        return p


class StoreIPAddress(Element):
    """Store an IP address in packets. With ``src`` or ``dst`` the checksums follow.

    Packets too short go to output 1, or are dropped.

    Arguments:
        IPADDR: the address; left out: the destination annotation.
        OFFSET: bytes from the start of the data, or ``src`` or ``dst`` of the IP header.

    Handlers:
        addr (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> StoreIPAddress(3.0.0.3, dst)
        -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    addr: u32

    def configure(self, *arguments: Word) -> None:
        if not 1 <= len(arguments) <= 2:
            raise ConfigureError("expected [IPADDR,] OFFSET")
        self.from_anno = len(arguments) == 1
        if not self.from_anno:
            self.addr = parse_ip(arguments[0], self.router.context)
        offset = arguments[-1].lower()
        self.field = offset if offset in ("src", "dst") else ""
        self.offset = 0 if self.field else parse_int(offset, 0)

    def add_handlers(self) -> None:
        self.add_data("addr", "addr", lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        address: u32 = self.addr
        if self.from_anno:
            address = p.dst_ip
        if self.field == "":
            if not p.data.has(self.offset, 4):
                self.checked_output_push(1, p)
                return None
            p.data.u32[self.offset] = address
            return p
        if not p.network.has(0, 20):
            self.checked_output_push(1, p)
            return None
        ip = p.ip
        old: u32 = ip.src
        if self.field == "dst":
            old = ip.dst
            ip.dst = address
            p.dst_ip = address
        else:
            ip.src = address
        ip.checksum = checksum_adjust32(ip.checksum, old, address)
        update_transport_checksum(p, old, address)
        return p


class IPMirror(Element):
    """Exchange source and destination addresses, and the ports of TCP and UDP (first fragments). Checksums stay right.

    Arguments:
        DST_ANNO: set the destination annotation to the new destination.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPMirror -> IPPrint -> Discard;
    """

    def configure(self, *, dst_anno: bool = True) -> None:
        self.dst_anno = dst_anno

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        src = ip.src
        ip.src = ip.dst
        ip.dst = src
        if self.dst_anno:
            p.dst_ip = src
        if ip.protocol in (6, 17) and (ip.fragment & 0x1FFF) == 0:
            if p.transport.has(0, 4):
                port = p.transport.u16[0]
                p.transport.u16[0] = p.transport.u16[2]
                p.transport.u16[2] = port
        return p


class FixIPSrc(Element):
    """Set the source address of packets whose FIX_IP_SRC annotation is set, and clear that.

    Arguments:
        IPADDR: the address of this interface.

    Handlers:
        addr (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> ICMPError(9.9.9.9, timeexceeded)
        -> FixIPSrc(3.0.0.1) -> IPPrint -> Discard;
    """

    can_live_reconfigure = True

    addr: u32

    def configure(self, ipaddr: IPAddress) -> None:
        self.addr = ipaddr

    def add_handlers(self) -> None:
        self.add_data("addr", "addr", lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.fix_ip_src != 0:
            p.fix_ip_src = 0
            header_bytes = p.ip.header_length * 4
            p.ip.src = self.addr
            p.ip.checksum = 0
            p.ip.checksum = checksum_finish(p.network.checksum(0, header_bytes))
        return p
