"""Socket, FromSocket and ToSocket: packets from and to TCP, UDP and Unix sockets."""

from __future__ import annotations

import contextlib
import os
import socket

from penstock.elements import ConfigureError
from penstock.elements.hostlink import HostLink
from penstock.lang.arguments import ArgumentError, IPPrefixList, UInt32, parse_int, parse_ip, unparse_ip

__all__ = ["FromSocket", "Socket", "ToSocket"]

_FAMILIES = ("TCP", "UDP", "UNIX", "UNIX_DGRAM")


class Socket(HostLink):
    """Send what comes in to a socket, and give what it receives.

    A stream's packets are what one read gives, up to SNAPLEN bytes; datagrams are one packet each. A TCP or UNIX server takes one
    peer at a time, and the next one when that has gone; a UDP server answers whoever has sent last.

    Arguments:
        TYPE: TCP, UDP, UNIX or UNIX_DGRAM.
        IP, PORT: with TCP and UDP, the address: where to listen, or with CLIENT whom to call. FILENAME: with UNIX.
        CLIENT: call, instead of waiting for somebody. SNAPLEN: bytes of a packet (2048).
        NODELAY: send at once (TCP_NODELAY). ALLOW, DENY: prefixes of peers that are served, or not.
        LOCAL_IP, LOCAL_PORT: with UDP and CLIENT, this side's address.
        VERBOSE: report what peers do. TIMESTAMP, PROPER, HEADROOM: accepted for compatibility.

    Handlers:
        count (read): packets received. drops (read): packets that could not be sent. connected (read). local (read): the own address.

    Example:
        s :: Socket(UDP, 127.0.0.1, 0) -> Discard; RatedSource(LIMIT 1, STOP true) -> s;
    """

    ports = "0-1/0-1"
    processing = "a/h"
    flow = "x/y"
    may_generate = True

    def configure(self, type: str, ip: str, port: str = "", *, client: bool = False, snaplen: UInt32 = 2048, nodelay: bool = True,
                  allow: IPPrefixList = (), deny: IPPrefixList = (), local_ip: str = "", local_port: UInt32 = 0, verbose: bool = False,
                  timestamp: bool = True, proper: bool = False, headroom: UInt32 = 28, filename: str = "") -> None:
        self.kind = type.upper()
        if self.kind not in _FAMILIES:
            raise ConfigureError(f"TYPE: must be {', '.join(_FAMILIES)}, not '{type}'")
        if not 1 <= snaplen <= 65535:
            raise ConfigureError("SNAPLEN: must be between 1 and 65535")
        self.is_unix = self.kind.startswith("UNIX")
        self.is_stream = self.kind in ("TCP", "UNIX")
        if self.is_unix:
            self.address: str | tuple[str, int] = filename or ip
            if port:
                raise ConfigureError("UNIX sockets take a file name alone")
        else:
            try:
                self.address = (unparse_ip(parse_ip(ip, self.router.context)), parse_int(port, 0, 65535))
            except ArgumentError as error:
                raise ConfigureError(f"IP, PORT: {error}") from None
        self.client, self.snap_bytes, self.nodelay, self.verbose = client, snaplen, nodelay, verbose
        self.allow, self.deny, self.local = allow, deny, (local_ip or "0.0.0.0", local_port)
        self.listener: socket.socket | None = None
        self.peer: socket.socket | None = None
        self.datagram_peer: tuple[str, int] | str | None = None
        self.set_link()

    def open(self) -> None:
        family = socket.AF_UNIX if self.is_unix else socket.AF_INET
        made = socket.socket(family, socket.SOCK_STREAM if self.is_stream else socket.SOCK_DGRAM)
        try:
            if self.client:
                if not self.is_unix and not self.is_stream and self.local != ("0.0.0.0", 0):
                    made.bind(self.local)
                made.connect(self.address)
                self.peer = made
            else:
                if self.is_unix and isinstance(self.address, str):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self.address)
                else:
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(self.address)
                if self.is_stream:
                    made.listen(2)
                    self.listener = made
                else:
                    self.peer = made
        except OSError as error:
            made.close()
            where = self.address if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"
            raise ConfigureError(f"{where}: {error.strerror}") from None
        made.setblocking(False)
        self._set_nodelay()

    def _set_nodelay(self) -> None:
        if self.peer is not None and self.kind == "TCP" and self.nodelay:
            self.peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def shut(self) -> None:
        for each in (self.listener, self.peer):
            if each is not None:
                self.router.calls.readers.pop(each.fileno(), None)
                each.close()
        if self.listener is not None and self.is_unix and isinstance(self.address, str):
            with contextlib.suppress(OSError):
                os.unlink(self.address)
        self.listener = self.peer = None

    @property
    def descriptor(self) -> int:
        first = self.listener if self.listener is not None else self.peer
        assert first is not None
        return first.fileno()

    def started(self) -> None:
        readers = self.router.calls.readers
        if self.listener is not None:
            readers[self.listener.fileno()] = self._accept
        elif self.peer is not None:
            readers[self.peer.fileno()] = self._readable

    def _is_welcome(self, address: str) -> bool:
        number = parse_ip(address)
        if any(number & mask == prefix & mask for prefix, mask in self.deny):
            return False
        return not self.allow or any(number & mask == prefix & mask for prefix, mask in self.allow)

    def _accept(self) -> None:
        if self.listener is None:
            return
        if self.peer is not None:
            # One at a time: the next one waits in the backlog.
            self.router.calls.readers.pop(self.listener.fileno(), None)
            return
        try:
            peer, address = self.listener.accept()
        except OSError:
            return
        if not self.is_unix and not self._is_welcome(address[0]):
            self._tell(f"refused {address[0]}")
            peer.close()
            return
        peer.setblocking(False)
        self.peer = peer
        self._set_nodelay()
        self._tell("connected")
        self.router.calls.readers[peer.fileno()] = self._readable

    def _tell(self, what: str) -> None:
        if self.verbose:
            self.router.complain(what, self)

    def _hang_up(self) -> None:
        if self.peer is None:
            return
        self.router.calls.readers.pop(self.peer.fileno(), None)
        self.peer.close()
        self.peer = None
        self._tell("the peer has gone")
        if self.listener is not None:
            self.router.calls.readers[self.listener.fileno()] = self._accept

    def _readable(self) -> None:
        if not self.noutputs:
            # Nobody wants it; but the end must be noticed.
            self.read()
            return
        self._read()

    def read(self) -> bytes | None:
        if self.peer is None:
            return None
        try:
            if self.is_stream:
                data = self.peer.recv(self.snap_bytes)
                if not data:
                    self._hang_up()
                    return None
                return data
            while True:
                data, source = self.peer.recvfrom(self.snap_bytes)
                if self.is_unix or self._is_welcome(source[0]):
                    if not self.client:
                        self.datagram_peer = source
                    return data
        except BlockingIOError:
            return None
        except OSError:
            if self.is_stream:
                self._hang_up()
            return None

    def write(self, data: bytes) -> bool:
        if self.peer is None:
            return False
        try:
            if self.is_stream or self.client:
                return self.peer.send(data) == len(data)
            if self.datagram_peer is None:
                return False
            return self.peer.sendto(data, self.datagram_peer) == len(data)
        except BlockingIOError:
            return False
        except OSError:
            if self.is_stream:
                self._hang_up()
            return False

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("connected", lambda: self.peer is not None)
        self.add_read("local", self._local)

    def _local(self) -> str:
        first = self.listener or self.peer
        if first is None:
            return ""
        name = first.getsockname()
        return name if isinstance(name, str) else f"{name[0]} {name[1]}"


class FromSocket(Socket):
    """Give what a socket receives: Socket without an input.

    Arguments:
        TYPE, IP, PORT, FILENAME, CLIENT, SNAPLEN, NODELAY, ALLOW, DENY, LOCAL_IP, LOCAL_PORT, VERBOSE, TIMESTAMP, PROPER, HEADROOM:
            as Socket has them.

    Example:
        FromSocket(UDP, 127.0.0.1, 0) -> Discard;
    """

    ports = "0/1"
    processing = "h/h"


class ToSocket(Socket):
    """Send what comes in to a socket: Socket without an output.

    Arguments:
        TYPE, IP, PORT, FILENAME, CLIENT, SNAPLEN, NODELAY, ALLOW, DENY, LOCAL_IP, LOCAL_PORT, VERBOSE, TIMESTAMP, PROPER, HEADROOM:
            as Socket has them.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> ToSocket(UDP, 127.0.0.1, 9, CLIENT true);
    """

    ports = "1/0"
    processing = "a/h"
    may_generate = False
