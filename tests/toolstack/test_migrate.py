"""Live migration: nothing is lost, and never two copies run."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import sys
import threading
import time
from pathlib import Path
from typing import BinaryIO

import pytest

from penstock.toolstack import Domain, DomainError, DomainSpec, DomainState, Toolstack, VifSpec
from penstock.toolstack.migrate import MigrationDoubt, receive, send
from tests.isolation.machines import ISOLATIONS
from tests.toolstack.test_service import DOMAIN, MIRROR, cosmos, home  # noqa: F401
from tests.toolstack.test_toolstack import DEFAULT, NAT, bounce, flows, spec, translated


class Cut:
    """A stream that ends after so many bytes."""

    def __init__(self, inner: BinaryIO, limit: int, channel: socket.socket):
        self.inner, self.left, self.channel = inner, limit, channel

    def write(self, data: bytes) -> int:
        if len(data) > self.left:
            self.inner.write(bytes(data)[: self.left])
            self.flush()
            self.channel.shutdown(socket.SHUT_RDWR)
            raise BrokenPipeError(32, "Broken pipe")
        self.left -= len(data)
        return self.inner.write(data)

    def flush(self) -> None:
        self.inner.flush()


def move(source: Toolstack, target: Toolstack, domain: Domain, *, cut_sender: int = 1 << 40, cut_receiver: int = 1 << 40):  # type: ignore[no-untyped-def]
    """Both ends over a socket pair; gives the report or the sender's error, and the new domain or the receiver's error."""
    a, b = socket.socketpair()
    files: list[BinaryIO] = []

    def stream(channel: socket.socket, mode: str) -> BinaryIO:
        files.append(channel.makefile(mode, buffering=1 << 16))  # type: ignore[call-overload]
        return files[-1]

    result: dict[str, object] = {}

    def take() -> None:
        try:
            result["domain"] = receive(target, stream(b, "rb"), Cut(stream(b, "wb"), cut_receiver, b))  # type: ignore[arg-type]
        except DomainError as error:
            result["error"] = error
        finally:
            with contextlib.suppress(OSError):
                b.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=take)
    thread.start()
    try:
        report: object = send(source, domain, stream(a, "rb"), Cut(stream(a, "wb"), cut_sender, a))  # type: ignore[arg-type]
    except DomainError as error:
        report = error
    with contextlib.suppress(OSError):
        a.shutdown(socket.SHUT_RDWR)
    thread.join()
    for file in files:
        with contextlib.suppress(OSError):
            file.close()
    a.close()
    b.close()
    return report, result


def running(*toolstacks: Toolstack) -> list[Domain]:
    return [d for t in toolstacks for d in t.domains.values() if d.state == DomainState.RUNNING]


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_a_moved_domain_keeps_its_state_and_its_packets(isolation: str) -> None:
    with Toolstack() as here, Toolstack() as there:
        domain = here.create(spec("nat", vifs=2, memory=24, isolation=isolation))
        here.start("nat", NAT)
        frames = flows(200)
        before = translated(domain, frames)
        identity, macs = domain.uuid, domain.spec.vif
        report, result = move(here, there, domain)
        assert not isinstance(report, Exception), report
        moved = result["domain"]
        assert isinstance(moved, Domain)
        assert (moved.uuid, moved.spec.vif, moved.state) == (identity, macs, DomainState.RUNNING)
        assert here.infos() == [] and translated(moved, frames) == before
        assert moved.read("rw.nmappings") == "200"


def test_packets_that_come_meanwhile_arrive() -> None:
    with Toolstack() as here, Toolstack() as there:
        domain = here.create(spec("m"))
        here.start("m", MIRROR)
        here.pause("m")
        for i in range(10):
            domain.ports[0].send(bytes([i]) * 60)
        _, result = move(here, there, domain)
        moved = result["domain"]
        assert isinstance(moved, Domain) and moved.state == DomainState.PAUSED
        there.unpause("m")
        assert [(moved.ports[0].receive(3) or b"?")[12] for _ in range(10)] == list(range(10))


def test_wherever_it_is_cut_at_most_one_copy_runs_and_one_is_left() -> None:
    r = random.Random(5)
    with Toolstack() as here, Toolstack() as there:
        domain = here.create(spec("nat", vifs=2, memory=24))
        here.start("nat", NAT)
        frames = flows(20)
        before = translated(domain, frames)
        probe, result = move(here, there, domain)
        size = probe.bytes_sent
        moved = result["domain"]
        assert isinstance(moved, Domain)
        here, there, domain = there, here, moved
        cuts = [(n, 1 << 40) for n in (0, 3, 100, 700, *(r.randrange(size) for _ in range(5)), size - 30)] + [(1 << 40, n) for n in (0, 4, 6, 11, 13)]
        for sender, receiver in cuts:
            report, result = move(here, there, domain, cut_sender=sender, cut_receiver=receiver)
            copies = running(here, there)
            if isinstance(report, MigrationDoubt):
                assert domain.state == DomainState.PAUSED and len(copies) <= 1
                if copies:
                    here.destroy("nat")
                    here, there, domain = there, here, copies[0]
                else:
                    here.unpause("nat")
            elif isinstance(report, DomainError):
                assert copies == [domain] and "goes on here" in str(report) and there.infos() == []
            else:
                moved = result["domain"]
                assert isinstance(moved, Domain) and copies == [moved]
                here, there, domain = there, here, moved
            assert translated(domain, frames) == before


def test_what_cannot_be_taken_over_says_why_on_both_sides(tmp_path: Path) -> None:
    with Toolstack() as here, Toolstack() as there:
        domain = here.create(spec("m"))
        here.start("m", MIRROR)
        there.create(DomainSpec("m"))
        report, result = move(here, there, domain)
        assert "the name 'm' is in use" in str(report) and "goes on here" in str(report)
        assert "nothing was taken over" in str(result["error"])
        assert bounce(domain) is not None


@pytest.mark.parametrize("garbage", [b"", b"H", b"H\xff\xff\xff\xff", b"X\0\0\0\0", b"H\2\0\0\0{}", b"H\2\0\0\0[]", b"C\0\0\0\0" * 3])
def test_a_receiver_is_not_hurt_by_nonsense(garbage: bytes) -> None:
    import io

    with Toolstack() as there:
        with pytest.raises(DomainError, match="nothing was taken over"):
            receive(there, io.BytesIO(garbage), io.BytesIO())
        assert there.infos() == []


def test_the_command_moves_between_toolstacks(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    (home / "keep.cfg").write_text("name = 'stay'\n")
    cosmos("create", "-q", str(home / "d.cfg"))
    other = home / "other"
    command = f"PENSTOCK_RUN={other} {sys.executable} -m penstock.cli.main vm migrate-receive"
    out, _ = cosmos("migrate", "-s", "", "one", command)
    assert "ms of silence" in out
    monkeypatch.setenv("PENSTOCK_RUN", str(other))
    assert cosmos("read", "one", "c", "count")[0] == "read(c/count) => 0\n"
    cosmos("destroy", "one")
    end = time.monotonic() + 10
    while (other / "toolstack.socket").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    monkeypatch.setenv("PENSTOCK_RUN", str(home / "run"))
    assert DOMAIN and DEFAULT and VifSpec and os.name
