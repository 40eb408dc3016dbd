"""FlowCache and what stands behind it: states of connections, forged packets, order, and IPFIX records."""

from __future__ import annotations

import dataclasses
import random
import struct

import pytest

from penstock import Router
from tests.conftest import CAPTURES
from tests.harness import Outcome, run_packets
from tests.traffic import Sent, checksum, ipv4, udp

A, B = "10.0.0.1", "10.0.0.2"
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND


def segment(flags: int, sequence: int, acknowledgement: int = 0, payload: bytes = b"", *, back: bool = False, window: int = 8192,
            options: bytes = b"", port: int = 4000, at_s: float = 0.0) -> Sent:
    src, dst, sport, dport = (B, A, 80, port) if back else (A, B, port, 80)
    options += bytes(-len(options) % 4)
    head = struct.pack(">HHIIBBHHH", sport, dport, sequence % (1 << 32), acknowledgement % (1 << 32), (5 + len(options) // 4) << 4, flags,
                       window, 0, 0) + options
    addresses = bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
    value = checksum(addresses + struct.pack(">BBH", 0, 6, len(head) + len(payload)) + head + payload)
    packet = ipv4(6, head[:16] + value.to_bytes(2, "big") + head[18:] + payload, src, dst)
    return Sent(packet, network=0, transport=20, timestamp_ns=START + int(at_s * SECOND))


def handshake(*, isn: int = 1000, back: int = 9000, port: int = 4000, at_s: float = 0.0) -> list[Sent]:
    return [segment(SYN, isn, port=port, at_s=at_s), segment(SYN | ACK, back, isn + 1, back=True, port=port, at_s=at_s),
            segment(ACK, isn + 1, back + 1, port=port, at_s=at_s)]


CACHE = "feed :: Feed -> f :: FlowCache{} -> out :: Sink;"


def cached(packets: list[Sent], arguments: str = "") -> Outcome:
    return run_packets(CACHE.format(arguments), packets)


def test_a_connection_is_followed_from_its_first_to_its_last_packet() -> None:
    sent = handshake()
    expected = ["syn-sent", "syn-received", "established"]
    sent += [segment(PSH | ACK, 1001, 9001, b"hello"), segment(FIN | ACK, 1006, 9001), segment(ACK, 9001, 1007, back=True),
             segment(FIN | ACK, 9001, 1007, back=True)]
    expected += ["established", "half-closed", "half-closed", "closed"]
    for count, state in enumerate(expected, 1):
        row = cached(sent[:count]).handlers["f.table"].split()
        assert row[1:8] == ["tcp", A, "4000", ">", B, "80", str(sum(s.data[12:16] == bytes([10, 0, 0, 1]) for s in sent[:count]))]
        assert row[-1] == state, count
    run = cached([*sent, segment(SYN, 5000)])
    assert run.handlers["f.numbered"].strip() == "2", "a new connection on the old ports is a new flow"
    assert cached([*sent[:3], segment(SYN, 5000)]).handlers["f.numbered"].strip() == "1"
    assert cached([*sent[:3], segment(RST, 1001)]).handlers["f.table"].split()[-1] == "closed"
    assert cached([segment(ACK, 7, 7)]).handlers["f.table"].split()[-1] == "picked-up"


def test_references_and_paint_are_those_of_the_flow_and_its_direction() -> None:
    six = struct.pack(">IHBB", 6 << 28, 8, 17, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack(">HHHH", 5, 6, 8, 0)
    packets = [Sent(udp(7, 53, b"q"), network=0, transport=20), Sent(udp(53, 7, b"a", B, A), network=0, transport=20),
               Sent(udp(8, 53, b"q"), network=0, transport=20), Sent(six, network=0, transport=40), *handshake()[:2],
               Sent(ipv4(1, b"\x08\0\0\0\0\0\0\0"), network=0, transport=20), Sent(udp(7, 53, b"q", fragment=1), network=0, transport=20)]
    packets = [dataclasses.replace(p, timestamp_ns=START) for p in packets]
    run = cached(packets, "(UDP_TIMEOUT 1h)")
    assert [int.from_bytes(p[3][20:24], "little") for p in run.packets] == [0x80000001, 0x80000001, 0x80000002, 0x80000003, 1, 1, 0, 0]
    assert run.handlers["f.udp"].strip() == "3" and run.handlers["f.tcp"].strip() == "1"
    rows = run.handlers["f.table"].splitlines()
    assert any(row.startswith("3 udp ::1 5 > ::2 6 1 48 0 0") for row in rows), rows
    assert any(row.startswith(f"1 udp {A} 7 > {B} 53 1 29 1 29") for row in rows), rows
    paints = run_packets("feed :: Feed -> f :: FlowCache -> s :: PaintSwitch; s[0] -> a :: Sink; s[1] -> b :: Sink;", packets)
    assert [len(paints.out(x)) for x in "ab"] == [6, 2]


def test_silent_flows_end_and_the_table_has_its_bounds() -> None:
    gone = cached([Sent(udp(7, 53), network=0, transport=20, timestamp_ns=START),
                   Sent(udp(7, 53), network=0, transport=20, timestamp_ns=START + 11 * SECOND)], "(UDP_TIMEOUT 10s)")
    assert gone.handlers["f.numbered"].strip() == "2"
    kept = cached([Sent(udp(7, 53), network=0, transport=20, timestamp_ns=START),
                   Sent(udp(7, 53), network=0, transport=20, timestamp_ns=START + 9 * SECOND)], "(UDP_TIMEOUT 10s)")
    assert kept.handlers["f.numbered"].strip() == "1"
    full = run_packets("feed :: Feed -> f :: FlowCache(RESOURCE_UDP_MAX_FLOWS 100, RESOURCE_UDP_MAX_BUCKETS 8, "
                       "RESOURCE_UDP_MAX_BUCKET_LENGTH 2) -> out :: Sink; f[1] -> over :: Sink;",
                       [Sent(udp(port, 53), network=0, transport=20) for port in range(1, 31)])
    assert len(full.out("out")) == 16 and len(full.out("over")) == 14 and full.handlers["f.drops"].strip() == "14"
    for words, problem in (("RESOURCE_TCP_MAX_FLOWS 0", "out of range"), ("RESOURCE_TCP_INITIAL_BUCKETS 9, RESOURCE_TCP_MAX_BUCKETS 8", "more than")):
        with pytest.raises(Exception, match=problem):
            Router.from_text(f"Idle -> FlowCache({words}) -> Discard;")


CHECK = "feed :: Feed -> f :: FlowCache -> c :: CheckTCPFlow(f{}) -> out :: Sink; c[1] -> bad :: Sink;"


def judged(packets: list[Sent], arguments: str = "") -> str:
    """A letter for each packet: it fits, or it does not."""
    run = run_packets(CHECK.format(arguments), packets)
    good = run.out("out")
    letters = ""
    for packet in packets:
        if good and good[0] == packet.data:
            good = good[1:]
            letters += "y"
        else:
            letters += "n"
    assert len(run.out("bad")) == letters.count("n") == int(run.handlers["c.count"])
    return letters


def test_packets_outside_the_windows_do_not_fit() -> None:
    begun = handshake(isn=0xFFFFFFF0, back=5)
    base, back = 0xFFFFFFF1, 6
    ordinary = [segment(PSH | ACK, base, back, b"x" * 40), segment(ACK, back, base + 40, back=True),
                segment(PSH | ACK, back, base + 40, b"y" * 100, back=True), segment(ACK, base + 40, back + 100),
                segment(PSH | ACK, base, back, b"x" * 40), segment(FIN | ACK, base + 40, back + 100)]
    assert judged(begun + ordinary) == "y" * 9, "numbers wrap around, and retransmissions fit"
    for packet in (segment(RST, base + 100_000), segment(RST, back - 70_000, back=True), segment(PSH | ACK, base + 9000, back, b"z"),
                   segment(ACK, base, back + 1), segment(PSH | ACK, back, base + 41, b"z", back=True)):
        assert judged([*begun, packet]) == "yyyn"
    assert judged([*begun, segment(RST, base)]) == "yyyy"
    assert judged([segment(ACK, 77, 88)]) == "n" and judged([segment(ACK, 77, 88)], ", PICKUP true") == "y"
    assert judged([segment(SYN, 10), segment(RST | ACK, 0, 11, back=True)]) == "yy"
    assert judged([segment(SYN, 10), segment(RST, 0, 0, back=True)]) == "yn", "an answer acknowledges"
    assert judged([segment(SYN, 10), segment(SYN | ACK, 5, 999, back=True)]) == "yn"


def test_windows_are_scaled_where_both_ends_say_so() -> None:
    scale = b"\3\3\7\0"
    for second, letter in ((scale, "y"), (b"", "n")):
        packets = [segment(SYN, 0, options=scale, window=1000), segment(SYN | ACK, 0, 1, back=True, options=second, window=1000),
                   segment(ACK, 1, 1, window=1000), segment(ACK, 1, 1, back=True, window=1000),
                   segment(PSH | ACK, 60_000, 1, b"within 1000 << 7")]
        assert judged(packets) == "yyyy" + letter


@pytest.mark.parametrize("name", ["nDPI__443-firefox", "nDPI__http_ipv6", "nDPI__ssh", "nDPI__imap", "nDPI__edonkey", "nDPI__ftp-start-tls",
                                  "nDPI__stun", "pcpp__three_http_streams"])
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captures are not there")
def test_real_connections_fit(name: str) -> None:
    text = f"""FromDump({CAPTURES / name}.pcap, STOP true) -> c :: Classifier(12/0800, 12/86dd, -); f :: FlowCache;
        c[0] -> Strip(14) -> CheckIPHeader(CHECKSUM false) -> f; c[1] -> Strip(14) -> CheckIP6Header -> f; c[2] -> Discard;
        f -> k :: CheckTCPFlow(f, PICKUP true) -> o :: TCPInOrder(f) -> n :: Counter -> Discard; k[1] -> Discard;"""
    with Router.from_text(text) as router:
        router.run()
        assert int(router.read("f.tcp")) >= 1 and int(router.read("n.count")) > 10
        assert router.read("k.count").strip() == "0" and router.read("o.gaps").strip() == "0"


ORDER = "feed :: Feed -> f :: FlowCache -> o :: TCPInOrder(f{}) -> out :: Sink;"


def payloads(run: Outcome, sink: str = "out") -> list[bytes]:
    return [data[40:] for data in run.out(sink) if len(data) > 40]


@pytest.mark.parametrize("seed", range(4))
def test_data_comes_in_order_whatever_the_network_did(seed: int) -> None:
    chance = random.Random(seed)
    isn = chance.choice([1000, 0xFFFFFF00])
    parts = [chance.randbytes(chance.randrange(1, 60)) for _ in range(40)]
    sent, at = [], isn + 1
    for part in parts:
        sent.append(segment(PSH | ACK, at, 9001, part))
        at += len(part)
    for i in range(len(sent) - 3):
        if chance.random() < 0.5:
            j = i + chance.randrange(1, 4)
            sent[i], sent[j] = sent[j], sent[i]
    for _ in range(6):
        sent.insert(chance.randrange(20, len(sent)), sent[chance.randrange(10)])
    run = run_packets(ORDER.format("") + "o[1] -> again :: Sink;", handshake(isn=isn) + sent)
    assert b"".join(payloads(run)) == b"".join(parts)
    assert len(run.out("again")) == 6 == int(run.handlers["o.repeated"]) and run.handlers["o.held"].strip() == "0"
    assert int(run.handlers["o.reordered"]) > 0 and run.handlers["o.gaps"].strip() == "0"


def test_a_gap_is_given_up_after_a_while_or_when_too_many_wait() -> None:
    begun = handshake()
    after = [segment(PSH | ACK, 1011 + 10 * i, 9001, bytes([65 + i]) * 10) for i in range(5)]
    run = run_packets(ORDER.format(", TIMEOUT 50ms"), begun + after)
    assert b"".join(payloads(run)) == b"AAAAAAAAAABBBBBBBBBBCCCCCCCCCCDDDDDDDDDDEEEEEEEEEE"
    assert run.handlers["o.gaps"].strip() == "1" and run.handlers["o.held"].strip() == "0"
    few = run_packets(ORDER.format(", TIMEOUT 1h, FLOW_CAPACITY 2"), begun + after)
    assert b"".join(payloads(few)).startswith(b"AAAAAAAAAABBBBBBBBBBCCCCCCCCCC") and int(few.handlers["o.gaps"]) >= 1
    reset = run_packets(ORDER.format(", TIMEOUT 1h"), [*begun, *after, segment(RST, 1001)])
    assert len(payloads(reset)) == 5 and reset.handlers["o.held"].strip() == "0"
    again = run_packets(ORDER.format(", TIMEOUT 1h"), [*begun, *after, segment(RST, 1001), *handshake(isn=70_000), segment(PSH | ACK, 70_001, 9001, b"new")])
    assert payloads(again)[-1] == b"new" and again.handlers["o.held"].strip() == "0"


EXPORT = """feed :: Feed -> f :: FlowCache(UDP_TIMEOUT 2s, TCP_DONE_TIMEOUT 1s) -> Discard;
e :: IPFIXExport(f, INTERVAL 100ms{}) -> out :: Sink;"""


def test_flows_that_end_are_exported_with_both_directions() -> None:
    done = [*handshake(), segment(PSH | ACK, 1001, 9001, b"x" * 60), segment(FIN | ACK, 1061, 9001), segment(FIN | ACK, 9001, 1062, back=True, at_s=0.25)]
    six = struct.pack(">IHBB", 6 << 28, 8, 17, 64) + bytes(15) + b"\1" + bytes(15) + b"\2" + struct.pack(">HHHH", 5, 6, 8, 0)
    packets = [*done, Sent(udp(7, 53, b"q" * 10), network=0, transport=20, timestamp_ns=START),
               Sent(six, network=0, transport=40, timestamp_ns=START)]
    run = run_packets(EXPORT.format(""), packets, rounds=400)
    messages = run.out("out")
    assert int(run.handlers["e.count"]) == 3 and int(run.handlers["e.messages"]) == len(messages)
    assert all(struct.unpack_from(">HH", m) == (10, len(m)) for m in messages)
    numbers = [struct.unpack_from(">I", m, 8)[0] for m in messages]
    assert numbers[0] == 0 and numbers == sorted(numbers)
    fields = [_values(r) for m in _data(messages) for r in m]
    assert len(fields) == 3
    tcp = next(f for f in fields if f["protocol"] == 6)
    assert (tcp["src"], tcp["dst"], tcp["sport"], tcp["dport"]) == (bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), 4000, 80)
    assert (tcp["packets"], tcp["bytes"], tcp["back_packets"], tcp["back_bytes"]) == (4, 220, 2, 80)
    assert tcp["flags"] == SYN | ACK | PSH | FIN and tcp["back_flags"] == SYN | ACK | FIN and tcp["reason"] == 3
    assert tcp["first_ms"] == START // 1_000_000 and tcp["last_ms"] == START // 1_000_000 + 250
    plain = next(f for f in fields if f["protocol"] == 17 and len(f["src"]) == 4)
    assert plain["reason"] == 1 and plain["packets"] == 1 and plain["bytes"] == 38
    assert next(f for f in fields if len(f["src"]) == 16)["dst"] == bytes(15) + b"\2"


def _data(messages: list[bytes]) -> list[list[tuple[int, bytes]]]:
    """The records of each message, with the number of their template, by the lengths that the templates say."""
    sizes: dict[int, int] = {}
    found = []
    for message in messages:
        at, rows = 16, []
        while at < len(message):
            kind, length = struct.unpack_from(">HH", message, at)
            body = message[at + 4 : at + length]
            if kind == 2:
                k = 0
                while k < len(body):
                    identifier, count = struct.unpack_from(">HH", body, k)
                    k, total = k + 4, 0
                    for _ in range(count):
                        number, size = struct.unpack_from(">HH", body, k)
                        total, k = total + size, k + (8 if number & 0x8000 else 4)
                    sizes[identifier] = total
            else:
                assert len(body) % sizes[kind] == 0
                rows += [(kind, body[i : i + sizes[kind]]) for i in range(0, len(body), sizes[kind])]
            at += length
        found.append(rows)
    return found


def _values(record: tuple[int, bytes]) -> dict[str, object]:
    kind, data = record
    n = 4 if kind == 256 else 16
    names = ("sport", "dport", "protocol", "reason", "flags", "first_ms", "last_ms", "packets", "bytes", "back_packets", "back_bytes", "back_flags")
    return {"src": data[:n], "dst": data[n : 2 * n], **dict(zip(names, struct.unpack(">HHBBBQQQQQQB", data[2 * n :])))}


def test_long_flows_are_reported_on_the_way_and_all_at_a_flush() -> None:
    steady = [Sent(udp(7, 53, b"q"), network=0, transport=20, timestamp_ns=START + i * SECOND // 2) for i in range(20)]
    run = run_packets(EXPORT.format(", ACTIVE_TIMEOUT 3s").replace("UDP_TIMEOUT 2s", "UDP_TIMEOUT 60s"), steady, rounds=30,
                      write=[])
    fields = [_values(r) for m in _data(run.out("out")) for r in m]
    assert fields and fields[0]["reason"] == 2
    flushed = run_packets("feed :: Feed -> f :: FlowCache -> Discard; e :: IPFIXExport(f, MTU 256) -> out :: Sink;"
                          "Script(wait 20ms, write e.flush);", [Sent(udp(p, 53), network=0, transport=20) for p in range(1, 21)], rounds=60)
    fields = [_values(r) for m in _data(flushed.out("out")) for r in m]
    assert len(fields) == 20 and {f["reason"] for f in fields} == {4} and all(len(m) <= 256 for m in flushed.out("out"))
    assert flushed.handlers["f.count"].strip() == "0"


@pytest.mark.parametrize(("text", "problem"), [
    ("Idle -> c :: Counter -> Discard; IPFIXExport(c) -> Discard;", "'c' is no FlowCache"),
    ("Idle -> f :: FlowCache -> Discard; IPFIXExport(f) -> Discard; IPFIXExport(f) -> Discard;", "has an exporter already"),
    ("Idle -> CheckTCPFlow(x) -> Discard;", "x"), ("Idle -> TCPInOrder(x) -> Discard;", "x"),
])
def test_mistakes_are_said(text: str, problem: str) -> None:
    with pytest.raises(Exception, match=problem):
        Router.from_text(text)
