"""One image in three kinds of machines: same packets, same results; and nothing gets out."""

from __future__ import annotations

import gc
import os
import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from penstock.isolation import choose, machine_class
from penstock.isolation.layout import Event, State
from penstock.isolation.machine import Machine, MachineError
from penstock.isolation.template import Template
from penstock.ring import SharedPort
from tests.isolation.machines import ISOLATIONS, KVM, exchange, interpret, running
from tests.traffic import arp, ether, icmp, mixture, tcp, udp

R = random.Random(7)
FRAMES = [ether(udp(1000 + i % 7, 53, bytes([i]) * (i % 90), src=f"10.0.0.{i % 9 + 1}")) for i in range(60)] + [
    ether(tcp(2000 + i, 80, b"y" * i, src=f"10.0.1.{i + 1}", dst="3.0.0.3")) for i in range(20)] + [
    ether(icmp(8, payload=b"p" * i)) for i in range(10)] + [ether(udp(5, 6, ttl=t)) for t in (0, 1, 2)] + [
    arp(1, "10.0.0.1", "10.0.0.9")] + [R.randbytes(n) for n in (0, 1, 13, 14, 33, 60, 1500, 2048)] + [
    ether(p.data)[:2048] for p in mixture(40, 3, "ip")]

CONFIGURATIONS = {
    "mirror": (1, "FromDevice(0) -> c :: Counter -> EtherMirror -> ToDevice(0)"),
    "queue": (2, "FromDevice(0) -> Queue(1000) -> c :: Counter -> ToDevice(1); FromDevice(1) -> ToDevice(0)"),
    "firewall": (2, "FromDevice(0) -> Strip(14) -> CheckIPHeader -> f :: IPFilter(allow udp && dst port 53, allow tcp, deny all)"
                 " -> Unstrip(14) -> c :: Counter -> ToDevice(1)"),
    "nat": (2, "FromDevice(0) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535# - - 0 1)"
               " -> Unstrip(14) -> ToDevice(1); rw[1] -> Unstrip(14) -> c :: Counter -> ToDevice(0)"),
    "responder": (1, "FromDevice(0) -> cl :: Classifier(12/0806 20/0001, 12/0800, -);"
                     "cl[0] -> ARPResponder(10.0.0.0/8 02:00:00:00:00:09) -> ToDevice(0); cl[2] -> Discard;"
                     "cl[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> c :: Counter -> Queue"
                     " -> EtherMirror -> d :: Discard".replace("ToDevice(0); cl[2]", "Queue -> ToDevice(0); cl[2]")),
}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_same_packets_out_of_the_same_ports(name: str) -> None:
    ports, text = CONFIGURATIONS[name]
    frames = [(0, f) for f in FRAMES]
    wanted, router = interpret(text, frames, ports)
    handlers = [f"{e.name}.{h}" for e in router.elements for h in e.handlers if h in ("count", "drops", "nmappings", "length")]
    expected = {h: router.read(h) for h in handlers}
    for isolation in ["inline", "process", *([] if KVM.marks[0].args[0] else ["kvm"])]:
        with running(isolation, text, ports) as (_, instance, shared):
            assert exchange(shared, frames) == wanted, isolation
            assert {h: instance.read(h) for h in handlers} == expected, isolation


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_an_idle_domain_sleeps_and_wakes(isolation: str) -> None:
    with running(isolation, CONFIGURATIONS["mirror"][1]) as (machine, _, (port,)):
        assert exchange([port], [(0, FRAMES[0])])[0]
        assert machine.state == State.IDLE
        before = machine.context.load(56, 8)
        time.sleep(0.3)
        assert machine.context.load(56, 8) == before
        assert exchange([port], [(0, FRAMES[1])])[0]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_timers_run_while_nothing_comes(isolation: str) -> None:
    with running(isolation, "t :: TimedSource(0.02, DATA abc) -> c :: Counter -> Discard") as (_, instance, _ports):
        time.sleep(0.5)
        assert 10 <= int(instance.read("c.count")) <= 30


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_time_inside_is_time_outside(isolation: str) -> None:
    with running(isolation, "t :: TimedSource(0.02, DATA abc) -> SetTimestamp -> Queue -> q :: Unqueue(1) -> s :: StoreTimestamp(0, FIRST)"
                 .replace(" -> SetTimestamp", "").replace("-> q :: Unqueue(1) -> s :: StoreTimestamp(0, FIRST)", "-> Discard")) as (_, instance, _p):
        time.sleep(0.2)
        with instance.machine.held():
            now = instance.router.clock.recent
        assert abs(time.time_ns() - now) < 1_000_000_000


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_several_configurations_come_and_go(isolation: str) -> None:
    names = ["0", "1"]
    mirror = [Template.from_text(f"FromDevice({n}) -> c :: Counter -> EtherMirror -> ToDevice({n})", interfaces=names) for n in names]
    shared = [SharedPort(n) for n in names]
    ports = dict(zip(names, shared))
    with machine_class(isolation)(data_bytes=16 << 20) as machine:
        machine.start()
        first = machine.install(mirror[0], ports)
        assert [len(x) for x in exchange(shared, [(0, FRAMES[0]), (1, FRAMES[0])])] == [1, 0]
        second = machine.install(mirror[1], ports)
        assert (first.number, second.number) == (0, 1)
        assert [len(x) for x in exchange(shared, [(0, FRAMES[1])])] == [1, 0]
        with pytest.raises(MachineError, match="in use by another"):
            machine.install(mirror[1], ports)
        machine.remove(first)
        assert [len(x) for x in exchange(shared, [(1, FRAMES[1])])] == [0, 1]
        again = machine.install(mirror[0], ports)
        assert [len(x) for x in exchange(shared, [(0, FRAMES[1])])] == [1, 0]
        assert (again.number, again.read("c.count")) == (0, "1")
    for port in shared:
        port.close()


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_handlers_are_read_and_written_while_it_runs(isolation: str) -> None:
    text = "s :: InfiniteSource(LENGTH 60, BURST 8) -> c :: Counter -> sw :: Switch(0); sw[0] -> a :: Counter -> Discard; sw[1] -> b :: Counter -> Discard"
    with running(isolation, text) as (machine, instance, _ports):
        deadline = time.monotonic() + 5
        while int(instance.read("c.count")) == 0 and time.monotonic() < deadline:
            time.sleep(0.001)
        instance.write("sw.switch", "1")
        first = int(instance.read("a.count"))
        time.sleep(0.02)
        assert int(instance.read("a.count")) == first
        assert int(instance.read("b.count")) > 0
        machine.pause()
        count = instance.read("c.count")
        time.sleep(0.02)
        assert instance.read("c.count") == count and machine.state == State.PARKED
        machine.resume()
        time.sleep(0.05)
        assert int(instance.read("c.count")) > int(count)
        with machine.held():
            count = instance.read("c.count")
            time.sleep(0.01)
            assert instance.read("c.count") == count


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_printing_elements_speak_outside(isolation: str, capfd: pytest.CaptureFixture[str]) -> None:
    with running(isolation, "FromDevice(0) -> Print(hello) -> Discard") as (_, _instance, shared):
        exchange(shared, [(0, FRAMES[0]), (0, FRAMES[1])])
    assert capfd.readouterr().err.count("hello") == 2


@pytest.mark.parametrize("isolation", ["process", KVM])
def test_a_fault_ends_only_its_own_domain(isolation: str) -> None:
    text = CONFIGURATIONS["queue"][1]
    heard: list[Event] = []
    ended = threading.Event()
    with running(isolation, text, 2) as (machine, instance, shared), running(isolation, text, 2) as (other, _, others):
        machine.on_event = lambda m, e: (heard.append(e), ended.set() if e & Event.CRASHED else None)  # type: ignore[func-returns-value]
        assert exchange(shared, [(0, FRAMES[0])])[1]
        with machine.held(changes=True):
            # What a broken compiler would do: a packet that lies outside of the memory.
            pool = instance.router.pool
            for i in range(pool.capacity):
                pool.stack[i] = 1 << 40
        shared[0].send(FRAMES[0])
        assert ended.wait(5)
        assert machine.state == State.CRASHED
        assert re.search(r"in the packet code of '[\w@]+' \(\S+\.py:\d+\)", machine.crash_reason), machine.crash_reason
        assert exchange(others, [(0, FRAMES[0])])[1]
        assert other.state == State.IDLE


@pytest.mark.parametrize("isolation", ["process", KVM])
def test_a_domain_that_does_not_come_back_is_broken_off(isolation: str) -> None:
    with running(isolation, "FromDevice(0) -> Discard; i :: InfiniteSource(LENGTH 60) -> c :: Counter -> Discard") as (machine, _, _ports):
        time.sleep(0.05)
        # A turn that takes for ever: as many tasks as a 64-bit number holds.
        machine.control.store(16, 8, (1 << 64) - 1)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                machine._wait_for_state(State.PARKED, timeout_s=0.05)
            except MachineError:
                break
        machine.break_off("it did not come back")  # type: ignore[attr-defined]
        deadline = time.monotonic() + 5
        while machine.state not in (State.CRASHED, State.ENDED) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert machine.state in (State.CRASHED, State.ENDED)
        assert machine.crash_reason == "it did not come back"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_peer_that_writes_nonsense_loses_the_port(isolation: str) -> None:
    with running(isolation, "FromDevice(0) -> f :: Counter -> ToDevice(0)") as (machine, instance, (port,)):
        assert exchange([port], [(0, FRAMES[0])])[0]
        port.tail += 100000
        port.flush()
        time.sleep(0.1)
        assert instance.read("f.count") == "1"
        assert instance.router.ports["0"].broken
        assert machine.state == State.IDLE
    with running(isolation, "FromDevice(0) -> f :: Counter -> ToDevice(0)") as (machine, instance, (port,)):
        port.put(FRAMES[0])
        port._words[1024 + 64] = 0xFFFFFFFF
        port.flush()
        time.sleep(0.1)
        assert instance.router.ports["0"].broken and instance.read("f.count") == "0"


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_nothing_is_left(isolation: str) -> None:
    def left() -> tuple[int, int, int]:
        gc.collect()
        maps = Path("/proc/self/maps").read_text().count("\n")
        return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), maps

    template = Template.from_text(CONFIGURATIONS["mirror"][1], interfaces=["0"])
    for _ in range(3):
        with running(isolation, CONFIGURATIONS["mirror"][1]) as (_, _instance, shared):
            exchange(shared, [(0, FRAMES[0])], quiet_s=0.01)
    before = left()
    for _ in range(20):
        with SharedPort("0") as port:
            with machine_class(isolation)() as machine:
                machine.install(template, {"0": port})
                machine.start()
                assert port.send(FRAMES[0]) and port.receive(2) is not None
    time.sleep(0.1)
    after = left()
    assert after[0] <= before[0] + 1 and after[1] <= before[1] + 1 and after[2] <= before[2] + 30


def test_the_best_isolation_is_chosen_and_said() -> None:
    isolation, reason = choose()
    assert (isolation == "kvm") == (reason == "")
    assert issubclass(machine_class(isolation), Machine)
    with pytest.raises(ValueError, match="must be one of kvm, process, inline"):
        machine_class("xen")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_queue_is_emptied_as_fast_as_it_is_filled(isolation: str) -> None:
    text = "FromDevice(0) -> q :: Queue(1000) -> ToDevice(1); FromDevice(1) -> ToDevice(0)"
    with running(isolation, text, 2) as (_, instance, shared):
        got = 0
        for i in range(6000):
            while not shared[0].send(i.to_bytes(4, "big") * 15):
                pass
            while (frame := shared[1].receive()) is not None:
                assert frame == got.to_bytes(4, "big") * 15
                got += 1
        while shared[1].receive(0.2) is not None:
            got += 1
        assert (got, instance.read("q.drops")) == (6000, "0")


def test_a_process_does_not_outlive_its_maker() -> None:
    program = ("import os, time\nfrom penstock.toolstack import *\nts = Toolstack(); d = ts.create(DomainSpec('s', isolation='process'))\n"
               "ts.start('s', 'InfiniteSource(LENGTH 60) -> Discard')\nprint(d.machine.thread_id, d.machine._child, flush=True)\n"
               "time.sleep(0.1); os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    processes = done.stdout.split()
    assert len(processes) == 2
    end = time.monotonic() + 5
    while any(Path(f"/proc/{p}").exists() for p in processes):
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_what_changes_while_a_domain_stands_still_is_seen_afterwards(isolation: str) -> None:
    """An idle domain that is given something to do while it is parked must not go back to sleep."""
    template = Template.from_text("i :: InfiniteSource(LENGTH 60, ACTIVE false) -> c :: Counter -> Discard")
    for _ in range(10):
        with machine_class(isolation)() as machine:
            machine.start()
            instance = machine.install(template)
            machine.pause()
            instance.write("i.active", "true")
            machine.resume()
            end = time.monotonic() + 3
            while instance.read("c.count") == "0":
                assert time.monotonic() < end


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_machine_that_is_started_paused_stands_still(isolation: str) -> None:
    template = Template.from_text("i :: InfiniteSource(LENGTH 60) -> c :: Counter -> Discard")
    with machine_class(isolation)() as machine:
        machine.pause()
        machine.start()
        assert machine.state == State.PARKED
        instance = machine.install(template)
        time.sleep(0.05)
        assert instance.read("c.count") == "0"
        machine.resume()
        end = time.monotonic() + 3
        while instance.read("c.count") == "0":
            assert time.monotonic() < end
