"""A switch at work, with its thread: ports come and go, modules are replaced, peers misbehave."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.datapath.frames import Frame
from penstock.datapath.ports import LENGTHS, TAIL
from penstock.datapath.source import datapath
from penstock.packet.integers import u32
from penstock.ring import OpenPort, PortMemory, RingError
from penstock.switch import BROADCAST, Module, ModuleError, Switch, SwitchError
from penstock.switch.catalog import make_module
from penstock.switch.modules.learning import Learning

STATIONS = [bytes([2, 0, 0, 0, 0, n]) for n in range(8)]


def ethernet(dst: int, src: int, payload: bytes = b"hello") -> bytes:
    return STATIONS[dst] + STATIONS[src] + b"\x08\x00" + payload


@pytest.fixture
def switch() -> Iterator[Switch]:
    with Switch() as made:
        yield made


def quiet(*ports: OpenPort) -> bool:
    return all(p.receive(0.02) is None for p in ports)


def test_the_learning_bridge_floods_learns_and_follows(switch: Switch) -> None:
    a, b, c = (switch.open(n) for n in "abc")
    a.send(ethernet(2, 1))
    assert b.receive(1) == c.receive(1) == ethernet(2, 1)
    b.send(ethernet(1, 2))
    assert a.receive(1) == ethernet(1, 2) and quiet(c)
    # Station 1 moves to c, is followed with its first frame, and goes back.
    for port, station in ((c, 1), (a, 1)):
        port.send(ethernet(2, station))
        assert b.receive(1) == ethernet(2, station)
        b.send(ethernet(1, 2))
        assert port.receive(1) == ethernet(1, 2)
        assert quiet(*(p for p in (a, c) if p is not port))
    a.send(b"\xff" * 6 + STATIONS[1] + b"\x08\x06")
    assert b.receive(1) and c.receive(1)
    a.send(b"short")
    assert quiet(b, c)


def test_addresses_go_with_their_port_and_with_age() -> None:
    module = Learning(age_s=5)
    with Switch("vale1", module) as switch:
        a, b, c = (switch.open(n) for n in "abc")
        b.send(ethernet(1, 2))
        assert a.receive(1) and c.receive(1)
        assert [row[:2] for row in module.addresses()] == [("02:00:00:00:00:02", 1)]
        a.send(ethernet(2, 1))
        assert b.receive(1) and quiet(c)
        switch.fabric.now_s = int(switch.fabric.now_s) + 6
        assert module.addresses() == []
        a.send(ethernet(2, 1))
        assert b.receive(1) and c.receive(1), "an old address is flooded again"
        b.send(ethernet(1, 2))
        assert a.receive(1)
        switch.detach("b")
        a.send(ethernet(2, 1))
        assert c.receive(1) is not None
        assert [row[0] for row in module.addresses()] == ["02:00:00:00:00:01"]


def test_64_thousand_addresses_and_more_do_no_harm() -> None:
    module = Learning()
    with Switch("vale1", module) as switch:
        a, b = switch.open("a", slots=4096, patient=True), switch.open("b", slots=4096)
        for k in range(0, 80_000, 2000):
            for i in range(2000):
                address = (0x0200_0000_0000 + (k + i) * 7919).to_bytes(6, "big")
                assert a.put(STATIONS[1] + address + b"\x08\x00")
            a.flush()
            for _ in range(2000):
                assert b.receive(1) is not None
        assert 55_000 < len(module.addresses()) <= 65_536
        assert int(module.learnt) == len(module.addresses())


class ToOne(Module):
    name = "test_to_one"

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        return u32(1)


def test_modules_are_replaced_without_losing_a_frame(switch: Switch) -> None:
    a, b = switch.open("a", slots=1024), switch.open("b", slots=1024, patient=True)
    # Static, learning and my_lookup all send these to b: the last byte of the IPv4 destination is its number.
    frame = STATIONS[2] + STATIONS[1] + b"\x08\x00" + bytes(18) + b"\x01"
    count, got = 20_000, []

    def collect() -> None:
        while len(got) < count:
            received = b.receive(5)
            assert received is not None
            got.append(int.from_bytes(received[34:38], "big"))

    collector = threading.Thread(target=collect)
    collector.start()
    texts = ["my_lookup", "static 02:00:00:00:00:02=1", "learning 60", "dummy 1"]
    end = time.monotonic() + 60
    for k in range(count):
        while time.monotonic() < end and not a.send(frame[:14] + bytes(19) + b"\x01" + k.to_bytes(4, "big")):
            time.sleep(0.0002)
        if k % 2500 == 0:
            switch.set_module(texts[k // 2500 % 4] if k % 5000 else ToOne())
    collector.join(20)
    assert got == list(range(count))
    assert sum(c.full + c.dropped + c.nowhere for c in switch.counters()) == 0


def test_ports_come_and_go_while_others_forward(switch: Switch) -> None:
    switch.set_module("dummy 1")
    a, b = switch.open("a"), switch.open("b")
    done = threading.Event()
    counted = [0, 0]

    def send() -> None:
        while not done.is_set():
            counted[0] += a.send(ethernet(2, 1))
        time.sleep(0.05)

    def receive() -> None:
        while not done.is_set() or counted[1] < counted[0]:
            counted[1] += b.receive(0.2) is not None

    threads = [threading.Thread(target=t) for t in (send, receive)]
    for t in threads:
        t.start()
    for k in range(60):
        with switch.open(f"p{k}") as port:
            assert switch.ports[f"p{k}"].number == 2
            port.send(ethernet(1, 3))
            switch.detach(f"p{k}")
    done.set()
    for t in threads:
        t.join(10)
    by_name = {c.name: c for c in switch.counters()}
    assert by_name["a"].packets_in == counted[0] and counted[1] + by_name["b"].full >= counted[0] > 100


def test_a_port_that_breaks_the_rules_is_detached_and_nothing_else_notices(switch: Switch) -> None:
    a, b, bad = switch.open("a"), switch.open("b"), switch.open("bad")
    bad.memory.words[bad.memory.layout.tx + LENGTHS] = 5000
    bad.memory.words[bad.memory.layout.tx + TAIL] = 1
    bad.call()
    end = time.monotonic() + 5
    while "bad" in switch.ports and time.monotonic() < end:
        time.sleep(0.02)
    assert switch.lost == [("bad", "a slot's length is larger than the slot")]
    a.send(ethernet(2, 1))
    assert b.receive(1) == ethernet(2, 1)


def test_a_sleeping_reader_is_woken_once_for_what_comes(switch: Switch) -> None:
    a, b = switch.open("a"), switch.open("b")
    for _ in range(20):
        timer = threading.Timer(0.01, a.send, (ethernet(2, 1),))
        timer.start()
        started = time.monotonic()
        assert b.receive(5) == ethernet(2, 1)
        assert time.monotonic() - started < 2
        timer.join()


def test_more_ports_than_one_thread_can_wait_for(switch: Switch) -> None:
    ports = [switch.open(f"p{k}", slots=16) for k in range(200)]
    time.sleep(0.05)
    for k in (0, 63, 126, 127, 199):
        ports[k].send(b"\xff" * 6 + STATIONS[1] + bytes([8, 0, k]))
        assert all(p.receive(2) is not None for i, p in enumerate(ports) if i != k)
    for p in ports:
        p.close()


def test_rings_of_any_size_hold_a_64_kilobyte_frame_or_lose_it_whole(switch: Switch) -> None:
    a, small, large = switch.open("a", slots=64), switch.open("s", slots=16), switch.open("l", slots=4096)
    frame = ethernet(7, 1, os.urandom(65_000))
    a.send(frame)
    assert large.receive(1) == frame and quiet(small)
    assert next(c for c in switch.counters() if c.name == "s").full == 1
    with pytest.raises(ValueError, match="a frame of 200000 bytes"):
        a.send(bytes(200_000))


def test_the_memory_of_a_port_cannot_shrink_under_the_switch() -> None:
    with PortMemory(16) as memory:
        with pytest.raises(OSError) as caught:
            os.ftruncate(memory.descriptor, 4096)
        assert caught.value.errno == errno.EPERM
        again = PortMemory(descriptor=os.dup(memory.descriptor))
        assert again.layout == memory.layout
        again.close()


@pytest.mark.parametrize("slots", [0, 8, 17, 8192])
def test_a_ring_has_a_power_of_two_of_slots(slots: int) -> None:
    with pytest.raises(RingError, match="16 to 4096"):
        PortMemory(slots)


def test_what_is_no_port_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"PNSTKPRT" * 1000)
    for make in (lambda: os.open(tmp_path / "f", os.O_RDWR), lambda: os.memfd_create("x", os.MFD_ALLOW_SEALING)):
        descriptor = make()
        with pytest.raises(RingError, match="no port of a switch"):
            PortMemory(descriptor=descriptor)
        os.close(descriptor)
    descriptor = os.memfd_create("x", os.MFD_ALLOW_SEALING)
    os.pwrite(descriptor, b"PNSTKPRT" + (64).to_bytes(4, "little") + bytes(12), 1024)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 7)
    with pytest.raises(RingError, match="another size"):
        PortMemory(descriptor=descriptor)
    os.close(descriptor)


def test_names_are_checked_and_numbers_are_the_lowest_free(switch: Switch) -> None:
    for name in ("a", "b", "c"):
        switch.open(name)
    switch.detach("b")
    switch.open("d")
    assert {c.name: c.number for c in switch.counters()} == {"a": 0, "d": 1, "c": 2}
    for bad in ("", "x y", "a/b"):
        with pytest.raises(SwitchError, match="no name for a port"):
            switch.open(bad)
    with pytest.raises(SwitchError, match="there already"):
        switch.open("a")
    with pytest.raises(SwitchError, match="has no port 'z'"):
        switch.detach("z")
    with pytest.raises(ModuleError, match="there is no module 'nope'"):
        switch.set_module("nope")


def test_a_tap_sees_what_its_port_sends_and_is_sent_and_nobody_notices(switch: Switch) -> None:
    a, b, c = (switch.open(n) for n in "abc")
    tap = switch.open("t", tap_of="a", slots=1024)
    frames = [(a, ethernet(2, 1)), (b, ethernet(1, 2)), (c, ethernet(7, 3)), (b, ethernet(3, 2)), (a, ethernet(2, 1, bytes(9000)))]
    for port, frame in frames:
        port.send(frame)
        arrived = [p.receive(0.2) for p in (a, b, c) if p is not port]
        assert frame in arrived
    # What b sent to c was not for a's tap.
    assert [tap.receive(1) for _ in range(4)] == [f for _, f in frames[:3]] + [frames[4][1]] and quiet(tap)
    for target in ("a", "t"):
        with pytest.raises(SwitchError, match="tapped already, or a tap itself"):
            switch.open("u", tap_of=target)
    tap.send(ethernet(2, 1))
    assert quiet(b, c), "a tap sends nothing"
    # A tap that nobody reads loses its own frames.
    for _ in range(1100):
        while not a.send(ethernet(2, 1)):
            time.sleep(0.0002)
        assert b.receive(1) is not None
    assert {p.name: p.full for p in switch.counters()}["t"] == 1100 - 1024
    switch.detach("a")
    assert sorted(switch.ports) == ["b", "c"], "the tap goes with its port"


def test_a_port_sends_no_quicker_than_it_may_and_loses_nothing(switch: Switch) -> None:
    a, b = switch.open("a", slots=1024), switch.open("b", slots=4096)
    b.send(ethernet(1, 2))
    assert a.receive(1)
    switch.limit("a", 1_000_000, burst_bytes=50_000)
    assert switch.limit_of("a") == (1_000_000, [])
    started = time.monotonic()
    for k in range(400):
        assert a.send(ethernet(2, 1, bytes([k % 256]) * 986))
    got = [b.receive(2) for _ in range(400)]
    took = time.monotonic() - started
    assert [f[14] for f in got if f is not None] == [k % 256 for k in range(400)]
    # 400,000 bytes at a million a second, less what went at once.
    assert took > 0.3
    switch.limit("a", 0)
    for _ in range(400):
        assert a.send(ethernet(2, 1))
    assert all(b.receive(1) is not None for _ in range(400))


def test_a_port_sends_from_its_own_addresses_alone(switch: Switch) -> None:
    a, b = switch.open("a"), switch.open("b")
    switch.allow("a", ["02:00:00:00:00:01", "02:00:00:00:00:03"])
    for station in (1, 2, 3):
        a.send(ethernet(7, station))
    a.send(ethernet(7, 4, bytes(5000)))
    a.send(b"short")
    assert [b.receive(1), b.receive(1)] == [ethernet(7, 1), ethernet(7, 3)] and quiet(b)
    assert {c.name: c.refused for c in switch.counters()} == {"a": 3, "b": 0}
    assert switch.limit_of("a")[1] == ["02:00:00:00:00:01", "02:00:00:00:00:03"]
    switch.allow("a", [])
    a.send(ethernet(7, 2))
    assert b.receive(1) == ethernet(7, 2)
    with pytest.raises(ValueError, match="no Ethernet address"):
        switch.allow("a", ["02:00"])
    with pytest.raises(SwitchError, match="8 addresses"):
        switch.allow("a", ["02:00:00:00:00:01"] * 9)
    switch.allow("a", ["02:00:00:00:00:01"])
    switch.detach("a")
    with switch.open("a") as again:
        again.send(ethernet(7, 2))
        assert b.receive(1) is not None, "another port of that name begins without limits"


def test_nothing_is_left_behind() -> None:
    def count() -> tuple[int, int, int]:
        mapped = Path("/proc/self/maps").read_text().splitlines()
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), sum(" r-xp 00000000 00:00" in line for line in mapped)

    with Switch() as switch:
        switch.open("a").close()
    before = count()
    for _ in range(3):
        with Switch() as switch:
            ports = [switch.open(f"p{k}") for k in range(20)]
            ports[0].send(ethernet(1, 2))
            for p in ports:
                p.close()
    assert count() == before


def test_a_module_of_ones_own_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text('''
from penstock.switch import Module, BROADCAST
from penstock.datapath.frames import Frame
from penstock.datapath.source import datapath
from penstock.packet.integers import u32


class Mine(Module):
    name = "mine"

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        return u32(BROADCAST)
''')
    with Switch("vale1", str(file)) as switch:
        a, b = switch.open("a"), switch.open("b")
        a.send(b"x")
        assert b.receive(1) == b"x" and switch.module.name == "mine" and BROADCAST == 4096
    for text, words in (("nothing = 1", "one class that is a Module"), ("1/0", "ZeroDivisionError"), ("import x y", "SyntaxError")):
        broken = tmp_path / f"broken{len(words)}.py"
        broken.write_text(text)
        with pytest.raises(ModuleError, match=words):
            make_module(str(broken))
    with pytest.raises(ModuleError, match="no such file"):
        make_module(str(tmp_path / "gone.py"))
