"""MemSource."""

from penstock.datapath.checksum import checksum_adjust32
from penstock.elements import Array, ConfigureError, Element, Task, boolean, datapath, i64, u32, u64
from penstock.lang.arguments import parse_bool
from penstock.packet.checksum import internet_checksum

__all__ = ["MemSource"]

_HEADER_BYTES = 42


class MemSource(Element):
    """The benchmark source: as though packets lay in a receive ring already.

    Each packet is a fresh, writable buffer from the pool. An Ethernet/IPv4/UDP header is put into it, and source
    address, source port and checksum are set for flow (i mod FLOWS). The payload is not written unless COPY.

    Arguments:
        LENGTH: bytes of a packet, Ethernet header included.
        FLOWS: number of flows.
        LIMIT: packets to make; -1 for no limit.
        BURST: packets a task makes at a time.
        COPY: write the payload too.
        RANDOM: take flows at random.
        STOP: stop the driver at the limit.

    Handlers:
        count (read): packets made.
        active (read/write): whether it makes packets.
        reset (write): start again from 0.

    Example:
        MemSource(LENGTH 64, FLOWS 4, LIMIT 100, STOP true) -> c :: Counter -> Discard;
    """

    ports = "0/1"
    processing = "h/h"
    may_generate = True

    count: u64
    limit: i64
    active: boolean

    def configure(self, length: int = 64, flows: int = 1, limit: int = -1, burst: int = 32, *, copy: bool = False,
                  random: bool = False, stop: bool = False) -> None:
        if not _HEADER_BYTES <= length <= 65535 + 14:
            raise ConfigureError(f"LENGTH: must be between {_HEADER_BYTES} and 65549")
        if not 1 <= flows <= 1 << 24:
            raise ConfigureError("FLOWS: must be between 1 and 16777216")
        if not 1 <= burst <= 4096:
            raise ConfigureError("BURST: must be between 1 and 4096")
        self.length, self.flows, self.burst, self.stop = length, flows, burst, stop
        self.copies, self.takes_random = copy, random
        self.limit, self.active = limit, True
        self.buffer_bytes = length
        self.task = Task(self)
        ip_length = length - 14
        ether = bytes.fromhex("020000000002 020000000001 0800".replace(" ", ""))
        ip = bytearray.fromhex("45000000 0000 4000 40 11 0000 0a000000 0a800001".replace(" ", ""))
        ip[2:4] = ip_length.to_bytes(2, "big")
        self.base_checksum = internet_checksum(bytes(ip))
        ip[10:12] = self.base_checksum.to_bytes(2, "big")
        udp = (1024).to_bytes(2, "big") + (9).to_bytes(2, "big") + (ip_length - 20).to_bytes(2, "big") + b"\0\0"
        self.header = ether + bytes(ip) + udp
        self.payload = Array(u32, (length + 3) // 4, [0x01010101 * (i & 0x7F) for i in range((length + 3) // 4)])

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("active", lambda: str(bool(self.active)).lower(), flags="c")
        self.add_write("active", self._set_active)
        self.add_write("reset", self._reset, flags="b")

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text)
        if self.active:
            self.task.reschedule()

    def _reset(self, text: str) -> None:
        self.count = 0
        self.task.reschedule()

    @datapath
    def run_task(self) -> bool:
        if not self.active:
            return False
        n: u32 = self.burst
        if self.limit >= 0:
            left = u64(self.limit) - self.count
            if left < n:
                n = u32(left)
        made: u32 = 0
        for _ in range(n):
            p = self.pool.allocate(self.length)
            if p is None:
                break
            flow: u32 = 0
            if self.takes_random:
                flow = u32((u64(self.random.next()) * self.flows) >> 32)
            elif self.flows > 1:
                flow = u32((self.count + made) % self.flows)
            if self.copies:
                p.data.load_from(self.payload, 0, 0, self.length)
            p.data.write(0, self.header)
            p.set_mac(0)
            if self.flows > 1:
                # Flow i comes from 10.0.0.0 + i / 50000, port 1024 + i mod 50000.
                # Whole words are stored (TTL to source address, both ports), so that the loads that follow find their
                # bytes in one store and do not wait.
                address = 0x0A000000 + flow // 50000
                checksum = checksum_adjust32(self.base_checksum, 0x0A000000, address)
                p.data.u64[22] = (u64(0x40110000 | checksum) << 32) | u64(address)
                p.data.u32[34] = ((1024 + flow % 50000) << 16) | 9
            made += 1
            self.output(0).push(p)
        self.count += made
        if self.limit >= 0 and self.count >= u64(self.limit):
            if self.stop:
                self.stop_driver()
            return made > 0
        self.task.reschedule()
        return made > 0

