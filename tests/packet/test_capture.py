"""Capture files: what was written is read back, other programs' files are read, and bad ones give one clear error."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.packet.capture import CaptureError, CapturePacket, CaptureReader, CaptureWriter
from penstock.packet.link import ip_start
from tests.conftest import CAPTURES

PACKETS = st.lists(st.tuples(st.binary(max_size=200), st.integers(0, 2**32 * 10**9 - 1), st.integers(0, 5000)), max_size=8)


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz"])
@given(packets=PACKETS)
def test_written_packets_are_read_back(suffix: str, packets: list[tuple[bytes, int, int]], tmp_path: Path) -> None:
    name = str(tmp_path / f"x{suffix}")
    writer = CaptureWriter(name, link_type=101, snap_bytes=0, nanoseconds=True)
    for data, stamp, extra in packets:
        writer.write(data, stamp, len(data) + extra)
    writer.close()
    with CaptureReader(name) as reader:
        assert list(reader) == [CapturePacket(d, t, len(d) + e, 101) for d, t, e in packets]
        assert reader.link_type == 101


def test_same_packets_give_same_gzip_file(tmp_path: Path) -> None:
    for name in ("a.pcap.gz", "b.pcap.gz"):
        writer = CaptureWriter(str(tmp_path / name))
        writer.write(b"x" * 60, 1)
        writer.close()
    assert (tmp_path / "a.pcap.gz").read_bytes() == (tmp_path / "b.pcap.gz").read_bytes()


def _read(data: bytes, folder: Path) -> tuple[int, str]:
    """How many packets, and the error if there was one. Anything but CaptureError fails the test."""
    path = folder / "fuzz"
    path.write_bytes(data)
    count = 0
    try:
        with CaptureReader(str(path)) as reader:
            for packet in reader:
                assert len(packet.data) <= packet.length
                assert 0 <= packet.timestamp_ns < 2**64
                count += 1
    except CaptureError as error:
        assert str(path) in str(error)
        return count, str(error)
    return count, ""


@given(st.binary(max_size=400))
def test_any_bytes_give_packets_or_one_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    _read(data, tmp_path_factory.getbasetemp())


@pytest.mark.parametrize("suffix", [".pcap", ".pcapng", ".pcap.gz"])
@given(cut=st.integers(0, 400), flips=st.lists(st.tuples(st.integers(0, 399), st.integers(0, 255)), max_size=6))
def test_damaged_files_give_packets_or_one_clear_error(suffix: str, cut: int, flips: list[tuple[int, int]], tmp_path: Path) -> None:
    name = tmp_path / f"whole{suffix}"
    writer = CaptureWriter(str(name))
    for i in range(3):
        writer.write(bytes(range(60)), i * 10**9)
    writer.close()
    data = bytearray(name.read_bytes())
    for at, value in flips:
        if at < len(data):
            data[at] = value
    _read(bytes(data[: max(len(data) - cut, 0)]), tmp_path)


def test_truncated_capture_keeps_the_packets_before(tmp_path: Path) -> None:
    writer = CaptureWriter(str(tmp_path / "t.pcap"))
    for i in range(3):
        writer.write(b"y" * 50, i)
    writer.close()
    whole = (tmp_path / "t.pcap").read_bytes()
    count, error = _read(whole[:-10], tmp_path)
    assert count == 2 and "breaks off" in error


def test_gzip_is_seen_by_content_not_by_name(tmp_path: Path) -> None:
    writer = CaptureWriter(str(tmp_path / "p.pcap"))
    writer.write(b"z" * 20, 0)
    writer.close()
    (tmp_path / "named.pcap").write_bytes(gzip.compress((tmp_path / "p.pcap").read_bytes()))
    with CaptureReader(str(tmp_path / "named.pcap")) as reader:
        assert len(list(reader)) == 1


@given(st.binary(max_size=64), st.sampled_from([0, 1, 9, 12, 101, 108, 113, 228, 229, 276, 999]))
def test_ip_start_is_inside_the_packet(data: bytes, link_type: int) -> None:
    start = ip_start(data, link_type)
    assert start is None or (0 <= start < len(data) and data[start] >> 4 in (4, 6))


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the collection of real captures is not here")
def test_real_captures_have_the_packets_that_the_manifest_says() -> None:
    lines = (CAPTURES / "MANIFEST.tsv").read_text().splitlines()
    names = lines[0].split("\t")
    wrong: list[str] = []
    for line in lines[1:]:
        row = dict(zip(names, line.split("\t")))
        path = CAPTURES / row["file"]
        if not path.exists() or not row["packets"].isdigit():
            continue
        try:
            with CaptureReader(str(path)) as reader:
                count = sum(1 for _ in reader)
        except CaptureError as error:
            wrong.append(str(error))
            continue
        if count != int(row["packets"]):
            wrong.append(f"{row['file']}: {count} packets, not {row['packets']}")
    assert not wrong
