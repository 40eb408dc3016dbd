"""Routers at work: scheduling, handlers, Script, hot swap, live reconfiguration, the control socket."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from penstock.cli.handlers import ControlClient
from penstock.elements.element import HandlerError, HandlerLookupError
from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.harness import run_packets, run_until_quiet
from tests.traffic import Sent, udp

START_NS = 10**18


def run(text: str, **options: object) -> Router:
    router = Router.from_text(text, simulated_start_ns=START_NS, **options)
    router.run()
    return router


def test_tasks_share_by_tickets() -> None:
    with Router.from_text("a :: InfiniteSource -> ca :: Counter -> Discard; b :: InfiniteSource -> cb :: Counter -> Discard",
                          simulated_start_ns=START_NS) as router:
        router.driver.tasks[0].set_tickets(3072)
        router.run(until=lambda: int(router.read("cb.count")) > 1000, slice_steps=64)
        ratio = int(router.read("ca.count")) / int(router.read("cb.count"))
    assert 2.9 < ratio < 3.1


def test_simulated_time_jumps_to_timers() -> None:
    started = time.monotonic()
    router = run("TimedSource(10s, LIMIT 5, STOP true) -> c :: Counter -> Discard")
    assert time.monotonic() - started < 5
    assert router.read("c.count") == "5"
    assert (router.clock.time - START_NS) // 10**9 in (50, 60)


def test_full_queue_puts_its_source_to_sleep() -> None:
    with Router.from_text("InfiniteSource -> q :: Queue(10) -> u :: Unqueue(ACTIVE false) -> Discard", simulated_start_ns=START_NS) as router:
        run_until_quiet(router)
        assert router.read("q.length") == "10"
        assert router.read("q.drops") == "0"
        assert not router.driver.runnable
        router.write("u.active", "true")
        assert router.driver.runnable


@pytest.mark.parametrize("handler, kind", [("x.count", "element"), ("c.nope", "handler"), ("c.reset", "read")])
def test_unknown_handlers_are_named(handler: str, kind: str) -> None:
    with Router.from_text("Idle -> c :: Counter -> Discard") as router, pytest.raises(HandlerLookupError) as caught:
        router.read(handler)
    assert caught.value.kind == kind


def test_handlers_refuse_bad_values_by_name() -> None:
    with Router.from_text("Idle -> q :: Queue(10) -> Discard") as router:
        with pytest.raises(HandlerError, match="CAPACITY: invalid number"):
            router.write("q.capacity", "x")
        with pytest.raises(HandlerError, match="bound"):
            router.write("q.capacity", "1000000")


def test_script_counts_and_stops_the_driver(capsys: pytest.CaptureFixture[str]) -> None:
    router = run("InfiniteSource(LIMIT 5) -> c :: Counter -> Discard; Script(wait 1s, print $(add $(c.count) 10), stop)")
    assert capsys.readouterr().out == "15\n"
    router.close()


def test_driver_manager_waits_and_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    run("InfiniteSource(LIMIT 3, STOP true) -> c :: Counter -> Discard; DriverManager(wait_stop, print c.count, wait_time 2s, stop)")
    assert capsys.readouterr().out == "3\n"


@pytest.mark.parametrize("expression, value", [
    ("add 1 2 3", "6"), ("sub 5 2.5", "2.5"), ("div 7 2", "3.5"), ("idiv 7 2", "3"), ("mod 7 2", "1"), ("eq 10 0xA", "true"),
    ("lt 1 2", "true"), ("if true a b", "a"), ("and true false", "false"), ("not false", "true"), ("length abc", "3"),
    ("sprintf \"%03d\" 7", "007"), ("min 3 1 2", "1"), ("max 3 1 2", "3"), ("in a b a", "true"), ("first a b", "a"),
])
def test_script_functions(expression: str, value: str) -> None:
    with Router.from_text(f"s :: Script(TYPE PASSIVE, return $({expression}))") as router:
        assert router.read("s.run") == value


def test_hot_swap_keeps_packets_and_unknown_configurations_change_nothing() -> None:
    text = "src :: InfiniteSource(LIMIT 5, ACTIVE false) -> q :: Queue(20) -> u :: Unqueue(ACTIVE false) -> c :: Counter -> Discard"
    with Router.from_text(text.replace("LIMIT 5, ACTIVE false", "LIMIT 5"), simulated_start_ns=START_NS) as router:
        run_until_quiet(router)
        with pytest.raises(ConfigurationError):
            router.hotswap("a :: Nope")
        assert router.successor is None and router.read("q.length") == "5"
        router.hotswap(text.replace("Unqueue(ACTIVE false)", "Unqueue"))
        new = router.successor
        assert new is not None
        assert new.read("q.length") == "5"
        run_until_quiet(new)
        assert new.read("c.count") == "5"
        new.close()


def test_live_reconfiguration_changes_the_code_and_keeps_the_state() -> None:
    text = "feed :: Feed -> f :: IPFilter(allow udp, deny all) -> s :: Sink"
    packets = [Sent(udp(1, 2), None, 0, 20)] * 3

    def change(router: Router) -> None:
        router.write("f.config", "deny udp, allow all")
        assert router.read("f.config") == "deny udp, allow all"
        with pytest.raises(HandlerError, match="unknown word 'nonsense'"):
            router.write("f.config", "allow nonsense")
        feed = router.by_name["feed"]
        for packet in packets:
            feed.send(packet)  # type: ignore[attr-defined]
        feed.task.reschedule()  # type: ignore[attr-defined]
        run_until_quiet(router)
        assert len(router.by_name["s"].received) == 3  # type: ignore[attr-defined]
        assert router.read("feed.handlers")

    outcome = run_packets(text, packets, between=change)
    assert len(outcome.out()) == 3


@contextmanager
def running(text: str) -> Iterator[Router]:
    """A router that runs in a thread of its own."""
    router = Router.from_text(text)
    done = threading.Event()
    thread = threading.Thread(target=lambda: router.run(until=done.is_set, slice_steps=64))
    thread.start()
    try:
        yield router
    finally:
        done.set()
        router.driver.attention = 1
        thread.join(10)
        router.close()


def test_control_socket_speaks_clicks_protocol(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with running(f"ControlSocket(unix, {path}); InfiniteSource(ACTIVE false) -> q :: Queue(7) -> Unqueue -> c :: Counter -> Discard"):
        client = ControlClient(path)
        assert client.read("q.capacity") == "7"
        client.write("q.capacity", "5")
        assert client.read("q.capacity") == "5"
        with pytest.raises(ValueError, match="No handler named 'q.nosuch'"):
            client.read("q.nosuch")
        with pytest.raises(ValueError, match="No element named 'zz'"):
            client.read("zz.count")
        with pytest.raises(ValueError, match="CAPACITY: invalid number"):
            client.write("q.capacity", "x")
        client.close()
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(path)
            raw.settimeout(5)
            data = b""
            raw.sendall(b"NONSENSE\r\nREAD\r\nCHECKREAD c.count\r\nQUIT\r\n")
            while chunk := raw.recv(4096):
                data += chunk
    lines = data.decode().split("\r\n")
    assert lines[0] == "Click::ControlSocket/1.3"
    assert lines[1].startswith("501 ") and lines[2].startswith("500 ") and lines[3].startswith("200 ")


def test_control_socket_survives_garbage(tmp_path: Path) -> None:
    import random

    path = str(tmp_path / "socket")
    r = random.Random(3)
    with running(f"ControlSocket(unix, {path}); Idle -> c :: Counter -> Discard"):
        for _ in range(20):
            with socket.socket(socket.AF_UNIX) as raw:
                raw.settimeout(10)
                while raw.connect_ex(path) != 0:
                    time.sleep(0.01)
                words = [b"READ ", b"WRITE ", b"WRITEDATA c.count ", b"READDATA ", b"\r\n", b"\n", b"\0", r.randbytes(5), b"99999999999", b"-1", b"c.count"]
                raw.sendall(b"".join(r.choice(words) for _ in range(12)) + b"\r\n")
        client = ControlClient(path)
        assert client.read("c.count") == "0"
        client.close()


def test_errors_of_every_kind_are_reported_in_one_run() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Router.from_text("Idle -> Queue(x) -> Discard; Idle -> Strip(y) -> Discard; Idle -> IPFilter(allow zzz) -> Discard")
    text = str(caught.value)
    for words in ("Queue@2 :: Queue", "Strip@5 :: Strip", "IPFilter@8 :: IPFilter", "unknown word 'zzz'"):
        assert words in text


def test_interface_names_stand_for_their_addresses() -> None:
    text = "InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(lo:ip, 1, lo, 2) -> Discard; ARPResponder(lo:ip lo:eth); Idle -> Discard"
    with Router.from_text(text.replace("ARPResponder(lo:ip lo:eth); Idle", "Idle -> ARPResponder(lo:ip lo:eth)")) as router:
        assert router.read("UDPIPEncap@2.src") == "127.0.0.1"
    with pytest.raises(ConfigurationError, match="invalid IP address"):
        Router.from_text("Idle -> UDPIPEncap(nosuchdev:ip, 1, 1.0.0.1, 2) -> Discard")
