"""ControlSocket: Click's text protocol for reading and writing handlers over TCP or Unix sockets."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field

from penstock.elements import ConfigureError, HandlerError
from penstock.elements.element import HandlerLookupError, text_of
from penstock.elements.listening import ListeningElement
from penstock.lang.arguments import ArgumentError, Raw, parse_bool
from penstock.lang.elaborate import split_keyword
from penstock.lang.text import split_words, unquote

__all__ = ["ControlSocket"]

BANNER = b"Click::ControlSocket/1.3\r\n"
_MAX_LINE_BYTES = 1 << 20
_MAX_DATA_BYTES = 1 << 26
_HELP = (
    "Commands supported:", "READ handler [arg...]  call read handler, return result",
    "READDATA handler len   call read handler with len data bytes, return result",
    "READUNTIL handler term call read handler with data until line term, return result",
    "WRITE handler [arg...] call write handler", "WRITEDATA handler len  call write handler with len data bytes",
    "WRITEUNTIL handler term call write handler with data until line term",
    "CHECKREAD handler      check if read handler is valid", "CHECKWRITE handler     check if write handler is valid",
    "LLRPC elt#cmd [len]    not supported here", "QUIT                   close connection",
)


class _Refusal(Exception):
    def __init__(self, code: int, message: str):
        self.code = code
        super().__init__(message)


@dataclass
class _Connection:
    socket: socket.socket
    input: bytearray = field(default_factory=bytearray)
    output: bytearray = field(default_factory=bytearray)
    closing: bool = False


class ControlSocket(ListeningElement):
    """Let other programs read and write handlers.

    Arguments:
        TYPE: TCP, UNIX or SOCKET.
        PORT | FILENAME | FD: where to listen; a TCP port with "+" tries the next ten too.
        READONLY: refuse writes.
        PROXY: accepted for compatibility; proxies do not exist here.
        VERBOSE: print connections on standard error.
        LOCALHOST: listen on the loopback address only.
        RETRIES, RETRY_WARNINGS: accepted for compatibility.

    Handlers:
        port (read): the TCP port.
        filename (read): the Unix socket.

    Example:
        ControlSocket(TCP, 0, LOCALHOST true); DriverManager(stop);
    """

    ports = "0/0"
    takes_state = True

    def configure(self, type_: str, *rest: Raw) -> None:
        self.kind = type_.upper()
        self.read_only = self.localhost = self.verbose = False
        self.connections: dict[int, _Connection] = {}
        positional: list[str] = []
        flags = {"READONLY": "read_only", "LOCALHOST": "localhost", "VERBOSE": "verbose"}
        for argument in rest:
            keyword = split_keyword(argument)
            if keyword and keyword[0] in flags:
                try:
                    setattr(self, flags[keyword[0]], parse_bool(keyword[1]))
                except ArgumentError as error:
                    raise ConfigureError(f"{keyword[0]}: {error}") from None
            elif keyword and keyword[0] in ("RETRIES", "RETRY_WARNINGS", "PROXY"):
                continue
            else:
                positional.append(unquote(argument))
        self.set_address(type_, positional)
        if len(positional) > 1:
            self.read_only = parse_bool(positional[1])

    def initialize(self) -> None:
        if self.successor_of() is not None:
            return
        self.listen()

    def started(self) -> None:
        old = self.successor_of()
        if old is not None:
            # Hot swap: open connections live on.
            assert isinstance(old, ControlSocket)
            self.connections, old.connections = old.connections, {}
        self.start_listening()
        for connection in self.connections.values():
            self._watch(connection)
        self.router.calls.feeders.append(self._serve)

    def cleanup(self) -> None:
        for connection in list(self.connections.values()):
            self._close(connection)
        self.stop_listening()

    # Connections

    def accepted(self, accepted: socket.socket) -> None:
        connection = _Connection(accepted)
        connection.output += BANNER
        self.connections[accepted.fileno()] = connection
        self._flush(connection)
        self._watch(connection)

    def _watch(self, connection: _Connection) -> None:
        # The other side may have gone before it read the banner.
        if connection.socket.fileno() >= 0:
            self.router.calls.readers[connection.socket.fileno()] = lambda: self._readable(connection)

    def _close(self, connection: _Connection) -> None:
        descriptor = connection.socket.fileno()
        if descriptor >= 0:
            self.router.calls.readers.pop(descriptor, None)
            self.connections.pop(descriptor, None)
            connection.socket.close()

    def _readable(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            connection.closing = True
        connection.input += data
        if len(connection.input) > _MAX_DATA_BYTES:
            self._close(connection)
            return
        self.router.driver.attention = 1
        if connection.closing and b"\n" not in connection.input and b"\r" not in connection.input:
            self._close(connection)

    def _flush(self, connection: _Connection) -> None:
        while connection.output:
            try:
                sent = connection.socket.send(connection.output)
            except BlockingIOError:
                return
            except OSError:
                self._close(connection)
                return
            del connection.output[:sent]

    def _serve(self) -> bool:
        """One command for each connection a round."""
        busy = False
        for connection in list(self.connections.values()):
            if connection.input:
                busy = self._command(connection) or busy
            if connection.output:
                self._flush(connection)
            if connection.closing and not connection.output and not connection.input:
                self._close(connection)
        return busy

    # Commands

    def _command(self, connection: _Connection) -> bool:
        """Carry out the first complete command in the input; false where none is complete."""
        match = re.search(rb"\r\n|\n|\r(?!\Z)|\r\Z", bytes(connection.input[:_MAX_LINE_BYTES]))
        if match is None:
            if len(connection.input) > _MAX_LINE_BYTES:
                self._close(connection)
            elif connection.closing:
                connection.input.clear()
            return False
        line = bytes(connection.input[: match.start()]).decode("utf-8", "surrogateescape")
        rest = match.end()
        words = split_words(line)
        if not words:
            del connection.input[:rest]
            return True
        name = words[0].upper()
        try:
            used = self._dispatch(connection, name, words[1:], line, rest)
        except _Refusal as refusal:
            self._reply(connection, refusal.code, str(refusal))
            used = rest
        if used < 0:
            return False
        del connection.input[:used]
        return True

    def _dispatch(self, connection: _Connection, name: str, words: list[str], line: str, rest: int) -> int:
        """Returns how many bytes of input the command took, -1 where its data is not here yet."""
        match name:
            case "READ" | "GET" | "WRITE" | "SET":
                self._need(words, 1)
                argument = line.strip().split(None, 2)[2:]
                self._call(connection, name in ("READ", "GET"), words[0], argument[0] if argument else "")
            case "READDATA" | "WRITEDATA" | "SETDATA":
                self._need(words, 2)
                if not words[1].isdigit():
                    raise _Refusal(500, "Syntax error in 'writedata'")
                size = int(words[1][:12])
                if size > _MAX_DATA_BYTES:
                    raise _Refusal(521, "Data too big")
                if len(connection.input) < rest + size:
                    return -1
                data = bytes(connection.input[rest : rest + size]).decode("utf-8", "surrogateescape")
                self._guarded(connection, name == "READDATA", words[0], data)
                return rest + size
            case "READUNTIL" | "WRITEUNTIL" | "SETUNTIL":
                self._need(words, 1)
                end = unquote(words[1]) if len(words) > 1 else ""
                return self._until(connection, name == "READUNTIL", words[0], end, rest)
            case "CHECKREAD" | "CHECKWRITE":
                self._need(words, 1)
                self._check(connection, words[0], name == "CHECKREAD")
            case "LLRPC":
                raise _Refusal(501, "LLRPC is not supported")
            case "HELP":
                for text in _HELP[:-1]:
                    connection.output += f"200-{text}\r\n".encode()
                self._reply(connection, 200, _HELP[-1])
            case "QUIT" | "CLOSE":
                self._reply(connection, 200, "Goodbye!")
                connection.closing = True
                connection.input.clear()
                return 0
            case _:
                raise _Refusal(501, f"Command '{name}' unimplemented")
        return rest

    def _until(self, connection: _Connection, is_read: bool, handler: str, end: str, rest: int) -> int:
        position = rest
        pieces: list[bytes] = []
        while match := re.compile(rb"\r\n|\n|\r").search(connection.input, position):
            text = bytes(connection.input[position : match.start()])
            if text.decode("utf-8", "surrogateescape").rstrip() == end:
                self._guarded(connection, is_read, handler, b"".join(pieces).decode("utf-8", "surrogateescape"))
                return match.end()
            pieces.append(bytes(connection.input[position : match.end()]))
            position = match.end()
        return -1

    def _guarded(self, connection: _Connection, is_read: bool, handler: str, data: str) -> None:
        """A command whose data has been taken already: its refusal is answered here."""
        try:
            self._call(connection, is_read, handler, data)
        except _Refusal as refusal:
            self._reply(connection, refusal.code, str(refusal))

    @staticmethod
    def _need(words: list[str], count: int) -> None:
        if len(words) < count:
            raise _Refusal(500, "Wrong number of arguments")

    @staticmethod
    def _reply(connection: _Connection, code: int, message: str) -> None:
        lines = message.split("\n")
        for text in lines[:-1]:
            connection.output += f"{code}-{text}\r\n".encode("utf-8", "surrogateescape")
        connection.output += f"{code} {lines[-1]}\r\n".encode("utf-8", "surrogateescape")

    def _find(self, name: str) -> tuple[str, object]:
        try:
            element, handler = self.router.handlers.find(name if "." in name else f".{name}")
        except HandlerLookupError as error:
            if error.kind == "element":
                raise _Refusal(510, f"No element named '{name.rpartition('.')[0]}'") from None
            raise _Refusal(511, f"No handler named '{name}'") from None
        if not handler.visible:
            raise _Refusal(511, f"No handler named '{name}'")
        return f"{element.name}.{handler.name}" if element else handler.name, handler

    def _check(self, connection: _Connection, name: str, is_read: bool) -> None:
        from penstock.elements.element import Handler

        shown, handler = self._find(name)
        assert isinstance(handler, Handler)
        if is_read and handler.read is None:
            raise _Refusal(511, f"Handler '{shown}' not readable")
        if not is_read and handler.write is None:
            raise _Refusal(511, f"Handler '{shown}' not writable")
        if not is_read and self.read_only:
            raise _Refusal(530, f"Permission denied for '{shown}'")
        self._reply(connection, 200, f"{'Read' if is_read else 'Write'} handler '{shown}' OK")

    def _call(self, connection: _Connection, is_read: bool, name: str, argument: str) -> None:
        from penstock.elements.element import Handler

        shown, handler = self._find(name)
        assert isinstance(handler, Handler)
        if is_read:
            if handler.read is None:
                raise _Refusal(530, f"Handler '{shown}' write-only")
            try:
                data = text_of(handler.read(argument)).encode("utf-8", "surrogateescape")
            except (ValueError, LookupError) as error:
                raise _Refusal(520, f"Read handler '{shown}' error:\n{error}") from None
            self._reply(connection, 200, f"Read handler '{shown}' OK")
            connection.output += f"DATA {len(data)}\r\n".encode() + data
            return
        if self.read_only:
            raise _Refusal(530, f"Permission denied for '{shown}'")
        if handler.write is None:
            raise _Refusal(530, f"Handler '{shown}' read-only")
        try:
            handler.write(argument)
        except (HandlerError, ValueError, LookupError) as error:
            raise _Refusal(520, f"Write handler '{shown}' error:\n{error}") from None
        self._reply(connection, 200, f"Write handler '{shown}' OK")
