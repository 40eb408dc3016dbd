"""IP6Fragmenter."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u32, u64
from penstock.lang.arguments import UInt32

__all__ = ["IP6Fragmenter"]

_HEADER_BYTES, _FRAGMENT_BYTES, _FRAGMENT = 40, 8, 44
_MIN_MTU, _MAX_FRAGMENTS = 1280, 64


class IP6Fragmenter(Element):
    """Fragment IPv6 packets that are longer than the MTU, as their source does (RFC 8200, section 4.5).

    Routers don't fragment IPv6: put this where packets are made, or in front of a tunnel's end. Packets with extension headers, which
    would have to be repeated, and such that cannot be fragmented go to output 1, or are dropped. IPv6 headers must be marked.

    Arguments:
        MTU: the longest packet (1280 at least).

    Handlers:
        fragments, drops (read).

    Example:
        InfiniteSource(LENGTH 3000, LIMIT 1, STOP true) -> IP6Encap(17, 3ffe::1, 3ffe::2) -> IP6Fragmenter(1280) -> IP6Print -> Discard;
    """

    ports = "1/1-2"
    processing = "h/h"
    packets_held = 3

    fragments: u64
    drops: u64
    id: u32

    def configure(self, mtu: UInt32) -> None:
        if not _MIN_MTU <= mtu <= 65535:
            raise ConfigureError("MTU: must be between 1280 (RFC 8200) and 65535")
        self.mtu = mtu
        self.chunk = (mtu - _HEADER_BYTES - _FRAGMENT_BYTES) & ~7

    def add_handlers(self) -> None:
        self.add_data("fragments", "fragments")
        self.add_data("drops", "drops")

    @datapath
    def split(self, p: Packet, payload: u32) -> None:
        self.id += 1
        kind = p.ip6.next_header
        at: u32 = 0
        for _ in range(_MAX_FRAGMENTS):
            if at >= payload:
                break
            n: u32 = min(payload - at, u32(self.chunk))
            q = p.clone()
            if q is None:
                self.drops += 1
                break
            q.push(_FRAGMENT_BYTES)
            q.set_network(0)
            q.network.copy(0, p.network, 0, _HEADER_BYTES)
            q.network.copy(_HEADER_BYTES + _FRAGMENT_BYTES, p.network, _HEADER_BYTES + at, n)
            q.take(q.length - (_HEADER_BYTES + _FRAGMENT_BYTES + n))
            q.ip6.length = _FRAGMENT_BYTES + n
            q.ip6.next_header = _FRAGMENT
            q.network.u8[40] = kind
            q.network.u8[41] = 0
            q.network.u16[42] = at | (1 if at + n < payload else 0)
            q.network.u32[44] = self.id
            q.set_transport(_HEADER_BYTES + _FRAGMENT_BYTES)
            self.fragments += 1
            at += n
            self.output(0).push(q)
        p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if p.network_offset != 0 or not p.network.has(0, _HEADER_BYTES):
            self.drops += 1
            self.checked_output_push(1, p)
            return
        payload: u32 = p.ip6.length
        kind = p.ip6.next_header
        if payload + _HEADER_BYTES <= self.mtu:
            self.output(0).push(p)
        elif payload + _HEADER_BYTES > p.length or kind == 0 or kind == 43 or kind == 44 or kind == 60:
            self.drops += 1
            self.checked_output_push(1, p)
        else:
            self.split(p, payload)
