"""``click`` behaves as Click's userlevel driver: options, output formats, messages, exit codes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = "InfiniteSource(LIMIT 5, STOP true) -> c :: Counter -> Discard"


def click(*arguments: str, stdin: str = "", timeout: float = 30, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "penstock.cli.click", *arguments], input=stdin, capture_output=True, text=True,
                          timeout=timeout, env={**os.environ, "LC_ALL": "C", **environment})


def test_one_handler_prints_the_bare_value() -> None:
    done = click("-e", SOURCE, "-h", "c.count")
    assert (done.returncode, done.stdout, done.stderr) == (0, "5\n", "")


def test_several_handlers_and_globs_print_names() -> None:
    assert click("-e", SOURCE, "-h", "c.count", "-h", "c.class").stdout == "c.count:\n5\n\nc.class:\nCounter\n\n"
    assert click("-e", SOURCE, "-h", "Counter.count", "-h", "*.class").stdout.startswith("c.count:\n5\n\nInfiniteSource@1.class:\n")


@pytest.mark.parametrize("arguments", [["-qe", SOURCE, "-h", "c.count"], ["--quit", "--expr", SOURCE, "--handler=c.count"],
                                       ["-h", "c.count", "-q", "-e", SOURCE]])
def test_options_bundle_and_shorten(arguments: list[str]) -> None:
    assert click(*arguments).stdout == "0\n"


def test_configuration_comes_from_a_file_or_standard_input(tmp_path: Path) -> None:
    (tmp_path / "x.click").write_text(SOURCE)
    assert click(str(tmp_path / "x.click"), "-h", "c.count").stdout == "5\n"
    assert click("-h", "c.count", stdin=SOURCE).stdout == "5\n"
    assert click("-f", str(tmp_path / "x.click"), "-h", "c.count").stdout == "5\n"


def test_variables_override_defines() -> None:
    text = "define($N 5); InfiniteSource(LIMIT $N, STOP true) -> c :: Counter -> Discard"
    assert click("-e", text, "N=7", "-h", "c.count").stdout == "7\n"


def test_output_writes_the_flat_configuration(tmp_path: Path) -> None:
    done = click("-qe", "elementclass E { $n | -> Strip($n) -> } Idle -> E(4) -> Discard", "-o", "-")
    assert done.stdout == "Idle@1 :: Idle;\nE@2/Strip@1 :: Strip(4);\nDiscard@3 :: Discard;\n\nIdle@1 -> E@2/Strip@1\n    -> Discard@3;\n"


@pytest.mark.parametrize("text, status", [("Idle -> Discard; s :: Script(TYPE PASSIVE, return 3); DriverManager(stop)", 3),
                                          ("Idle -> Discard; s :: Script(TYPE PASSIVE, return true); DriverManager(stop)", 0),
                                          ("Idle -> Discard; s :: Script(TYPE PASSIVE, return false); DriverManager(stop)", 1),
                                          ("Idle -> Discard; s :: Script(TYPE PASSIVE, return zap); DriverManager(stop)", 255)])
def test_exit_handler_gives_the_exit_status(text: str, status: int) -> None:
    assert click("-e", text, "-x", "s.run").returncode == status


@pytest.mark.parametrize("text, message", [
    ("Foo -> Discard", "config:1: undeclared element 'Foo'"),
    ("x :: Nope", "config:1: unknown element class 'Nope'"),
    ("i :: Idle; i :: Idle", "config:1: redeclaration of element 'i'"),
    ("Idle -> -> Discard", "config:1: syntax error near '->'"),
    ("elementclass E { Idle -> Discard", "expected '}'"),
    ("Idle -> [1] Discard", "has no input 1"),
    ("Strip(1) -> Discard", "'Strip@1 :: Strip' input 0 unused"),
    ("i :: InfiniteSource -> Discard; i -> Discard", "illegal reuse of 'i :: InfiniteSource' push output 0"),
    ("Idle -> Queue -> Queue -> Discard", "'Queue@2 :: Queue' pull output 0 connected to 'Queue@3 :: Queue' push input 0"),
])
def test_bad_configurations_are_reported_in_clicks_words(text: str, message: str) -> None:
    done = click("-e", text)
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_element_errors_end_with_clicks_last_line() -> None:
    done = click("-e", "Idle -> Queue(x) -> Discard")
    assert done.stderr.splitlines() == ["config:1: While configuring 'Queue@2 :: Queue':", "  CAPACITY: invalid number",
                                        "Router could not be initialized!"]


def test_missing_handler_fails() -> None:
    done = click("-qe", SOURCE, "-h", "i.count", "-h", "c.nope")
    assert done.returncode == 1
    assert "no element 'i'" in done.stderr and "no 'c.nope' handler" in done.stderr


def test_empty_configuration_warns_and_is_fine() -> None:
    done = click("-e", "")
    assert (done.returncode, done.stderr) == (0, "warning: config: configuration has no elements, exiting\n")


@pytest.mark.parametrize("arguments", [["--nonsense"], ["-Z"], ["-e"], ["-e", "Idle", "-e", "Idle"], ["-j", "0", "-e", "Idle"], ["/no/such/file"]])
def test_bad_command_lines_fail_with_one_message(arguments: list[str]) -> None:
    done = click(*arguments)
    assert done.returncode == 1
    assert 1 <= len(done.stderr.splitlines()) <= 2


def test_time_line_has_clicks_format() -> None:
    assert re.search(r"^\d+\.\d{3}u \d+\.\d{3}s \d+:\d\d\.\d\d$", click("-te", SOURCE).stderr, re.MULTILINE)


def test_simulated_time_starts_where_it_is_told() -> None:
    done = click("--simtime=5", "-e", "Idle -> Discard; DriverManager(print $(now), stop)")
    assert done.stdout.startswith("5.0000")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_flush_outputs_and_exit_with_0(number: int, tmp_path: Path) -> None:
    out = tmp_path / "o.pcap"
    text = f"RatedSource(DATA hello, RATE 200) -> c :: Counter -> ToDump({out}, ENCAP IP)"
    process = subprocess.Popen([sys.executable, "-m", "penstock.cli.click", "-e", text, "-h", "c.count"], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not out.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.7)
    process.send_signal(number)
    stdout, _ = process.communicate(timeout=20)
    assert process.returncode == 0
    count = int(stdout)
    assert count > 0 and out.stat().st_size == 24 + count * (16 + 5)


def test_control_port_is_open_while_it_runs() -> None:
    process = subprocess.Popen([sys.executable, "-m", "penstock.cli.click", "-p", "41930+", "-e", "Idle -> c :: Counter -> Discard"])
    try:
        for port in list(range(41930, 41941)) * 20:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as connection:
                    connection.settimeout(5)
                    assert connection.recv(100) == b"Click::ControlSocket/1.3\r\n"
                    connection.sendall(b"read c.count\r\n")
                    assert b"DATA 1\r\n0" in connection.recv(200)
                    break
            except ConnectionRefusedError:
                time.sleep(0.05)
        else:
            pytest.fail("no port was opened")
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_missing_capture_and_truncated_capture_give_one_line(tmp_path: Path) -> None:
    done = click("-e", f"FromDump({tmp_path}/none.pcap) -> Discard")
    assert done.returncode == 1 and "No such file or directory" in done.stderr and "Traceback" not in done.stderr
    (tmp_path / "bad.pcap").write_bytes(b"not a capture at all")
    done = click("-e", f"FromDump({tmp_path}/bad.pcap) -> Discard")
    assert done.returncode == 1 and "not a pcap or pcapng file" in done.stderr


def test_help_and_version() -> None:
    assert "--simtime" in click("--help").stdout
    assert click("-v").stdout.startswith("click (Click) 2.1")
