"""Checksums that a veth's sender left unfinished, against ones made from Python."""

from __future__ import annotations

import ctypes
import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.device.pump import pumps
from penstock.packet.build import internet_checksum
from penstock.runtime.image import LoadedImage

LOADED = LoadedImage(pumps())
COMPLETE = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, ctypes.c_uint64)(LOADED.address + LOADED.image.entries["complete"])


def completed(frame: bytes, *, padding: int = 0) -> bytes:
    room = ctypes.create_string_buffer(frame + bytes(padding), 2112)
    COMPLETE(ctypes.addressof(room), len(frame) + padding)
    return room.raw[: len(frame)]


def folded(data: bytes) -> int:
    return internet_checksum(data) ^ 0xFFFF


def make(family: int, protocol: int, payload: bytes, *, fragment: int = 0, options: bytes = b"") -> tuple[bytes, bytes]:
    """The frame as the kernel leaves it, and as it must become."""
    at, size = (16, 20) if protocol == 6 else (6, 8)
    segment = bytearray(bytes(range(size)) + payload)
    if family == 4:
        addresses = bytes([10, 0, 0, 1, 10, 0, 0, 2])
        header = struct.pack(">BBHHHBBH", 0x45 + len(options) // 4, 0, 20 + len(options) + len(segment), 1, fragment, 64, protocol, 0)
        front = bytes(12) + b"\x08\0" + header + addresses + options
    else:
        addresses = bytes(range(32))
        front = bytes(12) + b"\x86\xdd" + struct.pack(">IHBB", 6 << 28, len(segment), protocol, 64) + addresses
    pseudo = addresses + struct.pack(">HH", protocol, len(segment))
    segment[at : at + 2] = bytes(2)
    whole = internet_checksum(pseudo + bytes(segment))
    segment[at : at + 2] = struct.pack(">H", folded(pseudo))
    before = front + bytes(segment)
    segment[at : at + 2] = struct.pack(">H", whole or (0xFFFF if protocol == 17 else 0))
    return before, front + bytes(segment)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([4, 6]), st.sampled_from([6, 17]), st.binary(max_size=1400), st.sampled_from([b"", bytes(4), bytes(40)]), st.integers(0, 20))
def test_unfinished_checksums_are_finished(family: int, protocol: int, payload: bytes, options: bytes, padding: int) -> None:
    before, after = make(family, protocol, payload, options=options)
    assert completed(before, padding=padding) == after
    assert completed(after, padding=padding) == after, "and only once"


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"\x08\0\x45", b"\x86\xdd\x60", b"\x08\0\x4f"]))
def test_any_other_frame_is_left_as_it_is(rest: bytes, kind: bytes) -> None:
    frame = bytes(12) + kind + rest
    after = completed(frame)
    # What changes is a field that held the sum of the pseudo header: one in 65,536.
    assert after == frame or sum(a != b for a, b in zip(after, frame)) <= 2


def test_a_fragment_and_a_cut_packet_are_left_as_they_are() -> None:
    for fragment in (0x2000, 0x0001):
        before, _ = make(4, 17, b"x" * 64, fragment=fragment)
        assert completed(before) == before
    before, _ = make(4, 6, b"x" * 64)
    assert completed(before[:-1]) == before[:-1]
