"""What elements share that listen on a TCP port or a Unix socket: ControlSocket and ChatterSocket."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import Self

from penstock.elements.element import ConfigureError, Element
from penstock.lang.arguments import ArgumentError, parse_int

__all__ = ["ListeningElement"]

_PORTS_TRIED = 10


class ListeningElement(Element):
    """Listens; a subclass is told of each connection in ``accepted``. A hot swap keeps the listening socket."""

    ports = "0/0"
    takes_state = True

    listener: socket.socket | None = None
    localhost = False

    def set_address(self, kind: str, positional: list[str]) -> None:
        """TCP and its port (``80+``: it or one of the ten behind it), UNIX and a file, SOCKET and a descriptor that is connected."""
        self.kind = kind.upper()
        if self.kind not in ("TCP", "UNIX", "SOCKET"):
            raise ConfigureError(f"unknown socket type '{kind}'")
        if not positional:
            raise ConfigureError(f"{'FILENAME' if self.kind == 'UNIX' else 'PORT'}: required argument missing")
        self.address = positional[0]
        if self.kind == "TCP":
            try:
                parse_int(self.address.rstrip("+"), 0, 65535)
            except ArgumentError:
                raise ConfigureError("expected TCP port") from None

    def accepted(self, accepted: socket.socket) -> None:
        """A new connection, which does not block."""
        raise NotImplementedError

    def successor_of(self) -> Self | None:
        """The element of the router before this one whose socket this one takes over."""
        old = self.router.predecessor.by_name.get(self.name) if self.router.predecessor is not None else None
        if isinstance(old, type(self)) and (old.kind, old.address) == (self.kind, self.address):
            return old
        return None

    def listen(self) -> None:
        """To be called from ``initialize``, but where a socket is taken over."""
        try:
            if self.kind == "TCP":
                self.listener = self._listen_tcp()
            elif self.kind == "UNIX":
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.address)
                self.listener = socket.socket(socket.AF_UNIX)
                self.listener.bind(self.address)
                self.listener.listen(8)
            else:
                self._descriptor = socket.socket(fileno=parse_int(self.address))
        except OSError as error:
            raise ConfigureError(f"bind: {error.strerror}") from None

    def _listen_tcp(self) -> socket.socket:
        first = int(self.address.rstrip("+"))
        tries = _PORTS_TRIED + 1 if self.address.endswith("+") else 1
        for attempt in range(tries):
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1" if self.localhost else "", first + attempt))
                listener.listen(8)
            except OSError:
                listener.close()
                if attempt == tries - 1:
                    raise
                continue
            return listener
        raise AssertionError("unreachable")

    def start_listening(self) -> None:
        """To be called from ``started``."""
        old = self.successor_of()
        if self.listener is None and old is not None:
            self.listener, old.listener = old.listener, None
        if self.listener is not None:
            self.router.calls.readers[self.listener.fileno()] = self._accept
        elif self.kind == "SOCKET" and old is None:
            self._descriptor.setblocking(False)
            self.accepted(self._descriptor)

    def _accept(self) -> None:
        assert self.listener is not None
        with contextlib.suppress(OSError):
            accepted, _ = self.listener.accept()
            accepted.setblocking(False)
            self.accepted(accepted)

    def stop_listening(self) -> None:
        """To be called from ``cleanup``."""
        if self.listener is not None:
            self.router.calls.readers.pop(self.listener.fileno(), None)
            self.listener.close()
            self.listener = None
            if self.kind == "UNIX":
                with contextlib.suppress(OSError):
                    os.unlink(self.address)

    def add_handlers(self) -> None:
        if self.kind == "TCP":
            self.add_read("port", lambda: self.listener.getsockname()[1] if self.listener else "")
        elif self.kind == "UNIX":
            self.add_read("filename", lambda: self.address)
