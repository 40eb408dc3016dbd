"""MarkIPCE, SetIPECN and SetRandIPAddress."""

from penstock.datapath.checksum import checksum_adjust
from penstock.elements import ConfigureError, Element, Packet, datapath, u32, u64
from penstock.lang.arguments import IPPrefix, Word

__all__ = ["MarkIPCE", "SetIPECN", "SetRandIPAddress"]

_ECN = {"0": 0, "no": 0, "1": 1, "ect1": 1, "2": 2, "ect2": 2, "ect0": 2, "3": 3, "ce": 3}


class SetIPECN(Element):
    """Set the ECN field of the IP header (RFC 3168). The checksum follows (RFC 1624).

    Arguments:
        ECN: 0 or no, 1 or ect1, 2 or ect2, 3 or ce.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> SetIPECN(ce) -> Print -> Discard;
    """

    can_live_reconfigure = True

    def configure(self, ecn: Word) -> None:
        if ecn.lower() not in _ECN:
            raise ConfigureError("ECN: must be 0 (no), 1 (ect1), 2 (ect2) or 3 (ce)")
        self.ecn = _ECN[ecn.lower()]

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        old = p.network.u16[0]
        ip.tos = (ip.tos & 0xFC) | self.ecn
        ip.checksum = checksum_adjust(ip.checksum, old, p.network.u16[0])
        return p


class MarkIPCE(Element):
    """Mark congestion in the ECN field of packets whose ends understand it (RFC 3168); others are dropped.

    Arguments:
        FORCE: mark all packets.

    Handlers:
        drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> SetIPECN(1) -> MarkIPCE -> Print -> Discard;
    """

    drops: u64

    def configure(self, force: bool = False) -> None:
        self.force = force

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.network.has(0, 20) or (not self.force and (p.network.u8[1] & 3) == 0):
            self.drops += 1
            p.kill()
            return None
        ip = p.ip
        old = p.network.u16[0]
        ip.tos = ip.tos | 3
        ip.checksum = checksum_adjust(ip.checksum, old, p.network.u16[0])
        return p


class SetRandIPAddress(Element):
    """Set the destination annotation to a random address with a given prefix.

    Arguments:
        PREFIX: the prefix.
        LIMIT: use no more than so many addresses, the prefix's first ones; -1: all.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetRandIPAddress(10.0.0.0/8) -> UDPIPEncap(1.0.0.1, 1, DST_ANNO, 2) -> Discard;
    """

    def configure(self, prefix: IPPrefix, limit: int = -1) -> None:
        address, mask = prefix
        if limit == 0 or limit < -1:
            raise ConfigureError("LIMIT: must be positive, or -1")
        self.prefix, self.free_bits = address & mask, ~mask & 0xFFFFFFFF
        self.limit = limit if 0 < limit <= self.free_bits else 0

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        number = u32(self.random.next() * 8 + (self.random.next() & 7)) & self.free_bits
        if self.limit != 0:
            number = number % self.limit
        p.dst_ip = u32(self.prefix | number)
        return p
