"""AES (FIPS 197) as tables: what Python works out once, and packet code looks up."""

from __future__ import annotations

import struct

__all__ = ["INVERSE_SBOX", "SBOX", "decryption_table", "encryption_table", "hash_table", "key_schedule"]


def _times(a: int, b: int) -> int:
    """The product in GF(2^8) (section 4.2)."""
    product = 0
    while b:
        if b & 1:
            product ^= a
        a = a << 1 ^ (0x11B if a & 0x80 else 0)
        b >>= 1
    return product


def _make_sbox() -> list[int]:
    """Inverse, then the affine map (section 5.1.1)."""
    powers, value = [], 1
    for _ in range(255):
        powers.append(value)
        value = _times(value, 3)
    inverse = [0] * 256
    for i, power in enumerate(powers):
        inverse[power] = powers[-i % 255]
    box = []
    for number in inverse:
        turned = number
        for k in range(1, 5):
            turned ^= (number << k | number >> (8 - k)) & 0xFF
        box.append(turned ^ 0x63)
    return box


SBOX = _make_sbox()
INVERSE_SBOX = [SBOX.index(i) for i in range(256)]


def encryption_table() -> list[int]:
    """SubBytes and MixColumns of a byte in the first row; the other rows are the same, turned."""
    return [_times(SBOX[i], 2) << 24 | SBOX[i] << 16 | SBOX[i] << 8 | _times(SBOX[i], 3) for i in range(256)]


def decryption_table() -> list[int]:
    """Their inverses."""
    boxed = INVERSE_SBOX
    return [_times(boxed[i], 14) << 24 | _times(boxed[i], 9) << 16 | _times(boxed[i], 13) << 8 | _times(boxed[i], 11) for i in range(256)]


def _mixed(word: int) -> int:
    """InvMixColumns of a word: the decryption keys of the equivalent inverse cipher (section 5.3.5)."""
    a, b, c, d = word.to_bytes(4)
    rows = ((14, 11, 13, 9), (9, 14, 11, 13), (13, 9, 14, 11), (11, 13, 9, 14))
    result = 0
    for row in rows:
        result = result << 8 | (_times(a, row[0]) ^ _times(b, row[1]) ^ _times(c, row[2]) ^ _times(d, row[3]))
    return result


def key_schedule(key: bytes) -> tuple[list[int], list[int]]:
    """The words of the key schedule (section 5.2), for encryption, and for decryption in the order in which it takes them."""
    count = len(key) // 4
    words = list(struct.unpack(f">{count}I", key))
    constant = 1
    for i in range(count, 4 * (count + 7)):
        word = words[-1]
        if i % count == 0:
            word = (word << 8 | word >> 24) & 0xFFFFFFFF
            word = int.from_bytes(bytes(SBOX[b] for b in word.to_bytes(4))) ^ constant << 24
            constant = _times(constant, 2)
        elif count > 6 and i % count == 4:
            word = int.from_bytes(bytes(SBOX[b] for b in word.to_bytes(4)))
        words.append(words[i - count] ^ word)
    rounds = len(words) // 4
    inverse: list[int] = []
    for r in reversed(range(rounds)):
        for word in words[4 * r : 4 * r + 4]:
            inverse.append(word if r in (0, rounds - 1) else _mixed(word))
    return words, inverse


def _encrypted(schedule: list[int], block: bytes) -> bytes:
    """One block, from Python (section 5.1)."""
    state = [int.from_bytes(block[i : i + 4]) ^ schedule[i // 4] for i in range(0, 16, 4)]
    rounds = len(schedule) // 4
    for r in range(1, rounds):
        boxed = [bytes(SBOX[state[(i + k) % 4] >> (24 - 8 * k) & 0xFF] for k in range(4)) for i in range(4)]
        if r < rounds - 1:
            boxed = [bytes(_times(c[k], 2) ^ _times(c[(k + 1) % 4], 3) ^ c[(k + 2) % 4] ^ c[(k + 3) % 4] for k in range(4)) for c in boxed]
        state = [int.from_bytes(column) ^ schedule[4 * r + i] for i, column in enumerate(boxed)]
    return b"".join(word.to_bytes(4) for word in state)


def hash_table(key: bytes) -> list[int]:
    """Each half byte times the hash key of GCM, in its field (NIST SP 800-38D, section 6.3; tables after Shoup)."""
    products = [0] * 16
    products[8] = int.from_bytes(_encrypted(key_schedule(key)[0], bytes(16)))
    for i in (4, 2, 1):
        twice = products[2 * i]
        products[i] = twice >> 1 ^ (0xE1 << 120 if twice & 1 else 0)
    for i in range(16):
        products[i] = products[i & 8] ^ products[i & 4] ^ products[i & 2] ^ products[i & 1]
    return products
