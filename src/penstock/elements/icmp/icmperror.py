"""ICMPError."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import ConfigureError, Element, Packet, datapath, u16, u32, u64
from penstock.lang.arguments import ArgumentError, IPAddress, IPAddressList, UInt16, Word, parse_int, parse_ip, unparse_ip
from penstock.packet.layout import PACKET_TYPES

__all__ = ["ICMPError"]

_TYPES = {"unreachable": 3, "sourcequench": 4, "redirect": 5, "timeexceeded": 11, "parameterproblem": 12}
_CODES = {
    3: {"net": 0, "host": 1, "proto": 2, "protocol": 2, "port": 3, "needfrag": 4, "srcroutefail": 5, "netunknown": 6,
        "hostunknown": 7, "srchostisolated": 8, "netdenied": 9, "hostdenied": 10, "nettos": 11, "hosttos": 12,
        "filterprohibited": 13, "hostprecedence": 14, "precedencecutoff": 15},
    5: {"net": 0, "host": 1, "nettos": 2, "hosttos": 3},
    11: {"transit": 0, "reassembly": 1},
    12: {"erroratptr": 0, "missingopt": 1, "length": 2},
}
_BROADCAST, _MULTICAST = PACKET_TYPES.index("BROADCAST"), PACKET_TYPES.index("MULTICAST")


class ICMPError(Element):
    """Answer a packet with an ICMP error (RFC 792, RFC 1812 section 4.3.2).

    The answer carries as much of the packet as fits into PMTU bytes. No answer is made for ICMP errors, for
    fragments but the first, for link-level broadcasts and multicasts, and for bad source or destination addresses.
    Answers have the destination annotation set, and the FIX_IP_SRC annotation for FixIPSrc.

    Arguments:
        SRC: source address of the answers.
        TYPE, CODE: numbers, or Click's names, such as ``timeexceeded`` and ``transit``.
        BADADDRS: addresses that are broadcast addresses.
        MTU: for ``unreachable, needfrag``: the next hop's MTU.
        PMTU: longest answer, 576 by default.
        USE_FIX_ANNO: false leaves the FIX_IP_SRC annotation 0.

    Handlers:
        src, mtu, pmtu (read/write), count (read): answers made.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> CheckIPHeader
        -> ICMPError(9.9.9.9, unreachable, port) -> IPPrint -> Discard;
    """

    packets_held = 2

    src: u32
    mtu: u16
    pmtu: u32
    id: u16
    count: u64

    def configure(self, src: IPAddress, type: Word, code: Word = "0", badaddrs: IPAddressList = (), *, mtu: UInt16 = 0,
                  pmtu: UInt16 = 576, use_fix_anno: bool = True) -> None:
        self.src, self.mtu, self.pmtu = src, mtu, max(pmtu, 64)
        try:
            self.type = _TYPES[type.lower()] if type.lower() in _TYPES else parse_int(type, 0, 255)
        except ArgumentError:
            raise ConfigureError(f"TYPE: '{type}' is not an ICMP type ({', '.join(_TYPES)})") from None
        codes = _CODES.get(self.type, {})
        try:
            self.code = codes[code.lower()] if code.lower() in codes else parse_int(code, 0, 255)
        except ArgumentError:
            raise ConfigureError(f"CODE: '{code}' is not a code of this type ({', '.join(codes)})") from None
        if mtu and (self.type, self.code) != (3, 4):
            raise ConfigureError("MTU: only for 'unreachable, needfrag'")
        self.bad_addresses, self.use_fix_anno = badaddrs, use_fix_anno

    def add_handlers(self) -> None:
        self.add_data("src", "src", lambda text: parse_ip(text.strip(), self.router.context), unparse_ip)
        self.add_data("mtu", "mtu", lambda text: parse_int(text.strip(), 0, 0xFFFF))
        self.add_data("pmtu", "pmtu", lambda text: parse_int(text.strip(), 64, 0xFFFF))
        self.add_data("count", "count")

    @datapath
    def is_unicast(self, address: u32) -> bool:
        for bad in self.bad_addresses:
            if address == bad:
                return False
        if address == 0xFFFFFFFF:
            return False
        return (address >> 28) != 0xE

    @datapath
    def deserves_answer(self, p: Packet) -> bool:
        if p.packet_type in (_BROADCAST, _MULTICAST):
            return False
        ip = p.ip
        if (ip.fragment & 0x1FFF) != 0:
            return False
        src = ip.src
        # No answers to 0.0.0.0/8 and 127.0.0.0/8 (RFC 1812, section 5.3.7).
        if not self.is_unicast(ip.dst) or not self.is_unicast(src) or (src >> 24) == 0 or (src >> 24) == 127:
            return False
        if ip.protocol == 1:
            if not p.transport.has(0, 1):
                return False
            kind = p.transport.u8[0]
            if kind in (3, 4, 5, 11, 12):
                return False
        return True

    @datapath
    def answer(self, p: Packet) -> Packet | None:
        quoted: u32 = min(p.network_length, self.pmtu - 28)
        q = self.make_packet(28 + quoted)
        if q is None:
            return None
        q.set_network(0)
        q.set_transport(20)
        ip = q.ip
        ip.version_length = 0x45
        ip.length = 28 + quoted
        ip.identification = self.id
        self.id += 1
        # Internetwork control (RFC 1812, section 4.3.2.5).
        ip.tos = 0xC0
        ip.ttl = 255
        ip.protocol = 1
        ip.src = self.src
        dst = p.ip.src
        ip.dst = dst
        ip.checksum = checksum_finish(q.network.checksum(0, 20))
        icmp = q.icmp
        icmp.type = self.type
        icmp.code = self.code
        if self.type == 12 and self.code == 0:
            icmp.pointer = p.icmp_param_prob
        elif self.type == 5:
            icmp.gateway = p.dst_ip
        elif self.type == 3 and self.code == 4:
            icmp.mtu = self.mtu
        q.transport.copy(8, p.network, 0, quoted)
        icmp.checksum = checksum_finish(q.transport.checksum(0, 8 + quoted))
        q.dst_ip = dst
        if self.use_fix_anno:
            q.fix_ip_src = 1
        q.timestamp = p.timestamp
        self.count += 1
        return q

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.network.has(0, 20):
            p.kill()
            return None
        if not self.deserves_answer(p):
            p.kill()
            return None
        q = self.answer(p)
        p.kill()
        return q
