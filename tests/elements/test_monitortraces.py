"""Traces of traffic monitors, made byte for byte as their formats say."""

import gzip
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import ConfigurationError, Router
from penstock.packet.build import ipv4_header, udp_datagram
from penstock.packet.monitortraces import DAG_LAYOUTS, DagReader, TshReader
from penstock.packet.tracefile import CaptureError, TraceFile

_UDP = udp_datagram(1024, 53, b"hello", bytes([10, 0, 0, 1, 10, 0, 0, 2]))
IP = ipv4_header(0x0A000001, 0x0A000002, 17, len(_UDP), ttl=64) + _UDP
FRAME = bytes(12) + b"\x08\0" + IP
STAMP = 1_700_000_000 << 32 | 0x8000_0000
LLC = b"\xaa\xaa\x03\0\0\0\x08\0"


def _erf(kind: int, body: bytes, length: int) -> bytes:
    return struct.pack("<QBB", STAMP, kind, 4) + struct.pack(">HHH", 16 + len(body), 0, length) + body


def _packets(reader: TraceFile) -> list[tuple[bytes, int, int, int]]:
    with reader:
        return [(p.data, p.timestamp_ns, p.length, p.link_type) for p in reader]


@pytest.mark.parametrize("packed", [False, True])
def test_extensible_records_of_each_kind(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "t.erf"
    content = (
        _erf(2, b"\0\0" + FRAME, len(FRAME)) + _erf(0x82, bytes(8) + b"\0\0" + FRAME[:20], 1000) + _erf(1, b"\xff\x03\0\x21" + IP, 4 + len(IP))
        + _erf(1, b"\x0f\0\x08\0" + IP, 4 + len(IP)) + _erf(3, b"\0\0\0\1" + LLC + IP, 8 + len(IP)) + _erf(48, b"what is this", 12)
    )
    path.write_bytes(gzip.compress(content) if packed else content)
    at = 1_700_000_000_500_000_000
    assert _packets(DagReader(str(path))) == [
        (FRAME, at, len(FRAME), 1), (FRAME[:20], at, 1000, 1), (b"\xff\x03\0\x21" + IP, at, 4 + len(IP), 50),
        (b"\x0f\0\x08\0" + IP, at, 4 + len(IP), 104), (LLC + IP, at, 8 + len(IP), 100),
    ]
    others = "d[1] -> o :: Counter -> Discard;"
    text = f"d :: FromDAGDump({path}, FORCE_IP true, STOP true) -> CheckIPHeader -> c :: Counter -> Discard;"
    with Router.from_text(text) as router:
        router.run()
        # The one that is cut off within its IP header is refused by the check.
        assert router.read("c.count") == "4"
    path.write_bytes(content + _erf(2, b"\0\0" + bytes(12) + b"\x08\x06" + bytes(28), 42))
    with Router.from_text(text + others) as router:
        router.run()
        assert (router.read("c.count"), router.read("o.count")) == ("4", "1")


@pytest.mark.parametrize("layout", DAG_LAYOUTS)
def test_records_of_64_bytes(tmp_path: Path, layout: str) -> None:
    head = struct.pack("<Q", STAMP)
    record = {
        "ATM": head + bytes(4) + bytes(4) + LLC + IP, "ETHER": head + struct.pack(">H", len(FRAME)) + FRAME,
        "PPP": head + struct.pack(">II", 48, 4 + len(IP)) + b"\xff\x03\0\x21" + IP,
    }[layout]
    path = tmp_path / "t.dag"
    path.write_bytes(2 * record.ljust(64, b"\0"))
    with Router.from_text(f"FromDAGDump({path}, ENCAP {layout}, FORCE_IP true, STOP true) -> CheckIPHeader -> c :: Counter -> Discard") as router:
        router.run()
        assert router.read("c.count") == "2"


def test_time_sequenced_headers(tmp_path: Path) -> None:
    path = tmp_path / "t.tsh"
    path.write_bytes(struct.pack(">II", 1_000_000_000, 7 << 24 | 250_000) + IP.ljust(36, b"\0")[:36])
    assert _packets(TshReader(str(path))) == [(IP.ljust(36, b"\0")[:36], 1_000_000_000_250_000_000, 36, 101)]
    with Router.from_text(f"FromNLANRDump({path}, STOP true) -> CheckIPHeader -> c :: Counter -> Discard") as router:
        router.run()
        assert router.read("c.count") == "1"


@given(st.binary(max_size=300), st.sampled_from(["ERF", *DAG_LAYOUTS, "tsh"]))
def test_garbage_gives_packets_or_an_error(tmp_path_factory: pytest.TempPathFactory, data: bytes, layout: str) -> None:
    path = tmp_path_factory.mktemp("garbage") / "t"
    path.write_bytes(data)
    try:
        packets = _packets(TshReader(str(path)) if layout == "tsh" else DagReader(str(path), layout))
    except CaptureError as error:
        assert str(path) in str(error)
    else:
        assert all(length >= len(content) for content, _, length, _ in packets)


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="ENCAP: 'X25' is none of ERF, ATM"):
        Router.from_text("FromDAGDump(x, ENCAP X25) -> Discard")
    with pytest.raises(ConfigurationError, match="FORMAT: 'fr'"):
        Router.from_text("FromNLANRDump(x, FORMAT fr) -> Discard")
