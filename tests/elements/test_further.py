"""Elements of Click's less used groups: traces as text, rates of addresses, servers without memory, shared neighbours, and small ones."""

from __future__ import annotations

import random
import socket
import struct
import time
from pathlib import Path

import pytest

from penstock import Router
from tests.elements.test_flow import ACK, FIN, PSH, RST, SECOND, START, SYN, handshake, segment
from tests.elements.test_pppoe import Line
from tests.harness import run_packets
from tests.traffic import Sent, checksum, tcp, udp

A, B = "10.0.0.1", "10.0.0.2"


# Traces

TCPDUMP = """1000212480.005813 IP 64.55.139.202.4662 > 18.26.4.44.80: Flags [S], seq 3489937234, win 5840, options [mss 1460], length 0
1000212480.1 64.55.139.202.4662 > 18.26.4.44.http: . 3489937235:3489937245(10) ack 77 win 5840 (DF)
1000212480.2 IP (tos 0x10, ttl 63, id 7, offset 0, flags [DF], proto UDP (17), length 48) 1.2.3.4.domain > 5.6.7.8.1025: UDP, length 20
1000212480.3 1.2.3.4.53 > 5.6.7.8.1025:  udp 12
1000212480.4 IP 1.2.3.4 > 5.6.7.8: ICMP echo request, id 1, seq 2, length 64
what is this
1000212480.5 IP 1.2.3.4.99999 > 5.6.7.8.1: Flags [.], ack 1, win 1, length 0
1000212480.6 IP 1.2.3.4.9 > 5.6.7.8.10: Flags [FP.], seq 5:8, ack 9, win 70000, length 3
"""


def test_what_tcpdump_printed_becomes_packets(tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(TCPDUMP)
    text = (f"FromTcpdump({tmp_path}/t.txt, STOP true) -> ToIPSummaryDump({tmp_path}/out, HEADER false, CONTENTS timestamp ip_src sport ip_dst dport "
            "ip_proto tcp_flags tcp_seq tcp_ack tcp_window ip_ttl ip_id payload_len);")
    with Router.from_text(text) as router:
        router.run()
        assert router.read("FromTcpdump@1.bad_lines").strip() == "2"
    rows = (tmp_path / "out").read_text().splitlines()
    assert rows == [
        "1000212480.005813 64.55.139.202 4662 18.26.4.44 80 T S 3489937234 0 5840 100 0 0",
        "1000212480.100000 64.55.139.202 4662 18.26.4.44 80 T A 3489937235 77 5840 100 0 10",
        "1000212480.200000 1.2.3.4 53 5.6.7.8 1025 U - - - - 63 7 20",
        "1000212480.300000 1.2.3.4 53 5.6.7.8 1025 U - - - - 100 0 12",
        "1000212480.400000 1.2.3.4 - 5.6.7.8 - I - - - - 100 0 0",
        "1000212480.600000 1.2.3.4 9 5.6.7.8 10 T FPA 5 9 65535 100 0 3",
    ]


def test_each_flow_is_written_to_a_file_of_its_own(tmp_path: Path) -> None:
    packets = [*handshake(), segment(PSH | ACK, 1001, 9001, b"hello", at_s=0.5), segment(ACK, 9001, 1006, back=True, at_s=0.75),
               Sent(udp(7, 53, b"question"), network=0, transport=20, timestamp_ns=START),
               Sent(udp(53, 7, b"answer", B, A), network=0, transport=20, timestamp_ns=START + SECOND // 4)]
    run_packets(f"feed :: Feed -> AggregateIPFlows -> t :: ToIPFlowDumps({tmp_path}/%03n-%s-%S-%d-%D.%p);", packets, write=[])
    with Router.from_text(f"Idle -> ToIPFlowDumps({tmp_path}/%n);"):
        pass
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == [] or names == ["001-10.0.0.1-4000-10.0.0.2-80.T", "002-10.0.0.1-7-10.0.0.2-53.U"]
    first, second = ((tmp_path / name).read_text().splitlines() for name in names)
    assert first == [
        "!IPSummaryDump 1.3", "!flowid 10.0.0.1 4000 10.0.0.2 80 T", "!aggregate 1", "!firsttime 1700000000.000000", "!firstseq > 1000",
        "!firstseq < 9000", "!data ntimestamp direction tcp_flags tcp_seq payload_len tcp_ack", "0.000000 > S 0 0 0", "0.000000 < SA 0 0 1",
        "0.000000 > A 1 0 1", "0.500000 > PA 1 5 1", "0.750000 < A 1 0 6"]
    assert second[-3:] == ["!data ntimestamp direction payload_len", "0.000000 > 8", "0.250000 < 6"]


def test_flow_dumps_read_back_are_the_same_packets(tmp_path: Path) -> None:
    packets = [*handshake(), segment(FIN | ACK, 1001, 9001)]
    run_packets(f"feed :: Feed -> AggregateIPFlows -> ToIPFlowDumps({tmp_path}/%n, ABSOLUTE_TIME true, ABSOLUTE_SEQ true, GZIP true, MINCOUNT 2);",
                [*packets, Sent(udp(7, 53), network=0, transport=20)])
    assert [p.name for p in tmp_path.iterdir()] == ["1.gz"]
    with Router.from_text(f"FromIPSummaryDump({tmp_path}/1.gz, STOP true) -> s :: Counter -> ToIPSummaryDump({tmp_path}/out, HEADER false, "
                          "CONTENTS timestamp tcp_flags tcp_seq tcp_ack);") as router:
        router.run()
    assert (tmp_path / "out").read_text().splitlines()[0] == "1700000000.000000 S 1000 0"
    assert len((tmp_path / "out").read_text().splitlines()) == 4


@pytest.mark.parametrize(("text", "problem"), [
    ("ToIPFlowDumps(same)", "needs %n"), ("ToIPFlowDumps(x%n, OUTPUT_LARGER y)", "not possible"), ("ToIPFlowDumps(-, NOTIFIER nobody)", "no element named"),
    ("IPRateMonitor(BITS, 1, 1) -> Discard", "PACKETS"), ("IPRateMonitor(BYTES, 2, 1) -> Discard", "RATIO"), ("McastSocket(10.0.0.1, 5)", "multicast"),
    ("RoundRobinUnqueue(0) -> Discard", "at least 1|pull"), ("q :: ARPQuerier(1.0.0.1, 1:1:1:1:1:1, TABLE d) -> d :: Discard; Idle -> [1] q", "is no ARPTable"),
])
def test_mistakes_are_said(text: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        Router.from_text(f"Idle -> {text};")


# Rates

def test_busy_addresses_are_looked_at_more_closely() -> None:
    def at(second: float, src: str) -> Sent:
        return Sent(udp(1, 2, b"x" * 72, src, "9.9.9.9"), network=0, transport=20, timestamp_ns=START + int(second * SECOND))

    busy = [at(k / 200, "10.1.2.3") for k in range(2000)]
    quiet = [at(k / 2, "20.0.0.1") for k in range(20)]
    packets = sorted(busy + quiet, key=lambda p: p.timestamp_ns)
    run = run_packets("feed :: Feed -> m :: IPRateMonitor(PACKETS, 1, 50) -> out :: Sink;", packets)
    rows = {line.split("\t")[0]: [int(x) for x in line.split("\t")[1:]] for line in run.handlers["m.look"].splitlines()}
    assert set(rows) == {"10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "20.0.0.0/8"}
    assert 150 <= rows["10.0.0.0/8"][0] <= 200 and rows["20.0.0.0/8"][0] <= 2 and rows["10.1.2.3/32"][1] == 0
    assert len(run.out("out")) == 2020
    sized = run_packets("feed :: Feed -> m :: IPRateMonitor(BYTES, 1, 1000000) -> out :: Sink;", busy)
    assert 15_000 <= int(sized.handlers["m.look"].split("\t")[1]) <= 20_000 and sized.handlers["m.look"].count("\n") == 1


def test_who_sends_much_more_than_it_is_sent_is_told_apart() -> None:
    def annotated(forward: int, reverse: int) -> Sent:
        annotations = bytearray(48)
        struct.pack_into("<II", annotations, 20, forward, reverse)
        return Sent(bytes([forward & 0xFF, reverse & 0xFF, 0, 0]), annotations=bytes(annotations))

    rates = [(100, 10), (100, 30), (5, 0), (10, 100), (41, 10), (40, 10)]
    run = run_packets("feed :: Feed -> c :: CompareBlock(1, 4, 20); c[0] -> usual :: Sink; c[1] -> much :: Sink;", [annotated(*r) for r in rates])
    assert [(d[0], d[1]) for d in run.out("much")] == [(100, 10), (41, 10)] and len(run.out("usual")) == 4


# Servers without memory

def reflected(packet: bytes, element: str) -> bytes | None:
    run = run_packets(f"feed :: Feed -> {element} -> out :: Sink;", [Sent(packet, network=0, transport=20)])
    return run.out("out")[0] if run.packets else None


def fields(packet: bytes) -> tuple[int, int, int, int, int]:
    """Ports, sequence, acknowledgement and flags, with checksums that are right."""
    total = struct.unpack_from(">H", packet, 2)[0]
    assert total == len(packet) and checksum(packet[:20]) == 0
    assert checksum(packet[12:20] + struct.pack(">HH", 6, total - 20) + packet[20:]) == 0
    sport, dport, sequence, acknowledgement = struct.unpack_from(">HHII", packet, 20)
    return sport, dport, sequence, acknowledgement, packet[33]


@pytest.mark.parametrize("element", ["TCPReflector", "StatelessTCPResponder"])
def test_tcp_is_answered_without_memory(element: str) -> None:
    answer = reflected(segment(SYN, 1000, options=b"\2\4\5\xb4").data, element)
    assert answer is not None and answer[12:20] == bytes([10, 0, 0, 2, 10, 0, 0, 1])
    sport, dport, number, acknowledgement, flags = fields(answer)
    assert (sport, dport, acknowledgement, flags) == (80, 4000, 1001, SYN | ACK)
    data = reflected(segment(PSH | ACK, 1001, number + 1, b"hello").data, element)
    assert data is not None and fields(data)[2:4] == (number + 1, 1006)
    assert data[40:] == (b"hello" if element == "TCPReflector" else b"")
    end = reflected(segment(FIN | ACK, 1006, number + 6).data, element)
    assert end is not None and fields(end)[2:] == (number + 6, 1007, FIN | ACK)
    for nothing in (segment(ACK, 1, 1), segment(RST, 1), segment(SYN | ACK, 1, 1)):
        assert reflected(nothing.data, element) is None
    assert reflected(udp(1, 2), element) is None and reflected(tcp(1, 2, b"x")[:-1], element) is None


@pytest.mark.parametrize(("element", "check"), [("TCPFragmenter(300)", "CheckTCPHeader"), ("ForceTCP", "CheckTCPHeader"),
                                                ("ForceUDP", "CheckUDPHeader"), ("TCPReflector", "CheckTCPHeader")])
def test_checksums_are_right_whatever_the_sum(element: str, check: str) -> None:
    chance = random.Random(7)
    packets = [tcp(chance.randrange(1, 65536), 80, chance.randbytes(chance.randrange(1, 500)), 24, f"10.{chance.randrange(256)}.0.1",
                   f"200.1.{chance.randrange(256)}.9", sequence=chance.getrandbits(32)) for _ in range(300)]
    run = run_packets(f"feed :: Feed -> CheckIPHeader -> {element} -> CheckIPHeader -> {check} -> out :: Sink;", [Sent(p) for p in packets])
    assert len(run.out("out")) >= 300 and not [n for n in run.handlers if n.endswith(".drops") and run.handlers[n].strip() != "0"]


# Neighbours

def test_queriers_share_a_table_and_the_packets_that_wait() -> None:
    line = Line("""t :: ARPTable(TIMEOUT 20s); a :: ARPQuerier(1.0.0.1, 2:0:0:0:0:1, TABLE t); b :: ARPQuerier(1.0.0.5, 2:0:0:0:0:5, TABLE t);
        feed :: Feed -> SetIPAddress(1.0.0.2) -> a -> wire :: Sink; second :: Feed -> SetIPAddress(1.0.0.2) -> b -> other :: Sink;
        ra :: Feed -> [1] a; rb :: Feed -> [1] b;""")
    first, second = udp(1, 2, b"first"), udp(3, 4, b"second")
    (query,) = line.send(first)
    assert query[12:14] == b"\x08\x06" and line.router.read("t.length").strip() == "1"
    assert line.sends([second], "second") == [] and line.router.read("t.length").strip() == "2"
    line.out("other")
    reply = (bytes.fromhex("020000000005 0200000000aa 0806 0001 0800 06 04 0002 0200000000aa 01000002 020000000005 01000005"))
    assert line.sends([reply], "rb") == []
    sent = line.out("other")
    assert [f[14:] for f in sent] == [first, second], "who learns the address sends what waits"
    assert line.router.read("t.table").split()[:3] == ["1.0.0.2", "ok", "02-00-00-00-00-AA"]
    (frame,) = line.send(first)
    assert frame[:6] == bytes.fromhex("0200000000aa") and frame[14:] == first
    line.router.write("t.insert", "1.0.0.9 2:0:0:0:0:9")
    assert line.router.read("a.count").strip() == "2" == line.router.read("b.count").strip()
    line.router.write("t.delete", "1.0.0.9")
    line.wait(25)
    assert line.router.read("t.count").strip() == "0"


# Small ones

def test_queues_are_moved_in_turn() -> None:
    text = """r :: RoundRobinUnqueue(BURST 2, ACTIVE false); a :: InfiniteSource(LIMIT 5) -> Queue -> r -> x :: Counter -> out :: Sink;
        b :: InfiniteSource(LIMIT 3) -> Queue -> [1] r; r[1] -> y :: Counter -> [1] out; Script(wait 10ms, write r.active true);"""
    run = run_packets(text)
    assert run.handlers["x.count"].strip() == "5" and run.handlers["y.count"].strip() == "3" and run.handlers["r.count"].strip() == "8"
    assert [port for _, port, *_ in run.packets] == [0, 0, 1, 1, 0, 0, 1, 0]


def test_old_packets_are_printed(capfd: pytest.CaptureFixture[str]) -> None:
    now = 1_000_000_000_000_000_000
    run = run_packets("feed :: Feed -> PrintOld(late, 100) -> out :: Sink;",
                      [Sent(b"fresh", timestamp_ns=now), Sent(b"stale", timestamp_ns=now - 150_000_000), Sent(b"none")])
    lines = capfd.readouterr().err.splitlines()
    assert len(run.out("out")) == 3 and lines == ["late: 150 ms old, 5 bytes | 7374616c 65"]


def test_progress_is_shown_and_ends(capfd: pytest.CaptureFixture[str]) -> None:
    text = """i :: InfiniteSource(LIMIT 50, STOP true) -> c :: Counter -> Discard; p :: ProgressBar(c.count, FIXED_SIZE 200, BANNER work, UPDATE 1ms);
        q :: ProgressBar(c.count, ACTIVE false);"""
    with Router.from_text(text) as router:
        router.run()
        assert router.read("p.pos").strip() == "50" and router.read("p.size").strip() == "200"
        router.write("p.mark_stopped")
        router.write("q.mark_stopped")
    shown = capfd.readouterr().err
    assert "\rwork |********                      |  25%     50" in shown and shown.count("\n") == 2 and "    50 " in shown
    with Router.from_text("Idle -> Discard; p :: ProgressBar(nothing.count); Script(wait 20ms, stop);") as router:
        router.run()
    assert "no element named 'nothing'" in capfd.readouterr().err


def test_a_capture_tells_its_size(tmp_path: Path) -> None:
    from penstock.packet.capture import CaptureWriter

    writer = CaptureWriter(str(tmp_path / "f.pcap"), snap_bytes=65535)
    writer.write(bytes(60), 1)
    writer.close()
    with Router.from_text(f"d :: FromDump({tmp_path}/f.pcap, STOP true) -> Discard;") as router:
        router.run()
        assert int(router.read("d.filesize")) == (tmp_path / "f.pcap").stat().st_size == int(router.read("d.filepos"))


def test_rights_are_given_up_once_the_router_runs() -> None:
    import os

    with Router.from_text("ChangeUID; Idle -> Discard;"):
        assert os.geteuid() == os.getuid() and os.getegid() == os.getgid()
    with pytest.raises(Exception, match="another ChangeUID"):
        Router.from_text("ChangeUID; ChangeUID; Idle -> Discard;")


def test_a_group_s_datagrams_come_in_and_go_out() -> None:
    text = "feed :: RatedSource(DATA ping, RATE 20) -> m :: McastSocket(239.77.1.2, 0, 127.0.0.1, LOOP true) -> c :: Counter -> Discard;"
    with Router.from_text(text) as router:
        end = time.monotonic() + 10
        router.run(until=lambda: int(router.read("c.count")) >= 3 or time.monotonic() > end)
        assert int(router.read("c.count")) >= 3
        made = router.by_name["m"].made  # type: ignore[attr-defined]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
            before = int(router.read("c.count"))
            for _ in range(20):
                sender.sendto(b"from outside", ("239.77.1.2", made.getsockname()[1]))
            router.write("feed.active", "false")
            router.run(until=lambda: int(router.read("c.count")) >= before + 20 or time.monotonic() > end)
            assert int(router.read("c.count")) >= before + 20
