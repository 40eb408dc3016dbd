"""ProtocolTranslator46 and ProtocolTranslator64: stateless translation between IPv4 and IPv6 (RFC 7915)."""

from penstock.elements import Packet, datapath, u32
from penstock.elements.translation import WELL_KNOWN_PREFIX, Translation

__all__ = ["ProtocolTranslator46", "ProtocolTranslator64"]


class _Stateless(Translation):
    """Each packet by itself. Subclasses say how: ``translated`` gives False for what has no counterpart."""

    def configure(self, prefix: str = WELL_KNOWN_PREFIX) -> None:
        self.set_prefix(prefix)

    def add_handlers(self) -> None:
        self.add_drops_handler()

    @datapath
    def translated(self, p: Packet) -> bool:
        return False

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.translated(p):
            return p
        self.drop(p)
        return None


class ProtocolTranslator46(_Stateless):
    """Translate IPv4 packets to IPv6 packets, without any state (RFC 7915).

    The data must start at the IPv4 header, which must have been checked. Both addresses become those that stand for them in PREFIX.
    ICMP's echoes and errors are translated, with the packets that errors quote; options are left out; what has no counterpart
    is dropped. The TTL stays as it is.

    Arguments:
        PREFIX: where IPv4 addresses lie in IPv6 (64:ff9b::/96; RFC 6052).

    Handlers:
        drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> ProtocolTranslator46 -> CheckIP6Header -> IP6Print
        -> Discard;
    """

    @datapath
    def translated(self, p: Packet) -> bool:
        ip = p.ip
        src = self.embedded(u32(ip.src))
        dst = self.embedded(u32(ip.dst))
        if ip.protocol == 1 and (ip.fragment & 0x1FFF) == 0 and p.transport.has(0, 28):
            kind = p.transport.u8[0]
            if kind == 3 or kind == 11 or kind == 12:
                inner_src = self.embedded(u32(p.transport.u32[20]))
                inner_dst = self.embedded(u32(p.transport.u32[24]))
                return self.error_to_ip6(p, src, dst, inner_src, inner_dst)
        return self.to_ip6(p, src, dst)


class ProtocolTranslator64(_Stateless):
    """Translate IPv6 packets to IPv4 packets, without any state (RFC 7915).

    The data must start at the IPv6 header, which must have been checked. Both addresses must lie in PREFIX and become the IPv4
    addresses that they stand for. Extension headers are left out; fragments stay fragments; what has no counterpart is dropped.

    Arguments:
        PREFIX: where IPv4 addresses lie in IPv6 (64:ff9b::/96; RFC 6052).

    Handlers:
        drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIP6Encap(64:ff9b::1.0.0.1, 1, 64:ff9b::2.0.0.2, 2) -> ProtocolTranslator64 -> CheckIPHeader
        -> IPPrint -> Discard;
    """

    @datapath
    def translated(self, p: Packet) -> bool:
        kind, at, fragment = self.upper_layer(p)
        if kind == 0xFFFF_FFFF or not self.is_embedded(p.ip6.src) or not self.is_embedded(p.ip6.dst):
            return False
        src = self.extracted(p.ip6.src)
        dst = self.extracted(p.ip6.dst)
        if kind == 58 and fragment == 0 and p.transport.has(0, 48) and p.transport.u8[0] < 128:
            if not self.is_embedded(p.transport.u128[16]) or not self.is_embedded(p.transport.u128[32]):
                return False
            return self.error_to_ip4(p, at, src, dst, self.extracted(p.transport.u128[16]), self.extracted(p.transport.u128[32]))
        return self.to_ip4(p, kind, at, fragment, src, dst)
