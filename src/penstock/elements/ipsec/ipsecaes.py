"""IPsecAES."""

from penstock.elements import Array, Packet, abstraction, datapath, u32
from penstock.elements.aescipher import AESCipher

__all__ = ["IPsecAES"]

_HEADER_BYTES, _IV_BYTES, _BLOCK = 8, 16, 16


class IPsecAES(AESCipher):
    """Encrypt or decrypt ESP packets with AES in CBC mode (RFC 3602), with the key of their association.

    A packet starts with its ESP header and 16 bytes for the initialisation vector, which encryption draws by lot. What does not end
    with a whole block, and what no association is known for, goes to output 1, or is dropped.

    Arguments:
        ENCRYPT: 1 encrypts, 0 decrypts.

    Handlers:
        count, drops (read).

    Example:
        SATable(0x100 00112233445566778899aabbccddeeff 000102030405060708090a0b0c0d0e0f10111213);
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> IPsecESPEncap(SPI 0x100)
        -> IPsecAES(1) -> IPsecAuthHMACSHA1(0) -> IPsecEncap(50, 3.0.0.1, 4.0.0.1) -> IPPrint -> Discard;
    """

    def initialize(self) -> None:
        self.load_cipher(encrypts=self.encrypts)
        self.chain = Array(u32, 4)

    @datapath
    def decrypt_words(self, i: u32) -> None:
        """Decrypt ``words``: the equivalent inverse cipher (section 5.3.5)."""
        at: u32 = i * 60
        a = self.words[0] ^ self.decryption[at]
        b = self.words[1] ^ self.decryption[at + 1]
        c = self.words[2] ^ self.decryption[at + 2]
        d = self.words[3] ^ self.decryption[at + 3]
        for _ in range(self.rounds[i] - 1):
            at += 4
            e = self.column(a, d, c, b) ^ self.decryption[at]
            f = self.column(b, a, d, c) ^ self.decryption[at + 1]
            g = self.column(c, b, a, d) ^ self.decryption[at + 2]
            h = self.column(d, c, b, a) ^ self.decryption[at + 3]
            a = e
            b = f
            c = g
            d = h
        at += 4
        self.words[0] = self.last_column(a, d, c, b) ^ self.decryption[at]
        self.words[1] = self.last_column(b, a, d, c) ^ self.decryption[at + 1]
        self.words[2] = self.last_column(c, b, a, d) ^ self.decryption[at + 2]
        self.words[3] = self.last_column(d, c, b, a) ^ self.decryption[at + 3]

    @datapath
    def encrypt(self, p: Packet, i: u32) -> None:
        for j in (0, 1, 2, 3):
            value = self.random.next() ^ (self.random.next() << 16)
            self.chain[j] = value
            p.data.u32[_HEADER_BYTES + j * 4] = value
        at: u32 = _HEADER_BYTES + _IV_BYTES
        for _ in range((p.length - at) // _BLOCK):
            for j in (0, 1, 2, 3):
                self.words[j] = p.data.u32[at + j * 4] ^ self.chain[j]
            self.encrypt_words(i)
            for j in (0, 1, 2, 3):
                self.chain[j] = self.words[j]
                p.data.u32[at + j * 4] = self.words[j]
            at += _BLOCK

    @datapath
    def decrypt(self, p: Packet, i: u32) -> None:
        for j in (0, 1, 2, 3):
            self.chain[j] = p.data.u32[_HEADER_BYTES + j * 4]
        at: u32 = _HEADER_BYTES + _IV_BYTES
        for _ in range((p.length - at) // _BLOCK):
            for j in (0, 1, 2, 3):
                self.words[j] = p.data.u32[at + j * 4]
            self.decrypt_words(i)
            for j in (0, 1, 2, 3):
                plain = self.words[j] ^ self.chain[j]
                self.chain[j] = p.data.u32[at + j * 4]
                p.data.u32[at + j * 4] = plain
            at += _BLOCK

    @abstraction(of=encrypt)
    def any_cipher(self, p: Packet, i: u32) -> None:
        """What is encrypted may be any bytes."""
        self.any_bytes(p, u32(_HEADER_BYTES))

    @abstraction(of=decrypt)
    def any_plain(self, p: Packet, i: u32) -> None:
        """What is decrypted may be any bytes."""
        self.any_bytes(p, u32(_HEADER_BYTES))

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        i = self.association_of(p)
        size = p.length
        if i >= self.n_known or size < _HEADER_BYTES + _IV_BYTES + _BLOCK or (size - _HEADER_BYTES) % _BLOCK != 0:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        self.count += 1
        if self.encrypts:
            self.encrypt(p, i)
        else:
            self.decrypt(p, i)
        return p
