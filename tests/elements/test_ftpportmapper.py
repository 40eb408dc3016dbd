"""FTP's active mode through address translation: commands, sequence numbers of both directions, and the connection they ask for."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import ConfigurationError
from tests.elements.test_copies import _whole
from tests.harness import run_packets
from tests.traffic import Sent, checksum, ipv4

CLIENT, SERVER, OUTSIDE = "10.0.0.5", "2.0.0.2", "123.100.100.123"
SYN, ACK, PSH = 2, 16, 8
#: what the client sends comes by [0], what the server sends by [1] of both rewriters
TEXT = """feed :: Feed -> dir :: IPClassifier(src host 2.0.0.2 && src tcp port 20, src host 2.0.0.2, -);
data :: IPRewriter(drop, pass 1); control :: TCPRewriter(pattern 123.100.100.123 5000-5000 - - 0 1, drop);
dir[2] -> f :: FTPPortMapper(control, data, pattern 123.100.100.123 {}-{} - - 0 1) -> [0] control;
dir[1] -> [1] control; dir[0] -> [1] data; Idle -> [0] data;
control[0] -> s :: Sink; control[1] -> [1] s; data[0] -> [2] s; data[1] -> [3] s;"""


def _tcp(src: str, sport: int, dst: str, dport: int, sequence: int, acknowledgement: int, payload: bytes = b"", flags: int = ACK) -> Sent:
    head = struct.pack(">HHIIBBHHH", sport, dport, sequence % 2**32, acknowledgement % 2**32, 0x50, flags, 8192, 0, 0)
    addresses = bytes(map(int, f"{src}.{dst}".split(".")))
    value = checksum(addresses + struct.pack(">BBH", 0, 6, len(head) + len(payload)) + head + payload)
    return Sent(ipv4(6, head[:16] + value.to_bytes(2, "big") + head[18:] + payload, src, dst), network=0, transport=20)


def _client(sequence: int, acknowledgement: int, payload: bytes = b"", flags: int = ACK) -> Sent:
    return _tcp(CLIENT, 4000, SERVER, 21, sequence, acknowledgement, payload, flags)


def _server(sequence: int, acknowledgement: int, payload: bytes = b"") -> Sent:
    return _tcp(SERVER, 21, OUTSIDE, 5000, sequence, acknowledgement, payload)


def _numbers(packet: bytes) -> tuple[int, int, bytes]:
    assert _whole(packet)
    sequence, acknowledged = struct.unpack(">II", packet[24:32])
    return sequence, acknowledged, packet[40:]


@pytest.mark.parametrize("start", [1000, 2**32 - 12])
def test_commands_and_numbers_are_translated_both_ways(start: int) -> None:
    command, second = b"PORT 10,0,0,5,4,1\r\n", b"port 10,0,0,5,200,200\r\n"
    out, other = b"PORT 123,100,100,123,78,32\r\n", b"port 123,100,100,123,78,33\r\n"
    grown, more = len(out) - len(command), len(other) - len(second)
    after = start + len(command)
    last = after + 6 + len(second)
    packets = [
        _client(start - 1, 0, flags=SYN), _server(8999, start), _client(start, 9000, command), _client(start, 9000, command),
        _server(9000, start + len(out), b"200 ok\r\n"), _client(after, 9008, b"LIST\r\n"), _server(9008, after + grown + 6, b"150\r\n"),
        _client(after + 6, 9013, second), _server(9013, after + grown + 6 + len(other)), _client(last, 9013, b"QUIT\r\n"),
        # What was acknowledged long ago is so still.
        _server(9013, start + len(out)),
        _tcp(SERVER, 20, OUTSIDE, 20000, 1, 0, flags=SYN), _tcp(SERVER, 20, OUTSIDE, 20001, 1, 0, flags=SYN),
        _tcp(SERVER, 20, OUTSIDE, 20002, 1, 0, flags=SYN),
    ]
    outcome = run_packets(TEXT.format(20000, 20010).replace("20000-20010", "20000-20010#"), packets)
    low = 2**32 - 1

    def both(*rows: tuple[int, int, bytes]) -> list[tuple[int, int, bytes]]:
        return [(sequence & low, acknowledged & low, payload) for sequence, acknowledged, payload in rows]

    assert [_numbers(p) for p in outcome.out()] == both(
        (start - 1, 0, b""), (start, 9000, out), (start, 9000, out), (after + grown, 9008, b"LIST\r\n"), (after + grown + 6, 9013, other),
        (last + grown + more, 9013, b"QUIT\r\n"))
    assert [_numbers(p) for p in outcome.out(port=1)] == both(
        (8999, start, b""), (9000, after, b"200 ok\r\n"), (9008, after + 6, b"150\r\n"), (9013, last, b""), (9013, after, b""))
    # The server's connections reach the client's ports; one that nobody asked for passes untouched.
    reached = [(p[16:20], *struct.unpack(">HH", p[20:24])) for p in outcome.out(port=3)]
    mine, outside = bytes(map(int, CLIENT.split("."))), bytes(map(int, OUTSIDE.split(".")))
    assert reached == [(mine, 20, 4 * 256 + 1), (mine, 20, 200 * 256 + 200), (outside, 20, 20002)]
    assert outcome.handlers["f.count"] == "3" and outcome.handlers["f.failures"] == "0"


@pytest.mark.parametrize("payload", [
    b"PORT 10,0,0,5,4\r\n", b"PORT 10,0,0,5,4,256\r\n", b"PORT 10,0,0,5,4,1", b"PORT 10,0,0,5,4,1,7\r\n", b"PORT 10,0,0,5,0,0\r\n",
    b"PORT 10,0,0,,4,1\r\n", b"PORT 10,0,0,5,4,1\r\nLIST\r\n", b"PORT-10,0,0,5,4,1\r\n", b"EPRT |1|10.0.0.5|5|\r\n",
])
def test_what_is_no_command_passes_as_it_is(payload: bytes) -> None:
    outcome = run_packets(TEXT.format(20000, 20010), [_client(999, 0, flags=SYN), _client(1000, 0, payload)])
    assert _numbers(outcome.out()[1]) == (1000, 0, payload) and outcome.handlers["f.count"] == "0"


def test_nobody_asks_for_others_and_ports_run_out() -> None:
    packets = [_client(999, 0, flags=SYN), _client(1000, 0, b"PORT 10,0,0,6,4,1\r\n"), _client(1019, 0, b"PORT 10,0,0,5,4,1\r\n"),
               _client(1038, 0, b"PORT 10,0,0,5,4,2\r\n")]
    outcome = run_packets(TEXT.format(20000, 20000), packets)
    assert [p[40:45] for p in outcome.out()[1:]] == [b"PORT "] * 3
    assert (outcome.handlers["f.count"], outcome.handlers["f.failures"]) == ("1", "2")
    assert outcome.out()[3][40:] == b"PORT 10,0,0,5,4,2\r\n"


@given(st.binary(max_size=40))
def test_any_payload_leaves_packets_whole(payload: bytes) -> None:
    outcome = run_packets(TEXT.format(20000, 20010), [_client(999, 0, flags=SYN), _client(1000, 0, b"PORT " + payload)])
    assert _whole(outcome.out()[1])


@pytest.mark.parametrize(("arguments", "message"), [
    ("data, data, pattern 1.0.0.1 1-2 - - 0 1", "'data' is no TCPRewriter"), ("control, udp, pattern 1.0.0.1 1-2 - - 0 1", "does not rewrite TCP"),
    ("control, data, drop", "a pattern is expected"), ("control, data, pattern 1.0.0.1 1-2 - - 0 7", "output 7 of 2"),
])
def test_what_cannot_be_is_refused(arguments: str, message: str) -> None:
    text = ("data :: IPRewriter(drop); control :: TCPRewriter(drop); udp :: UDPRewriter(drop); Idle -> data -> Discard; Idle -> control -> Discard;"
            f"Idle -> udp -> Discard; data[1] -> Discard; feed :: Feed -> FTPPortMapper({arguments}) -> Discard;")
    with pytest.raises(ConfigurationError, match=message):
        run_packets(text)
