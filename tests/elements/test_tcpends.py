"""Ends of TCP connections in elements: against each other over links that lose packets, and against the kernel."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from itertools import count, pairwise

import pytest

from penstock import ConfigurationError, Router
from tests.conftest import needs_root
from tests.elements.links import host_on_link, ip
from tests.harness import START_NS, run_packets, running
from tests.traffic import Sent, mixture, tcp

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16


def segment(flags: int, sequence: int, acknowledgement: int = 0, payload: bytes = b"", *, sport: int = 4000, dport: int = 80,
            src: str = "10.0.0.1", dst: str = "10.0.0.2") -> Sent:
    return Sent(tcp(sport, dport, payload, flags, src, dst, sequence=sequence & 0xFFFFFFFF, acknowledgement=acknowledgement & 0xFFFFFFFF), network=0, transport=20)


def numbers(packet: bytes) -> tuple[int, int, int]:
    """Sequence, acknowledgement and flags."""
    return int.from_bytes(packet[24:28], "big"), int.from_bytes(packet[28:32], "big"), packet[33]


# Two ends, in simulated time

END = """
c{n} :: TCPConn({args}); a{n} :: TCPAck; in{n} -> CheckIPHeader -> c{n}; c{n}[0] -> a{n}[0] -> b{n} :: TCPBuffer;
{data} -> [1] c{n} [1] -> [1] a{n} [1] -> Unqueue -> out{n} :: Queue(1000); c{n}[2] -> out{n}; a{n}[2] -> out{n};
out{n} -> RandomSample({kept}) -> LinkUnqueue(10ms, 10Mbps) -> {to};
b{n} -> Unqueue -> CheckTCPHeader -> k{n} :: Counter -> d{n} :: ToIPSummaryDump({file}{n}, HEADER false, CONTENTS tcp_seq payload);
"""


@pytest.mark.parametrize("kept", [1, 0.95, 0.8])
def test_all_data_come_in_order_both_ways_and_the_connection_ends(kept: float, tmp_path: object) -> None:
    def end(n: int, args: str, to: str, mark: str) -> str:
        source = f'InfiniteSource(DATA "{mark * 100}", LIMIT 200) -> Queue(300)'
        return END.format(n=n, args=args, to=to, data=source, kept=kept, file=f"{tmp_path}/got")

    text = ("in1 :: Null; in2 :: Null;" + end(1, "1.0.0.1, 1024, 2.0.0.2, 80, ACTIVE true", "in2", "abc") + end(2, "2.0.0.2, 80", "in1", "x")
            + "Script(label again, wait 1s, goto again $(lt $(add $(k1.count) $(k2.count)) 400), write c1.close, wait 120s, stop)")
    with Router.from_text(text, simulated_start_ns=START_NS, seed=3) as router:
        router.run()
        assert (router.read("c1.state"), router.read("c2.state")) == ("closed", "listening")
        assert [router.read(f"{n}.failures") for n in ("c1", "c2")] == ["0", "0"]
        lost = int(router.read("c1.retransmissions")) + int(router.read("c2.retransmissions"))
        assert (lost > 0) == (kept < 1)
    for n, mark in ((1, "x"), (2, "abc")):
        with open(f"{tmp_path}/got{n}") as file:
            rows = [line.split() for line in file]
        # The last one is the FIN, which has a number and no data.
        assert [text.strip('"') for _, text in rows] == [mark * 100] * 200 + [""]
        starts = [int(number) for number, _ in rows]
        assert all((b - a) % 2**32 == 100 * len(mark) for a, b in pairwise(starts))


def listening(text: str = "", args: str = "10.0.0.2, 80", data: str = "Idle") -> str:
    return (f"feed :: Feed -> c :: TCPConn({args}); a :: TCPAck; c -> a -> b :: TCPBuffer -> Unqueue -> s :: Sink; {data} -> [1] c [1] -> [1] a [1]"
            f" -> Unqueue -> [1] s; c[2] -> [1] s; a[2] -> [1] s; {text}")


def test_a_connection_is_accepted_acknowledged_and_refused_to_others() -> None:
    first = run_packets(listening(), [segment(SYN, 100)])
    mine, acked, flags = numbers(first.out(port=1)[0])
    assert (acked, flags) == (101, SYN | ACK) and first.out(port=1)[0][40:44] == b"\2\4\5\xb4"
    conversation = [
        segment(SYN, 100), segment(ACK, 101, mine + 1), segment(PSH | ACK, 104, mine + 1, b"def"), segment(PSH | ACK, 101, mine + 1, b"abc"),
        segment(PSH | ACK, 101, mine + 1, b"abc"), segment(SYN, 7, sport=4001), segment(ACK, 9, 77, src="10.0.0.9"),
    ]
    done = run_packets(listening(), conversation, rounds=300)
    assert [p[40:] for p in done.out()] == [b"abc", b"def"]
    answers = [(p[22:24], *numbers(p)) for p in done.out(port=1)]
    own, other = (4000).to_bytes(2, "big"), (4001).to_bytes(2, "big")
    assert (own, mine + 1, 107, ACK) in answers
    assert (other, 0, 8, RST | ACK) in answers and (own, 77, 9, RST | ACK) in answers
    assert done.handlers["c.connections"] == "1" and done.handlers["c.peer"] == "10.0.0.1 4000"
    ended = run_packets(listening(), [*conversation[:2], segment(RST, 102), segment(RST, 101), segment(SYN, 100)], rounds=300)
    firsts = {numbers(p)[0] for p in ended.out(port=1) if numbers(p)[2] == SYN | ACK}
    assert len(firsts) == 2 and int(ended.handlers["c.failures"]) >= 1


def test_segments_are_given_out_in_order_once() -> None:
    def given(order: list[tuple[int, bytes]], args: str = "") -> list[bytes]:
        packets = [segment(ACK, start, 0, data) for start, data in order]
        return [p[40:] for p in run_packets(f"feed :: Feed -> b :: TCPBuffer({args}) -> Unqueue -> s :: Sink", packets, rounds=300).out()]

    top = 0xFFFFFFFE
    assert given([(top, b"ab"), (2, b"ef"), (0, b"cd"), (0, b"cd"), (2, b"ef"), (4, b"")]) == [b"ab", b"cd", b"ef"]
    assert given([(1, b"a"), (3, b"c"), (2, b"bc"), (4, b"d")]) == [b"a", b"bc", b"d"]
    assert given([(1, b"a"), (3, b"c"), (4, b"d")]) == [b"a"]
    assert given([(1, b"a"), (3, b"c"), (2, b"b"), (4, b"d")], "SKIP true") in ([b"a", b"c", b"d"], [b"a", b"b", b"c", b"d"])
    chance = random.Random(1)
    parts = [(i, bytes([i])) for i in range(1, 200)]
    mixed = parts[:1] + chance.sample(parts, len(parts)) + parts[:1]
    assert given(mixed) == [data for _, data in parts]
    full = run_packets("feed :: Feed -> b :: TCPBuffer(CAPACITY 3) -> Unqueue -> s :: Sink", [segment(ACK, i, 0, b"x") for i in (1, 5, 4, 3, 7, 6)],
                       rounds=300)
    assert len(full.out()) == 1 and int(full.handlers["b.drops"]) == 3


@pytest.mark.parametrize("text", [listening(data='InfiniteSource(DATA "hello", LIMIT 9) -> Queue'), "feed :: Feed -> TCPBuffer -> Unqueue -> s :: Sink",
                                  "feed :: Feed -> d :: TCPDemux; d[0] -> s :: Sink; d[1] -> [1] s", "feed :: Feed -> ToyTCP(80) -> s :: Sink",
                                  "feed :: Feed -> WebGen(10.0.0.0/8, 10.0.0.2, 1000) -> s :: Sink"])
@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_comes_is_taken_alike_and_nothing_leaks(text: str, seed: int) -> None:
    chance = random.Random(seed)
    packets: list[Sent] = []
    for sent in mixture(60, seed, "ip"):
        flags, start = chance.choice([SYN, ACK, SYN | ACK, FIN | ACK, RST, PSH | ACK, 0]), chance.choice([100, 101, 102, 2**32 - 1])
        packets += [sent, segment(flags, start, chance.choice([0, 101, chance.getrandbits(32)]), bytes(chance.randrange(9)))]
    outcomes = [run_packets(text, packets, engine=engine, rounds=200) for engine in ("compiled", "interpreter")]
    assert outcomes[0].packets == outcomes[1].packets and outcomes[0].handlers == outcomes[1].handlers
    assert outcomes[0].free == outcomes[1].free


def test_each_connection_has_an_output_until_it_ends() -> None:
    text = "feed :: Feed -> d :: TCPDemux; d[0] -> s :: Sink; d[1] -> [1] s"
    packets = [segment(ACK, 1, sport=9), segment(SYN, 1, sport=1), segment(SYN, 1, sport=2), segment(SYN, 1, sport=3), segment(ACK, 2, sport=2),
               segment(SYN | ACK, 1, 2, sport=80, dport=1, src="10.0.0.2", dst="10.0.0.1"), segment(RST, 2, sport=1), segment(ACK, 2, sport=1),
               segment(SYN, 1, sport=4)]
    done = run_packets(text, packets, rounds=200)
    assert [(p[21], p[23]) for p in done.out(port=0)] == [(1, 80), (80, 1), (1, 80), (4, 80)]
    assert [p[21] for p in done.out(port=1)] == [2, 2]
    assert done.handlers["d.drops"] == "3"
    assert done.handlers["d.table"] == "10.0.0.1 4 10.0.0.2 80 0\n10.0.0.1 2 10.0.0.2 80 1\n"


@pytest.mark.parametrize(("text", "message"), [
    ("a :: TCPAck; Idle -> a -> Discard; Idle -> [1] a; a[1] -> Discard; a[2] -> Discard;", "there must be one TCPBuffer behind output 0, not 0"),
    ("c :: TCPConn(1.0.0.1, 80, ACTIVE true); Idle -> c -> Discard; Idle -> [1] c; c[1] -> Discard; c[2] -> Discard", "ACTIVE: needs DADDR"), ("Idle -> ToyTCP(0) -> Discard", "DPORT"),
    ("Idle -> WebGen(1.0.0.0/8, 2.0.0.2, 0) -> Discard", "RPS"), ("Idle -> ToyTCP(80, MSS 9000) -> Discard", "MSS"),
    ('Idle -> WebGen(1.0.0.0/8, 2.0.0.2, 1, REQUEST "") -> Discard', "REQUEST"),
])
def test_what_cannot_be_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Router.from_text(text)


# With the kernel at the other end

SERVER = """
import socket, threading
s = socket.socket(); s.bind(("10.99.0.2", 80)); s.listen(1000)
print("up", flush=True)
def web(c):
    asked = b""
    try:
        while not asked.endswith(b"\\r\\n\\r\\n"):
            asked += c.recv(1000)
        c.sendall(b"x" * 20000)
        c.shutdown(1)
        while c.recv(100): pass
    except OSError: pass
    c.close()
def sink(c):
    n = bad = 0
    while data := c.recv(65536):
        n += len(data); bad += len(data) - data.count(b"x")
    c.close()
    print(n, bad, flush=True)
def serve(s, one):
    while True: threading.Thread(target=one, args=(s.accept()[0],), daemon=True).start()
t = socket.socket(); t.bind(("10.99.0.2", 5001)); t.listen(9)
threading.Thread(target=serve, args=(t, sink), daemon=True).start()
serve(s, web)
"""
CLIENT = """
import socket
s = socket.create_connection(("10.99.0.1", 80), 10)
s.sendall(b"ask" * 1000)
got = b""
while len(got) < 30000: got += s.recv(65536)
s.shutdown(1)
while more := s.recv(65536): got += more
print(len(got), len(set(got)))
try:
    socket.create_connection(("10.99.0.1", 81), 3)
except ConnectionRefusedError:
    print("refused")
"""
BEHIND = " -> EtherEncap(0x0800, 2:0:0:0:0:1, {ether}) -> Queue(4000) -> ToDevice({dev}); "
BEFORE = "FromDevice({dev}) -> Classifier(12/0800) -> Strip(14) -> CheckIPHeader"
counted = count()
kernel = [needs_root(), pytest.mark.skipif(shutil.which("ethtool") is None, reason="needs ethtool, which has the kernel send single segments")]


@pytest.fixture
def peer() -> Iterator[tuple[list[str], dict[str, str]]]:
    """A host 10.99.0.2 behind a link; how a Python program is run there, and what elements need to know."""
    # A name of its own each time: a link goes away a while after its namespace.
    name = f"pkx{os.getpid() % 100000}{next(counted)}"
    with host_on_link(name, name, address="10.99.0.2/24") as python:
        # Packet sockets have no room for what the kernel would leave to the card to cut.
        subprocess.run(["ip", "netns", "exec", name, "ethtool", "-K", "e0", "tso", "off", "gso", "off"], check=True, capture_output=True)
        ip("-n", name, "neigh", "add", "10.99.0.1", "lladdr", "02:00:00:00:00:01", "dev", "e0")
        ip("-n", name, "route", "add", "default", "via", "10.99.0.1")
        shown = subprocess.run(["ip", "-n", name, "-br", "link", "show", "e0"], check=True, capture_output=True, text=True).stdout
        yield python, {"dev": name, "ether": shown.split()[2]}


@pytest.fixture
def server(peer: tuple[list[str], dict[str, str]]) -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    python, names = peer
    process = subprocess.Popen([*python, SERVER], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield process, names
    finally:
        process.kill()
        process.communicate()


def wait_for(true: Callable[[], bool]) -> None:
    for _ in range(300):
        if true():
            return
        time.sleep(0.05)
    raise AssertionError("it does not come to that")


class TestWithTheKernel:
    pytestmark = kernel

    @pytest.mark.parametrize("kept", [1, 0.98])
    def test_a_million_bytes_arrive_though_some_are_lost(self, server: tuple[subprocess.Popen[str], dict[str, str]], kept: float) -> None:
        process, names = server
        text = (f"t :: ToyTCP(5001, LIMIT 1000000) -> IPEncap(6, 10.99.0.1, 10.99.0.2) -> SetTCPChecksum -> RandomSample({kept})" + BEHIND + BEFORE + " -> t")
        with running(text.format(**names)) as router:
            wait_for(lambda: router.read("t.state") == "ended")
            assert (router.read("t.acked"), router.read("t.failures")) == ("1000000", "0")
            assert (int(router.read("t.retransmissions")) > 0) == (kept < 1)
        assert process.stdout is not None and process.stdout.readline() == "1000000 0\n"

    def test_web_clients_fetch_their_pages(self, server: tuple[subprocess.Popen[str], dict[str, str]]) -> None:
        text = "w :: WebGen(10.50.0.0/16, 10.99.0.2, 300, LIMIT 60) -> RandomSample(0.98)" + BEHIND + BEFORE + " -> w"
        with running(text.format(**server[1])) as router:
            wait_for(lambda: router.read("w.completed") == "60")
            assert [router.read(f"w.{n}") for n in ("count", "resets", "silent", "clients", "bytes")] == ["60", "0", "0", "0", str(60 * 20000)]
            assert 0 < float(router.read("w.average_time")) < 15

    def test_a_client_of_the_kernel_s_is_served(self, peer: tuple[list[str], dict[str, str]]) -> None:
        python, names = peer
        text = ("out :: Null" + BEHIND + "c :: TCPConn(10.99.0.1, 80); a :: TCPAck; " + BEFORE + " -> c; c -> a -> TCPBuffer -> Unqueue -> n :: Counter "
                "-> Discard; InfiniteSource(LENGTH 1000, LIMIT 30) -> Queue -> [1] c [1] -> [1] a [1] -> Unqueue -> out; c[2] -> out; a[2] -> out;")
        with running(text.format(**names)) as router:
            done = subprocess.run([*python, CLIENT], check=True, capture_output=True, text=True, timeout=30)
            assert done.stdout.split("\n")[0].startswith("30000 ") and "refused" in done.stdout
            # 40 bytes of headers with each of its segments, and with its FIN.
            wait_for(lambda: router.read("c.state") == "listening")
            assert int(router.read("n.byte_count")) == 3000 + 40 * int(router.read("n.count"))
            assert router.read("c.connections") == "1"
