"""A domain on a switch through its whole life: nothing that waits in its rings is lost, and the switch follows."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.ring import OpenPort
from penstock.toolstack import Domain, DomainSpec, Toolstack, VifSpec
from penstock.toolstack.migrate import receive, send

MIRROR = "FromDevice(0) -> c :: Counter -> EtherMirror -> ToDevice(0)"
FRAME = bytes([2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0]) + b"hello"
BACK = FRAME[6:12] + FRAME[:6] + FRAME[12:]


@pytest.fixture
def toolstack() -> Iterator[Toolstack]:
    with Toolstack() as made:
        yield made


def make(toolstack: Toolstack) -> OpenPort:
    toolstack.create(DomainSpec("m", vif=(VifSpec(bridge="vale0"),)))
    toolstack.start("m", MIRROR)
    return toolstack.switches.switches["vale0"].open("p")


def answers(port: OpenPort, sent: int) -> int:
    for _ in range(sent):
        assert port.send(FRAME)
    got = 0
    while port.receive(0.3) == BACK:
        got += 1
    return got


def names(toolstack: Toolstack) -> list[str]:
    return [c.name for c in toolstack.switches.switches["vale0"].counters()]


def test_configurations_come_and_go_on_a_port(toolstack: Toolstack) -> None:
    port = make(toolstack)
    assert answers(port, 5) == 5
    toolstack.swap("m", MIRROR + "; Idle -> Discard")
    assert answers(port, 5) == 5 and toolstack.find("m").read("c.count") == "10"
    toolstack.pause("m")
    assert answers(port, 5) == 0
    toolstack.unpause("m")
    assert answers(port, 0) == 5
    toolstack.stop("m", 0)
    toolstack.start("m", MIRROR)
    assert answers(port, 5) == 5
    toolstack.destroy("m")
    assert names(toolstack) == ["p"]


def test_what_waits_is_saved_restored_and_moved(toolstack: Toolstack, tmp_path: Path) -> None:
    port = make(toolstack)
    assert answers(port, 3) == 3
    toolstack.pause("m")
    assert answers(port, 10) == 0
    toolstack.snapshot("m", tmp_path / "saved")
    toolstack.destroy("m")
    toolstack.restore(tmp_path / "saved")
    assert answers(port, 0) == 10
    twin = toolstack.clone("m", "twin")
    port.send(b"\xff" * 6 + FRAME[6:])
    assert port.receive(1) and port.receive(1), "both answer"
    toolstack.destroy("twin")
    assert twin.ended and len(names(toolstack)) == 2
    box: list[Domain] = []
    with Toolstack() as other:
        a, b = socket.socketpair()
        with a, b, a.makefile("rb") as ra, a.makefile("wb") as wa, b.makefile("rb") as rb, b.makefile("wb") as wb:
            thread = threading.Thread(target=lambda: box.append(receive(other, rb, wb)))
            thread.start()
            send(toolstack, toolstack.find("m"), ra, wa)
            thread.join(20)
        assert names(toolstack) == ["p"] and box[0].name == "m"
        assert answers(other.switches.switches["vale0"].open("q"), 5) == 5


def test_a_domain_that_breaks_the_rules_loses_its_port_and_is_ended_as_usual(toolstack: Toolstack) -> None:
    port = make(toolstack)
    domain = toolstack.find("m")
    switch = toolstack.switches.switches["vale0"]
    with domain.machine.held():
        from penstock.datapath.ports import TAIL, TX

        domain.ports[0]._words[TX + TAIL] += 100_000
    port.send(FRAME)
    for _ in range(100):
        if switch.look_for_broken() or switch.lost:
            break
        port.receive(0.02)
    assert switch.lost == [("vif1.0", "its write index makes no sense")] and names(toolstack) == ["p"]
    toolstack.destroy("m")
    assert names(toolstack) == ["p"]
