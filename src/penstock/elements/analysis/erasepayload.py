"""EraseIPPayload and TruncateIPPayload: packets without what they carry."""

from penstock.elements import Element, Packet, datapath, u32
from penstock.lang.arguments import UInt32

__all__ = ["EraseIPPayload", "TruncateIPPayload"]


class EraseIPPayload(Element):
    """Fill TCP and UDP payloads with zeros; of other protocols, and of later fragments, all behind the IP header.

    Checksums stay what they were.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> EraseIPPayload -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.network.has(0, 20) and p.has_transport:
            offset: u32 = 0
            if p.ip.fragment_offset == 0:
                if p.ip.protocol == 6 and p.transport.has(0, 20):
                    offset = p.tcp.offset * 4
                elif p.ip.protocol == 17:
                    offset = 8
            length = p.transport_length
            if offset < length:
                p.transport.fill(offset, length - offset, 0)
        return p


class TruncateIPPayload(Element):
    """Cut packets to their IP and transport headers and some bytes of payload. Checksums stay what they were.

    Arguments:
        NBYTES: bytes of payload that stay.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> TruncateIPPayload(8) -> Discard;
    """

    def configure(self, nbytes: UInt32) -> None:
        self.nbytes = nbytes

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.network.has(0, 20) and p.has_transport:
            keep: u32 = self.nbytes
            if p.ip.fragment_offset == 0:
                if p.ip.protocol == 6 and p.transport.has(0, 20):
                    keep += p.tcp.offset * 4
                elif p.ip.protocol == 17 or p.ip.protocol == 1:
                    keep += 8
            length = p.transport_length
            if keep < length:
                p.take(length - keep)
        return p
