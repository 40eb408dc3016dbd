"""The peer's side of a port, against a domain that is only memory."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.datapath.memory import Memory
from penstock.datapath.ports import BUFFER_BYTES, HEAD, LENGTHS, PORT_BYTES, RX, SLOTS, STARVED, TAIL, TX
from penstock.ring import PortError, SharedPort


class Domain:
    """The other side, in Python: reads what the port sends, and sends what the port reads."""

    def __init__(self, port: SharedPort):
        self.memory = Memory(PORT_BYTES)
        port.map_into(self.memory, 0)
        self.words = self.memory.view.cast("I")

    def take(self) -> bytes | None:
        head = self.words[RX + HEAD]
        if head == self.words[RX + TAIL]:
            return None
        at = RX * 4 + 4096 + head % SLOTS * BUFFER_BYTES
        frame = bytes(self.memory.view[at : at + self.words[RX + LENGTHS + head % SLOTS]])
        self.words[RX + HEAD] = (head + 1) % (1 << 32)
        return frame

    def give(self, frame: bytes) -> None:
        tail = self.words[TX + TAIL]
        at = TX * 4 + 4096 + tail % SLOTS * BUFFER_BYTES
        self.memory.view[at : at + len(frame)] = frame
        self.words[TX + LENGTHS + tail % SLOTS] = len(frame)
        self.words[TX + TAIL] = (tail + 1) % (1 << 32)


@given(st.lists(st.one_of(st.binary(max_size=80), st.none()), max_size=60))
def test_frames_arrive_whole_and_in_order(steps: list[bytes | None]) -> None:
    with SharedPort("p") as port:
        domain = Domain(port)
        sent, got, back = [], [], []
        for step in steps:
            if step is None:
                frame = domain.take()
                if frame is not None:
                    got.append(frame)
                    domain.give(frame)
            elif port.send(step):
                sent.append(step)
            while (frame := port.receive()) is not None:
                back.append(frame)
        while (frame := domain.take()) is not None:
            got.append(frame)
        assert got == sent and back == sent[: len(back)]


def test_a_full_ring_refuses_and_says_so() -> None:
    with SharedPort("p") as port:
        domain = Domain(port)
        assert all(port.send(bytes([i % 256])) for i in range(SLOTS))
        assert not port.send(b"x") and domain.words[RX + STARVED] == 1
        assert domain.take() == b"\0" and port.send(b"x")
        with pytest.raises(ValueError, match="a frame of 2113 bytes"):
            port.send(b"x" * 2113)


def test_indices_run_over_the_end_of_32_bits() -> None:
    with SharedPort("p") as port:
        domain = Domain(port)
        for base in (RX, TX):
            domain.words[base + HEAD] = domain.words[base + TAIL] = (1 << 32) - 3
        port.resume()
        for i in range(10):
            assert port.send(bytes([i]))
            frame = domain.take()
            assert frame == bytes([i])
            domain.give(frame)
            assert port.receive() == bytes([i])


@given(st.lists(st.tuples(st.sampled_from([RX + HEAD, RX + TAIL, TX + HEAD, TX + TAIL, TX + LENGTHS, TX + LENGTHS + 1]), st.integers(0, (1 << 32) - 1)),
                min_size=1, max_size=8))
def test_a_domain_that_lies_costs_its_port_and_nothing_else(writes: list[tuple[int, int]]) -> None:
    with SharedPort("p") as port, SharedPort("other") as other:
        domain = Domain(port)
        for word, value in writes:
            domain.words[word] = value
            try:
                port.send(b"a" * 60)
                for _ in range(3):
                    frame = port.receive()
                    assert frame is None or len(frame) <= BUFFER_BYTES
            except PortError as error:
                assert str(error).startswith("p: the domain's")
        assert sum(len(part) for _, part in port.content()) <= PORT_BYTES
        assert other.receive() is None and other.content()[0][1] == bytes(4096)


def test_waiting_for_a_frame_ends_in_time() -> None:
    with SharedPort("p") as port:
        Domain(port)
        started = time.monotonic()
        assert port.receive(0.05) is None
        assert 0.04 < time.monotonic() - started < 2


def test_what_was_on_its_way_is_kept() -> None:
    r = random.Random(3)
    with SharedPort("p") as port, SharedPort("q") as copy:
        domain = Domain(port)
        for _ in range(5):
            port.send(r.randbytes(90))
            domain.give(r.randbytes(70))
        domain.take()
        copy.restore(port.content())
        copy.resume()
        twin = Domain.__new__(Domain)
        twin.memory = Memory(PORT_BYTES)
        copy.map_into(twin.memory, 0, keep=True)
        twin.words = twin.memory.view.cast("I")
        for _ in range(4):
            assert twin.take() == domain.take()
        assert [copy.receive() for _ in range(6)] == [port.receive() for _ in range(6)]
        assert port.frames_behind(port.inward_tail) == []
