"""CopyFlowID and CopyTCPSeq: packets of one stream are made to look like another's."""

from penstock.datapath.checksum import checksum_apply, fold, word_delta
from penstock.elements import Packet, boolean, datapath, u32
from penstock.elements.portwise import PortwiseElement

__all__ = ["CopyFlowID", "CopyTCPSeq"]


class _Copier(PortwiseElement):
    """Input 0 is looked at and passes; input 1 is rewritten. What is no whole TCP packet passes as it is."""

    ports = "2/2"
    processing = "a/a"
    flow = "xy/xy"

    seen: boolean

    @datapath
    def is_tcp(self, p: Packet) -> bool:
        return (p.network.has(0, 20) and (p.network.u8[0] >> 4) == 4 and p.ip.protocol == 6 and (p.ip.fragment & 0x1FFF) == 0
                and p.transport.has(0, 20))

    @datapath
    def look(self, p: Packet) -> None:
        """What is copied."""

    @datapath
    def copy(self, p: Packet) -> None:
        """Onto this packet."""

    @datapath
    def handle(self, port: int, p: Packet) -> Packet | None:
        if self.is_tcp(p):
            if port == 0:
                self.look(p)
                self.seen = True
            elif self.seen:
                self.copy(p)
        return p


class CopyFlowID(_Copier):
    """Give TCP packets of input 1 the addresses and ports of the last TCP packet of input 0; all packets leave where they came in.

    Packets need network and transport header positions. Checksums stay right.

    Example:
        c :: CopyFlowID; FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> [0] c -> Discard;
        FromDump(f.pcap) -> Strip(14) -> CheckIPHeader -> [1] c; c[1] -> IPPrint -> Discard;
    """

    src: u32
    dst: u32
    both_ports: u32

    @datapath
    def look(self, p: Packet) -> None:
        self.src = p.ip.src
        self.dst = p.ip.dst
        self.both_ports = p.transport.u32[0]

    @datapath
    def copy(self, p: Packet) -> None:
        addresses = word_delta(u32(p.ip.src), self.src) + word_delta(u32(p.ip.dst), self.dst)
        ports = word_delta(u32(p.transport.u32[0]), self.both_ports)
        p.ip.src = self.src
        p.ip.dst = self.dst
        p.transport.u32[0] = self.both_ports
        p.dst_ip = self.dst
        p.ip.checksum = checksum_apply(p.ip.checksum, fold(addresses))
        p.tcp.checksum = checksum_apply(p.tcp.checksum, fold(addresses + ports))


class CopyTCPSeq(_Copier):
    """Give TCP packets of input 1 the highest sequence number that a TCP packet of input 0 had; all packets leave where they came in.

    Packets need network and transport header positions. Checksums stay right.

    Example:
        c :: CopyTCPSeq; FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> [0] c -> Discard;
        FromDump(f.pcap) -> Strip(14) -> CheckIPHeader -> [1] c; c[1] -> IPPrint -> Discard;
    """

    highest: u32

    @datapath
    def look(self, p: Packet) -> None:
        # RFC 9293, section 3.4: numbers are compared modulo 2^32.
        if not self.seen or (u32(p.tcp.sequence) - self.highest) < 0x8000_0000:
            self.highest = p.tcp.sequence

    @datapath
    def copy(self, p: Packet) -> None:
        p.tcp.checksum = checksum_apply(p.tcp.checksum, fold(word_delta(u32(p.tcp.sequence), self.highest)))
        p.tcp.sequence = self.highest
