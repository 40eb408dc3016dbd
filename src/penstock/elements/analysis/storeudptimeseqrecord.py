"""StoreUDPTimeSeqRecord: when a packet was sent, and which one it is, in the packet."""

from penstock.datapath.checksum import checksum_finish, pseudo_header_sum
from penstock.elements import ConfigureError, Element, Packet, datapath, u32

__all__ = ["StoreUDPTimeSeqRecord"]

_RECORD_BYTES = 12


class StoreUDPTimeSeqRecord(Element):
    """Store a record in the data of UDP packets: sequence number, seconds and microseconds, 32 bits each, in network order.

    With DELTA, at the other end, the time in the record is replaced by what has passed since, so that the packet says how long it
    took (where both ends have the same clock). Packets need network and transport header positions; UDP checksums stay right. What
    is no UDP packet with room for a record passes as it is.

    Arguments:
        OFFSET: of the record, in the data behind the UDP header (0).
        DELTA: replace the time by the time that has passed (false).

    Handlers:
        count (read): records. reset_counts (write): start again with number 0.

    Example:
        InfiniteSource(LENGTH 64, LIMIT 2, STOP true) -> UDPIPEncap(1.0.0.1, 5, 2.0.0.2, 6) -> CheckIPHeader
        -> StoreUDPTimeSeqRecord -> StoreUDPTimeSeqRecord(DELTA true) -> Print(MAXLENGTH 48) -> Discard;
    """

    count: u32

    def configure(self, *, offset: int = 0, delta: bool = False) -> None:
        if not 0 <= offset <= 65535:
            raise ConfigureError("OFFSET: must be between 0 and 65535")
        self.at_byte, self.delta = 8 + offset, delta

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("reset_counts", lambda text: setattr(self, "count", 0), flags="b")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if (p.network.has(0, 20) and (p.network.u8[0] >> 4) == 4 and p.ip.protocol == 17 and (p.ip.fragment & 0x3FFF) == 0
                and p.transport.has(0, self.at_byte + _RECORD_BYTES)):
            length = u32(p.udp.length)
            if length >= self.at_byte + _RECORD_BYTES and p.transport.has(0, length):
                self.store(p, length)
        return p

    @datapath
    def store(self, p: Packet, length: u32) -> None:
        now = self.clock.now()
        seconds, micros = u32(now // 1_000_000_000), u32(now % 1_000_000_000) // 1000
        at: u32 = self.at_byte
        if self.delta:
            seconds = seconds - u32(p.transport.u32[at + 4])
            before = u32(p.transport.u32[at + 8])
            if micros < before:
                seconds = seconds - 1
                micros = micros + 1_000_000
            micros = micros - before
        else:
            p.transport.u32[at] = self.count
        p.transport.u32[at + 4] = seconds
        p.transport.u32[at + 8] = micros
        self.count += 1
        if p.udp.checksum != 0:
            p.udp.checksum = 0
            p.udp.checksum = checksum_finish(p.transport.checksum(0, length, pseudo_header_sum(p.ip.src, p.ip.dst, u32(17), length)))
            if p.udp.checksum == 0:
                p.udp.checksum = 0xFFFF
