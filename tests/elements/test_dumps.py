"""Replaying files of packets: binary summary dumps, and where and when a replay starts and ends."""

import struct
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock import ConfigurationError, Router
from penstock.elements import HandlerError
from penstock.elements.summary_binary import read_record
from penstock.elements.summary_fields import Parts
from penstock.packet.capture import CaptureWriter
from tests.harness import START_NS
from tests.traffic import ipv4, mixture, tcp, udp

FIELDS = ("timestamp ntimestamp first_timestamp ip_src ip_dst ip_tos ip_ttl ip_hl ip_len ip_id ip_sum ip_frag ip_opt ip_proto ip_capture_len "
          "sport dport tcp_seq tcp_ack tcp_off tcp_flags tcp_window tcp_sum tcp_urp tcp_opt tcp_ntopt tcp_sack udp_len udp_sum icmp_type "
          "icmp_code icmp_flowid icmp_seq payload_len payload payload_md5 wire_len aggregate count link num")


def write_capture(path: Path, count: int = 40, step_ns: int = 100_000_000) -> Path:
    with closing(CaptureWriter(str(path), link_type=101)) as out:
        for i, sent in enumerate(mixture(count, 5, "ip")):
            out.write(sent.data, START_NS + i * step_ns)
    return path


def run(text: str, **options: object) -> None:
    with Router.from_text(text, **options) as router:  # type: ignore[arg-type]
        router.run()


def test_binary_records_say_what_lines_say(tmp_path: Path) -> None:
    source = f"FromDump({write_capture(tmp_path / 'a.pcap')}, STOP true) -> MarkIPHeader -> CheckIPHeader -> Paint(3)"
    fields = "timestamp ip_src ip_dst ip_tos ip_ttl ip_len ip_id ip_frag ip_proto sport dport tcp_seq tcp_ack tcp_flags tcp_window tcp_opt payload"
    run(f"{source} -> ToIPSummaryDump({tmp_path}/b, CONTENTS {fields}, BINARY true) -> ToIPSummaryDump({tmp_path}/t, CONTENTS {fields});")
    data = (tmp_path / "b").read_bytes()
    assert data.startswith(f"!IPSummaryDump 1.3\n!data {fields}\n!binary\n".encode())
    for name in "bt":
        run(f"FromIPSummaryDump({tmp_path}/{name}, STOP true) -> ToIPSummaryDump({tmp_path}/{name}2, CONTENTS {fields});")
    lines = (tmp_path / "t2").read_bytes().splitlines()
    assert len(lines) > 25 and (tmp_path / "b2").read_bytes().splitlines() == lines


def test_every_field_has_a_width(tmp_path: Path) -> None:
    text = (f"FromDump({write_capture(tmp_path / 'a.pcap')}, STOP true) -> CheckIPHeader -> ToIPSummaryDump({tmp_path}/b, CONTENTS {FIELDS}, "
            "BINARY true);")
    run(text)
    with Router.from_text(f"s :: FromIPSummaryDump({tmp_path}/b, STOP true) -> c :: Counter -> Discard;") as router:
        router.run()
        assert int(router.read("c.count")) > 25 and router.read("s.bad_lines") == "0"
    with pytest.raises(ConfigurationError, match="'payload_md5_hex' has no binary form"):
        run(f"FromDump({tmp_path}/a.pcap) -> ToIPSummaryDump({tmp_path}/x, CONTENTS payload_md5_hex, BINARY true);")


def test_a_record_byte_for_byte(tmp_path: Path) -> None:
    record = struct.pack(">IIIIHB", 4 + 15, 1_700_000_000, 250_000, 0x0A000001, 80, 2)
    note = b"!bad no IP header\n"
    (tmp_path / "d").write_bytes(b"!IPSummaryDump 1.3\n!data timestamp ip_src dport tcp_flags\n!binary\n" + record
                                 + struct.pack(">I", 0x8000_0000 | 4 + len(note)) + note + record)
    run(f"FromIPSummaryDump({tmp_path}/d, STOP true) -> ToIPSummaryDump({tmp_path}/o, HEADER false, CONTENTS timestamp ip_src dport tcp_flags)")
    assert (tmp_path / "o").read_text() == "1700000000.250000 10.0.0.1 80 S\n" * 2


@pytest.mark.parametrize(("tail", "message"), [(b"\0\0", "breaks off"), (b"\0\0\0\x09ab", "breaks off"), (b"\0\0\0\x01", "a record of 1 bytes"),
                                               (b"\x7f\xff\xff\xff", "a record of 2147483647 bytes")])
def test_broken_binary_dumps_are_named(tmp_path: Path, tail: bytes, message: str, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "d").write_bytes(b"!data sport\n!binary\n\0\0\0\x06\0\x50" + tail)
    with Router.from_text(f"FromIPSummaryDump({tmp_path}/d, STOP true) -> c :: Counter -> Discard;") as router:
        router.run()
        assert router.read("c.count") == "1"
    assert message in capfd.readouterr().err


@given(st.lists(st.sampled_from([*FIELDS.split(), "eth_src", "eth_type", "direction", "", "ip_fragoff"]), max_size=6), st.binary(max_size=60))
@settings(max_examples=300, deadline=None)
def test_any_record_is_read_or_refused(names: list[str], data: bytes) -> None:
    parts = Parts()
    try:
        read_record(names, data, parts)
    except (ValueError, KeyError, OverflowError):
        return
    packet, length = parts.build()
    assert len(packet) <= length


def test_flow_dumps_in_binary(tmp_path: Path) -> None:
    text = "FromDump({0}/a.pcap, STOP true) -> CheckIPHeader -> AggregateIPFlows -> ToIPFlowDumps({0}/{1}%n, BINARY {2}, TCP_OPT true);"
    write_capture(tmp_path / "a.pcap")
    run(text.format(tmp_path, "b", "true"))
    run(text.format(tmp_path, "t", "false"))
    found = sorted(tmp_path.glob("t*"))
    assert len(found) > 5
    for path in found:
        other = path.with_name("b" + path.name[1:])
        shown = []
        for name in (path, other):
            run(f"FromIPSummaryDump({name}, STOP true) -> ToIPSummaryDump({tmp_path}/o, CONTENTS timestamp ip_src tcp_seq tcp_ack payload_len tcp_opt);")
            shown.append((tmp_path / "o").read_text())
        assert shown[0] == shown[1] and shown[0].count("\n") > 2


def test_dumps_are_sampled_timed_and_may_be_missing(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("!data timestamp\n" + "".join(f"{100 + i / 100:.2f}\n" for i in range(1000)))
    with Router.from_text(f"s :: FromIPSummaryDump({tmp_path}/d, STOP true, SAMPLE 0.25, TIMING true) -> c :: Counter -> Discard;",
                          simulated_start_ns=START_NS) as router:
        router.run()
        assert 150 < int(router.read("c.count")) < 350
        assert router.clock.time - START_NS == pytest.approx(9.99e9, abs=1e6)
        assert router.read("s.filesize") == router.read("s.filepos") == str((tmp_path / "d").stat().st_size)
        assert router.read("s.sampling_prob") == "0.25"
    run(f"FromIPSummaryDump({tmp_path}/none, STOP true, ALLOW_NONEXISTENT true) -> Discard;")
    with pytest.raises(ConfigurationError, match="none"):
        run(f"FromIPSummaryDump({tmp_path}/none, STOP true) -> Discard;")


def test_checksums_of_packets_made_from_lines(tmp_path: Path) -> None:
    (tmp_path / "d").write_text("!data ip_src ip_dst ip_proto sport dport payload\n" + "".join(
        f'10.0.0.{i} 10.0.1.{i} {kind} {i} 80 "{"x" * i}"\n' for i in range(1, 60) for kind in "TUI"))
    checks = "c :: IPClassifier(tcp, udp, icmp); c[0] -> t :: CheckTCPHeader; c[1] -> u :: CheckUDPHeader; c[2] -> i :: CheckICMPHeader; "
    for wanted, right in (("true", "59"), ("false", "0")):
        with Router.from_text(f"FromIPSummaryDump({tmp_path}/d, STOP true, CHECKSUM {wanted}) -> CheckIPHeader -> {checks} t -> n :: Counter -> Discard;"
                              "i -> m :: Counter -> Discard; u -> Discard;") as router:
            router.run()
            assert (router.read("n.count"), router.read("u.drops")) == (right, "0")
            # Of 59 messages without a checksum, one has a sum that needs none.
            assert (router.read("m.count") == "59") == (wanted == "true")


def test_a_capture_is_read_from_a_place_in_it(tmp_path: Path) -> None:
    first, second = tcp(1, 2, b"one"), udp(3, 4, b"two")
    with closing(CaptureWriter(str(tmp_path / "a.pcap"), link_type=101)) as out:
        out.write(first, START_NS)
        out.write(second, START_NS)
    place = 24 + 16 + len(first)
    with Router.from_text(f"d :: FromDump({tmp_path}/a.pcap, STOP true, FILEPOS {place}) -> ToDump({tmp_path}/b.pcap, ENCAP IP, SNAPLEN 0);") as router:
        router.run()
        assert router.read("d.count") == "1"
        assert router.read("d.packet_filepos") == str((tmp_path / "a.pcap").stat().st_size)
    assert (tmp_path / "b.pcap").read_bytes().endswith(second)
    for wrong, why in ((3, "packets start at byte 24"), (10_000, "breaks off")):
        with pytest.raises(ConfigurationError, match=f"FILEPOS: .*{why}"):
            run(f"FromDump({tmp_path}/a.pcap, FILEPOS {wrong}) -> Discard;")


def test_the_end_of_an_interval_moves(tmp_path: Path) -> None:
    write_capture(tmp_path / "a.pcap")
    text = (f"d :: FromDump({tmp_path}/a.pcap, INTERVAL 1s, END_CALL s.step) -> c :: Counter -> Discard;"
            "s :: Script(wait_step, print c.count, write d.extend_interval 0.5s, wait_step, print c.count, stop);")
    with Router.from_text(text, simulated_start_ns=START_NS) as router:
        router.run()
        assert router.read("c.count") == "15"
    with Router.from_text(f"d :: FromDump({tmp_path}/a.pcap) -> Discard;") as router, pytest.raises(HandlerError, match="no END"):
        router.write("d.extend_interval", "1s")


def test_flows_of_a_trace_are_told_in_xml(tmp_path: Path) -> None:
    with closing(CaptureWriter(str(tmp_path / "a.pcap"), link_type=101)) as out:
        for i, packet in enumerate([udp(1, 2, b"x"), udp(2, 1, b"yy", "10.0.0.2", "10.0.0.1"), tcp(5, 80), udp(1, 2, b"z")]):
            out.write(packet, START_NS + i * 500_000_000)
    run(f"d :: FromDump({tmp_path}/a.pcap, STOP true) -> MarkIPHeader -> AggregateIPFlows(TRACEINFO {tmp_path}/t.xml, SOURCE d) -> Discard;")
    flows = ElementTree.parse(tmp_path / "t.xml").getroot()
    assert flows.get("file") == f"{tmp_path}/a.pcap"
    first, second = flows
    assert [first.get(k) for k in ("aggregate", "proto", "src", "sport", "dst", "dport", "duration")] == [
        "1", "17", "10.0.0.1", "1", "10.0.0.2", "2", "1.500000"]
    assert [dict(s.items()) for s in first] == [{"dir": "0", "packets": "2", "bytes": "58"}, {"dir": "1", "packets": "1", "bytes": "30"}]
    assert (second.get("proto"), second.get("dport"), len(second)) == ("6", "80", 1)
    with pytest.raises(ConfigurationError, match="SOURCE: no element named 'e'"):
        run("FromDump(-) -> AggregateIPFlows(SOURCE e) -> Discard;")


def test_the_first_timestamp_is_set_alone(tmp_path: Path) -> None:
    run(f"InfiniteSource(LIMIT 1, STOP true) -> SetTimestamp(5) -> SetTimestamp(2, FIRST true) -> ToIPSummaryDump({tmp_path}/o, HEADER false, "
        "CONTENTS timestamp first_timestamp);")
    assert (tmp_path / "o").read_text() == "5.000000 2.000000\n"


def test_fragments_belong_to_the_flow_of_their_first_one(tmp_path: Path) -> None:
    whole = udp(7, 9, bytes(3000))
    before = ipv4(17, b"late" * 4, ident=5, fragment=100)
    with closing(CaptureWriter(str(tmp_path / "a.pcap"), link_type=101)) as out:
        for packet in (before, whole, udp(8, 9, b"x", ident=6), before):
            out.write(packet, START_NS)
    run(f"FromDump({tmp_path}/a.pcap, STOP true) -> CheckIPHeader -> IPFragmenter(576) -> AggregateIPFlows -> ToIPSummaryDump({tmp_path}/o, HEADER false,"
        " CONTENTS aggregate ip_fragoff);")
    rows = [line.split() for line in (tmp_path / "o").read_text().splitlines()]
    assert [r[0] for r in rows] == ["1", *["2"] * 6, "3", "1"] and len({r[1] for r in rows}) > 5
