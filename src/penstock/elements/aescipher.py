"""AES in packet code, with the keys of associations (FIPS 197)."""

from __future__ import annotations

from penstock.datapath.memory import Array
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.associations import AssociationElement
from penstock.elements.element import ConfigureError
from penstock.elements.ipsec.aes import INVERSE_SBOX, SBOX, decryption_table, encryption_table
from penstock.packet.integers import u8, u32, u64

__all__ = ["AESCipher"]


class AESCipher(AssociationElement):
    """What encrypts (ENCRYPT 1) or decrypts (0) packets; ``words`` is the block that is worked on."""

    ports = "1/1-2"
    processing = "a/ah"

    count: u64
    drops: u64

    def configure(self, encrypt: int) -> None:
        if encrypt not in (0, 1):
            raise ConfigureError("ENCRYPT: must be 1 (encrypt) or 0 (decrypt)")
        self.encrypts = bool(encrypt)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_data("drops", "drops")

    def load_cipher(self, *, encrypts: bool) -> None:
        """Find the associations, and make the tables for one direction."""
        self.find_associations()
        self.load_ciphers()
        self.mix = Array(u32, 256, encryption_table() if encrypts else decryption_table())
        self.box = Array(u8, 256, SBOX if encrypts else INVERSE_SBOX)
        self.words = Array(u32, 4)

    @datapath
    def any_bytes(self, p: Packet, start: u32) -> None:
        """For abstractions: what a cipher makes of the bytes from ``start`` on may be anything."""
        for j in range(p.length - start):
            p.data.u8[start + j] = self.random.next() & 0xFF

    @datapath
    def column(self, a: u32, b: u32, c: u32, d: u32) -> u32:
        """One column of a round, from the four words that its bytes come from."""
        one = self.mix[a >> 24]
        two = self.mix[(b >> 16) & 0xFF]
        three = self.mix[(c >> 8) & 0xFF]
        four = self.mix[d & 0xFF]
        return one ^ ((two >> 8) | (two << 24)) ^ ((three >> 16) | (three << 16)) ^ ((four >> 24) | (four << 8))

    @datapath
    def last_column(self, a: u32, b: u32, c: u32, d: u32) -> u32:
        one: u32 = self.box[a >> 24]
        two: u32 = self.box[(b >> 16) & 0xFF]
        three: u32 = self.box[(c >> 8) & 0xFF]
        four: u32 = self.box[d & 0xFF]
        return (one << 24) | (two << 16) | (three << 8) | four

    @datapath
    def encrypt_words(self, i: u32) -> None:
        """Encrypt ``words`` with association ``i``'s key (FIPS 197, section 5.1)."""
        at: u32 = i * 60
        a = self.words[0] ^ self.encryption[at]
        b = self.words[1] ^ self.encryption[at + 1]
        c = self.words[2] ^ self.encryption[at + 2]
        d = self.words[3] ^ self.encryption[at + 3]
        for _ in range(self.rounds[i] - 1):
            at += 4
            e = self.column(a, b, c, d) ^ self.encryption[at]
            f = self.column(b, c, d, a) ^ self.encryption[at + 1]
            g = self.column(c, d, a, b) ^ self.encryption[at + 2]
            h = self.column(d, a, b, c) ^ self.encryption[at + 3]
            a = e
            b = f
            c = g
            d = h
        at += 4
        self.words[0] = self.last_column(a, b, c, d) ^ self.encryption[at]
        self.words[1] = self.last_column(b, c, d, a) ^ self.encryption[at + 1]
        self.words[2] = self.last_column(c, d, a, b) ^ self.encryption[at + 2]
        self.words[3] = self.last_column(d, a, b, c) ^ self.encryption[at + 3]
