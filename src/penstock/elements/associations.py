"""Security associations: what SATable and RadixIPsecLookup hold, and how the other elements find theirs."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from penstock.datapath.memory import Array
from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, Element
from penstock.elements.ipsec.aes import key_schedule
from penstock.lang.arguments import ArgumentError, parse_bool, parse_int
from penstock.lang.text import unquote
from penstock.packet.integers import u32

__all__ = ["Association", "AssociationElement", "AssociationHolder", "parse_association"]

_MAX_ASSOCIATIONS = 4096
_KEY_BYTES = (16, 24, 32)
#: bytes of the authentication key that HMAC takes as they are (RFC 2104)
_BLOCK_BYTES = 64


@dataclass(frozen=True)
class Association:
    """One direction of a protected connection (RFC 4301, section 4.1)."""

    spi: int
    encryption_key: bytes
    authentication_key: bytes
    checks_replay: bool = True
    window: int = 64


class AssociationHolder(Element):
    """Base of the elements that a configuration names associations in."""

    associations: list[Association]


def _key(text: str, name: str) -> bytes:
    word = unquote(text)
    digits = word.removeprefix("0x").replace(":", "").replace(" ", "")
    try:
        return bytes.fromhex(digits)
    except ValueError:
        raise ArgumentError(f"{name}: expected hexadecimal digits") from None


def parse_association(words: list[str]) -> Association:
    """``SPI ENCRYPT_KEY AUTH_KEY [REPLAY] [WINDOW]``. Raises ArgumentError."""
    if not 3 <= len(words) <= 5:
        raise ArgumentError("expected SPI ENCRYPT_KEY AUTH_KEY [REPLAY] [WINDOW]")
    spi = parse_int(words[0], 1, 0xFFFFFFFF)
    encryption, authentication = _key(words[1], "ENCRYPT_KEY"), _key(words[2], "AUTH_KEY")
    if len(encryption) not in _KEY_BYTES:
        raise ArgumentError("ENCRYPT_KEY: AES has keys of 16, 24 or 32 bytes")
    if not 1 <= len(authentication) <= _BLOCK_BYTES:
        raise ArgumentError("AUTH_KEY: must have 1 to 64 bytes")
    replay = parse_bool(words[3]) if len(words) > 3 else True
    window = parse_int(words[4], 1, 64) if len(words) > 4 else 64
    return Association(spi, encryption, authentication, replay, window)


def _left(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & 0xFFFFFFFF


def sha1_block(state: tuple[int, int, int, int, int], block: bytes) -> tuple[int, int, int, int, int]:
    """One block of SHA-1 (FIPS 180-4, section 6.1.2), for the parts of HMAC that depend on the key alone."""
    w = list(struct.unpack(">16I", block))
    for t in range(16, 80):
        w.append(_left(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1))
    a, b, c, d, e = state
    for t in range(80):
        if t < 20:
            f, k = (b & c) | (~b & d), 0x5A827999
        elif t < 40:
            f, k = b ^ c ^ d, 0x6ED9EBA1
        elif t < 60:
            f, k = (b & c) | (b & d) | (c & d), 0x8F1BBCDC
        else:
            f, k = b ^ c ^ d, 0xCA62C1D6
        a, b, c, d, e = (_left(a, 5) + f + e + k + w[t]) & 0xFFFFFFFF, a, _left(b, 30), c, d
    first, second, third, fourth, fifth = ((x + y) & 0xFFFFFFFF for x, y in zip(state, (a, b, c, d, e)))
    return first, second, third, fourth, fifth


class AssociationElement(Element):
    """Base of the elements that work by an association: all of the router's, by number.

    Which one a packet belongs to is told by its SA data reference annotation, or by the SPI that an ESP header at its start has.
    """

    def find_associations(self) -> None:
        """To be called from ``initialize``."""
        found: dict[int, Association] = {}
        for element in self.router.elements:
            if isinstance(element, AssociationHolder):
                for association in element.associations:
                    if found.setdefault(association.spi, association) != association:
                        raise ConfigureError(f"SPI {association.spi:#x} has two different associations")
        if not found:
            raise ConfigureError("no security associations: SATable or RadixIPsecLookup must name some")
        if len(found) > _MAX_ASSOCIATIONS:
            raise ConfigureError(f"no more than {_MAX_ASSOCIATIONS} associations")
        self.known = list(found.values())
        self.n_known = len(self.known)
        self.spis = Array(u32, self.n_known, [a.spi for a in self.known])

    def load_ciphers(self) -> None:
        """Key schedules, 60 words each, and rounds."""
        schedules = [key_schedule(a.encryption_key) for a in self.known]
        self.rounds = Array(u32, self.n_known, [len(s) // 4 - 1 for s, _ in schedules])
        self.encryption = Array(u32, 60 * self.n_known, [w for s, _ in schedules for w in (*s, *[0] * (60 - len(s)))])
        self.decryption = Array(u32, 60 * self.n_known, [w for _, s in schedules for w in (*s, *[0] * (60 - len(s)))])

    def load_authentication(self) -> None:
        """What SHA-1 is after the key's block, inner and outer (RFC 2104)."""
        start = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
        keys = [a.authentication_key.ljust(_BLOCK_BYTES, b"\0") for a in self.known]
        self.inner = Array(u32, 5 * self.n_known, [w for k in keys for w in sha1_block(start, bytes(b ^ 0x36 for b in k))])
        self.outer = Array(u32, 5 * self.n_known, [w for k in keys for w in sha1_block(start, bytes(b ^ 0x5C for b in k))])

    @datapath
    def by_spi(self, spi: u32) -> u32:
        """The number of an association, ``n_known`` for none."""
        for i in range(self.n_known):
            if self.spis[i] == spi:
                return u32(i)
        return u32(self.n_known)

    @datapath
    def association_of(self, p: Packet) -> u32:
        reference = p.anno64[40]
        if reference != 0 and reference <= self.n_known:
            return u32(reference) - 1
        if not p.data.has(0, 8):
            return u32(self.n_known)
        i = self.by_spi(p.data.u32[0])
        if i < self.n_known:
            p.anno64[40] = i + 1
        return i
