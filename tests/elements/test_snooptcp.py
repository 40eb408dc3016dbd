"""SnoopTCP before a link that loses packets, and Reframe behind a stream of bytes."""

import random

import pytest

from penstock import ConfigurationError, Router
from tests.harness import START_NS, run_packets
from tests.traffic import Sent, mixture, tcp, udp

ACK, SYN, RST, PSH = 16, 2, 4, 8
SNOOP = "feed :: Feed -> w :: IPClassifier(src host 10.0.0.1, -); w[0] -> n :: SnoopTCP{}; w[1] -> [1] n; n[0] -> s :: Sink; n[1] -> [1] s; n[2] -> [2] s; n[3] -> [3] s;"


def data(sequence: int, payload: bytes = b"data", flags: int = ACK) -> Sent:
    return Sent(tcp(80, 4000, payload, flags, "10.0.0.1", "10.0.0.2", sequence=sequence), network=0, transport=20)


def ack(number: int, payload: bytes = b"", flags: int = ACK) -> Sent:
    return Sent(tcp(4000, 80, payload, flags, "10.0.0.2", "10.0.0.1", acknowledgement=number), network=0, transport=20)


def test_what_is_asked_for_again_is_sent_again_and_the_sender_does_not_hear() -> None:
    sent = [data(100), data(104), data(108), ack(104), ack(104), ack(104), ack(104), ack(112), ack(104), ack(112)]
    done = run_packets(SNOOP.format(""), sent, rounds=60)
    assert done.out(port=0) == [p.data for p in sent[:3]]
    # The first acknowledgement of a number, and the last one again: there is nothing to send for it.
    assert done.out(port=1) == [sent[3].data, sent[7].data, sent[9].data]
    assert done.out(port=2)[0] == sent[1].data and set(done.out(port=2)) == {sent[1].data}
    assert done.out(port=3) == [sent[4].data, sent[5].data, sent[6].data, sent[8].data]
    assert (done.handlers["n.suppressed"], done.handlers["n.kept"]) == ("4", "0")


def test_what_was_lost_before_is_the_senders_own_affair() -> None:
    sent = [data(100), data(108), ack(104), ack(104), ack(104)]
    done = run_packets(SNOOP.format(""), sent, rounds=20)
    assert done.out(port=1) == [p.data for p in sent[2:]] and not done.out(port=2)


def test_resets_and_new_connections_forget_what_was_kept() -> None:
    for end in (data(1, b"", SYN), data(1, b"", RST), ack(5, flags=RST)):
        done = run_packets(SNOOP.format(""), [data(100), data(104), end], rounds=20)
        assert (done.handlers["n.kept"], done.handlers["n.flows"]) == ("0", "0")


def test_tables_that_are_full_keep_no_more() -> None:
    sent = [data(100 + 4 * i) for i in range(20)]
    assert run_packets(SNOOP.format("(FLOW_CAPACITY 7)"), sent, rounds=20).handlers["n.kept"] == "7"
    assert run_packets(SNOOP.format("(CAPACITY 5)"), sent, rounds=20).handlers["n.kept"] == "5"
    with pytest.raises(ConfigurationError, match="FLOWS: out of range"):
        run_packets(SNOOP.format("(FLOWS 0)"))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_comes_is_taken_alike_and_nothing_leaks(seed: int) -> None:
    chance = random.Random(seed)
    packets: list[Sent] = []
    for sent in mixture(50, seed, "ip"):
        start = chance.choice([96, 100, 104, 108, 2**32 - 4, 0])
        packets += [sent, data(start, bytes(4 * chance.randrange(3)), chance.choice([ACK] * 9 + [SYN, RST])),
                    ack(start, bytes(chance.randrange(2)), chance.choice([ACK] * 9 + [SYN, RST]))]
    results = [run_packets(SNOOP.format("(CAPACITY 9)"), packets, engine=engine, rounds=100) for engine in ("compiled", "interpreter")]
    assert results[0].packets == results[1].packets and results[0].handlers == results[1].handlers and results[0].free == results[1].free


LINK = """
in1 :: Null; in2 :: Null; air :: Queue(500); wire :: Queue(500);
c1 :: TCPConn(1.0.0.1, 1024, 2.0.0.2, 80, ACTIVE true); a1 :: TCPAck; in1 -> CheckIPHeader -> c1 -> a1 -> TCPBuffer -> Unqueue -> Discard;
InfiniteSource(LENGTH 1000, LIMIT 1000) -> Queue(1000) -> [1] c1 [1] -> [1] a1 [1] -> Unqueue -> out1 :: Queue(500); c1[2] -> out1; a1[2] -> out1;
out1 -> LinkUnqueue(20ms, 100Mbps) -> CheckIPHeader -> {snoop};
air -> RandomSample(0.97) -> LinkUnqueue(1ms, 20Mbps) -> in2; wire -> LinkUnqueue(20ms, 100Mbps) -> in1;
c2 :: TCPConn(2.0.0.2, 80); a2 :: TCPAck(1ms); in2 -> CheckIPHeader -> c2 -> a2 -> TCPBuffer -> Unqueue -> k :: Counter(COUNT_CALL 1000 s.step) -> Discard;
Idle -> [1] c2 [1] -> [1] a2 [1] -> Unqueue -> out2 :: Queue(500); c2[2] -> out2; a2[2] -> out2; out2 -> LinkUnqueue(1ms, 20Mbps) -> CheckIPHeader -> back;
s :: Script(wait_step, stop);
"""


def test_a_sender_behind_it_is_not_slowed_by_a_lossy_link() -> None:
    results = []
    for snoop, back in (("air", "wire"), ("n :: SnoopTCP; n[0] -> air; n[1] -> wire; n[2] -> air; n[3] -> Discard", "[1] n")):
        with Router.from_text(LINK.format(snoop=snoop).replace("-> back;", f"-> {back};"), simulated_start_ns=START_NS, seed=9) as router:
            router.run()
            assert router.read("k.count") == "1000"
            results.append(((router.clock.time - START_NS) / 1e9, int(router.read("c1.retransmissions"))))
    (plain_s, plain_again), (snooped_s, snooped_again) = results
    assert snooped_s < plain_s / 2 and snooped_again < plain_again / 3


# Reframe

@pytest.mark.parametrize("seed", [1, 2, 3])
def test_packets_are_found_however_the_stream_is_cut(seed: int) -> None:
    chance = random.Random(seed)
    packets = [chance.choice([udp, tcp])(1, 2, chance.randbytes(chance.randrange(1400))) for _ in range(300)]
    packets[7] = b"\x60\0\0\0\0\x08\x11\x40" + bytes(32) + b"\0\1\0\2\0\x08\0\0"
    stream = b"".join(packets)
    cuts = sorted(chance.sample(range(len(stream)), 900))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)])]
    done = run_packets("feed :: Feed -> r :: Reframe -> s :: Sink", [Sent(p) for p in parts if p], rounds=900)
    assert done.out() == packets
    assert (done.handlers["r.count"], done.handlers["r.broken"], done.handlers["r.length"]) == ("300", "0", "0")


def test_a_broken_stream_is_dropped_and_begins_anew() -> None:
    good = udp(1, 2, b"x" * 50)
    parts = [good + b"\x00garbage, which is no header", good[:30], good[30:] + good[:5], b"\x45\0\0\x03" + bytes(20), good]
    done = run_packets("feed :: Feed -> r :: Reframe -> s :: Sink", [Sent(p) for p in parts], rounds=60)
    assert done.out()[0] == good and done.out()[1] == good
    assert int(done.handlers["r.broken"]) >= 1


@pytest.mark.parametrize("seed", range(4))
def test_any_stream_is_taken_alike_by_both_engines(seed: int) -> None:
    chance = random.Random(seed)
    parts = [Sent(chance.randbytes(chance.randrange(1, 300)) if chance.random() < 0.5 else udp(1, 2, b"y" * chance.randrange(99))) for _ in range(80)]
    results = [run_packets("feed :: Feed -> r :: Reframe -> s :: Sink", parts, engine=engine, rounds=200) for engine in ("compiled", "interpreter")]
    assert results[0].packets == results[1].packets and results[0].handlers == results[1].handlers


def test_everything_is_forgotten_on_request() -> None:
    sent = [Sent(tcp(80, 4000 + i % 5, b"data", ACK, "10.0.0.1", "10.0.0.2", sequence=100 + i), network=0, transport=20) for i in range(20)]
    found: list[str] = []

    def clear(router: Router) -> None:
        found.append(router.read("n.flows") + " " + router.read("n.kept"))
        router.write("n.clear")
        found.append(router.read("n.flows") + " " + router.read("n.kept"))

    run_packets(SNOOP.format(""), sent, rounds=20, between=clear)
    assert found == ["5 20", "0 0"]
