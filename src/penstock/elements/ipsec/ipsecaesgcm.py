"""IPsecAESGCM (RFC 4106)."""

from penstock.elements import Array, ConfigureError, Packet, abstraction, datapath, u16, u32, u64
from penstock.elements.aescipher import AESCipher
from penstock.elements.ipsec.aes import hash_table

__all__ = ["IPsecAESGCM"]

_HEADER_BYTES, _IV_BYTES, _TAG_BYTES, _BLOCK, _SALT_BYTES = 8, 8, 16, 16, 4
_FRONT = _HEADER_BYTES + _IV_BYTES
#: what four bits that fall out at the end come back as, in the uppermost 16 bits
_REDUCED = [0x0000, 0x1C20, 0x3840, 0x2460, 0x7080, 0x6CA0, 0x48C0, 0x54E0, 0xE100, 0xFD20, 0xD940, 0xC560, 0x9180, 0x8DA0, 0xA9C0, 0xB5E0]


class IPsecAESGCM(AESCipher):
    """Encrypt ESP packets and sign them, or verify and decrypt them, with AES in GCM mode (RFC 4106), with the key of their association.

    A packet starts with its ESP header and 8 bytes for the initialisation vector (``IPsecESPEncap(IV 8)``); for it encryption takes a
    number drawn by lot once, and the sequence number. AUTH_KEY of the association are the 4 bytes of salt. The integrity check value
    has 16 bytes. What is not intact, and what no association is known for, goes to output 1, or is dropped. No vector may come twice with a
    key: a key that was used before must not be used again where sequence numbers begin anew (RFC 4106, section 2).

    Arguments:
        ENCRYPT: 1 encrypts, 0 verifies and decrypts.

    Handlers:
        count, drops (read).

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 01020304);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPsecESPEncap(SPI 0x100, IV 8)
        -> IPsecAESGCM(1) -> IPsecEncap(50, 3.0.0.1, 4.0.0.1) -> CheckIPHeader -> StripIPHeader -> IPsecAESGCM(0)
        -> IPsecESPUnencap(IV 8) -> CheckIPHeader -> IPPrint -> Discard;
    """

    #: the upper half of initialisation vectors; 0: not drawn yet
    start: u32
    #: the hash so far
    high: u64
    low: u64

    def initialize(self) -> None:
        self.load_cipher(encrypts=True)
        for association in self.known:
            if len(association.authentication_key) != _SALT_BYTES:
                raise ConfigureError(f"association {association.spi:#x}: AES-GCM takes an AUTH_KEY of 4 bytes, its salt (RFC 4106)")
        tables = [hash_table(association.encryption_key) for association in self.known]
        self.salts = Array(u32, self.n_known, [int.from_bytes(a.authentication_key) for a in self.known])
        self.upper = Array(u64, 16 * self.n_known, [product >> 64 for table in tables for product in table])
        self.lower = Array(u64, 16 * self.n_known, [product & (1 << 64) - 1 for table in tables for product in table])
        self.reduced = Array(u16, 16, _REDUCED)

    @datapath
    def absorb(self, i: u32, a: u32, b: u32, c: u32, d: u32) -> None:
        """One block into the hash: added, and multiplied with the key, four bits at a time (NIST SP 800-38D, section 6.4)."""
        first = self.high ^ ((u64(a) << 32) | u64(b))
        second = self.low ^ ((u64(c) << 32) | u64(d))
        high: u64 = 0
        low: u64 = 0
        for k in range(32):
            nibble = u32(second >> u64(4 * k)) & 15 if k < 16 else u32(first >> u64(4 * k - 64)) & 15
            rest = u32(low) & 15
            low = (low >> 4) | (high << 60)
            high = (high >> 4) ^ (u64(self.reduced[rest]) << 48)
            high = high ^ self.upper[i * 16 + nibble]
            low = low ^ self.lower[i * 16 + nibble]
        self.high = high
        self.low = low

    @datapath
    def key_stream(self, p: Packet, i: u32, counter: u32) -> None:
        """The block of the key stream with this number into ``words``."""
        self.words[0] = self.salts[i]
        self.words[1] = p.data.u32[_HEADER_BYTES]
        self.words[2] = p.data.u32[_HEADER_BYTES + 4]
        self.words[3] = counter
        self.encrypt_words(i)

    @datapath
    def word_at(self, p: Packet, at: u32, end: u32) -> u32:
        """Four bytes; zeros behind the end."""
        if at + 4 <= end:
            return u32(p.data.u32[at])
        value: u32 = 0
        for k in range(4):
            value = value << 8
            if at + k < end:
                value = value | u32(p.data.u8[at + k])
        return value

    @datapath
    def hash(self, p: Packet, i: u32, end: u32) -> None:
        """Over the ESP header, what is encrypted, and their lengths."""
        self.high = 0
        self.low = 0
        self.absorb(i, u32(p.data.u32[0]), u32(p.data.u32[4]), u32(0), u32(0))
        for n in range((end - _FRONT + _BLOCK - 1) // _BLOCK):
            at: u32 = _FRONT + n * _BLOCK
            third, fourth = self.word_at(p, at + 8, end), self.word_at(p, at + 12, end)
            self.absorb(i, self.word_at(p, at, end), self.word_at(p, at + 4, end), third, fourth)
        self.absorb(i, u32(0), u32(8 * _HEADER_BYTES), u32(0), (end - _FRONT) * 8)

    @datapath
    def crypt(self, p: Packet, i: u32, end: u32) -> None:
        """Add the key stream to what lies between the initialisation vector and the end."""
        for n in range((end - _FRONT + _BLOCK - 1) // _BLOCK):
            at: u32 = _FRONT + n * _BLOCK
            self.key_stream(p, i, n + 2)
            for j in (0, 1, 2, 3):
                word = self.words[j]
                if at + 4 * j + 4 <= end:
                    p.data.u32[at + 4 * j] = p.data.u32[at + 4 * j] ^ word
                else:
                    for k in range(4):
                        if at + 4 * j + k < end:
                            p.data.u8[at + 4 * j + k] = p.data.u8[at + 4 * j + k] ^ ((word >> (24 - 8 * k)) & 0xFF)

    @datapath
    def tag_word(self, j: u32) -> u32:
        """A word of the tag, once the hash is made and ``words`` are the first block of the key stream."""
        part = self.high if j < 2 else self.low
        return (u32(part) if (j & 1) == 1 else u32(part >> 32)) ^ self.words[j]

    @datapath
    def seal(self, p: Packet, i: u32) -> None:
        if self.start == 0:
            self.start = self.random.next() | 1
        p.data.u32[_HEADER_BYTES] = self.start
        p.data.u32[_HEADER_BYTES + 4] = p.data.u32[4]
        end: u32 = p.length
        self.crypt(p, i, end)
        self.hash(p, i, end)
        p.put(_TAG_BYTES)
        self.key_stream(p, i, u32(1))
        for j in (0, 1, 2, 3):
            p.data.u32[end + 4 * j] = self.tag_word(u32(j))

    @datapath
    def open(self, p: Packet, i: u32) -> bool:
        end: u32 = p.length - _TAG_BYTES
        self.hash(p, i, end)
        self.key_stream(p, i, u32(1))
        # All of it is looked at, whatever differs, so that time tells nothing.
        differing: u32 = 0
        for j in (0, 1, 2, 3):
            differing = differing | (self.tag_word(u32(j)) ^ u32(p.data.u32[end + 4 * j]))
        if differing != 0:
            return False
        p.take(_TAG_BYTES)
        self.crypt(p, i, end)
        return True

    @abstraction(of=seal)
    def any_cipher(self, p: Packet, i: u32) -> None:
        """What is encrypted may be any bytes."""
        self.any_bytes(p, u32(_HEADER_BYTES))
        p.put(_TAG_BYTES)

    @abstraction(of=open)
    def any_plain(self, p: Packet, i: u32) -> bool:
        """It is intact or not; what is decrypted may be any bytes."""
        if (self.random.next() & 1) == 0:
            return False
        p.take(_TAG_BYTES)
        self.any_bytes(p, u32(_HEADER_BYTES))
        return True

    @datapath
    def is_good(self, p: Packet) -> bool:
        i = self.association_of(p)
        if i >= self.n_known:
            return False
        if self.encrypts:
            if p.length < _FRONT:
                return False
            self.seal(p, i)
            return True
        if p.length < _FRONT + _TAG_BYTES:
            return False
        return self.open(p, i)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.is_good(p):
            self.count += 1
            return p
        self.drops += 1
        self.checked_output_push(1, p)
        return None
