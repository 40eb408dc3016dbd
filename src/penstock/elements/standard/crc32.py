"""SetCRC32 and CheckCRC32: a checksum behind the data."""

from penstock.elements import Array, Element, Packet, abstraction, datapath, u32, u64

__all__ = ["CheckCRC32", "SetCRC32"]

#: IEEE 802.3, most significant bit first
_POLYNOMIAL = 0x04C11DB7


def _table() -> list[int]:
    found = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = (value << 1 & 0xFFFFFFFF) ^ (_POLYNOMIAL if value >> 31 else 0)
        found.append(value)
    return found


class _Crc(Element):
    """The checksum is kept in the machine's order, as Click does."""

    def configure(self) -> None:
        self.table = Array(u32, 256, _table())

    @datapath
    def crc(self, p: Packet, length: u32) -> u32:
        value: u32 = 0xFFFFFFFF
        for i in range(min(length, 0x10000)):
            value = u32(value << 8) ^ self.table[(value >> 24) ^ p.data.u8[i]]
        return value

    @abstraction(of=crc)
    def any_crc(self, p: Packet, length: u32) -> u32:
        """A sum over bytes that nobody knows."""
        return u32(self.random.next() << 16) ^ u32(self.random.next())

    @datapath
    def swapped(self, value: u32) -> u32:
        return (value >> 24) | ((value >> 8) & 0xFF00) | u32((value & 0xFF00) << 8) | u32(value << 24)


class SetCRC32(_Crc):
    """Append the CRC-32 of packets to them, four bytes.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetCRC32 -> CheckCRC32 -> Discard;
    """

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        length = p.length
        value = self.crc(p, length)
        p.put(4)
        p.data.u32[length] = self.swapped(value)
        return p


class CheckCRC32(_Crc):
    """Check and remove the CRC-32 at the end of packets; those that have a wrong one are dropped.

    Handlers:
        drops (read).

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> SetCRC32 -> CheckCRC32 -> Discard;
    """

    drops: u64

    def add_handlers(self) -> None:
        self.add_data("drops", "drops")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if p.length > 4:
            length = p.length - 4
            if self.swapped(self.crc(p, length)) == p.data.u32[length]:
                p.take(4)
                return p
        self.drops += 1
        p.kill()
        return None
