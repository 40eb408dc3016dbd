"""The toolstack in a process of its own: what it answers on its socket.

One request a line, JSON: ``{"verb": …, "arguments": {…}}``; the answer is ``{"result": …}`` or ``{"error": …}``. Only the
user who runs it, and root, are heard (the credentials that the kernel tells).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import signal
import socket
import socketserver
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

from penstock.isolation import choose
from penstock.isolation.errors import MachineError
from penstock.toolstack.client import ENDING, MIGRATE_REQUEST
from penstock.toolstack.domain import Domain
from penstock.toolstack.domainfile import DomainFileError, from_values, load
from penstock.toolstack.errors import DomainError
from penstock.toolstack.flows import by_source, tables_of
from penstock.toolstack.migrate import receive, send
from penstock.toolstack.pool import MachinePool
from penstock.toolstack.switchverbs import OpenedPort, SwitchVerbs
from penstock.toolstack.toolstack import Toolstack

__all__ = ["Service", "serve"]

_MAX_REQUEST_BYTES = 16 << 20
_POOL_SIZE = 4
_POOL_BYTES = 20 << 20


class Service:
    """The verbs, with arguments and results that JSON can say."""

    def __init__(self, toolstack: Toolstack, *, until_empty: bool = False):
        self.until_empty = until_empty
        self._connections = 0
        #: between those who come and the decision that there is nobody and nothing left
        self._gate = threading.Lock()
        self.toolstack = toolstack
        self.switches = SwitchVerbs(toolstack.switches)
        self.stopping = threading.Event()

    def call(self, verb: str, arguments: dict[str, Any]) -> Any:
        if verb.startswith("switch_"):
            return self._call_switches(verb, arguments)
        method: Callable[..., Any] | None = getattr(self, f"do_{verb}", None)
        if method is None:
            raise DomainError(f"the toolstack knows no '{verb}' (another version?)")
        try:
            return method(**arguments)
        except TypeError as error:
            raise DomainError(f"{verb}: {error}") from None

    def _call_switches(self, verb: str, arguments: dict[str, Any]) -> Any:
        try:
            return self.switches.call(verb, arguments)
        except TypeError as error:
            raise DomainError(f"{verb}: {error}") from None

    def enter(self) -> bool:
        """Somebody asks; false where the toolstack is about to end: whoever asks starts another one."""
        with self._gate:
            if self.stopping.is_set():
                return False
            self._connections += 1
            return True

    def leave(self) -> None:
        with self._gate:
            self._connections -= 1
        self.end_if_empty()

    def end_if_empty(self) -> None:
        """End with the last domain, the last switch and the last client, where that was asked for."""
        with self._gate:
            nothing = not self.toolstack.domains and self.toolstack.switches.is_empty
            if self.until_empty and nothing and not self._connections:
                self.stopping.set()

    def do_create(self, path: str = "", spec: dict[str, Any] | None = None, paused: bool = False) -> dict[str, Any]:
        described = from_values(spec, "domain") if spec is not None else load(path)
        domain = self.toolstack.create(described, paused=paused)
        return {**self._info(domain), "ignored": list(described.ignored), "remarks": domain.remarks, "phases": domain.phases}

    def do_start(self, name: str, path: str = "", text: str | None = None, number: int | None = None) -> int:
        if text is None:
            text = Path(path).read_text("utf-8", "surrogateescape")
        return self.toolstack.start(name, text, config_name=Path(path).name or "script", file=path or "config", number=number)

    def do_phases(self, name: str) -> dict[str, float]:
        return self.toolstack.find(name).phases

    def do_swap(self, name: str, path: str, number: int = 0) -> None:
        self.toolstack.swap(name, Path(path).read_text("utf-8", "surrogateescape"), number=number, file=path)

    def do_stop(self, name: str, number: int) -> None:
        self.toolstack.stop(name, number)

    def do_remove(self, name: str, number: int) -> None:
        self.toolstack.remove(name, number)

    def do_destroy(self, name: str) -> None:
        self.toolstack.destroy(name)

    def do_pause(self, name: str) -> None:
        self.toolstack.pause(name)

    def do_unpause(self, name: str) -> None:
        self.toolstack.unpause(name)

    def do_rename(self, name: str, new_name: str) -> None:
        self.toolstack.rename(name, new_name)

    def do_list(self, name: str = "") -> list[dict[str, Any]]:
        if name:
            return [self._info(self.toolstack.find(name))]
        return [dataclasses.asdict(info) for info in self.toolstack.infos()]

    def do_read(self, name: str, handler: str, number: int | None = None) -> str:
        return self.toolstack.find(name).read(handler, number=number)

    def do_write(self, name: str, handler: str, value: str = "", number: int | None = None) -> None:
        self.toolstack.find(name).write(handler, value, number=number)

    def do_handlers(self, name: str, number: int | None = None) -> list[str]:
        return self.toolstack.find(name).handlers(number=number)

    def do_console(self, name: str, since: int = 0, wait_s: float = 0.0) -> list[tuple[int, float, str]]:
        console = self.toolstack.find(name).console
        return console.wait(since, min(wait_s, 60.0)) if wait_s else console.lines(since)

    def do_snapshot(self, name: str, path: str, destroy: bool = False) -> int:
        size = self.toolstack.snapshot(name, path)
        if destroy:
            self.toolstack.destroy(name)
        return size

    def do_restore(self, path: str, name: str = "", paused: bool = False) -> dict[str, Any]:
        return self._info(self.toolstack.restore(path, name=name, paused=paused))

    def do_clone(self, name: str, new_name: str, paused: bool = False) -> dict[str, Any]:
        return self._info(self.toolstack.clone(name, new_name, paused=paused))

    def do_shutdown_domain(self, name: str, how: str = "poweroff") -> None:
        self.toolstack.shutdown(name, how)

    def do_changes(self, since: int, wait_s: float = 0.0) -> tuple[int, list[tuple[str, int, str]]]:
        return self.toolstack.changes(since, min(wait_s, 60.0))

    def do_tables(self, name: str, number: int | None = None) -> dict[str, list[Any]]:
        return tables_of(self.toolstack.find(name).instance(number))

    def do_move_flows(self, name: str, target: str, element: str, source_prefix: str) -> int:
        return self.toolstack.move_flows(name, target, element, by_source(source_prefix))

    def do_migrate(self, name: str, command: list[str]) -> dict[str, Any]:
        """Move a domain to the toolstack at the other end of a command (ssh) that is run here."""
        domain = self.toolstack.find(name)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as other:
            assert other.stdin is not None and other.stdout is not None
            try:
                return dataclasses.asdict(send(self.toolstack, domain, cast(BinaryIO, other.stdout), cast(BinaryIO, other.stdin)))
            finally:
                with contextlib.suppress(OSError):
                    other.stdin.close()

    def do_log(self) -> list[str]:
        return self.toolstack.log()

    def do_shutdown(self) -> None:
        self.stopping.set()

    def do_status(self) -> dict[str, Any]:
        pool = self.toolstack.pool
        return {"pid": os.getpid(), "domains": len(self.toolstack.domains), "pool": pool.ready if pool else 0}

    def _info(self, domain: Domain) -> dict[str, Any]:
        return dataclasses.asdict(self.toolstack.info(domain))


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        credentials = self.request.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
        _, user, _ = struct.unpack("3i", credentials)
        if user not in (0, os.geteuid()):
            self._answer({"error": "this toolstack is another user's"})
            return
        if not self.server.service.enter():
            self.rfile.readline(_MAX_REQUEST_BYTES)
            with contextlib.suppress(OSError):
                self.wfile.write(ENDING)
            return
        try:
            self._serve()
        finally:
            self.server.service.leave()

    def _serve(self) -> None:
        while True:
            line = self.rfile.readline(_MAX_REQUEST_BYTES)
            if not line.endswith(b"\n"):
                return
            if line == MIGRATE_REQUEST:
                self._take_over()
                return
            answer = self._result(line)
            if isinstance(answer.get("result"), OpenedPort):
                self._hold(answer["result"])
                return
            self._answer(answer)

    def _hold(self, port: OpenedPort) -> None:
        """Hand the port's memory over; it is there until this connection ends."""
        try:
            text = json.dumps({"result": {"name": port.name, "number": port.number, "joining": port.joining}}).encode() + b"\n"
            socket.send_fds(self.request, [text], port.descriptors)
            for descriptor in port.descriptors:
                os.close(descriptor)
            while self.request.recv(1 << 16):
                pass
        except OSError:
            pass
        finally:
            port.release()

    def _take_over(self) -> None:
        """From here on the connection is a migration's."""
        try:
            receive(self.server.service.toolstack, cast(BinaryIO, self.rfile), cast(BinaryIO, self.wfile))
        except DomainError as error:
            print(f"migrate-receive: {error}", file=sys.stderr, flush=True)

    def _result(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            verb, arguments = request["verb"], request.get("arguments", {})
            if not isinstance(verb, str) or not isinstance(arguments, dict):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            return {"error": "that is no request"}
        try:
            return {"result": self.server.service.call(verb, arguments)}
        except (DomainError, DomainFileError, MachineError) as error:
            return {"error": str(error)}
        except OSError as error:
            return {"error": f"{error.filename or verb}: {error.strerror}"}

    def _answer(self, answer: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(json.dumps(answer).encode("utf-8", "surrogateescape") + b"\n")


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128
    service: Service


def serve(path: Path, *, pool_size: int = _POOL_SIZE, until_empty: bool = False) -> None:
    """Run the toolstack until it is told to stop; ``until_empty`` ends it with its last domain or switch."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with contextlib.suppress(FileNotFoundError):
        if _answers(path):
            raise DomainError(f"{path}: a toolstack runs there already")
        path.unlink()
    pool = MachinePool(choose()[0], size=pool_size, data_bytes=_POOL_BYTES) if pool_size else None
    with Toolstack(pool=pool) as toolstack:
        service = Service(toolstack, until_empty=until_empty)
        toolstack.listeners.append(lambda what, _: service.end_if_empty() if what == "destroyed" else None)
        with _Server(str(path), _Handler, bind_and_activate=False) as server:
            server.service = service
            before = os.umask(0o077)
            try:
                server.server_bind()
            finally:
                os.umask(before)
            server.server_activate()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: service.stopping.set())
            threading.Thread(target=server.serve_forever, daemon=True).start()
            service.stopping.wait()
            path.unlink(missing_ok=True)
            server.shutdown()


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, PermissionError):
            return False
        return True
