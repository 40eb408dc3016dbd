"""XenStore's wire protocol on a Unix socket: existing clients speak it (xenstore-utils, pyxs).

Every message has a header of four 32-bit words: type, request, transaction, length; at most 4,096 bytes follow. All
clients of the socket are domain 0, as with the original; permissions are in the file system.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from penstock.toolstack.store.tree import Store, StoreError, Watch

__all__ = ["StoreServer"]

_HEADER = struct.Struct("<IIII")
_MAX_PAYLOAD = 4096
(_CONTROL, _DIRECTORY, _READ, _GET_PERMS, _WATCH, _UNWATCH, _BEGIN, _END, _INTRODUCE, _RELEASE, _GET_DOMAIN_PATH, _WRITE, _MKDIR,
 _RM, _SET_PERMS, _WATCH_EVENT, _ERROR, _IS_INTRODUCED) = range(18)
_RESET_WATCHES, _DIRECTORY_PART = 21, 22
_OK = b"OK\0"
_MAX_QUEUED_BYTES = 4 << 20


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class _Connection:
    def __init__(self, server: StoreServer, channel: socket.socket):
        self.server, self.store, self.socket = server, server.store, channel
        self.received = bytearray()
        self.queued = bytearray()
        self.watches: list[Watch] = []
        self.transactions: set[int] = set()
        self.lock = threading.Lock()
        self.closed = False

    def send(self, kind: int, request: int, transaction: int, payload: bytes) -> None:
        with self.lock:
            if self.closed:
                return
            self.queued += _HEADER.pack(kind, request, transaction, len(payload)) + payload
            if len(self.queued) > _MAX_QUEUED_BYTES:
                # A client that never reads loses its connection, not our memory.
                self.closed = True
            self._flush()
        if self.queued:
            self.server.wake()

    def flush(self) -> None:
        with self.lock:
            self._flush()

    def _flush(self) -> None:
        try:
            while self.queued:
                sent = self.socket.send(self.queued, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
                del self.queued[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.closed = True
            self.queued.clear()

    def receive(self) -> None:
        """Everything that has arrived; a client that breaks the protocol loses its connection."""
        try:
            data = self.socket.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.closed = True
            return
        self.received += data
        while len(self.received) >= _HEADER.size and not self.closed:
            kind, request, transaction, length = _HEADER.unpack_from(self.received)
            if length > _MAX_PAYLOAD:
                self.closed = True
                return
            if len(self.received) < _HEADER.size + length:
                return
            payload = bytes(self.received[_HEADER.size : _HEADER.size + length])
            del self.received[: _HEADER.size + length]
            self._answer(kind, request, transaction, payload)

    def _answer(self, kind: int, request: int, transaction: int, payload: bytes) -> None:
        work = _REQUESTS.get(kind)
        try:
            if work is None:
                raise StoreError("ENOSYS")
            answer = work(self, payload, transaction)
            if len(answer) > _MAX_PAYLOAD:
                raise StoreError("E2BIG")
        except StoreError as error:
            self.send(_ERROR, request, transaction, f"{error}\0".encode())
            return
        except (ValueError, IndexError):
            self.send(_ERROR, request, transaction, b"EINVAL\0")
            return
        self.send(kind, request, transaction, answer)
        if kind == _WATCH:
            # The first event comes behind the answer.
            self.watches[-1].call(self.watches[-1].shown_path, self.watches[-1].token)

    # Requests

    @staticmethod
    def _strings(payload: bytes, count: int) -> list[str]:
        """That many strings, each with its end."""
        parts = payload.split(b"\0")
        if len(parts) < count + 1 or (parts[count:] != [b""] and count != 0):
            raise ValueError
        return [_text(p) for p in parts[:count]]

    def directory(self, payload: bytes, transaction: int) -> bytes:
        (path,) = self._strings(payload, 1)
        return "".join(f"{name}\0" for name in self.store.directory(path, transaction=transaction)).encode()

    def directory_part(self, payload: bytes, transaction: int) -> bytes:
        path, offset = self._strings(payload, 2)
        names = "".join(f"{name}\0" for name in self.store.directory(path, transaction=transaction)).encode()
        generation = f"{self.store.generation(path)}\0".encode()
        room = _MAX_PAYLOAD - len(generation) - 1
        rest = names[int(offset) :]
        if len(rest) <= room:
            return generation + rest + b"\0"
        return generation + rest[: rest.rindex(b"\0", 0, room) + 1]

    def read(self, payload: bytes, transaction: int) -> bytes:
        (path,) = self._strings(payload, 1)
        return self.store.read(path, transaction=transaction)

    def get_perms(self, payload: bytes, transaction: int) -> bytes:
        (path,) = self._strings(payload, 1)
        return "".join(f"{p}\0" for p in self.store.permissions(path, transaction=transaction)).encode()

    def write(self, payload: bytes, transaction: int) -> bytes:
        path, end, value = payload.partition(b"\0")
        if not end:
            raise ValueError
        self.store.write(_text(path), value, transaction=transaction)
        return _OK

    def mkdir(self, payload: bytes, transaction: int) -> bytes:
        (path,) = self._strings(payload, 1)
        self.store.mkdir(path, transaction=transaction)
        return _OK

    def rm(self, payload: bytes, transaction: int) -> bytes:
        (path,) = self._strings(payload, 1)
        self.store.remove(path, transaction=transaction)
        return _OK

    def set_perms(self, payload: bytes, transaction: int) -> bytes:
        path, *permissions = payload.rstrip(b"\0").split(b"\0")
        self.store.set_permissions(_text(path), tuple(_text(p) for p in permissions), transaction=transaction)
        return _OK

    def watch(self, payload: bytes, transaction: int) -> bytes:
        path, token = self._strings(payload, 2)
        quiet = [True]

        def event(shown: str, mark: str) -> None:
            if not quiet:
                self.send(_WATCH_EVENT, 0, 0, f"{shown}\0{mark}\0".encode("utf-8", "surrogateescape"))

        if any(w.shown_path == path and w.token == token for w in self.watches):
            raise StoreError("EEXIST")
        self.watches.append(self.store.watch(path, token, event))
        quiet.clear()
        return _OK

    def unwatch(self, payload: bytes, transaction: int) -> bytes:
        path, token = self._strings(payload, 2)
        for watch in self.watches:
            if (watch.shown_path, watch.token) == (path, token):
                self.watches.remove(watch)
                self.store.unwatch(watch)
                return _OK
        raise StoreError("ENOENT")

    def reset_watches(self, payload: bytes, transaction: int) -> bytes:
        for watch in self.watches:
            self.store.unwatch(watch)
        self.watches.clear()
        return _OK

    def begin(self, payload: bytes, transaction: int) -> bytes:
        number = self.store.begin()
        self.transactions.add(number)
        return f"{number}\0".encode()

    def end(self, payload: bytes, transaction: int) -> bytes:
        (answer,) = self._strings(payload, 1)
        if answer not in ("T", "F") or transaction not in self.transactions:
            raise ValueError if answer not in ("T", "F") else StoreError("ENOENT")
        self.transactions.discard(transaction)
        self.store.end(transaction, commit=answer == "T")
        return _OK

    def get_domain_path(self, payload: bytes, transaction: int) -> bytes:
        (number,) = self._strings(payload, 1)
        return f"/local/domain/{int(number)}\0".encode()

    def is_introduced(self, payload: bytes, transaction: int) -> bytes:
        (number,) = self._strings(payload, 1)
        return b"T\0" if int(number) == 0 or self.store.exists(f"/local/domain/{int(number)}") else b"F\0"

    def close(self) -> None:
        for watch in self.watches:
            with contextlib.suppress(ValueError):
                self.store.unwatch(watch)
        for number in self.transactions:
            with contextlib.suppress(StoreError):
                self.store.end(number, commit=False)
        self.socket.close()


_REQUESTS: dict[int, Callable[[_Connection, bytes, int], bytes]] = {
    _DIRECTORY: _Connection.directory, _READ: _Connection.read, _GET_PERMS: _Connection.get_perms, _WATCH: _Connection.watch,
    _UNWATCH: _Connection.unwatch, _BEGIN: _Connection.begin, _END: _Connection.end, _GET_DOMAIN_PATH: _Connection.get_domain_path,
    _WRITE: _Connection.write, _MKDIR: _Connection.mkdir, _RM: _Connection.rm, _SET_PERMS: _Connection.set_perms,
    _IS_INTRODUCED: _Connection.is_introduced, _RESET_WATCHES: _Connection.reset_watches, _DIRECTORY_PART: _Connection.directory_part,
}


class StoreServer:
    """Answers on a Unix socket in a thread of its own."""

    def __init__(self, store: Store, path: Path):
        self.store, self.path = store, path
        path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o077)
        try:
            self._listener.bind(str(path))
        finally:
            os.umask(before)
        self._listener.listen(64)
        self._connections: dict[int, _Connection] = {}
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="penstock-store", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        os.eventfd_write(self._woken, 1)

    def _run(self) -> None:
        while not self._ended:
            connections = list(self._connections.values())
            poll = select.poll()
            poll.register(self._listener, select.POLLIN)
            poll.register(self._woken, select.POLLIN)
            for c in connections:
                poll.register(c.socket, select.POLLIN | (select.POLLOUT if c.queued else 0))
            for descriptor, _ in poll.poll():
                if descriptor == self._listener.fileno():
                    channel, _ = self._listener.accept()
                    self._connections[channel.fileno()] = _Connection(self, channel)
                elif descriptor == self._woken:
                    os.eventfd_read(self._woken)
                elif (connection := self._connections.get(descriptor)) is not None:
                    connection.flush()
                    connection.receive()
            for descriptor, connection in list(self._connections.items()):
                if connection.closed:
                    del self._connections[descriptor]
                    connection.close()

    def close(self) -> None:
        self._ended = True
        self.wake()
        self._thread.join()
        for connection in self._connections.values():
            connection.close()
        self._listener.close()
        os.close(self._woken)
        self.path.unlink(missing_ok=True)
