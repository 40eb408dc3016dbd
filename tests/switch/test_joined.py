"""Programs that forward what they send themselves, in memory that they share."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.datapath.ports import HEAD, TAIL
from penstock.ring import PortMemory, RingError
from penstock.switch import Switch, SwitchError
from penstock.switch.worker import WorkerState
from tests.switch.test_crew import Alone, ToNumber, send


@pytest.fixture
def switch() -> Iterator[Switch]:
    with Switch("vale0", ToNumber(), trusting=True) as made:
        yield made


def test_a_frame_is_where_it_goes_when_flush_returns(switch: Switch) -> None:
    a, b = switch.open("a"), switch.open("b", slots=1024)
    for frame in (b"\1" + bytes(59), b"\1" + bytes(9000)):
        a.send(frame)
        assert b.receive(0) == frame
    b.send(b"\xff" + bytes(59))
    assert a.receive(0) == b"\xff" + bytes(59) and b.receive(0) is None
    assert [(c.packets_in, c.packets_out) for c in switch.counters()] == [(2, 1), (1, 2)]


def test_several_threads_fill_one_ring_and_their_order_is_kept(switch: Switch) -> None:
    count = 2000
    sink = switch.open("sink", patient=True, slots=64)
    senders = [switch.open(f"s{k}") for k in range(3)]
    threads = [threading.Thread(target=send, args=(p, 0, count, (60, 1514, 5000), k)) for k, p in enumerate(senders)]
    for thread in threads:
        thread.start()
    seen: list[list[int]] = [[], [], []]
    end = time.monotonic() + 60
    while sum(map(len, seen)) < 3 * count and time.monotonic() < end:
        frame = sink.receive(0.02)
        if frame is None:
            # What found no room waits in the senders' rings, for their next flush.
            for k, thread in enumerate(threads):
                if not thread.is_alive():
                    senders[k].flush()
        else:
            seen[frame[1]].append(int.from_bytes(frame[2:6], "little"))
    for thread in threads:
        thread.join()
    assert seen == [list(range(count))] * 3


def test_modules_change_and_ports_come_and_go_meanwhile(switch: Switch) -> None:
    sink, a = switch.open("sink", patient=True), switch.open("a")
    thread = threading.Thread(target=send, args=(a, 0, 20_000, 60, 7))
    thread.start()
    for k in range(30):
        other = switch.open("other")
        switch.set_module(ToNumber() if k % 2 else Alone())
        switch.detach("other")
        other.close()
    seen = []
    while thread.is_alive() or sink._words[sink._rx + TAIL] != sink._words[sink._rx + HEAD]:
        if (frame := sink.receive(0.01)) is not None:
            seen.append(int.from_bytes(frame[2:6], "little"))
    a.flush()
    while (frame := sink.receive(0)) is not None:
        seen.append(int.from_bytes(frame[2:6], "little"))
    assert seen == list(range(20_000))


def test_a_port_that_was_taken_off_says_so(switch: Switch) -> None:
    a = switch.open("a")
    switch.detach("a")
    with pytest.raises(RingError, match="taken off"):
        a.send(bytes(60))


def test_a_port_hears_what_another_is_sent(switch: Switch) -> None:
    a, b = switch.open("a"), switch.open("b")
    tap = switch.open("tap", tap_of="b")
    a.send(b"\1" + bytes(59))
    b.send(b"\0" + bytes(59))
    assert [tap.receive(0) for _ in range(3)] == [b"\1" + bytes(59), b"\0" + bytes(59), None]
    assert b.receive(0) and a.receive(0)


def test_rings_of_others_are_refused(switch: Switch) -> None:
    with PortMemory(16) as memory, pytest.raises(SwitchError, match="trusting"):
        switch.attach("foreign", memory)


def test_who_ends_in_the_middle_of_it_holds_up_nobody(switch: Switch) -> None:
    sink, a, _ = switch.open("sink"), switch.open("a"), switch.open("dead")
    fabric = switch.fabric
    # As a program that was killed while it copied to the sink: it runs, has leased a slot, and holds the module's lock.
    program = switch.crew.programs[2]
    program.context.store(40, 4, WorkerState.RUNNING)
    fabric.outlets[0].tail, fabric.outlets[0].next_lease = int(fabric.outlets[0].tail) + 1, 1
    fabric.locks[0] = 1  # type: ignore[assignment]
    started = time.monotonic()
    switch.detach("dead")
    assert time.monotonic() - started < 10
    a.send(b"\0" + bytes(59))
    frames = list(iter(lambda: sink.receive(0), None))
    assert frames[-1] == b"\0" + bytes(59) and len(frames) == 2


OTHER = """
import sys, time
from penstock.toolstack.openport import RemotePort
with RemotePort("vale0:echo") as port:
    print("there", flush=True)
    while True:
        frame = port.receive(1)
        if frame is not None:
            port.send(frame[6:12] + frame[:6] + frame[12:])
"""


def test_two_processes_forward_to_one_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from penstock.toolstack.client import Client
    from penstock.toolstack.errors import DomainError
    from penstock.toolstack.openport import RemotePort

    monkeypatch.setenv("PENSTOCK_RUN", str(tmp_path))
    with Client() as client:
        client.switch_make(switch="vale0", module="learning", trusting=True)
        other = subprocess.Popen([sys.executable, "-c", OTHER], stdout=subprocess.PIPE)
        assert other.stdout is not None and other.stdout.readline() == b"there\n"
        with RemotePort("vale0:me") as me:
            frame = b"\2\0\0\0\0\1" + b"\2\0\0\0\0\2" + b"\x08\x00" + b"x" * 50
            for _ in range(200):
                me.send(frame)
                answer = me.receive(5)
                assert answer == frame[6:12] + frame[:6] + frame[12:]
            client.switch_module(switch="vale0", module="static default=broadcast")
            me.send(frame)
            assert me.receive(5) is not None
            with pytest.raises(DomainError, match="one pair of rings"):
                RemotePort("vale0:wide", rings=2)
            with pytest.raises(DomainError, match="trusting"):
                client.switch_tap(name="vale0:tap9")
            os.kill(other.pid, signal.SIGKILL)
            other.wait()
            other.stdout.close()
            end = time.monotonic() + 5
            while len(client.switch_list(switch="vale0")[0]["ports"]) > 1 and time.monotonic() < end:
                time.sleep(0.02)
            assert [p["counters"]["name"] for p in client.switch_list(switch="vale0")[0]["ports"]] == ["me"]
            me.send(frame)
        client.shutdown()
