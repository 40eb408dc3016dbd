"""The fabric against a model of it in a few lines of Python, in both engines; and against peers that lie."""

from __future__ import annotations

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.datapath.frames import Frame
from penstock.datapath.ports import BUFFER_BYTES, HEAD, LENGTHS, MAX_SEGMENTS, MORE, TAIL
from penstock.datapath.source import datapath
from penstock.packet.integers import u32
from penstock.switch.fabric import Reason
from penstock.switch.module import BROADCAST, DROP, MAX_PORTS, Module
from tests.switch.fabrics import Still

PORTS, SLOTS = 5, 16
ENGINES = ("compiled", "interpreter")


class ByByte(Module):
    """The first byte says where: a port, 250 everyone, 251 nobody, 252 a port that is no port at all; 253 faults."""

    name = "test_by_byte"

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        where = frame.data.u8[0]
        if where == 250:
            return u32(BROADCAST)
        if where == 252:
            return u32(0xFFFF_FFFF)
        if where == 253:
            return frame.data.u8[3000]
        frame.data.u8[1] = u32(source)
        return u32(DROP) if where == 251 else where


def expected(batches: list[tuple[int, list[bytes]]]) -> list[list[bytes]]:
    """What arrives where rings are emptied after each batch; each full one loses what comes behind."""
    out: list[list[bytes]] = [[] for _ in range(PORTS)]
    for source, frames in batches:
        used = [0] * PORTS
        for frame in frames:
            if not frame:
                continue
            where, seen = frame[0], frame[:1] + (bytes([source]) + frame[2:] if frame[0] not in (250, 252, 253) else frame[1:])
            targets = [p for p in range(PORTS) if p != source] if where == 250 else [where] if where < PORTS and where != source else []
            slots = max(1, -(-len(frame) // BUFFER_BYTES))
            for p in targets:
                if used[p] + slots <= SLOTS:
                    used[p] += slots
                    out[p].append(seen)
    return out


FRAME = st.builds(lambda where, n, fill: bytes([where]) + bytes([fill]) * n, st.sampled_from([0, 1, 2, 3, 4, 4, 250, 250, 251, 252, 253, 99]),
                  st.sampled_from([1, 13, 59, 63, 64, 200, 1513, 2111, 2112, 3000, 9000]), st.integers(0, 255))


@pytest.mark.parametrize("is_parallel", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=40)
@given(batches=st.lists(st.tuples(st.integers(0, PORTS - 1), st.lists(FRAME, min_size=1, max_size=12)), max_size=6))
def test_frames_go_where_the_module_says_in_order(engine: str, is_parallel: bool, batches: list[tuple[int, list[bytes]]]) -> None:
    with Still(ByByte(), PORTS, engine=engine, slots=SLOTS, is_parallel=is_parallel) as still:
        out: list[list[bytes]] = [[] for _ in range(PORTS)]
        sent = []
        for source, frames in batches:
            sent.append((source, [f for f in frames if still.put(source, f)]))
            still.turn()
            for p in range(PORTS):
                out[p] += still.take(p)
        assert out == expected(sent)
        assert sum(still.fabric.ports[p].packets_in for p in range(PORTS)) == sum(len(f) for _, f in sent)
        assert sum(still.fabric.outlets[p].packets_out for p in range(PORTS)) == sum(map(len, out))


@settings(deadline=None, max_examples=25)
@given(batches=st.lists(st.tuples(st.integers(0, PORTS - 1), st.lists(FRAME, min_size=1, max_size=12)), max_size=5))
def test_both_engines_leave_the_same_state(batches: list[tuple[int, list[bytes]]]) -> None:
    states = []
    for engine in ENGINES:
        with Still(ByByte(), PORTS, engine=engine, slots=SLOTS) as still:
            for source, frames in batches:
                for frame in frames:
                    still.put(source, frame)
                still.turn(8)
            states.append(still.state())
    assert states[0] == states[1]


@pytest.mark.parametrize("is_parallel", [False, True])
def test_a_full_ring_loses_its_own_frames_and_counts_them(is_parallel: bool) -> None:
    with Still(ByByte(), 3, slots=SLOTS, is_parallel=is_parallel) as still:
        for k in range(40):
            still.put(0, bytes([1 + k % 2, 0, k]))
            still.turn()
            if k % 2:
                still.take(2)
        assert [f[2] for f in still.take(1)] == list(range(0, 32, 2))
        assert still.fabric.outlets[1].full == 4 and still.fabric.outlets[2].full == 0


@pytest.mark.parametrize("is_parallel", [False, True])
def test_a_patient_port_keeps_its_senders_waiting_and_loses_nothing(is_parallel: bool) -> None:
    with Still(ByByte(), 3, slots=SLOTS, patient=frozenset({1}), is_parallel=is_parallel) as still:
        waiting: deque[int] = deque(range(100))
        got: list[int] = []
        for _ in range(200):
            while waiting and still.put(0, bytes([1, 0, waiting[0]])):
                waiting.popleft()
            still.turn(5)
            got += [f[2] for f in still.take(1)[:5]] if len(got) % 2 else [f[2] for f in still.take(1)]
        assert got == list(range(100)) and still.fabric.outlets[1].full == 0


def test_a_large_frame_is_not_given_to_a_port_that_does_not_understand_it() -> None:
    with Still(ByByte(), 3, slots=32, without_chains=frozenset({1})) as still:
        for where in (1, 2, 250):
            still.put(0, bytes([where]) + bytes(5000))
        still.turn()
        assert still.take(1) == [] and [len(f) for f in still.take(2)] == [5001, 5001]
        assert still.fabric.outlets[1].too_large == 2


def test_a_frame_of_64_segments_passes_and_waits_until_all_of_it_is_there() -> None:
    with Still(ByByte(), 2, slots=128) as still:
        frame = bytes([1, 0]) + random.Random(1).randbytes(64 * 1024 - 2)
        ring = still.ring(0, False)
        assert still.put(0, frame, segment_bytes=1024)
        still.words[ring + TAIL] -= 1
        assert still.turn() == 0 and still.take(1) == []
        still.words[ring + TAIL] += 1
        assert still.turn() == MAX_SEGMENTS and still.take(1) == [frame]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("what", "reason"), [("tail", Reason.INDEX), ("length", Reason.LENGTH), ("chain", Reason.CHAIN), ("head", Reason.INDEX)])
def test_a_port_that_breaks_the_rules_is_marked_with_the_reason_and_others_go_on(engine: str, what: str, reason: int) -> None:
    with Still(ByByte(), 3, engine=engine, slots=128) as still:
        bad = still.ring(0, False)
        if what == "tail":
            still.words[bad + TAIL] = 129
        elif what == "length":
            still.put(0, b"\x01ab")
            still.put(0, b"\x01cd")
            still.words[bad + LENGTHS + 1] = 0x7FFF_FFFF
        elif what == "chain":
            for slot in range(128):
                still.words[bad + LENGTHS + slot] = 10 | MORE
            still.words[bad + TAIL] = 128
        else:
            still.words[still.ring(0, True) + HEAD] = 77
            still.put(1, b"\0xy")
        still.turn()
        assert still.fabric.ports[0].broken == reason
        still.put(1, b"\x02ok")
        still.put(1, b"\x00no")
        still.turn()
        assert still.take(2) == [b"\x02\x01k"]
        assert still.fabric.ports[1].nowhere >= 1


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 1 << 32))
def test_memory_full_of_noise_harms_nobody(seed: int) -> None:
    """A peer that writes anything anywhere in its own port: frames between others arrive as they were sent."""
    r = random.Random(seed)
    with Still(ByByte(), 4, slots=16) as still:
        size = still.layout.port_bytes
        for _ in range(6):
            for _ in range(30):
                at = r.choice([r.randrange(size // 4), still.layout.tx + r.choice([HEAD, TAIL]), still.layout.tx + LENGTHS + r.randrange(16),
                               still.layout.rx + r.choice([HEAD, TAIL])])
                still.words[at] = r.choice([0, 1, 5, 16, 17, 2112, 2113, MORE | 9, 0xFFFFFFFF, r.getrandbits(32)])
            still.put(1, b"\x02" + bytes([1]) + b"fine")
            still.turn(12)
            frames = [f for f in still.take(2) if f[1] == 1]
            assert frames in ([b"\x02\x01fine"], []) and (frames or still.fabric.outlets[2].full)
            assert still.fabric.faults == 0


def test_a_module_that_faults_drops_that_frame_alone() -> None:
    module = ByByte()
    with Still(module, 2) as still:
        for frame in (b"\x01\x00a", b"\xfdxx", b"\x01\x00b"):
            still.put(0, frame)
        still.turn()
        assert still.take(1) == [b"\x01\x00a", b"\x01\x00b"]
        assert module.faults == 1 and still.fabric.ports[0].dropped == 1


def test_many_ports_are_all_heard() -> None:
    with Still(ByByte(), 300) as still:
        for p in range(1, 300):
            still.put(p, bytes([0, 0, p % 256]))
            still.turn(40)
            assert still.take(0) == [bytes([0, p % 256, p % 256])]
        assert MAX_PORTS >= 4096
