"""TCPSequenceRandomizer."""

from penstock.datapath.checksum import checksum_adjust32
from penstock.elements import NONE, ConfigureError, Packet, Struct, Table, datapath, u32, u64
from penstock.elements.reaping import ReapingElement
from penstock.elements.tcppayload import tcp_option
from penstock.lang.arguments import Seconds, UInt32

__all__ = ["TCPSequenceRandomizer"]

_TICK_SHIFT = 30
_OPTION_BYTES = 40
_SACK = 5


class _Shift(Struct):
    """What a flow's sequence numbers are moved by."""

    offset: u32
    expiry: u32


class TCPSequenceRandomizer(ReapingElement):
    """Add a random number, another one for each flow, to the sequence numbers of TCP packets from the inside.

    Packets from the inside come in at input 0 and leave through output 0; those of the way back at input 1 and output 1,
    where the same number is taken from the acknowledgement number and from the edges of SACK blocks (RFC 2018). So hosts
    whose sequence numbers can be guessed are hidden, and connections work. Checksums stay right. A packet of the way back
    whose flow is not known passes as it is, and so do packets that are not TCP and fragments.

    A flow is known until no packet came for TIMEOUT. While CAPACITY flows are known, packets of new ones are dropped.

    Arguments:
        CAPACITY: flows (65536).
        TIMEOUT: how long a flow is remembered without a packet (24 h).

    Handlers:
        flows (read): how many are known. drops (read): packets for want of room. clear (write): forget all.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> r :: TCPSequenceRandomizer -> Discard;
        Idle -> [1] r; r[1] -> Discard;
    """

    ports = "2/2"
    processing = "h/h"
    flow = "xy/xy"
    takes_state = True

    drops: u64

    def configure(self, *, capacity: UInt32 = 65536, timeout: Seconds = 86400) -> None:
        if not 1 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.timeout_ticks = max(1, min(int(timeout * 1e9) >> _TICK_SHIFT, 1 << 30))
        self.table = Table((u32, u32, u32), _Shift, capacity)
        self.watch()

    def add_handlers(self) -> None:
        self.add_read("flows", lambda: self.table.entries)
        self.add_data("drops", "drops")
        self.add_write("clear", lambda text: self.table.clear(), flags="b")

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return bool(u32(now_ns >> _TICK_SHIFT) > self.table.slots[i].value.expiry)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        ip = p.ip
        if ip.protocol != 6 or (ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 20):
            self.output(port).push(p)
            return
        if port == 0:
            i = self.table.find((ip.src, ip.dst, p.transport.u32[0]))
            if i == NONE:
                i = self.table.insert((ip.src, ip.dst, p.transport.u32[0]))
                if i == NONE:
                    self.drops += 1
                    p.kill()
                    return
                self.table.slots[i].value.offset = self.random.next()
            self.touch(i)
            tcp = p.tcp
            before = tcp.sequence
            after = before + self.table.slots[i].value.offset
            tcp.sequence = after
            tcp.checksum = checksum_adjust32(tcp.checksum, before, after)
            self.output(0).push(p)
        else:
            ports = p.transport.u32[0]
            k = self.table.find((ip.dst, ip.src, (ports << 16) | (ports >> 16)))
            if k != NONE:
                self.touch(k)
                self.shift_back(p, u32(self.table.slots[k].value.offset))
            self.output(1).push(p)

    @datapath
    def touch(self, i: u32) -> None:
        self.table.slots[i].value.expiry = u32(self.clock.recent >> _TICK_SHIFT) + self.timeout_ticks

    @datapath
    def shift_back(self, p: Packet, offset: u32) -> None:
        tcp = p.tcp
        if (tcp.flags & 0x10) != 0:
            before = tcp.acknowledgement
            after = before - offset
            tcp.acknowledgement = after
            tcp.checksum = checksum_adjust32(tcp.checksum, before, after)
        end: u32 = tcp.offset * 4
        if end > 20 and p.transport.has(0, end):
            self.shift_blocks(p, offset, end)

    @datapath
    def shift_blocks(self, p: Packet, offset: u32, end: u32) -> None:
        """The edges of SACK blocks among the options, which end at byte ``end``."""
        at: u32 = 20
        for _ in range(_OPTION_BYTES):
            kind, length = tcp_option(p, at, end)
            if kind == 0:
                break
            if kind == _SACK:
                for k in range((length - 2) // 4):
                    self.shift_edge(p, offset, at + 2 + 4 * k)
            at += length

    @datapath
    def shift_edge(self, p: Packet, offset: u32, at: u32) -> None:
        before = p.transport.u32[at]
        after = before - offset
        p.transport.u32[at] = after
        tcp = p.tcp
        if (at & 1) == 0:
            tcp.checksum = checksum_adjust32(tcp.checksum, before, after)
        else:
            # At an odd place the bytes of a word stand the other way round in the sum (RFC 1071, section 2B).
            tcp.checksum = checksum_adjust32(tcp.checksum, self.swapped(before), self.swapped(after))

    @datapath
    def swapped(self, word: u32) -> u32:
        return ((word & 0x00FF00FF) << 8) | ((word >> 8) & 0x00FF00FF)
