"""RawSocket, FromRawSocket and ToRawSocket: IPv4 packets from and to this host's raw sockets."""

from __future__ import annotations

import socket

from penstock.elements import ConfigureError
from penstock.elements.hostlink import HostLink
from penstock.lang.arguments import UInt32, Word
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["FromRawSocket", "RawSocket", "ToRawSocket"]


class RawSocket(HostLink):
    """Exchange IPv4 packets of one protocol with this host's network, by a raw socket. Needs the right CAP_NET_RAW.

    What comes in is sent as it is, IP header included; what the host receives of the protocol comes out of output 0 with the network
    header and the destination annotation set (the host's own stack gets it too). With PORT only packets to that port.

    Arguments:
        PROTO: the protocol's name or number. PORT: destination port of what is received; 0: all.
        SNAPLEN: bytes of a packet (2048). PROPER, HEADROOM: accepted for compatibility.

    Handlers:
        count (read): packets received. drops (read): packets that could not be sent.

    Example:
        s :: RawSocket(udp, 7) -> Discard; Idle -> s;
    """

    ports = "0-1/0-1"
    processing = "a/h"
    flow = "x/y"
    may_generate = True
    frames = False

    def configure(self, proto: Word, port: UInt32 = 0, *, snaplen: UInt32 = 2048, proper: bool = False, headroom: UInt32 = 28) -> None:
        number = PROTOCOL_NUMBERS.get(proto.lower())
        if number is None:
            if not proto.isdigit() or not 0 < int(proto) < 256:
                raise ConfigureError(f"PROTO: '{proto}' is no IP protocol")
            number = int(proto)
        if port > 65535:
            raise ConfigureError("PORT: out of range, bound 65535")
        if not 20 <= snaplen <= 65535:
            raise ConfigureError("SNAPLEN: must be between 20 and 65535")
        self.protocol, self.port, self.snap_bytes = number, port, snaplen
        self.socket: socket.socket | None = None
        self.set_link()

    def open(self) -> None:
        try:
            self.socket = socket.socket(socket.AF_INET, socket.SOCK_RAW, self.protocol)
            self.socket.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        except PermissionError:
            raise ConfigureError("a raw socket needs the right CAP_NET_RAW (run it as root)") from None
        except OSError as error:
            raise ConfigureError(f"raw socket: {error.strerror}") from None
        self.socket.setblocking(False)

    def shut(self) -> None:
        if self.socket is not None:
            self.router.calls.readers.pop(self.socket.fileno(), None)
            self.socket.close()
            self.socket = None

    @property
    def descriptor(self) -> int:
        assert self.socket is not None
        return self.socket.fileno()

    def read(self) -> bytes | None:
        assert self.socket is not None
        while True:
            try:
                data = self.socket.recv(self.snap_bytes)
            except OSError:
                return None
            header_bytes = (data[0] & 15) * 4 if data else 0
            if not self.port or data[header_bytes + 2 : header_bytes + 4] == self.port.to_bytes(2, "big"):
                return data

    def write(self, data: bytes) -> bool:
        if self.socket is None or len(data) < 20:
            return False
        try:
            self.socket.sendto(data, (socket.inet_ntoa(data[16:20]), 0))
        except OSError:
            return False
        return True


class FromRawSocket(RawSocket):
    """Give IPv4 packets of one protocol that this host receives: RawSocket without an input.

    Arguments:
        PROTO, PORT, SNAPLEN, PROPER, HEADROOM: as RawSocket has them.

    Example:
        FromRawSocket(udp, 7) -> Discard;
    """

    ports = "0/1"
    processing = "h/h"


class ToRawSocket(RawSocket):
    """Send IPv4 packets by a raw socket: RawSocket without an output.

    Arguments:
        PROTO, PORT, SNAPLEN, PROPER, HEADROOM: as RawSocket has them.

    Example:
        InfiniteSource(LIMIT 1, STOP true) -> UDPIPEncap(127.0.0.1, 9, 127.0.0.1, 9) -> ToRawSocket(udp);
    """

    ports = "1/0"
    processing = "a/h"
    may_generate = False
