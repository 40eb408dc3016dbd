"""Domains from creation to end, and their state on the move."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.isolation.kvm import why_not
from penstock.toolstack import Domain, DomainError, DomainSpec, DomainState, Toolstack, VifSpec
from penstock.toolstack.flows import by_source
from penstock.toolstack.pool import MachinePool
from penstock.toolstack.snapshot import decode, encode, freeze
from tests.isolation.machines import ISOLATIONS, KVM
from tests.traffic import ether, udp

MIRROR = "FromDevice(0) -> c :: Counter -> EtherMirror -> ToDevice(0)"
NAT = ("FromDevice(0) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535# - - 0 1, MAPPING_CAPACITY 2000)"
       " -> Unstrip(14) -> q :: Queue(100) -> ToDevice(1); rw[1] -> Unstrip(14) -> c :: Counter -> ToDevice(0)")
DEFAULT = "process" if why_not() else "kvm"


@pytest.fixture
def toolstack() -> Iterator[Toolstack]:
    with Toolstack() as made:
        yield made


def spec(name: str, vifs: int = 1, **values: object) -> DomainSpec:
    return DomainSpec(name, vif=(VifSpec(),) * vifs, **values)  # type: ignore[arg-type]


def bounce(domain: Domain, frame: bytes = b"a" * 60, *, out: int = 0) -> bytes | None:
    assert domain.ports[0].send(frame)
    return domain.ports[out].receive(3)


def eventually(what, seconds: float = 5.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_domain_is_created_used_and_destroyed(toolstack: Toolstack, tmp_path: Path) -> None:
    click = tmp_path / "m.click"
    click.write_text(MIRROR)
    domain = toolstack.create(spec("one", click=str(click)))
    assert (domain.id, domain.state, domain.isolation) == (1, DomainState.RUNNING, DEFAULT)
    assert bounce(domain) is not None
    assert domain.read("c.count") == "1"
    domain.write("c.reset")
    assert domain.read("c.count") == "0"
    info = toolstack.infos()[0]
    assert (info.name, info.state, info.configurations[0]["status"]) == ("one", "running", "Running")
    assert info.vifs[0]["mac"].startswith("00:16:3e:")
    toolstack.destroy("one")
    assert toolstack.infos() == [] and domain.state == DomainState.SHUTDOWN
    assert toolstack.create(spec("one")).id == 2


def test_what_cannot_be_made_leaves_nothing(toolstack: Toolstack, tmp_path: Path) -> None:
    toolstack.create(spec("a"))
    for bad, message in ((spec("a"), "the name 'a' is in use by domain 1"), (spec("b", click="/none.click"), "No such file")):
        with pytest.raises(DomainError, match=message):
            toolstack.create(bad)
    wrong = tmp_path / "w.click"
    wrong.write_text("Foo -> Discard")
    with pytest.raises(DomainError, match="undeclared element 'Foo'"):
        toolstack.create(spec("c", click=str(wrong)))
    wrong.write_text("FromDevice(3) -> Discard")
    with pytest.raises(DomainError, match="no interface '3' in this domain"):
        toolstack.create(spec("d", click=str(wrong)))
    wrong.write_text("Idle -> Queue(100000) -> Discard")
    with pytest.raises(DomainError, match="give it more 'memory'"):
        toolstack.create(spec("e", memory=4, click=str(wrong)))
    assert [i.name for i in toolstack.infos()] == ["a"]


def test_a_domain_is_found_by_name_and_id_and_renamed(toolstack: Toolstack) -> None:
    domain = toolstack.create(spec("a"))
    assert toolstack.find("a") is toolstack.find(1) is toolstack.find("1") is domain
    toolstack.rename("a", "b")
    assert toolstack.find("b") is domain
    with pytest.raises(DomainError, match="there is no domain 'a' \\(there are b\\)"):
        toolstack.find("a")
    with pytest.raises(DomainError, match="'7' is no name"):
        toolstack.rename("b", "7")


def test_configurations_come_and_go_with_their_status(toolstack: Toolstack) -> None:
    domain = toolstack.create(spec("a", vifs=2))
    assert toolstack.start("a", MIRROR) == 0
    assert toolstack.start("a", MIRROR.replace("(0)", "(1)")) == 1
    with pytest.raises(DomainError, match="2 configurations running; say which"):
        domain.read("c.count")
    assert domain.read("c.count", number=1) == "0"
    with pytest.raises(DomainError, match="interface '0' is in use"):
        toolstack.start("a", MIRROR)
    toolstack.stop("a", 0)
    statuses = {c.number: c.status for c in domain.configurations.values()}
    assert statuses == {0: "Halted", 1: "Running", 2: "Error"}
    toolstack.remove("a", 2)
    assert toolstack.start("a", MIRROR, number=0) == 0
    assert bounce(domain) is not None
    with pytest.raises(DomainError, match="no element named 'x'"):
        domain.read("x.y", number=0)
    with pytest.raises(DomainError, match="no configuration 9 \\(there are 0, 1\\)"):
        toolstack.stop("a", 9)


def test_pausing_holds_packets_and_unpausing_delivers_them(toolstack: Toolstack) -> None:
    domain = toolstack.create(spec("a"))
    toolstack.start("a", MIRROR)
    toolstack.pause("a")
    assert domain.state == DomainState.PAUSED
    domain.ports[0].send(b"x" * 60)
    assert domain.ports[0].receive(0.1) is None
    with pytest.raises(DomainError, match="a is paused: only a running domain"):
        toolstack.pause("a")
    toolstack.unpause("a")
    assert domain.ports[0].receive(3) is not None


def test_the_console_has_what_elements_print(toolstack: Toolstack) -> None:
    domain = toolstack.create(spec("a"))
    toolstack.start("a", "FromDevice(0) -> Print(seen) -> Discard")
    domain.ports[0].send(b"x" * 60)
    assert "seen:   60" in domain.console.wait(0, 5)[0][2]


@pytest.mark.parametrize("action", ["preserve", "destroy", "restart"])
def test_a_crash_does_what_the_domain_file_says(toolstack: Toolstack, action: str) -> None:
    domain = toolstack.create(spec("a", on_crash=action))
    toolstack.start("a", MIRROR)
    other = toolstack.create(spec("other"))
    toolstack.start("other", MIRROR)
    instance = domain.configurations[0].instance
    assert instance is not None
    with domain.machine.held():
        for i in range(instance.router.pool.capacity):
            instance.router.pool.stack[i] = 1 << 40
    domain.ports[0].send(b"x" * 60)
    if action == "preserve":
        eventually(lambda: domain.state == DomainState.CRASHED)
        eventually(lambda: any("crashed" in line for _, _, line in domain.console.lines()))
        assert domain.read("c.count") is not None
    elif action == "destroy":
        eventually(lambda: [i.name for i in toolstack.infos()] == ["other"])
    else:
        eventually(lambda: [i.name for i in toolstack.infos()] == ["other", "a"])
        eventually(lambda: toolstack.find("a").configurations.get(0) is not None and toolstack.find("a").configurations[0].status == "Running")
        assert bounce(toolstack.find("a")) is not None
    assert bounce(other) is not None
    assert any("crashed" in line for line in toolstack.log())


def test_a_hung_domain_is_broken_off_by_the_watchdog(toolstack: Toolstack) -> None:
    domain = toolstack.create(spec("a", on_crash="preserve"))
    toolstack.start("a", "InfiniteSource(LENGTH 60) -> Discard")
    time.sleep(0.1)
    domain.machine.control.store(16, 8, (1 << 64) - 1)
    eventually(lambda: domain.state == DomainState.CRASHED, 8)
    assert "did not come back" in domain.machine.crash_reason


def test_shutting_down_does_what_the_domain_file_says(toolstack: Toolstack) -> None:
    toolstack.create(spec("a", on_poweroff="restart"))
    toolstack.start("a", MIRROR)
    toolstack.shutdown("a", "poweroff")
    assert toolstack.find("a").id == 2 and bounce(toolstack.find("a")) is not None
    toolstack.create(spec("b"))
    toolstack.shutdown("b", "halt")
    assert [i.name for i in toolstack.infos()] == ["a"]


def test_a_pool_gives_ready_machines(tmp_path: Path) -> None:
    pool = MachinePool(DEFAULT, size=2, data_bytes=20 << 20)
    with Toolstack(pool=pool) as toolstack:
        eventually(lambda: pool.ready == 2)
        domain = toolstack.create(spec("a"))
        toolstack.start("a", MIRROR)
        assert bounce(domain) is not None
        assert toolstack.create(spec("big", memory=64)).machine.region.size > 64 << 20
        eventually(lambda: pool.ready == 2)


# State that moves

def flows(n: int) -> list[bytes]:
    return [ether(udp(1024 + i, 53, b"x", src=f"10.0.{i >> 8}.{i & 255}")) for i in range(n)]


def translated(domain: Domain, frames: list[bytes]) -> list[bytes]:
    out = []
    for frame in frames:
        got = bounce(domain, frame, out=1)
        assert got is not None
        out.append(got)
    return out


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_snapshots_restores_and_clones_keep_every_mapping(toolstack: Toolstack, tmp_path: Path, isolation: str) -> None:
    domain = toolstack.create(spec("nat", vifs=2, memory=24, isolation=isolation))
    toolstack.start("nat", NAT)
    frames = flows(300)
    before = translated(domain, frames)
    toolstack.snapshot("nat", tmp_path / "s")
    clone = toolstack.clone("nat", "twin")
    assert clone.uuid != domain.uuid and clone.spec.vif[0].mac != domain.spec.vif[0].mac
    assert translated(clone, frames[::-1]) == before[::-1]
    assert translated(domain, frames) == before
    identity, macs = domain.uuid, domain.spec.vif
    toolstack.destroy("nat")
    again = toolstack.restore(tmp_path / "s")
    assert (again.name, again.uuid, again.spec.vif) == ("nat", identity, macs)
    assert translated(again, frames) == before
    assert again.read("rw.nmappings") == "300"
    with pytest.raises(DomainError, match="'nat' is in use"):
        toolstack.restore(tmp_path / "s")


def test_packets_on_their_way_are_part_of_a_snapshot(toolstack: Toolstack, tmp_path: Path) -> None:
    domain = toolstack.create(spec("a", vifs=2))
    toolstack.start("a", "FromDevice(0) -> q :: Queue(100) -> u :: Unqueue(ACTIVE false) -> ToDevice(1)")
    for i in range(5):
        domain.ports[0].send(bytes([i]) * 60)
    eventually(lambda: domain.read("q.length") == "5")
    toolstack.pause("a")
    domain.ports[0].send(b"\x09" * 60)
    toolstack.snapshot("a", tmp_path / "s")
    toolstack.destroy("a")
    again = toolstack.restore(tmp_path / "s")
    again.write("u.active", "true")
    assert [(again.ports[1].receive(3) or b"?")[0] for _ in range(6)] == [0, 1, 2, 3, 4, 9]


def test_damaged_and_foreign_snapshots_are_refused(toolstack: Toolstack, tmp_path: Path) -> None:
    domain = toolstack.create(spec("a"))
    toolstack.start("a", MIRROR)
    data = encode(freeze(domain))
    toolstack.destroy("a")
    bad = tmp_path / "s"
    r = random.Random(1)
    for cut in (0, 5, 20, 30, len(data) // 2, len(data) - 1):
        bad.write_bytes(data[:cut])
        with pytest.raises(DomainError, match=r"not a snapshot|cut off"):
            toolstack.restore(bad)
    for _ in range(30):
        i = r.randrange(24, len(data))
        bad.write_bytes(data[:i] + bytes([data[i] ^ 1 << r.randrange(8)]) + data[i + 1 :])
        with pytest.raises(DomainError, match="damaged"):
            toolstack.restore(bad)
    bad.write_bytes(data[:8] + (99).to_bytes(4, "little") + data[12:])
    with pytest.raises(DomainError, match="a snapshot of format 99"):
        toolstack.restore(bad)
    with pytest.raises(DomainError, match="No such file"):
        toolstack.restore(tmp_path / "none")
    assert toolstack.infos() == []
    # Whoever makes a good checksum of a bad header still gets a clear answer.
    frozen = decode(data)
    import dataclasses

    foreign = dataclasses.replace(frozen, running=tuple(dataclasses.replace(c, layout_digest="0") for c in frozen.running))
    bad.write_bytes(encode(foreign))
    with pytest.raises(DomainError, match="another layout here"):
        toolstack.restore(bad)
    large = dataclasses.replace(frozen, running=tuple(dataclasses.replace(c, pages=[(1 << 29, b"x")]) for c in frozen.running))
    bad.write_bytes(encode(large))
    with pytest.raises(DomainError, match="larger than its memory"):
        toolstack.restore(bad)
    assert toolstack.infos() == []


def test_a_snapshot_that_cannot_be_written_leaves_nothing(toolstack: Toolstack, tmp_path: Path) -> None:
    toolstack.create(spec("a"))
    with pytest.raises(DomainError, match="No such file"):
        toolstack.snapshot("a", tmp_path / "none" / "s")
    full = Path("/dev/full")
    if full.exists():
        import penstock.toolstack.snapshot as module

        before = module.tempfile.mkstemp
        module.tempfile.mkstemp = lambda **_: (__import__("os").open("/dev/full", 1), str(tmp_path / "gone"))  # type: ignore[assignment]
        try:
            with pytest.raises(DomainError, match="No space left"):
                toolstack.snapshot("a", tmp_path / "s")
        finally:
            module.tempfile.mkstemp = before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_hot_swap_loses_no_packet_and_no_mapping(toolstack: Toolstack, isolation: str) -> None:
    domain = toolstack.create(spec("nat", vifs=2, memory=48, isolation=isolation))
    toolstack.start("nat", NAT)
    frames = flows(50)
    before = translated(domain, frames)
    got: list[bytes] = []
    done = threading.Event()

    def collect() -> None:
        while not done.is_set() or (frame := domain.ports[1].receive()) is not None:
            if (frame := domain.ports[1].receive(0.01)) is not None:
                got.append(frame)

    thread = threading.Thread(target=collect)
    thread.start()
    other = NAT.replace("-> c :: Counter", "-> Counter -> c :: Counter")
    for k in range(6):
        for frame in frames:
            while not domain.ports[0].send(frame):
                time.sleep(0.001)
        toolstack.swap("nat", other if k % 2 == 0 else NAT)
    time.sleep(0.3)
    done.set()
    thread.join()
    assert sorted(got) == sorted(before * 6)
    assert domain.read("rw.nmappings") == "50"
    with pytest.raises(DomainError, match="undeclared element 'Foo'"):
        toolstack.swap("nat", "Foo -> Discard")
    assert translated(domain, frames) == before


@pytest.mark.parametrize("isolation", [KVM])
def test_weights_and_cpus_reach_the_thread(toolstack: Toolstack, isolation: str) -> None:
    import os

    domain = toolstack.create(spec("a", weight=1024, cpus="0", isolation=isolation))
    thread = domain.machine.thread_id
    assert os.sched_getaffinity(thread) == {0}
    if os.geteuid() == 0:
        assert os.getpriority(os.PRIO_PROCESS, thread) == -6


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_the_time_a_domain_uses_is_told(toolstack: Toolstack, isolation: str) -> None:
    domain = toolstack.create(spec("a", isolation=isolation))
    toolstack.start("a", "InfiniteSource(LENGTH 60) -> Discard")
    before = domain.cpu_s
    time.sleep(0.3)
    assert 0.01 < domain.cpu_s - before < 1


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_cap_holds_a_domain_down(toolstack: Toolstack, isolation: str) -> None:
    domain = toolstack.create(spec("a", isolation=isolation, cap=20))
    toolstack.start("a", "InfiniteSource(LENGTH 60) -> c :: Counter -> Discard; FromDevice(0) -> EtherMirror -> ToDevice(0)")
    time.sleep(0.3)
    before, at = domain.cpu_s, time.monotonic()
    time.sleep(1)
    share = (domain.cpu_s - before) / (time.monotonic() - at)
    assert 0.02 < share < 0.5
    assert bounce(domain) is not None
    count = int(domain.read("c.count"))
    toolstack.pause("a")
    time.sleep(0.1)
    assert domain.state == DomainState.PAUSED
    toolstack.unpause("a")
    eventually(lambda: int(domain.read("c.count")) > count)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_single_flows_move_while_both_domains_run(toolstack: Toolstack, isolation: str) -> None:
    first = toolstack.create(spec("first", vifs=2, memory=24, isolation=isolation))
    second = toolstack.create(spec("second", vifs=2, memory=24, isolation=isolation))
    for name in ("first", "second"):
        toolstack.start(name, NAT + "; FromDevice(1) -> Strip(14) -> CheckIPHeader -> rw")
    frames = [ether(udp(2000 + i, 53, b"x", src=f"10.{i % 2}.0.{i // 2 + 1}")) for i in range(100)]
    before = translated(first, frames)
    assert toolstack.move_flows("first", "second", "rw", by_source("10.1.0.0/16")) == 50
    assert (first.read("rw.nmappings"), second.read("rw.nmappings")) == ("50", "50")
    assert translated(second, frames[1::2]) == before[1::2]
    assert translated(first, frames[::2]) == before[::2]
    # Replies find their way back, too.
    reply = bytearray(before[1])
    reply[26:30], reply[30:34] = before[1][30:34], before[1][26:30]
    reply[34:36], reply[36:38] = before[1][36:38], before[1][34:36]
    assert second.ports[1].send(bytes(reply))
    back = second.ports[0].receive(3)
    assert back is not None and back[30:34] == bytes([10, 1, 0, 1]) and int.from_bytes(back[36:38], "big") == 2001
    assert toolstack.move_flows("second", "first", "rw", by_source("0.0.0.0/0")) == 50
    assert translated(first, frames) == before and second.read("rw.nmappings") == "0"
    # What the target knows already stays.
    translated(second, frames[:2])
    assert toolstack.move_flows("first", "second", "rw", by_source("10.0.0.1/32")) == 0
    with pytest.raises(DomainError, match="elements with tables: rw"):
        toolstack.move_flows("first", "second", "c", by_source("10.0.0.0/8"))
    with pytest.raises(DomainError, match="no IPv4 prefix"):
        by_source("ten")


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_configuration_that_stops_is_halted(toolstack: Toolstack, isolation: str) -> None:
    domain = toolstack.create(spec("a", isolation=isolation))
    toolstack.start("a", "InfiniteSource(LIMIT 10, STOP true) -> c :: Counter -> Discard")
    eventually(lambda: domain.configurations[0].status == "Halted")
    assert any("configuration 0 has stopped" in line for _, _, line in domain.console.lines())


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_scripts_and_files_work_beside_a_domain(toolstack: Toolstack, isolation: str, tmp_path: Path) -> None:
    out = tmp_path / "out.pcap"
    domain = toolstack.create(spec("a", isolation=isolation))
    toolstack.start("a", f"""i :: InfiniteSource(LENGTH 60, LIMIT 100, ACTIVE false) -> c :: Counter -> ToDump({out});
        Script(wait 0.1s, write i.active true, wait 0.3s, print "seen $(c.count)", stop);""")
    eventually(lambda: domain.configurations[0].status == "Halted")
    lines = [line for _, _, line in domain.console.lines()]
    assert "seen 100" in lines
    assert out.stat().st_size == 24 + 100 * 76
    toolstack.start("a", f"FromDump({out}, STOP true) -> c :: Counter -> ToDump({tmp_path / 'again'})", number=1)
    eventually(lambda: domain.configurations[1].status == "Halted")
    assert (tmp_path / "again").stat().st_size == 24 + 100 * 76


def test_a_weaker_isolation_is_said(toolstack: Toolstack, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "/dev/kvm: Permission denied (add this user to the group kvm)"
    monkeypatch.setattr("penstock.toolstack.domain.choose", lambda: ("process", why))
    domain = toolstack.create(spec("a"))
    assert domain.isolation == "process"
    assert domain.remarks[0] == f"a locked-down process, not a virtual machine: {why}"
    assert f"[{domain.remarks[0]}]" in [line for _, _, line in domain.console.lines()]


def test_a_snapshot_needs_no_page_map(toolstack: Toolstack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    domain = toolstack.create(spec("nat", vifs=2, memory=24, isolation="inline"))
    toolstack.start("nat", NAT)
    before = translated(domain, flows(20))

    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("penstock.isolation.template.open", refuse, raising=False)
    toolstack.snapshot("nat", tmp_path / "s")
    toolstack.destroy("nat")
    assert translated(toolstack.restore(tmp_path / "s"), flows(20)) == before


def test_tables_that_are_filled_beforehand_work_in_a_domain(toolstack: Toolstack) -> None:
    """Each instance has secrets of its own; what lies in a table already was placed by another one's."""
    rules = ", ".join(f"allow src host 9.0.{i >> 8}.{i & 255}" for i in range(500))
    domain = toolstack.create(spec("filter", memory=16))
    toolstack.start("filter", f"InfiniteSource(LENGTH 40, LIMIT 100) -> UDPIPEncap(9.0.1.7, 1, 2.0.0.2, 2) -> IPFilter({rules}, deny all)"
                    " -> c :: Counter -> Discard")
    eventually(lambda: domain.read("c.count") == "100")
