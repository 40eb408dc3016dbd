"""Asking a toolstack that runs in a process of its own. Light: the command line imports nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from penstock.toolstack.errors import DomainError, NoToolstack

__all__ = ["ENDING", "MIGRATE_REQUEST", "Client", "run_folder", "socket_path"]

_START_S = 15.0
#: the answer of a toolstack that is about to end
ENDING = b'{"ending": true}\n'
#: after this line a connection carries a migration
MIGRATE_REQUEST = b'{"verb": "migrate_receive"}\n'


def run_folder() -> Path:
    """``$PENSTOCK_RUN``, /run/penstock for root, else the user's runtime folder."""
    if value := os.environ.get("PENSTOCK_RUN"):
        return Path(value)
    if os.geteuid() == 0:
        return Path("/run/penstock")
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/penstock-{os.geteuid()}") / "penstock"


def socket_path() -> Path:
    return run_folder() / "toolstack.socket"


class Client:
    """Asks a toolstack; starts one where none runs (``start``). Raises DomainError with the toolstack's words."""

    def __init__(self, path: Path | None = None, *, start: bool = True, until_empty: bool = True):
        self._until_empty = until_empty
        self._start = start
        self.path = path or socket_path()
        self._lock = threading.Lock()
        self._open(start)

    def _open(self, start: bool) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect(start)
        except DomainError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")
        self._is_new = True

    def reconnect(self) -> None:
        """After the toolstack has gone and come back."""
        self.close()
        self._open(False)

    def _connect(self, start: bool) -> None:
        try:
            self._socket.connect(str(self.path))
            return
        except PermissionError:
            raise DomainError(f"{self.path}: this toolstack is another user's (run as that user, or as root)") from None
        except (FileNotFoundError, ConnectionRefusedError):
            if not start:
                raise NoToolstack(f"no toolstack runs at {self.path} (create a domain, or start penstockd)") from None
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        log = self.path.with_suffix(".log")
        command = [sys.executable, "-m", "penstock.toolstack", "--socket", str(self.path)]
        if self._until_empty:
            command.append("--until-empty")
        with open(log, "ab") as output:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/")
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                self._socket.connect(str(self.path))
                # It outlives this process; its end is not ours to wait for.
                child.returncode = 0
                return
            if child.poll() is not None:
                break
            time.sleep(0.005)
        raise DomainError(f"the toolstack did not start (see {log})")

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        if verb.startswith("_"):
            raise AttributeError(verb)
        return lambda **arguments: self.call(verb, arguments)

    def call(self, verb: str, arguments: dict[str, Any]) -> Any:
        request = json.dumps({"verb": verb, "arguments": arguments}).encode("utf-8", "surrogateescape") + b"\n"
        with self._lock:
            try:
                self._socket.sendall(request)
                line = self._file.readline()
            except OSError as error:
                if not self._is_new or self.path.exists():
                    raise DomainError(f"the toolstack has gone ({error.strerror})") from None
                line = b""
        # One that ends in good order takes its socket away: who came too late for it starts another one.
        if line == ENDING or (not line and self._is_new and not self.path.exists()):
            self.start_another()
            return self.call(verb, arguments)
        self._is_new = False
        if not line.endswith(b"\n"):
            raise DomainError("the toolstack ended while it worked on this (see 'penstock vm log')")
        answer = json.loads(line)
        if "error" in answer:
            raise DomainError(answer["error"])
        return answer["result"]

    def start_another(self) -> None:
        """In the place of one that is about to end."""
        self.close()
        end = time.monotonic() + _START_S
        while self.path.exists() and time.monotonic() < end:
            time.sleep(0.005)
        self._open(self._start)

    def relay_migration(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        """Connect a migration's stream with the toolstack, until either ends."""
        self._socket.sendall(MIGRATE_REQUEST)

        def inward() -> None:
            with contextlib.suppress(OSError):
                while data := os.read(reader.fileno(), 1 << 16):
                    self._socket.sendall(data)
                self._socket.shutdown(socket.SHUT_WR)

        threading.Thread(target=inward, daemon=True).start()
        with contextlib.suppress(OSError):
            while data := self._socket.recv(1 << 16):
                writer.write(data)
                writer.flush()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
