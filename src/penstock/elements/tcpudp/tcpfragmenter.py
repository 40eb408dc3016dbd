"""TCPFragmenter."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import ConfigureError, Element, Packet, datapath, u16, u32, u64
from penstock.lang.arguments import UInt32

__all__ = ["TCPFragmenter"]

_MAX_SEGMENTS = 128


class TCPFragmenter(Element):
    """Split TCP segments, so that no packet is longer than an MTU: sequence numbers, lengths and checksums follow.

    FIN and PSH stay with the last part, a segment with SYN or URG is not split; neither is what is not TCP, or is a fragment.

    Arguments:
        MTU: the longest IP packet. HEADROOM: accepted for compatibility.

    Handlers:
        fragments (read): parts made. fragmented_count (read): segments split. count (read): packets seen.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> TCPFragmenter(100) -> IPPrint -> Discard;
    """

    processing = "h/h"
    packets_held = 3

    fragments: u64
    fragmented: u64
    count: u64

    def configure(self, mtu: UInt32, *, headroom: UInt32 = 28) -> None:
        if mtu < 100:
            raise ConfigureError("MTU: must be at least 100 (two headers with options need 120 at most)")
        self.mtu = mtu

    def add_handlers(self) -> None:
        self.add_data("fragments", "fragments")
        self.add_data("fragmented_count", "fragmented")
        self.add_data("count", "count")

    @datapath
    def split(self, p: Packet, headers: u32, payload: u32) -> None:
        chunk: u32 = self.mtu - headers
        ip_bytes: u32 = p.ip.header_length * 4
        at: u32 = 0
        first = p.tcp.sequence
        flags: u32 = p.tcp.flags
        self.fragmented += 1
        for part in range(_MAX_SEGMENTS):
            if at >= payload:
                break
            n: u32 = min(payload - at, chunk)
            q = p.clone()
            if q is None:
                break
            q.network.copy(headers, p.network, headers + at, n)
            q.take(q.length - u32(q.network_offset) - headers - n)
            q.ip.length = u16(headers + n)
            # The first part keeps the number; the others are packets of their own.
            q.ip.identification = u16(u32(p.ip.identification) + u32(part))
            q.ip.checksum = 0
            q.ip.checksum = checksum_finish(q.network.checksum(0, ip_bytes))
            q.tcp.sequence = first + at
            if at + n < payload:
                # FIN and PSH belong to the end.
                q.tcp.flags = flags & 0xF6
            q.tcp.checksum = 0
            pseudo = pseudo_header_sum(q.ip.src, q.ip.dst, u32(6), headers + n - ip_bytes)
            q.tcp.checksum = checksum_finish(q.transport.checksum(0, headers + n - ip_bytes, pseudo))
            self.fragments += 1
            at += n
            self.output(0).push(q)
        p.kill()

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.count += 1
        if not p.network.has(0, 20) or p.ip.protocol != 6 or (p.ip.fragment & 0x3FFF) != 0 or not p.transport.has(0, 20):
            self.output(0).push(p)
            return
        length: u32 = p.ip.length
        ip_bytes: u32 = p.ip.header_length * 4
        headers: u32 = ip_bytes + p.tcp.offset * 4
        whole = u32(p.network_offset) + length <= p.length and u32(p.transport_offset) == u32(p.network_offset) + ip_bytes
        if length > self.mtu and headers + 8 <= self.mtu and headers < length and p.tcp.offset >= 5 and (p.tcp.flags & 0x22) == 0 and whole:
            self.split(p, headers, length - headers)
        else:
            self.output(0).push(p)
