"""IPGWOptions."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import Element, Packet, datapath, u32, u64
from penstock.lang.arguments import IPAddress, IPAddressList

__all__ = ["IPGWOptions"]

_END, _NOP, _RECORD_ROUTE, _TIMESTAMP = 0, 1, 7, 68
_MAX_OPTIONS = 40
_DAY_NS = 86_400_000_000_000


class IPGWOptions(Element):
    """Do what a router does with IP options: Record Route and Timestamp (RFC 791, RFC 1812 section 5.3.13).

    Packets with a bad option go to output 1 with the parameter problem annotation set to the place of the bad
    byte, for ICMPError, or are dropped.

    Arguments:
        MYADDR: this router's address on the way out.
        OTHERADDRS: its other addresses.

    Handlers:
        drops (read): packets with bad options.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> IPGWOptions(1.0.0.1, OTHERADDRS 2.0.0.1) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    drops: u64
    pointer: u32

    def configure(self, myaddr: IPAddress, otheraddrs: IPAddressList = ()) -> None:
        self.myaddr = myaddr
        self.mine = (myaddr, *otheraddrs)

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def is_mine(self, address: u32) -> bool:
        for a in self.mine:
            if address == a:
                return True
        return False

    @datapath
    def record_route(self, p: Packet, at: u32, length: u32) -> bool:
        """The pointer counts from 1 and starts at 4; a full list is no error."""
        pointer = p.network.u8[at + 2]
        if pointer < 4:
            self.pointer = at + 2
            return False
        if pointer > length:
            return True
        if pointer + 3 > length:
            self.pointer = at + 2
            return False
        p.network.u32[at + pointer - 1] = self.myaddr
        p.network.u8[at + 2] = pointer + 4
        return True

    @datapath
    def timestamp(self, p: Packet, at: u32, length: u32) -> bool:
        pointer = p.network.u8[at + 2]
        overflow_flag = p.network.u8[at + 3]
        flag = overflow_flag & 0xF
        if pointer < 5:
            self.pointer = at + 2
            return False
        if pointer > length:
            overflow = (overflow_flag >> 4) + 1
            if overflow > 15:
                self.pointer = at + 3
                return False
            p.network.u8[at + 3] = (overflow << 4) | flag
            return True
        # Milliseconds since midnight UT.
        ms = u32((self.clock.now() % _DAY_NS) // 1_000_000)
        if flag == 0:
            if pointer + 3 > length:
                self.pointer = at + 2
                return False
            p.network.u32[at + pointer - 1] = ms
            p.network.u8[at + 2] = pointer + 4
            return True
        if flag not in (1, 3):
            self.pointer = at + 3
            return False
        if pointer + 7 > length:
            self.pointer = at + 2
            return False
        if flag == 1:
            p.network.u32[at + pointer - 1] = self.myaddr
        elif not self.is_mine(p.network.u32[at + pointer - 1]):
            return True
        p.network.u32[at + pointer + 3] = ms
        p.network.u8[at + 2] = pointer + 8
        return True

    @datapath
    def handle(self, p: Packet, header_bytes: u32) -> bool:
        """Whether all options are good; ``pointer`` tells the bad byte."""
        at: u32 = 20
        for _ in range(_MAX_OPTIONS):
            if at >= header_bytes:
                return True
            kind = p.network.u8[at]
            if kind == _END:
                return True
            if kind == _NOP:
                at += 1
            else:
                if at + 2 > header_bytes:
                    self.pointer = at
                    return False
                length = p.network.u8[at + 1]
                if length < 2 or at + length > header_bytes:
                    self.pointer = at + 1
                    return False
                if kind in (_RECORD_ROUTE, _TIMESTAMP):
                    if length < 4 and (kind == _TIMESTAMP or length < 3):
                        self.pointer = at + 1
                        return False
                    fine = False
                    if kind == _RECORD_ROUTE:
                        fine = self.record_route(p, at, length)
                    else:
                        fine = self.timestamp(p, at, length)
                    if not fine:
                        return False
                at += length
        return True

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        header_bytes = p.ip.header_length * 4
        if header_bytes <= 20:
            return p
        if not p.network.has(0, header_bytes):
            self.drops += 1
            p.kill()
            return None
        if not self.handle(p, header_bytes):
            self.drops += 1
            p.icmp_param_prob = self.pointer
            self.checked_output_push(1, p)
            return None
        p.ip.checksum = 0
        p.ip.checksum = checksum_finish(p.network.checksum(0, header_bytes))
        return p
