"""IPsecESPEncap, IPsecESPUnencap and IPsecEncap (RFC 4303)."""

from penstock.elements import Array, ConfigureError, Packet, datapath, u32, u64
from penstock.elements.associations import AssociationElement
from penstock.elements.ip.ipencap import IPEncap
from penstock.lang.arguments import IPAddress, UInt32, Word

__all__ = ["IPsecESPEncap", "IPsecESPUnencap", "IPsecEncap"]

_HEADER_BYTES = 8
_IP, _IP6 = 4, 41


def _iv(size: int) -> tuple[int, int]:
    """Bytes of the initialisation vector, and of a block. Raises ConfigureError."""
    if size not in (8, 16):
        raise ConfigureError("IV: must be 16 (AES-CBC) or 8 (AES-GCM)")
    return size, 16 if size == 16 else 4


class IPsecESPEncap(AssociationElement):
    """Put an ESP header, room for the initialisation vector, and a trailer around IP packets, padded to AES's blocks.

    The association is that of the SPI annotation (RadixIPsecLookup sets it), or of SPI. Sequence numbers count; when they are used
    up, packets go to output 1, or are dropped, as do packets without an association (RFC 4303, section 3.3.3).

    Arguments:
        SPI: the association of packets that have no annotation. IV: bytes of the initialisation vector: 16 (for AES-CBC), or 8 (for
        AES-GCM), where packets are padded to 4 bytes only.

    Handlers:
        count, drops (read).

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPsecESPEncap(SPI 0x100) -> Print -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64

    def configure(self, *, spi: UInt32 = 0, iv: UInt32 = 16) -> None:
        self.spi = spi
        self.iv_bytes, self.block = _iv(iv)

    def initialize(self) -> None:
        self.find_associations()
        self.sequences = Array(u32, self.n_known)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        spi: u32 = p.anno32[32]
        if spi == 0:
            spi = self.spi
        i = self.by_spi(spi)
        good = i < self.n_known and p.length > 0
        if good:
            good = self.sequences[i] != 0xFFFF_FFFF
        if not good:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        kind: u32 = _IP
        if (p.data.u8[0] >> 4) == 6:
            kind = _IP6
        size = p.length
        padding = (self.block - (size + 2) % self.block) % self.block
        p.put(padding + 2)
        for j in range(padding):
            p.data.u8[size + j] = j + 1
        p.data.u8[size + padding] = padding
        p.data.u8[size + padding + 1] = kind
        p.push(_HEADER_BYTES + self.iv_bytes)
        self.sequences[i] += 1
        p.data.u32[0] = spi
        p.data.u32[4] = self.sequences[i]
        p.data.u64[8] = 0
        if self.iv_bytes == 16:
            p.data.u64[16] = 0
        p.anno64[40] = i + 1
        p.clear_network()
        p.clear_transport()
        self.count += 1
        return p


class IPsecESPUnencap(AssociationElement):
    """Take the ESP header, the initialisation vector and the trailer off packets that have been verified and decrypted.

    Packets that came before, or are older than the window, are dropped where their association says so (RFC 4303, section 3.4.3);
    so are those whose padding is not 1, 2, 3, … or that carry no IP packet. Dropped packets go to output 1, where there is one.

    Arguments:
        IV: bytes of the initialisation vector: 16 (for AES-CBC), or 8 (for AES-GCM).

    Handlers:
        count, drops, replays (read).

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPsecESPEncap(SPI 0x100)
        -> IPsecESPUnencap -> CheckIPHeader -> IPPrint -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64
    replays: u64

    def configure(self, *, iv: UInt32 = 16) -> None:
        self.front_bytes = _HEADER_BYTES + _iv(iv)[0]
        #: what is at least behind the vector: a block that says what is inside
        self.least_bytes = self.front_bytes + _iv(iv)[1]

    def initialize(self) -> None:
        self.find_associations()
        self.highest = Array(u32, self.n_known)
        self.seen = Array(u64, self.n_known)
        self.windows = Array(u32, self.n_known, [a.window if a.checks_replay else 0 for a in self.known])

    def add_handlers(self) -> None:
        for name in ("count", "drops", "replays"):
            self.add_data(name, name)

    @datapath
    def is_fresh(self, i: u32, number: u32) -> bool:
        """The window (RFC 4303, appendix A): bit n of ``seen`` is the packet n before the highest."""
        window = self.windows[i]
        if window == 0:
            return True
        if number == 0:
            return False
        highest = self.highest[i]
        if number > highest:
            step = number - highest
            if step < 64:
                self.seen[i] = (self.seen[i] << u64(step)) | 1
            else:
                self.seen[i] = 1
            self.highest[i] = number
            return True
        back = highest - number
        if back >= window:
            return False
        bit: u64 = u64(1) << u64(back)
        if (self.seen[i] & bit) != 0:
            return False
        self.seen[i] = self.seen[i] | bit
        return True

    @datapath
    def is_padded(self, p: Packet, padding: u32) -> bool:
        start: u32 = p.length - 2 - padding
        for j in range(padding):
            if p.data.u8[start + j] != j + 1:
                return False
        return True

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        i = self.association_of(p)
        good = i < self.n_known and p.length >= self.least_bytes
        padding: u32 = 0
        if good:
            padding = p.data.u8[p.length - 2]
            kind = p.data.u8[p.length - 1]
            good = kind in (_IP, _IP6) and p.length >= self.front_bytes + 2 + padding
        if good:
            good = self.is_padded(p, padding)
        if good:
            if not self.is_fresh(i, p.data.u32[4]):
                self.replays += 1
                good = False
        if not good:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        p.take(padding + 2)
        p.pull(self.front_bytes)
        p.anno32[32] = 0
        p.anno64[40] = 0
        p.clear_network()
        p.clear_transport()
        self.count += 1
        return p


class IPsecEncap(IPEncap):
    """Put the outer IPv4 header in front of ESP packets: IPEncap by another name, with the protocol first.

    Arguments:
        PROTO: 50 or esp. SRC, DST: the tunnel's ends; DST may be DST_ANNO, the gateway that RadixIPsecLookup has set.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> IPsecEncap(50, 3.0.0.1, 4.0.0.1) -> IPPrint -> Discard;
    """

    def configure(self, proto: Word, src: IPAddress, dst: Word) -> None:
        super().configure(proto, src, dst)
