"""Align and AlignmentInfo: accepted for configurations made for other machines."""

from penstock.elements import ConfigureError, Element, Packet, datapath, i32
from penstock.lang.arguments import Raw, UInt32

__all__ = ["Align", "AlignmentInfo"]


class Align(Element):
    """Move packet data so that it starts OFFSET bytes off a multiple of MODULUS.

    No element here needs that: every access works at any alignment.

    Arguments:
        MODULUS: 2, 4 or 8. OFFSET: less than MODULUS.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> Align(4, 2) -> Discard;
    """

    def configure(self, modulus: UInt32, offset: UInt32) -> None:
        if modulus not in (2, 4, 8):
            raise ConfigureError("MODULUS: must be 2, 4, or 8")
        if offset >= modulus:
            raise ConfigureError("OFFSET: must be smaller than MODULUS")
        self.modulus, self.offset = modulus, offset

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        # The buffer starts at a multiple of 64.
        now = p.headroom & (self.modulus - 1)
        shift = (self.offset - now) & (self.modulus - 1)
        if shift != 0 and p.tailroom >= shift:
            n = p.length
            p.put(shift)
            p.data.copy(shift, p.data, 0, n)
            p.pull(shift)
            if p.has_mac:
                p.set_mac(p.mac_offset + i32(shift))
            if p.has_network:
                p.set_network(p.network_offset + i32(shift))
            if p.has_transport:
                p.set_transport(p.transport_offset + i32(shift))
        return p


class AlignmentInfo(Element):
    """Accepted and ignored: click-align writes it into configurations.

    Example:
        AlignmentInfo(x 4 2); x :: Idle -> Discard;
    """

    ports = "0/0"
    configure_phase = 0

    def configure(self, *entries: Raw) -> None:
        pass
