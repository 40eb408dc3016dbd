"""StripIPHeader and UnstripIPHeader."""

from penstock.elements import Element, Packet, datapath, u32

__all__ = ["StripIPHeader", "UnstripIPHeader"]


class StripIPHeader(Element):
    """Remove the IP header, with what is in front of it. Its content and its position stay, so UnstripIPHeader brings it back.

    Packets without a transport header position are passed unchanged.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> StripIPHeader -> UnstripIPHeader -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.has_transport and p.transport_offset > 0 and u32(p.transport_offset) <= p.length:
            p.pull(u32(p.transport_offset))
        return p


class UnstripIPHeader(Element):
    """Bring the IP header back that StripIPHeader removed.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> StripIPHeader -> UnstripIPHeader -> Print -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.has_network and p.network_offset < 0:
            p.push(u32(-p.network_offset))
        return p
