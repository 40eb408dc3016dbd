"""McastSocket."""

from __future__ import annotations

import contextlib
import socket

from penstock.elements import ConfigureError
from penstock.elements.hostlink import HostLink
from penstock.lang.arguments import IPAddress, Port, unparse_ip

__all__ = ["McastSocket"]


class McastSocket(HostLink):
    """Send packets to a multicast group, and give what is sent to it, through a UDP socket of this host.

    Packets are the payload of UDP datagrams.

    Arguments:
        MCAST_IP, PORT: the group, and the UDP port. SOURCE_IP: the address of the interface to send from and listen on (the
        system's choice). LOOP: hear what this host sends as well (false).

    Handlers:
        count (read): packets received. drops (read): packets that could not be sent.

    Example:
        m :: McastSocket(239.77.1.2, 0, 127.0.0.1, LOOP true) -> Print -> Discard; RatedSource(LIMIT 1, STOP true) -> m;
    """

    ports = "0-1/0-1"
    processing = "a/h"
    flow = "x/y"
    may_generate = True

    def configure(self, mcast_ip: IPAddress, port: Port, source_ip: IPAddress = 0, *, loop: bool = False) -> None:
        if mcast_ip >> 28 != 0xE:
            raise ConfigureError(f"MCAST_IP: {unparse_ip(mcast_ip)} is no multicast group")
        self.group, self.port_number, self.source_ip, self.loop = unparse_ip(mcast_ip), port, unparse_ip(source_ip), loop
        self.made: socket.socket | None = None
        self.set_link()

    def open(self) -> None:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", self.port_number))
            interface = socket.inet_aton(self.source_ip)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(self.group) + interface)
            made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, int(self.loop))
            if self.source_ip != "0.0.0.0":
                made.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        except OSError as error:
            made.close()
            raise ConfigureError(f"{self.group} port {self.port_number}: {error.strerror}") from None
        made.setblocking(False)
        self.made = made

    def shut(self) -> None:
        if self.made is not None:
            self.router.calls.readers.pop(self.made.fileno(), None)
            self.made.close()
            self.made = None

    @property
    def descriptor(self) -> int:
        assert self.made is not None
        return self.made.fileno()

    def read(self) -> bytes | None:
        with contextlib.suppress(OSError):
            if self.made is not None:
                return self.made.recv(65535)
        return None

    def write(self, data: bytes) -> bool:
        if self.made is None:
            return False
        try:
            return self.made.sendto(data, (self.group, self.made.getsockname()[1])) == len(data)
        except OSError:
            return False
