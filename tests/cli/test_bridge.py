"""penstock bridge and penstock lb, as processes between ports of switches that another process keeps."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.packet.build import ipv4_header, udp_datagram
from penstock.toolstack import Client, DomainError
from penstock.toolstack.openport import RemotePort

CODE = "import sys; from penstock.cli.main import main; sys.exit(main())"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PENSTOCK_RUN", str(tmp_path / "run"))
    yield
    with contextlib.suppress(DomainError), Client(start=False) as client:
        client.shutdown()


@contextlib.contextmanager
def running(*words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", CODE, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "ready" in line, line + (process.stderr.read() if process.stderr and process.poll() is not None else "")
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> str:
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0 and not err, err
    return out


def frame(flow: int) -> bytes:
    segment = udp_datagram(1000 + flow, 80, b"data", bytes([10, 0, 0, 1, 10, 0, 0, 2]))
    return b"\xff" * 6 + bytes([2, 0, 0, 0, 0, flow]) + b"\x08\0" + ipv4_header(0x0A000001, 0x0A000002, 17, len(segment), ttl=64) + segment


def received(port: RemotePort, count: int) -> list[bytes]:
    found: list[bytes] = []
    end = time.monotonic() + 10
    while len(found) < count and time.monotonic() < end:
        if (got := port.receive(0.2)) is not None:
            found.append(got)
    return found


def test_a_bridge_joins_ports_of_two_switches_both_ways() -> None:
    with running("bridge", "-i", "vale0:x", "-i", "vale1:x") as bridge, RemotePort("vale0:a") as a, RemotePort("vale1:b") as b:
        for n in range(50):
            assert a.send(frame(n))
        assert received(b, 50) == [frame(n) for n in range(50)]
        assert b.send(frame(99)) and received(a, 1) == [frame(99)]
        assert "vale0:x: 50 frames in, 1 out, vale1:x: 1 frames in, 50 out" in ended(bridge)


def test_a_loop_sends_back_what_comes() -> None:
    with running("bridge", "-i", "vale0:x", "-L") as bridge, RemotePort("vale0:a") as a:
        assert a.send(frame(1)) and received(a, 1) == [frame(1)]
        assert "vale0:x: 1 frames in, 1 out" in ended(bridge)


def test_lb_spreads_flows_over_pipes_and_gives_every_group_all() -> None:
    with contextlib.ExitStack() as stack:
        lb = stack.enter_context(running("lb", "-i", "vale0:x", "-p", "pool:3", "-p", "watch:1", "-o", "0.2"))
        source, watch = stack.enter_context(RemotePort("vale0:a")), stack.enter_context(RemotePort("valewatch:0"))
        pipes = [stack.enter_context(RemotePort(f"valepool:{i}")) for i in range(3)]
        for _ in range(2):
            for flow in range(60):
                assert source.send(frame(flow))
        assert sorted(received(watch, 120)) == sorted([frame(flow) for flow in range(60)] * 2)
        got = [list(iter(lambda p=pipe: p.receive(0.2), None)) for pipe in pipes]
        assert all(got) and sum(map(len, got)) == 120
        for frames in got:
            assert all(frames.count(f) == 2 for f in frames), "both packets of a flow are at one pipe"
        assert pipes[1].send(frame(200)) and received(source, 1) == [frame(200)], "what a pipe sends goes out"
        state = json.loads(ended(lb).splitlines()[-1])
    assert state["frames"] == 120 and state["sent"] == 1
    assert [p["pipe"] for p in state["pipes"]] == ["valepool:0", "valepool:1", "valepool:2", "valewatch:0"]
    assert [p["frames"] for p in state["pipes"]] == [*map(len, got), 120] and not any(p["lost"] for p in state["pipes"])
    with Client() as client:
        assert not [info for info in client.switch_list() if info["name"] in ("valepool", "valewatch")], "pipes go with their process"


@pytest.mark.parametrize(("words", "message"), [
    (("bridge", "-i", "vale0:a", "-i", "vale0:b", "-i", "vale0:c"), "a bridge has two ends, and a loop has one"),
    (("bridge", "-i", "none0", "-i", "vale0:b"), "none0: no such interface (there are"),
    (("bridge", "-i", "vale0:a", "-i", "vale0:b", "-b", "0"), "-b 0: 1 at least"),
    (("lb", "-i", "vale0:a", "-p", "x:none"), "-p x:none: [NAME:]N is expected, with N from 1 to 120"),
    (("lb", "-i", "vale0:a", "-p", "2", "-p", "3"), "two groups of pipes named a: give them names (-p NAME:N)"),
])
def test_what_makes_no_sense_is_said(words: tuple[str, ...], message: str) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr
