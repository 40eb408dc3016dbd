"""TCPDemux: an output for each TCP connection."""

from penstock.elements import NONE, Array, ConfigureError, HandlerError, Packet, Struct, Table, datapath, u8, u32, u64
from penstock.elements.reaping import ReapingElement
from penstock.elements.tcpspeaking import ACK, FIN, RST, SYN
from penstock.lang.arguments import Seconds, unparse_ip

__all__ = ["TCPDemux"]

_LINGER_NS = 2_000_000_000


class _Connection(Struct):
    output: u8
    fins: u8
    over_ns: u64


class TCPDemux(ReapingElement):
    """Give each TCP connection that comes in an output of its own, for what ends connections (TCPConn), one each.

    A SYN of a connection that is not known takes the first output that has none; where all have one, it is dropped, and so is
    everything else of connections that are not known. A connection's packets take its output until a reset, until both sides ended it,
    or until no packet came for TIMEOUT. What the other side sends (from the port and address that connections come to) may come in
    too; it takes the same output.

    Arguments:
        TIMEOUT: how long a connection is remembered without a packet (300 s).

    Handlers:
        table (read): connections and their outputs. count, drops (read): connections so far, and packets dropped. clear (write).

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> d :: TCPDemux; d[0] -> Discard; d[1] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    count: u64
    drops: u64

    def configure(self, timeout: Seconds = 300) -> None:
        if self.noutputs > 254:
            raise ConfigureError("at most 254 outputs")
        self.timeout_ns = int(timeout * 1e9)
        self.table = Table((u32, u32, u32), _Connection, self.noutputs)
        self.taken = Array(u8, self.noutputs)
        self.watch()

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")
        self.add_read("table", self._table)
        self.add_write("clear", self._clear, flags="b")

    def _table(self) -> str:
        return "".join(f"{unparse_ip(src)} {ports >> 16} {unparse_ip(dst)} {ports & 0xFFFF} {value.output}\n"
                       for (src, dst, ports), value in sorted(self.table.items(), key=lambda item: int(item[1].output)))

    def _clear(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.table.clear()
        for i in range(self.noutputs):
            self.taken[i] = 0

    @datapath
    def free_output(self) -> u32:
        for i in range(self.noutputs):
            if self.taken[i] == 0:
                return u32(i)
        return u32(NONE)

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        return bool(now_ns > self.table.slots[i].value.over_ns)

    @datapath
    def end_entry(self, i: u32) -> None:
        self.taken[self.table.slots[i].value.output] = 0
        self.table.remove(i)

    @datapath
    def find(self, p: Packet) -> tuple[u32, u32]:
        """The connection, and which side sends (1: who began, 2: the other one)."""
        ports: u32 = p.transport.u32[0]
        i = self.table.find((p.ip.src, p.ip.dst, ports))
        if i != NONE:
            return i, u32(1)
        return self.table.find((p.ip.dst, p.ip.src, (ports << 16) | (ports >> 16))), u32(2)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if not p.network.has(0, 20) or p.ip.protocol != 6 or (p.ip.fragment & 0x1FFF) != 0 or not p.transport.has(0, 20):
            self.drops += 1
            p.kill()
            return
        flags = u32(p.tcp.flags)
        i, side = self.find(p)
        if i == NONE and (flags & (SYN | ACK | RST)) == SYN:
            output = self.free_output()
            if output != NONE:
                i = self.table.insert((p.ip.src, p.ip.dst, p.transport.u32[0]))
                if i != NONE:
                    self.taken[output] = 1
                    self.table.slots[i].value.output = output
                    self.table.slots[i].value.fins = 0
                    self.count += 1
        if i == NONE:
            self.drops += 1
            p.kill()
            return
        mine = self.table.slots[i].value
        out: u32 = mine.output
        wait: u64 = self.timeout_ns
        if (flags & FIN) != 0:
            mine.fins |= side
        if (flags & SYN) != 0 and side == 1:
            mine.fins = 0
        if mine.fins == 3:
            # The last acknowledgement is still to come.
            wait = u64(_LINGER_NS)
        mine.over_ns = self.clock.recent + wait
        if (flags & RST) != 0:
            self.end_entry(i)
        self.output(out).push(p)
