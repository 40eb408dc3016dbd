"""Several workers on one switch: nothing is lost that was promised, nothing comes twice, order is kept."""

from __future__ import annotations

import random
import struct
import threading
import time

import pytest

from penstock.datapath.frames import Frame
from penstock.datapath.source import datapath
from penstock.packet.integers import u32
from penstock.ring import OpenPort, PortMemory
from penstock.switch import BROADCAST, Module, Switch, SwitchError


class ToNumber(Module):
    """To the port whose number is the first byte; 255: to all."""

    name = "to_number"
    is_parallel = True

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        return u32(BROADCAST) if frame.data.u8[0] == 255 else u32(frame.data.u8[0])


class Alone(ToNumber):
    """The same, one worker at a time; counts what it is asked."""

    is_parallel = False
    asked: u32

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        self.asked += 1
        return u32(BROADCAST) if frame.data.u8[0] == 255 else u32(frame.data.u8[0])


def send(port: OpenPort, to: int, count: int, size: int, mark: int) -> None:
    r = random.Random(mark)
    for k in range(count):
        frame = bytes([to, mark]) + struct.pack("<I", k) + bytes(max(0, r.choice(size if isinstance(size, tuple) else (size,)) - 6))
        while not port.put(frame):
            port.flush()
    port.flush()


@pytest.mark.parametrize("module", [ToNumber, Alone])
@pytest.mark.parametrize("size", [60, 1514, (60, 700, 2112, 9000)])
def test_several_senders_fill_one_ring_and_their_order_is_kept(module: type[Module], size: int) -> None:
    count = 3000
    asked = module()
    with Switch("vale0", asked, workers=3) as switch:
        sink = switch.open("sink", patient=True, slots=64)
        senders = [switch.open(f"s{k}") for k in range(3)]
        threads = [threading.Thread(target=send, args=(p, 0, count, size, k)) for k, p in enumerate(senders)]
        for thread in threads:
            thread.start()
        seen: dict[int, list[int]] = {k: [] for k in range(3)}
        for _ in range(3 * count):
            frame = sink.receive(5)
            assert frame is not None, [len(v) for v in seen.values()]
            seen[frame[1]].append(struct.unpack_from("<I", frame, 2)[0])
        for thread in threads:
            thread.join()
        assert all(numbers == list(range(count)) for numbers in seen.values())
        counters = {c.name: c for c in switch.counters()}
        assert counters["sink"].packets_out == 3 * count and counters["sink"].full == 0
        if isinstance(asked, Alone):
            # A frame that found no room is asked about again.
            assert int(asked.asked) >= 3 * count


def test_what_finds_a_ring_full_is_counted_and_nothing_else_is_lost() -> None:
    count = 5000
    with Switch("vale0", ToNumber(), workers=2) as switch:
        sink = switch.open("sink", slots=16)
        senders = [switch.open(f"s{k}") for k in range(2)]
        threads = [threading.Thread(target=send, args=(p, 255 if k else 0, count, (60, 1514), k)) for k, p in enumerate(senders)]
        for thread in threads:
            thread.start()
        seen: dict[int, list[int]] = {0: [], 1: []}
        while (frame := sink.receive(1)) is not None:
            seen[frame[1]].append(struct.unpack_from("<I", frame, 2)[0])
        for thread in threads:
            thread.join()
        while (frame := sink.receive(0.1)) is not None:
            seen[frame[1]].append(struct.unpack_from("<I", frame, 2)[0])
        counters = {c.name: c for c in switch.counters()}
        assert sum(map(len, seen.values())) == counters["sink"].packets_out == 2 * count - counters["sink"].full
        assert all(numbers == sorted(set(numbers)) for numbers in seen.values())


def test_ports_come_and_go_and_modules_change_while_all_workers_forward() -> None:
    with Switch("vale0", ToNumber(), workers=2) as switch:
        sink = switch.open("sink", patient=True)
        senders = [switch.open(f"s{k}") for k in range(2)]
        threads = [threading.Thread(target=send, args=(p, 0, 20_000, 60, k)) for k, p in enumerate(senders)]
        for thread in threads:
            thread.start()

        def disturb() -> None:
            for k in range(30):
                extra = switch.open("extra")
                extra.send(b"\xff" + bytes(59))
                switch.set_module(ToNumber() if k % 2 else Alone())
                switch.detach("extra")
                extra.close()

        other = threading.Thread(target=disturb)
        other.start()
        seen: dict[int, list[int]] = {0: [], 1: []}
        while len(seen[0]) + len(seen[1]) < 40_000:
            frame = sink.receive(5)
            assert frame is not None
            if frame[0] == 0:
                seen[frame[1]].append(struct.unpack_from("<I", frame, 2)[0])
        for thread in (*threads, other):
            thread.join()
        assert seen == {0: list(range(20_000)), 1: list(range(20_000))}


@pytest.mark.parametrize("workers", [0, 17])
def test_a_number_of_workers_that_makes_no_sense_is_refused(workers: int) -> None:
    with pytest.raises(SwitchError, match="a switch has 1 to 16"):
        Switch("vale0", workers=workers)


def test_workers_that_have_nothing_to_do_sleep() -> None:


    with Switch("vale0", "learning", workers=2) as switch:
        a, b = switch.open("a"), switch.open("b")
        time.sleep(0.2)
        used = time.process_time()
        time.sleep(0.5)
        assert time.process_time() - used < 0.1
        a.send(bytes(60))
        assert b.receive(1) == bytes(60)


def test_a_port_with_several_rings_gives_each_sender_one_of_them_in_order() -> None:
    with Switch("vale0", ToNumber(), workers=2) as switch:
        wide = switch.open_rings("wide", 2, patient=True)
        senders = [switch.open(f"s{k}") for k in range(4)]
        assert [c.number for c in switch.counters()] == [0, 1, 2, 3, 4]
        for k, sender in enumerate(senders):
            send(sender, 0, 50, 60, k)
        came = [list(iter(lambda r=ring: r.receive(0.2), None)) for ring in wide]  # type: ignore[misc]
        assert [len(frames) for frames in came] == [100, 100]
        for frames in came:
            for mark in {f[1] for f in frames}:
                assert [struct.unpack_from("<I", f, 2)[0] for f in frames if f[1] == mark] == list(range(50))
        # Every ring sends as its port; what is for all comes to the port once.
        for k, ring in enumerate(wide):
            ring.send(bytes([2, k]) + bytes(58))
            assert senders[1].receive(1) == bytes([2, k]) + bytes(58)
        senders[0].send(b"\xff" + bytes(59))
        assert [ring.receive(0.3) for ring in wide].count(None) == 1 and senders[1].receive(1) is not None
        wide[1].send(bytes([0]) + bytes(59))
        assert all(ring.receive(0.1) is None for ring in wide), "a port does not hear itself"
        counters = switch.counters()[0]
        assert (counters.packets_out, counters.packets_in, counters.dropped) == (201, 3, 1)
        switch.allow("wide", ["02:00:00:00:00:07"])
        wide[1].send(bytes([2]) + bytes(59))
        assert senders[1].receive(0.1) is None and switch.counters()[0].refused == 1
        switch.detach("wide")
        assert {switch.attach(f"t{n}", PortMemory(16)) for n in range(2)} == {0, 5}


def test_more_rings_than_there_can_be_are_refused() -> None:
    with Switch("vale0") as switch, pytest.raises(SwitchError, match="at most 8"):
        switch.open_rings("p", 9)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_for_all_and_what_is_for_a_further_ring_go_together(workers: int) -> None:
    with Switch("vale0", ToNumber(), workers=workers) as switch:
        wide = switch.open_rings("wide", 2)
        senders = [switch.open(f"s{k}") for k in range(2)]
        for sender in senders:
            for k in range(30):
                assert sender.put(bytes([255 if k % 3 == 0 else 0, k]) + bytes(58))
            sender.flush()
        came = [list(iter(lambda r=ring: r.receive(0.2), None)) for ring in wide]  # type: ignore[misc]
        # The first sender's number is 1: its own ring is the second one. What is for all goes to the first.
        alone = [f[1] for f in came[1]]
        assert alone == [k for k in range(30) if k % 3]
        assert len(came[0]) == 20 + 10 + 10
        assert switch.counters()[0].packets_out == 60
