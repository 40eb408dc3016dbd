"""SetIPChecksum and SetIPDSCP."""

from penstock.datapath.checksum import checksum_adjust, checksum_finish
from penstock.elements import ConfigureError, Element, Packet, datapath, u8, u32, u64
from penstock.lang.arguments import Byte, parse_int

__all__ = ["SetIPChecksum", "SetIPDSCP"]


class SetIPChecksum(Element):
    """Compute the IP header checksum anew. Packets with a bad header length are dropped.

    Handlers:
        drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> MarkIPHeader(14) -> SetIPChecksum -> Discard;
    """

    drops: u64

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.network.has(0, 20):
            header_bytes = p.ip.header_length * 4
            if header_bytes >= 20 and p.network.has(0, header_bytes):
                # The old one is taken out of the sum: a load of bytes that were just written over waits for the store.
                p.ip.checksum = checksum_finish(p.network.checksum(0, header_bytes, u32(p.ip.checksum) ^ 0xFFFF))
                return p
        self.drops += 1
        p.kill()
        return None


class SetIPDSCP(Element):
    """Set the DSCP field of the IP header (RFC 2474). The checksum follows (RFC 1624).

    Arguments:
        DSCP: 0 to 63.

    Handlers:
        dscp (read/write).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> SetIPDSCP(46) -> Print -> Discard;
    """

    can_live_reconfigure = True

    dscp: u8

    def configure(self, dscp: Byte) -> None:
        if dscp > 63:
            raise ConfigureError("DSCP: out of range, bound 63")
        self.dscp = dscp

    def add_handlers(self) -> None:
        self.add_data("dscp", "dscp", lambda text: parse_int(text.strip(), 0, 63))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        old = p.network.u16[0]
        ip.tos = (self.dscp << 2) | (ip.tos & 3)
        ip.checksum = checksum_adjust(ip.checksum, old, p.network.u16[0])
        return p
