"""IPsecAuthHMACSHA1 and IPsecAuthSHA1."""

from penstock.elements import Array, ConfigureError, Packet, abstraction, datapath, u32, u64
from penstock.elements.associations import AssociationElement

__all__ = ["IPsecAuthHMACSHA1", "IPsecAuthSHA1"]

_ICV_BYTES, _BLOCK = 12, 64
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)


class _Authentication(AssociationElement):
    """SHA-1 (FIPS 180-4) over a packet, of which 12 bytes are kept (RFC 2404)."""

    ports = "1/1-2"
    processing = "a/ah"
    is_keyed = True

    count: u64
    drops: u64

    def configure(self, verify: int) -> None:
        if verify not in (0, 1):
            raise ConfigureError("VERIFY: must be 0 (compute) or 1 (verify)")
        self.verifies = bool(verify)

    def initialize(self) -> None:
        self.find_associations()
        self.load_authentication()
        self.block = Array(u32, 80)
        self.state = Array(u32, 5)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    @datapath
    def compress(self) -> None:
        """Take in ``block`` (section 6.1.2)."""
        for t in range(16, 80):
            x = self.block[t - 3] ^ self.block[t - 8] ^ self.block[t - 14] ^ self.block[t - 16]
            self.block[t] = (x << 1) | (x >> 31)
        a = self.state[0]
        b = self.state[1]
        c = self.state[2]
        d = self.state[3]
        e = self.state[4]
        for t in range(80):
            f: u32 = b ^ c ^ d
            k: u32 = 0x6ED9_EBA1
            if t < 20:
                f = (b & c) | ((b ^ 0xFFFF_FFFF) & d)
                k = 0x5A82_7999
            elif t >= 40 and t < 60:
                f = (b & c) | (b & d) | (c & d)
                k = 0x8F1B_BCDC
            elif t >= 60:
                k = 0xCA62_C1D6
            g = ((a << 5) | (a >> 27)) + f + e + k + self.block[t]
            e = d
            d = c
            c = (b << 30) | (b >> 2)
            b = a
            a = g
        self.state[0] += a
        self.state[1] += b
        self.state[2] += c
        self.state[3] += d
        self.state[4] += e

    @datapath
    def digest(self, p: Packet, length: u32, before: u32) -> None:
        """Take in ``length`` bytes of the packet and the padding; ``before`` bytes have been taken in already."""
        at: u32 = 0
        for _ in range(length // _BLOCK):
            for j in range(16):
                self.block[j] = p.data.u32[at + j * 4]
            self.compress()
            at += _BLOCK
        left: u32 = length - at
        for j in range(16):
            self.block[j] = 0
        for j in range(left):
            byte: u32 = p.data.u8[at + j]
            self.block[j >> 2] = self.block[j >> 2] | (byte << (24 - (j & 3) * 8))
        self.block[left >> 2] = self.block[left >> 2] | (u32(0x80) << (24 - (left & 3) * 8))
        if left >= 56:
            self.compress()
            for j in range(16):
                self.block[j] = 0
        self.block[15] = (before + length) * 8
        self.compress()

    @datapath
    def authenticate(self, p: Packet, i: u32, length: u32) -> None:
        """The code of the packet's first ``length`` bytes, in ``state``."""
        if self.is_keyed:
            for j in range(5):
                self.state[j] = self.inner[i * 5 + j]
            self.digest(p, length, u32(_BLOCK))
            for j in range(16):
                self.block[j] = 0
            for j in range(5):
                self.block[j] = self.state[j]
                self.state[j] = self.outer[i * 5 + j]
            self.block[5] = 0x8000_0000
            self.block[15] = (_BLOCK + 20) * 8
            self.compress()
        else:
            for k in (0, 1, 2, 3, 4):
                self.state[k] = _START[k]
            self.digest(p, length, u32(0))

    @abstraction(of=authenticate)
    def any_code(self, p: Packet, i: u32, length: u32) -> None:
        """The code may be any."""
        for j in (0, 1, 2, 3, 4):
            self.state[j] = self.random.next() ^ (self.random.next() << 16)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        i = self.association_of(p)
        if i >= self.n_known or p.length < 8 + _ICV_BYTES:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        if not self.verifies:
            size = p.length
            self.authenticate(p, i, size)
            p.put(_ICV_BYTES)
            p.data.u32[size] = self.state[0]
            p.data.u32[size + 4] = self.state[1]
            p.data.u32[size + 8] = self.state[2]
        else:
            rest: u32 = p.length - _ICV_BYTES
            self.authenticate(p, i, rest)
            # All twelve bytes are looked at, whatever the first ones are.
            wrong = (p.data.u32[rest] ^ self.state[0]) | (p.data.u32[rest + 4] ^ self.state[1]) | (p.data.u32[rest + 8] ^ self.state[2])
            if wrong != 0:
                self.drops += 1
                self.checked_output_push(1, p)
                return None
            p.take(_ICV_BYTES)
        self.count += 1
        return p


class IPsecAuthHMACSHA1(_Authentication):
    """Append or verify the authentication code of ESP packets: HMAC-SHA-1-96 (RFC 2404), with the key of their association.

    A packet starts with its ESP header. What does not verify, and what no association is known for, goes to output 1, or is dropped.

    Arguments:
        VERIFY: 0 appends the code, 1 verifies and removes it.

    Handlers:
        count, drops (read).

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPsecESPEncap(SPI 0x100) -> IPsecAuthHMACSHA1(0)
        -> IPsecAuthHMACSHA1(1) -> Print -> Discard;
    """


class IPsecAuthSHA1(_Authentication):
    """Append or verify the first 12 bytes of a packet's SHA-1: a checksum against accidents, as anybody can make it.

    Arguments:
        VERIFY: 0 appends it, 1 verifies and removes it.

    Handlers:
        count, drops (read).

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPsecESPEncap(SPI 0x100) -> IPsecAuthSHA1(0)
        -> IPsecAuthSHA1(1) -> Print -> Discard;
    """

    is_keyed = False
