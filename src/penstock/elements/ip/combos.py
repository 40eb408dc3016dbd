"""IPInputCombo and IPOutputCombo: what an IP router does with every packet, in one element each."""

from penstock.datapath.checksum import checksum_adjust, checksum_finish
from penstock.elements import ConfigureError, Packet, datapath, u32, u64
from penstock.elements.ip.checkipheader import CheckIPHeader
from penstock.elements.ip.ipgwoptions import IPGWOptions
from penstock.lang.arguments import Byte, IPAddress, IPAddressList, IPPrefixList, UInt32

__all__ = ["IPInputCombo", "IPOutputCombo"]

_ETHER_BYTES = 14


class IPInputCombo(CheckIPHeader):
    """Paint, strip the Ethernet header, check the IP header, and set the destination annotation, all at once.

    The same as ``Paint(COLOR) -> Strip(14) -> CheckIPHeader(...) -> GetIPAddress(16)``.

    Arguments:
        COLOR: of the paint. INTERFACES, BADSRC, GOODDST, CHECKSUM, VERBOSE, DETAILS: as CheckIPHeader has them.

    Handlers:
        count (read): good packets. drops (read): bad packets. drop_details (read): bad packets by reason, with DETAILS.

    Example:
        FromDump(f.pcap, STOP true) -> IPInputCombo(1) -> Discard;
    """

    def configure(self, color: Byte, *, interfaces: IPPrefixList = (), badsrc: IPAddressList = (),
                  gooddst: IPAddressList = (), checksum: bool = True, verbose: bool = False, details: bool = False) -> None:
        super().configure("", interfaces=interfaces, badsrc=badsrc, gooddst=gooddst, checksum=checksum, verbose=verbose, details=details)
        self.color = color

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        p.paint = self.color
        if p.length < _ETHER_BYTES + 20:
            self.bad(p, 0)
            return None
        p.set_mac(0)
        p.pull(_ETHER_BYTES)
        return self.check(p)


class IPOutputCombo(IPGWOptions):
    """Drop broadcasts, look for the paint, process options, fix the source, count the TTL down, and look for the size, all at once.

    It does what DropBroadcasts, PaintTee(COLOR), IPGWOptions(IPADDR), FixIPSrc(IPADDR), DecIPTTL and IPFragmenter(MTU) do in a row:
    output 1 gets a copy of packets that go out where they came in, output 2 those with bad options, output 3 those whose time has
    run out, output 4 those that are too long.

    Arguments:
        COLOR: the paint that this interface's packets have. IPADDR: its address. MTU: its largest packet.

    Handlers:
        drops (read): packets with bad options. broadcasts (read): packets that came as link broadcasts.

    Example:
        o :: IPOutputCombo(1, 1.0.0.1, 1500); FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> o -> Discard;
        o[1] -> Discard; o[2] -> Discard; o[3] -> Discard; o[4] -> Discard;
    """

    ports = "1/5"
    processing = "h/h"

    broadcasts: u64

    def configure(self, color: Byte, ipaddr: IPAddress, mtu: UInt32) -> None:
        if mtu < 68:
            raise ConfigureError("MTU: must be >= 68 (RFC 791)")
        super().configure(ipaddr)
        self.color, self.mtu = color, mtu

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_data("broadcasts", "broadcasts")

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.packet_type == 1 or p.packet_type == 2:
            self.broadcasts += 1
            p.kill()
            return
        if p.paint == self.color:
            q = p.clone()
            if q is not None:
                self.output(1).push(q)
        header_bytes = p.ip.header_length * 4
        if header_bytes > 20:
            good = p.network.has(0, header_bytes)
            if good:
                good = self.handle(p, header_bytes)
            if not good:
                self.drops += 1
                self.output(2).push(p)
                return
            p.ip.checksum = 0
            p.ip.checksum = checksum_finish(p.network.checksum(0, header_bytes))
        ip = p.ip
        if p.fix_ip_src != 0:
            p.fix_ip_src = 0
            ip.src = u32(self.myaddr)
            ip.checksum = 0
            ip.checksum = checksum_finish(p.network.checksum(0, header_bytes))
        if ip.ttl <= 1:
            self.output(3).push(p)
            return
        old = p.network.u16[8]
        ip.ttl = ip.ttl - 1
        ip.checksum = checksum_adjust(ip.checksum, old, p.network.u16[8])
        if p.length > self.mtu:
            self.output(4).push(p)
        else:
            self.output(0).push(p)
