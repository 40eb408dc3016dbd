"""IPReassembler."""

from penstock.datapath.checksum import checksum_finish
from penstock.elements import (
    NONE,
    Array,
    ConfigureError,
    Element,
    Packet,
    PacketSlot,
    Struct,
    Table,
    Timer,
    datapath,
    i32,
    take,
    u8,
    u32,
    u64,
)
from penstock.lang.arguments import Seconds, UInt32

__all__ = ["IPReassembler"]

_HEADER_ROOM = 60
_MAX_PAYLOAD = 65535 - 20
_BLOCKS = 8192
_TICK_NS = 1_000_000_000


class _Assembly(Struct):
    """A datagram in the making: ``held`` has 60 bytes of room for the header, then the payload."""

    held: PacketSlot
    started_ns: u64
    total: u32
    blocks: u32
    header_bytes: u32


class IPReassembler(Element):
    """Put IP fragments together again (RFC 791, RFC 815). Whole packets pass.

    The data must start at the IP header. A datagram's header and annotations are those of its first fragment, its
    timestamp is the last fragment's. What is not whole after TIMEOUT is dropped, or goes to output 1, as far as it is
    there, if the first fragment came. When CAPACITY datagrams are in the making, fragments of others are dropped.

    Arguments:
        CAPACITY: datagrams in the making (64).
        TIMEOUT: 30 s. MAX_MTU_ANNO, HIMEM: accepted for compatibility.

    Handlers:
        reassembled, drops (read): datagrams made, and fragments or datagrams dropped. active (read): in the making.

    Example:
        InfiniteSource(LENGTH 1000, LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPFragmenter(576)
        -> CheckIPHeader -> IPReassembler -> CheckIPHeader -> CheckUDPHeader -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    reassembled: u64
    drops: u64
    ticking: u8

    def configure(self, *, capacity: UInt32 = 64, timeout: Seconds = 30, himem: UInt32 = 0, max_mtu_anno: str = "") -> None:
        if not 1 <= capacity <= 4096:
            raise ConfigureError("CAPACITY: must be between 1 and 4096")
        self.capacity, self.timeout_ns = capacity, int(timeout * 1e9)
        self.table = Table((u32, u32, u32), _Assembly, capacity)
        #: one bit for each 8 bytes of payload that are there, for each entry of the table
        self.bits = Array(u8, capacity * _BLOCKS // 8)
        self.timer = Timer(self)
        self.packets_held = capacity + 2
        self.buffer_bytes = _HEADER_ROOM + 65536

    def add_handlers(self) -> None:
        self.add_data("reassembled", "reassembled")
        self.add_data("drops", "drops")
        self.add_read("active", lambda: self.table.entries)

    @datapath
    def start(self, src: u32, dst: u32, ident: u32) -> u32:
        i = self.table.insert((src, dst, ident))
        if i == NONE:
            return u32(NONE)
        made = self.make_packet(_HEADER_ROOM)
        if made is None:
            self.table.remove(i)
            return u32(NONE)
        assembly = self.table.slots[i].value
        assembly.held = made
        assembly.started_ns = self.clock.now()
        assembly.total = 0
        assembly.blocks = 0
        assembly.header_bytes = 0
        for k in range(_BLOCKS // 8):
            self.bits[i * (_BLOCKS // 8) + k] = 0
        if self.ticking == 0:
            self.ticking = 1
            self.timer.schedule_after(_TICK_NS)
        return i

    @datapath
    def mark(self, i: u32, first: u32, count: u32) -> None:
        """Blocks ``first`` to ``first + count`` are there; each counts once."""
        assembly = self.table.slots[i].value
        for k in range(count):
            block = first + k
            at = i * (_BLOCKS // 8) + (block >> 3)
            bit = u32(1) << (block & 7)
            old = self.bits[at]
            if (old & bit) == 0:
                self.bits[at] = old | bit
                assembly.blocks += 1

    @datapath
    def add(self, i: u32, p: Packet, header_bytes: u32, offset: u32, length: u32, more: bool) -> None:
        """Copy a fragment's payload to its place; the fragment itself ends here."""
        assembly = self.table.slots[i].value
        whole = take(assembly.held)
        if whole is not None:
            need = _HEADER_ROOM + offset + length
            if whole.length < need:
                whole.put(need - whole.length)
            whole.data.copy(_HEADER_ROOM + offset, p.network, header_bytes, length)
            if offset == 0:
                assembly.header_bytes = header_bytes
                whole.data.copy(_HEADER_ROOM - header_bytes, p.network, 0, header_bytes)
                for k in (0, 8, 16, 24, 32, 40):
                    whole.anno64[k] = p.anno64[k]
                whole.packet_type = p.packet_type
            whole.timestamp = p.timestamp
            assembly.held = whole
            if not more:
                assembly.total = offset + length
            self.mark(i, offset >> 3, (length + 7) >> 3)
        p.kill()

    @datapath
    def finish(self, i: u32) -> Packet | None:
        """What there is of datagram ``i`` as a packet with a right header; the entry is free again."""
        assembly = self.table.slots[i].value
        whole = take(assembly.held)
        header_bytes = assembly.header_bytes
        total = assembly.total
        self.table.remove(i)
        if whole is None:
            return None
        if header_bytes == 0:
            whole.kill()
            return None
        whole.pull(_HEADER_ROOM - header_bytes)
        if total != 0 and whole.length > header_bytes + total:
            whole.take(whole.length - header_bytes - total)
        whole.set_network(0)
        whole.set_transport(i32(header_bytes))
        whole.ip.length = whole.length
        whole.ip.fragment = whole.ip.fragment & 0x4000
        whole.ip.checksum = 0
        whole.ip.checksum = checksum_finish(whole.network.checksum(0, header_bytes))
        return whole

    @datapath
    def run_timer(self) -> bool:
        now = self.clock.now()
        for i in range(self.table.top):
            if self.table.used(i):
                if now - self.table.slots[i].value.started_ns >= self.timeout_ns:
                    self.drops += 1
                    p = self.finish(i)
                    if p is not None:
                        self.checked_output_push(1, p)
        if self.table.entries > 0:
            self.timer.schedule_after(_TICK_NS)
        else:
            self.ticking = 0
        return True

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if not p.network.has(0, 20):
            self.drops += 1
            p.kill()
            return None
        ip = p.ip
        fragment = ip.fragment
        if (fragment & 0x3FFF) == 0:
            return p
        header_bytes = ip.header_length * 4
        total: u32 = ip.length
        offset = (fragment & 0x1FFF) << 3
        more = (fragment & 0x2000) != 0
        fine = header_bytes >= 20 and total > header_bytes and p.network.has(0, total)
        length = total - header_bytes
        if fine:
            # Middle fragments are multiples of 8 bytes, and the end is within a packet's 65,535 bytes.
            fine = offset + length <= _MAX_PAYLOAD and (not more or (length & 7) == 0)
        if not fine:
            self.drops += 1
            p.kill()
            return None
        ident = ip.identification << 16 | ip.protocol
        i = self.table.find((ip.src, ip.dst, ident))
        if i == NONE:
            i = self.start(ip.src, ip.dst, ident)
        if i == NONE:
            self.drops += 1
            p.kill()
            return None
        assembly = self.table.slots[i].value
        if assembly.total != 0 and offset + length > assembly.total:
            self.drops += 1
            p.kill()
            return None
        self.add(i, p, header_bytes, offset, length, more)
        if assembly.total != 0 and assembly.blocks == (assembly.total + 7) >> 3 and assembly.header_bytes != 0:
            self.reassembled += 1
            return self.finish(i)
        return None
