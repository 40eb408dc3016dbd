"""The toolstack as processes: cosmos, penstockd, and what they leave behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from penstock.toolstack import Client, DomainError

MIRROR = "FromDevice(0) -> c :: Counter -> EtherMirror -> ToDevice(0)"
DOMAIN = "name = 'one'\nkernel = '/x'\nmemory = 8\nvif = ['mac=00:15:17:15:5d:74,bridge=']\nclick = 'm.click'\non_crash = 'preserve'\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("PENSTOCK_RUN", str(tmp_path / "run"))
    (tmp_path / "m.click").write_text(MIRROR)
    (tmp_path / "d.cfg").write_text(DOMAIN)
    yield tmp_path
    try:
        with Client(start=False) as client:
            pid = client.status()["pid"]
            client.shutdown()
        end = time.monotonic() + 10
        while Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:3]:
            assert time.monotonic() < end
            time.sleep(0.02)
    except DomainError:
        pass
    assert not (tmp_path / "run" / "toolstack.socket").exists()


def cosmos(*words: str, status: int = 0) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-m", "penstock.cli.main", "vm", *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr


def test_the_commands_of_the_original(home: Path) -> None:
    out, err = cosmos("-t", "create", str(home / "d.cfg"))
    assert out.startswith("one: domain 1 is running (") and "Created domain in " in err and "  image ready in " in err and "  machine started in " in err and "not used here: kernel" in err
    assert cosmos("read", "one", "c", "count")[0] == "read(c/count) => 0\n"
    assert cosmos("write", "1", "c", "reset", "7")[0] == "write(c/reset, 7)\n"
    tick = home / "t.click"
    tick.write_text("TimedSource(0.05, DATA abc) -> Print(tick) -> Discard")
    _, err = cosmos("start", "one", str(tick))
    assert err.startswith(f"Domain ID for one: 1\nLocation of click script: {tick}\n") and "[ one ][ 1 ]: installed new router." in err
    time.sleep(0.2)
    assert "tick:    3 | 616263" in cosmos("console", "one")[0]
    cosmos("stop", "one", "1")
    listed = json.loads(cosmos("list", "--json")[0])
    assert [(c["number"], c["status"]) for c in listed[0]["configurations"]] == [(0, "Running"), (1, "Halted")]
    assert cosmos("ps")[0].splitlines()[1].split()[:5] == ["one", "1", "8", "1", "running"]
    cosmos("pause", "one")
    assert "paused" in cosmos("list")[0]
    cosmos("unpause", "one")
    cosmos("rename", "one", "uno")
    assert "uno" in cosmos("top", "--once", "-i", "0.05")[0]
    assert "2" in cosmos("clone", "uno", "due")[0]
    assert cosmos("suspend", "due", str(home / "s"))[0].startswith(f"{home / 's'}: ")
    assert "due: domain 3" in cosmos("resume", str(home / "s"))[0]
    assert "c.count" in cosmos("handlers", "due")[0]
    cosmos("swap", "uno", str(home / "m.click"))
    assert "due (3): restored" in cosmos("log")[0]
    cosmos("destroy", "uno")
    cosmos("destroy", "3", "--force")
    time.sleep(0.3)
    assert len(cosmos("list")[0].splitlines()) == 1, "the toolstack ends with its last domain"


@pytest.mark.parametrize(("words", "message"), [
    (["read", "x", "c", "count"], "no toolstack runs"), (["create", "/none.cfg"], "/none.cfg: No such file"), (["create"], "create needs a domain file"),
    (["restore", "/none"], "/none: No such file"),
])
def test_errors_are_one_line_and_the_exit_code_tells(home: Path, words: list[str], message: str) -> None:
    _, err = cosmos(*words, status=1)
    assert message in err and err.count("\n") == 1


def test_cosmos_says_how_it_is_used() -> None:
    from penstock.cli.vm import cosmos as command

    assert command([]) == 1 and command(["help"]) == 0


def test_requests_that_make_no_sense_are_answered(home: Path) -> None:
    cosmos("create", "-q", str(home / "d.cfg"))
    with socket.socket(socket.AF_UNIX) as channel:
        channel.connect(str(home / "run" / "toolstack.socket"))
        file = channel.makefile("rwb")
        for line in (b"nonsense", b"[]", b'{"verb": 3}', b'{"verb": "list", "arguments": []}', b'{"verb": "none"}', b'{"verb": "read"}', b"\xff"):
            file.write(line + b"\n")
            file.flush()
            assert "error" in json.loads(file.readline())
    with Client(start=False) as client:
        assert client.list()[0]["name"] == "one"
        with pytest.raises(DomainError, match="no 'frobnicate'"):
            client.frobnicate()


def test_a_toolstack_that_is_killed_is_replaced(home: Path) -> None:
    cosmos("create", "-q", str(home / "d.cfg"))
    with Client(start=False) as client:
        os.kill(client.status()["pid"], signal.SIGKILL)
        time.sleep(0.2)
        with pytest.raises(DomainError, match="toolstack"):
            client.list()
    assert len(cosmos("list")[0].splitlines()) == 1
    assert "one: domain 1 is running" in cosmos("create", str(home / "d.cfg"))[0]


# The store's daemon

needs_clients = pytest.mark.skipif(shutil.which("xenstore-ls") is None, reason="needs xenstore-utils (xenstore-ls)")


class Daemon:
    def __init__(self, home: Path):
        self.home = home
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-m", "penstock.toolstack.daemon"], stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and "store at" in self.process.stdout.readline()

    def run(self, *words: str, status: int = 0) -> str:
        environment = {**os.environ, "XENSTORED_PATH": str(self.home / "run" / "xenstored.socket")}
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=20)
        assert done.returncode == status, done.stderr
        return done.stdout.rstrip("\n")

    def until(self, path: str, value: str) -> None:
        end = time.monotonic() + 10
        seen = ""
        while time.monotonic() < end:
            done = subprocess.run(["xenstore-read", path], env={**os.environ, "XENSTORED_PATH": str(self.home / "run" / "xenstored.socket")},
                                  capture_output=True, text=True)
            seen = done.stdout.rstrip("\n")
            if done.returncode == 0 and seen == value:
                return
            time.sleep(0.02)
        raise AssertionError(f"{path} is {seen!r}, not {value!r}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def daemon(home: Path) -> Iterator[Daemon]:
    made = Daemon(home)
    yield made
    made.kill()


@needs_clients
def test_domains_are_controlled_through_the_store(home: Path, daemon: Daemon) -> None:
    cosmos("create", "-q", str(home / "d.cfg"))
    base = "/local/domain/1/data/clickos"
    daemon.until(f"{base}/0/status", "Running")
    assert daemon.run("xenstore-read", "/local/domain/1/name") == "one"
    assert daemon.run("xenstore-read", "/local/domain/1/device/vif/0/mac") == "00:15:17:15:5d:74"
    assert daemon.run("xenstore-read", f"{base}/0/config/0") == MIRROR
    daemon.run("xenstore-write", f"{base}/1/config_name", "script", f"{base}/1/config/0", "TimedSource(0.01, DATA a) -> c :: Cou",
               f"{base}/1/config/1", "nter -> Discard")
    daemon.until(f"{base}/1/status", "Running")
    daemon.run("xenstore-write", f"{base}/1/control/read/c/class", " ")
    daemon.until(f"{base}/1/elements/c/class", "Counter")
    daemon.run("xenstore-write", f"{base}/0/control/read/c/count", " ")
    daemon.until(f"{base}/0/elements/c/count", "0")
    daemon.run("xenstore-write", f"{base}/1/status", "Halted")
    end = time.monotonic() + 5
    while "1:Halted" not in cosmos("list")[0]:
        assert time.monotonic() < end
    daemon.run("xenstore-write", f"{base}/1/elements/c/reset", "")
    daemon.until("/local/domain/1/data/clickos/error", "one: configuration 1 is not running")
    daemon.run("xenstore-write", f"{base}/1/config/0", "")
    daemon.run("xenstore-rm", f"{base}/1/config/1")
    daemon.run("xenstore-write", f"{base}/2/config/0", "Foo -> Discard")
    daemon.until(f"{base}/2/status", "Error")
    assert "undeclared element" in daemon.run("xenstore-read", f"{base}/error")
    daemon.run("xenstore-write", "/local/domain/1/clickos/3/config/0", "Idle -> Discard")
    daemon.until(f"{base}/3/status", "Running")
    daemon.run("xenstore-write", "/local/domain/1/control/shutdown", "poweroff")
    end = time.monotonic() + 5
    while len(cosmos("list")[0].splitlines()) > 1:
        assert time.monotonic() < end
    time.sleep(0.2)
    daemon.run("xenstore-exists", "/local/domain/1", status=1)


@needs_clients
def test_domains_outlive_the_daemon_which_loses_nothing(home: Path, daemon: Daemon) -> None:
    cosmos("create", "-q", str(home / "d.cfg"))
    daemon.until("/local/domain/1/data/clickos/0/status", "Running")
    daemon.run("xenstore-write", "/tool/note", "kept")
    daemon.kill()
    assert cosmos("read", "one", "c", "count")[0] == "read(c/count) => 0\n"
    cosmos("rename", "one", "uno")
    daemon.start()
    assert daemon.run("xenstore-read", "/tool/note") == "kept"
    daemon.until("/local/domain/1/name", "uno")
    daemon.run("xenstore-write", "/local/domain/1/data/clickos/0/control/read/c/count", " ")
    daemon.until("/local/domain/1/data/clickos/0/elements/c/count", "0")


def test_bash_completes_commands_and_names(home: Path) -> None:
    cosmos("create", "-q", str(home / "d.cfg"))
    script = (f"cosmos() {{ {sys.executable} -m penstock.cli.main vm \"$@\"; }}\n{cosmos('completion')[0]}\n"
              "COMP_WORDS=(cosmos sta); COMP_CWORD=1; _cosmos; echo ${COMPREPLY[@]}\n"
              "COMP_WORDS=(penstock vm read o); COMP_CWORD=3; _penstock; echo ${COMPREPLY[@]}\n")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, cwd=home)
    assert done.stdout == "start\none\n", done.stderr


def test_whoever_stops_reading_gets_no_complaint(home: Path) -> None:
    cosmos("create", "-q", str(home / "d.cfg"))
    command = f"{sys.executable} -m penstock.cli.main vm handlers one | true; {sys.executable} -m penstock.cli.main vm read two c count"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.stderr == "penstock vm: there is no domain 'two' (there are one)\n"
