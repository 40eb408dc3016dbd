"""SetTCPChecksum and SetUDPChecksum."""

# The old checksum is taken out of the sum (its complement is put in), instead of being written over: a load of bytes that were
# just written waits for the store, which took longer than the sum.

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import Element, Packet, datapath, u32, u64

__all__ = ["SetTCPChecksum", "SetUDPChecksum"]


class SetTCPChecksum(Element):
    """Compute the TCP checksum anew. Packets whose lengths do not fit are dropped (fragments pass unchanged).

    Arguments:
        FIXOFF: correct a TCP header length that is out of bounds first.

    Handlers:
        drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> SetTCPChecksum -> Discard;
    """

    drops: u64

    def configure(self, fixoff: bool = False) -> None:
        self.fix_offset = fixoff

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if (ip.fragment & 0x3FFF) != 0:
            return p
        length: u32 = ip.length - ip.header_length * 4
        if length < 20 or length > 0xFFFF or not p.transport.has(0, length):
            self.drops += 1
            p.kill()
            return None
        if self.fix_offset:
            if p.tcp.offset * 4 > length:
                p.tcp.offset = length >> 2
            elif p.tcp.offset < 5:
                p.tcp.offset = 5
        if p.tcp.offset < 5 or p.tcp.offset * 4 > length:
            self.drops += 1
            p.kill()
            return None
        start = pseudo_header_sum(ip.src, ip.dst, 6, length) + (u32(p.tcp.checksum) ^ 0xFFFF)
        p.tcp.checksum = checksum_finish(p.transport.checksum(0, length, start))
        return p


class SetUDPChecksum(Element):
    """Compute the UDP checksum anew. Packets whose lengths do not fit are dropped (fragments pass unchanged).

    Handlers:
        drops (read).

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> SetUDPChecksum -> Discard;
    """

    drops: u64

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        ip = p.ip
        if (ip.fragment & 0x3FFF) != 0:
            return p
        if not p.transport.has(0, 8):
            self.drops += 1
            p.kill()
            return None
        length: u32 = p.udp.length
        if length < 8 or not p.transport.has(0, length):
            self.drops += 1
            p.kill()
            return None
        start = pseudo_header_sum(ip.src, ip.dst, 17, length) + (u32(p.udp.checksum) ^ 0xFFFF)
        total = checksum_finish(p.transport.checksum(0, length, start))
        p.udp.checksum = 0xFFFF if total == 0 else total
        return p
