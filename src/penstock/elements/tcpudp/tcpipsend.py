"""TCPIPSend."""

import struct

from penstock.elements import HandlerError
from penstock.elements.hostfed import HostFedSource
from penstock.lang.arguments import ArgumentError, parse_int, parse_ip
from penstock.packet.build import ipv4_header, tcp_segment

__all__ = ["TCPIPSend"]


class TCPIPSend(HostFedSource):
    """Make a TCP packet whenever the handler ``send`` is written.

    Handlers:
        send (write): SADDR SPORT DADDR DPORT SEQUENCE ACKNOWLEDGEMENT FLAGS, FLAGS as the byte in the header.
        count, active (read), active, stop, reset_counts (write).

    Example:
        t :: TCPIPSend -> IPPrint -> Discard; Script(write t.send 1.0.0.1 5 2.0.0.2 80 7 0 2, wait 10ms, stop);
    """

    def configure(self) -> None:
        self.set_end(False, "")
        self.set_source(True)

    def initialize(self) -> None:
        self.listen()

    def feed(self) -> bool:
        return self.source.written != self.source.read

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_write("send", self._send)

    def _send(self, text: str) -> None:
        words = text.split()
        if len(words) != 7:
            raise HandlerError("expected SADDR SPORT DADDR DPORT SEQUENCE ACKNOWLEDGEMENT FLAGS")
        try:
            src, dst = (parse_ip(words[i], self.router.context) for i in (0, 2))
            sport, dport = (parse_int(words[i], 0, 0xFFFF) for i in (1, 3))
            sequence, acknowledged = (parse_int(words[i], 0, 0xFFFFFFFF) for i in (4, 5))
            flags = parse_int(words[6], 0, 255)
        except ArgumentError as error:
            raise HandlerError(str(error)) from None
        tcp = tcp_segment(sport, dport, sequence, acknowledged, flags, 32120, b"", struct.pack(">II", src, dst))
        head = ipv4_header(src, dst, 6, len(tcp), fragment=0x4000, ttl=255)
        if not self.source.offer(head + tcp, timestamp_ns=self.clock.read(), network=0, transport=20):
            raise HandlerError("no room: packets are not taken as fast as they are made")
        self.wake()
