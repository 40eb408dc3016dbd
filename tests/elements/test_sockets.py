"""Sockets of real peers: Python's own on the loopback interface."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.lang.source import ConfigurationError
from penstock.runtime.router import Router
from tests.conftest import needs_root
from tests.harness import running


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert condition()


ECHO = "s :: Socket({}, 127.0.0.1, 0) -> c :: Counter -> q :: Queue -> Unqueue -> s;"


def test_a_tcp_server_answers_one_peer_after_the_other() -> None:
    with running(ECHO.format("TCP")) as router:
        address, port = router.read("s.local").split()
        for text in (b"hello", b"again"):
            with socket.create_connection((address, int(port)), timeout=10) as peer:
                peer.sendall(text)
                assert peer.recv(100) == text
            wait_until(lambda: router.read("s.connected") == "false")
        assert router.read("c.count") == "2"


def test_a_udp_server_answers_whoever_sent_last() -> None:
    with running(ECHO.format("UDP")) as router:
        address, port = router.read("s.local").split()
        for text in (b"one", b"two"):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                peer.settimeout(10)
                peer.sendto(text, (address, int(port)))
                assert peer.recv(100) == text


def test_unix_sockets_of_both_kinds(tmp_path: Path) -> None:
    for kind, which in (("UNIX", socket.SOCK_STREAM), ("UNIX_DGRAM", socket.SOCK_DGRAM)):
        file = tmp_path / kind
        with running(f"s :: Socket({kind}, {file}) -> q :: Queue -> Unqueue -> s;"), socket.socket(socket.AF_UNIX, which) as peer:
            peer.settimeout(10)
            if which == socket.SOCK_DGRAM:
                peer.bind(str(tmp_path / "me"))
            peer.connect(str(file))
            peer.send(b"hello")
            assert peer.recv(100) == b"hello"
    assert not (tmp_path / "UNIX").exists()


def test_a_client_calls_and_peers_are_chosen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with running(f"RatedSource(DATA hello, LIMIT 1) -> ToSocket(TCP, 127.0.0.1, {port}, CLIENT true)"):
            peer, _ = server.accept()
            with peer:
                peer.settimeout(10)
                assert peer.recv(100) == b"hello"
    with running("s :: FromSocket(UDP, 127.0.0.1, 0, DENY 127.0.0.0/8) -> c :: Counter -> Discard") as router:
        address, port = router.read("s.local").split()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
            other.sendto(b"no", (address, int(port)))
        time.sleep(0.1)
        assert router.read("c.count") == "0"


@needs_root()
def test_raw_sockets_send_and_receive_ip_packets() -> None:
    text = ("FromRawSocket(udp, 4711) -> c :: Counter -> Discard;"
            "RatedSource(DATA hello, LIMIT 3, RATE 100) -> UDPIPEncap(127.0.0.1, 9, 127.0.0.1, 4711) -> ToRawSocket(udp);")
    with running(text) as router:
        wait_until(lambda: router.read("c.count") == "3")


@pytest.mark.parametrize(("text", "said"), [
    ("Socket(FOO, 1.0.0.1, 5)", "TYPE: must be TCP, UDP, UNIX, UNIX_DGRAM, not 'FOO'"),
    ("Socket(TCP, nonsense, 5)", "IP, PORT"),
    ("Socket(TCP, 127.0.0.1, 1, CLIENT true)", "127.0.0.1:1: Connection refused"),
    ("RawSocket(nonsense)", "PROTO: 'nonsense' is no IP protocol"),
])
def test_what_cannot_be_opened_is_told(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Router.from_text(f"Idle -> s :: {text} -> Discard")
