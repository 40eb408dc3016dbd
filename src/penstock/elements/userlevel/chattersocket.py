"""ChatterSocket: what the router prints, for other programs."""

from __future__ import annotations

import socket

from penstock.elements.listening import ListeningElement
from penstock.lang.arguments import Raw
from penstock.lang.text import unquote

__all__ = ["ChatterSocket"]

BANNER = b"Click::ChatterSocket/1.0\r\n"
#: more than that a reader may not be behind
_BEHIND_MAX_BYTES = 1 << 20


class ChatterSocket(ListeningElement):
    """Send what the router prints on standard error (messages, Print and its kind) to whoever connects, too.

    A reader gets what is printed from its connection on; one that is a megabyte behind is disconnected.

    Arguments:
        TYPE: TCP, UNIX or SOCKET.
        PORT | FILENAME | FD: where to listen; a TCP port with "+" tries the next ten too.
        LOCALHOST: listen on the loopback address only.
        GREETING: start with a line that names the protocol (true).
        QUIET: print nothing on standard error as long as somebody is connected.
        CHANNEL, RETRIES, RETRY_WARNINGS: accepted for compatibility; there is one channel.

    Handlers:
        port (read): the TCP port. filename (read): the Unix socket.

    Example:
        ChatterSocket(TCP, 0, LOCALHOST true); InfiniteSource(LIMIT 1, STOP true) -> Print(seen) -> Discard;
    """

    def configure(self, type_: str, port: Raw, *, localhost: bool = False, greeting: bool = True, quiet: bool = False, channel: str = "",
                  retries: int = 0, retry_warnings: bool = True) -> None:
        self.localhost, self.greeting, self.quiet = localhost, greeting, quiet
        self.set_address(type_, [unquote(port)])
        self.behind: dict[socket.socket, bytearray] = {}

    def initialize(self) -> None:
        if self.successor_of() is None:
            self.listen()

    def started(self) -> None:
        old = self.successor_of()
        if old is not None:
            self.behind, old.behind = old.behind, {}
        self.start_listening()
        for reader in self.behind:
            self._watch(reader)
        self.router.chatter.append(self.print)
        self.router.calls.feeders.append(self._serve)

    def accepted(self, accepted: socket.socket) -> None:
        self.behind[accepted] = bytearray(BANNER if self.greeting else b"")
        self._send(accepted)
        self._watch(accepted)

    def _watch(self, reader: socket.socket) -> None:
        # The other side may have gone before it read the greeting.
        if reader.fileno() >= 0:
            self.router.calls.readers[reader.fileno()] = lambda: self._heard(reader)

    def print(self, text: str) -> bool:
        """Text for all readers; true where it need not be printed otherwise."""
        for reader, waiting in list(self.behind.items()):
            waiting += text.encode("utf-8", "surrogateescape")
            if len(waiting) > _BEHIND_MAX_BYTES:
                self._close(reader)
            else:
                self._send(reader)
        return self.quiet and bool(self.behind)

    def _send(self, reader: socket.socket) -> None:
        waiting = self.behind[reader]
        try:
            while waiting:
                del waiting[: reader.send(waiting)]
        except BlockingIOError:
            return
        except OSError:
            self._close(reader)

    def _serve(self) -> bool:
        for reader in list(self.behind):
            self._send(reader)
        return False

    def _heard(self, reader: socket.socket) -> None:
        """Readers say nothing; but they go."""
        try:
            if reader.recv(4096):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._close(reader)

    def _close(self, reader: socket.socket) -> None:
        if self.behind.pop(reader, None) is not None:
            self.router.calls.readers.pop(reader.fileno(), None)
            reader.close()

    def cleanup(self) -> None:
        for reader in list(self.behind):
            self._close(reader)
        self.stop_listening()
        if self.print in self.router.chatter:
            self.router.chatter.remove(self.print)
