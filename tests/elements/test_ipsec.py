"""ESP against scapy (and OpenSSL behind it), the vectors of the standards, and what an attacker may send."""

from __future__ import annotations

import hashlib
import hmac
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from scapy.layers.inet import IP
    from scapy.layers.ipsec import ESP, SecurityAssociation

from penstock.elements.associations import sha1_block
from penstock.elements.ipsec.aes import SBOX, key_schedule
from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.harness import run_packets
from tests.traffic import Sent, udp

AUTH = bytes(range(20))
KEYS = {16: bytes(range(100, 116)), 24: bytes(range(100, 124)), 32: bytes(range(100, 132))}
OUT = "feed :: Feed -> IPsecESPEncap(SPI 256) -> IPsecAES(1) -> IPsecAuthHMACSHA1(0) -> IPsecEncap(50, 3.0.0.1, 4.0.0.1) -> s :: Sink;"
IN = ("feed :: Feed -> CheckIPHeader -> StripIPHeader -> a :: IPsecAuthHMACSHA1(1) -> e :: IPsecAES(0) -> u :: IPsecESPUnencap -> s :: Sink;"
      "a[1] -> bad :: Sink; e[1] -> [1] bad; u[1] -> [2] bad;")
PLAIN = udp(5, 9, b"secret words", src="10.0.0.1", dst="10.0.1.1")


def table(size: int = 16, more: str = "") -> str:
    return f"SATable(0x100 {KEYS[size].hex()} {AUTH.hex()}{more});"


def oracle(size: int = 16) -> SecurityAssociation:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SecurityAssociation(ESP, spi=0x100, crypt_algo="AES-CBC", crypt_key=KEYS[size], auth_algo="HMAC-SHA1-96", auth_key=AUTH,
                                   tunnel_header=IP(src="3.0.0.1", dst="4.0.0.1"))


def test_the_tables_are_those_of_the_standard() -> None:
    assert SBOX[0x53] == 0xED and SBOX[0] == 0x63 and sorted(SBOX) == list(range(256))
    # FIPS 197, appendices A.1 to A.3.
    for key, last in (("2b7e151628aed2a6abf7158809cf4f3c", 0xB6630CA6), ("8e73b0f7da0e6452c810f32b809079e562f8ead2522c6b7b", 0x01002202),
                      ("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4", 0x706C631E)):
        assert key_schedule(bytes.fromhex(key))[0][-1] == last
    start = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0)
    assert b"".join(w.to_bytes(4) for w in sha1_block(start, b"abc\x80".ljust(63, b"\0") + b"\x18")) == hashlib.sha1(b"abc").digest()


@pytest.mark.parametrize("size", [16, 24, 32])
@pytest.mark.parametrize("length", [0, 1, 13, 14, 15, 100, 1300])
def test_scapy_reads_what_is_encrypted_and_we_read_what_it_encrypts(size: int, length: int) -> None:
    plain = udp(5, 9, bytes(k % 256 for k in range(length)), src="10.0.0.1", dst="10.0.1.1")
    (sent,) = run_packets(table(size) + OUT, [Sent(plain)]).out()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = oracle(size).decrypt(IP(sent))
        assert bytes(got) == plain
        theirs = bytes(oracle(size).encrypt(IP(plain)))
    assert run_packets(table(size) + IN, [Sent(theirs)]).out() == [plain]
    assert run_packets(table(size) + IN, [Sent(sent)]).out() == [plain]


def test_sequence_numbers_count_and_no_two_packets_look_alike() -> None:
    sent = run_packets(table() + OUT, [Sent(PLAIN)] * 5).out()
    assert [int.from_bytes(data[24:28]) for data in sent] == [1, 2, 3, 4, 5]
    assert len({data[44:] for data in sent}) == 5


def test_the_code_is_hmac_s() -> None:
    (sent,) = run_packets(table() + OUT, [Sent(PLAIN)]).out()
    assert sent[-12:] == hmac.new(AUTH, sent[20:-12], hashlib.sha1).digest()[:12]
    out = "feed :: Feed -> IPsecESPEncap(SPI 256) -> IPsecAuthSHA1(0) -> s :: Sink;"
    (data,) = run_packets(table() + out, [Sent(PLAIN)]).out()
    assert data[-12:] == hashlib.sha1(data[:-12]).digest()[:12]


def test_replayed_late_and_altered_packets_are_refused() -> None:
    sent = run_packets(table() + OUT, [Sent(PLAIN)] * 100).out()
    order = [0, 1, 1, 5, 3, 4, 3, 99, 40, 35, 36, 98]
    done = run_packets(table() + IN, [Sent(sent[k]) for k in order], rounds=200)
    # 1 again, 3 again, 35 (64 behind the highest).
    assert len(done.out()) == len(order) - 3 and done.handlers["u.replays"] == "3"
    done = run_packets(table(more=" false") + IN, [Sent(sent[1])] * 3)
    assert len(done.out()) == 3
    for place in (20, 24, 30, 44, len(sent[0]) - 1):
        altered = bytearray(sent[0])
        altered[place] ^= 1
        done = run_packets(table() + IN, [Sent(bytes(altered))])
        assert done.out() == [] and len(done.out("bad")) == 1


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=120))
def test_noise_with_a_good_code_does_no_harm(body: bytes) -> None:
    esp = (0x100).to_bytes(4) + (1).to_bytes(4) + body
    packet = bytes(IP(bytes(IP(src="3.0.0.1", dst="4.0.0.1", proto=50) / (esp + hmac.new(AUTH, esp, hashlib.sha1).digest()[:12]))))
    done = run_packets(table() + IN, [Sent(packet)], engine="interpreter")
    assert len(done.out()) + len(done.out("bad")) + len(done.out("bad", 1)) + len(done.out("bad", 2)) == 1


def test_routes_choose_associations_and_gateways() -> None:
    text = (f"r :: RadixIPsecLookup(10.0.1.0/24 4.0.0.1 0 0x100 {KEYS[16].hex()} {AUTH.hex()}, 10.0.2.0/24 5.0.0.1 0 0x200 {KEYS[32].hex()} {AUTH.hex()},"
            " 0.0.0.0/0 1); feed :: Feed -> CheckIPHeader -> r; r[0] -> IPsecESPEncap -> IPsecAES(1) -> IPsecAuthHMACSHA1(0)"
            " -> IPsecEncap(50, 3.0.0.1, DST_ANNO) -> s :: Sink; r[1] -> t :: Sink")
    done = run_packets(text, [Sent(udp(1, 2, src="10.0.0.1", dst=d)) for d in ("10.0.1.1", "10.0.2.1", "8.8.8.8")])
    assert [(IP(d).dst, int.from_bytes(d[20:24])) for d in done.out()] == [("4.0.0.1", 0x100), ("5.0.0.1", 0x200)]
    assert len(done.out("t")) == 1


@pytest.mark.parametrize(("text", "said"), [
    ("SATable(1 00 11)", "ENCRYPT_KEY: AES has keys"), ("SATable(1 zz 11)", "hexadecimal"), ("SATable(1)", "expected SPI"),
    ("SATable(0 00112233445566778899aabbccddeeff 11)", "association 1"),
    ("Idle -> IPsecAES(1) -> Discard", "no security associations"), ("Idle -> IPsecAES(2) -> Discard", "ENCRYPT: must be"),
    (f"SATable(1 {KEYS[16].hex()} 11, 1 {KEYS[16].hex()} 22); Idle -> IPsecAES(1) -> Discard", "two different"),
])
def test_bad_associations_are_told_without_their_keys(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        Router.from_text(text)
    assert KEYS[16].hex() not in str(caught.value).replace(text, "")


SALT = bytes.fromhex("cafebabe")
GCM_OUT = "feed :: Feed -> IPsecESPEncap(SPI 256, IV 8) -> IPsecAESGCM(1) -> IPsecEncap(50, 3.0.0.1, 4.0.0.1) -> s :: Sink;"
GCM_IN = ("feed :: Feed -> CheckIPHeader -> StripIPHeader -> g :: IPsecAESGCM(0) -> u :: IPsecESPUnencap(IV 8) -> s :: Sink;"
          "g[1] -> bad :: Sink; u[1] -> [1] bad;")


def gcm_table(size: int) -> str:
    return f"SATable(0x100 {KEYS[size].hex()} {SALT.hex()});"


@pytest.mark.parametrize("size", [16, 24, 32])
def test_scapy_reads_what_gcm_sealed_and_we_open_what_it_seals(size: int) -> None:
    plains = [udp(5, 9, bytes(k % 256 for k in range(length)), src="10.0.0.1", dst="10.0.1.1") for length in (0, 1, 2, 3, 13, 13, 100, 1300)]
    sent = run_packets(gcm_table(size) + GCM_OUT, [Sent(plain) for plain in plains]).out()
    assert len({packet[28:36] for packet in sent}) == len(plains)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = SecurityAssociation(ESP, spi=0x100, crypt_algo="AES-GCM", crypt_key=KEYS[size] + SALT, tunnel_header=IP(src="3.0.0.1", dst="4.0.0.1"))
        assert [bytes(peer.decrypt(IP(packet))) for packet in sent] == plains
        sealed = [bytes(peer.encrypt(IP(plain))) for plain in plains]
    done = run_packets(gcm_table(size) + GCM_IN, [Sent(packet) for packet in sealed])
    assert done.out() == plains and done.handlers["g.count"] == str(len(plains))
    # The same sequence numbers once more are refused.
    done = run_packets(gcm_table(size) + GCM_IN, [Sent(packet) for packet in (*sealed, *sent)])
    assert done.out() == plains and done.handlers["u.replays"] == str(len(plains))


@settings(max_examples=3, deadline=None)
@given(st.integers(1, 255), st.lists(st.binary(max_size=60), min_size=20, max_size=20))
def test_gcm_refuses_whatever_was_changed_and_noise(change: int, noises: list[bytes]) -> None:
    (sent,) = run_packets(gcm_table(16) + GCM_OUT, [Sent(udp(5, 9, bytes(61), src="10.0.0.1", dst="10.0.1.1"))]).out()
    damaged = [Sent(sent[:place] + bytes([sent[place] ^ change]) + sent[place + 1:]) for place in range(20, len(sent))]
    shorter = [Sent(bytes(IP(proto=50, src="3.0.0.1", dst="4.0.0.1") / sent[20:end])) for end in range(24, len(sent), 7)]
    noise = [Sent(bytes(IP(proto=50) / (b"\0\0\1\0" + content))) for content in noises]
    done = run_packets(gcm_table(16) + GCM_IN, [*damaged, *shorter, *noise])
    assert done.out() == [] and len(done.out("bad")) == len(damaged) + len(shorter) + len(noise)


def test_gcm_needs_its_salt() -> None:
    with pytest.raises(ConfigurationError) as error:
        Router.from_text(table() + GCM_OUT.replace("feed :: Feed", "Idle").replace("s :: Sink", "Discard"))
    assert "takes an AUTH_KEY of 4 bytes" in "\n".join(error.value.diagnostics.pretty_lines())


def test_the_hash_key_is_that_of_the_standard() -> None:
    from penstock.elements.ipsec.aes import hash_table

    # NIST SP 800-38D's test case 2: the key is zeros.
    assert hash_table(bytes(16))[8] == 0x66E94BD4EF8A2C3B884CFA59CA342B2E
