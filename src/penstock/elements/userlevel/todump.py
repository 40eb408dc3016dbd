"""ToDump."""

import contextlib

from penstock.elements import ConfigureError, HandlerError, HostPacket, Packet, datapath
from penstock.elements.hostfed import HostSink
from penstock.lang.arguments import Filename, UInt32, Word
from penstock.packet.capture import LINK_TYPES, CaptureWriter

__all__ = ["ToDump"]



class ToDump(HostSink):
    """Write packets to a capture file. They go on to the output where it is used; else the element drops them.

    A file name that ends in ``.pcapng`` gives that format, ``.gz`` compresses; ``-`` is standard output.

    Arguments:
        FILENAME: the file.
        SNAPLEN: bytes of each packet that are written (2000); 0 for all.
        ENCAP: what packets start with: ETHER, IP, FDDI, PPP, NULL, SLL, ..., or a link type's number.
        USE_ENCAP_FROM: names of FromDump elements whose encapsulation is meant.
        EXTRA_LENGTH: count the bytes that were cut off before as part of the packet's length.
        NANO: write nanoseconds to a pcap file.
        UNBUFFERED: write each packet at once. PER_NODE: accepted for compatibility.

    Handlers:
        count (read): packets written. filename (read). flush, reset_counts (write).

    Example:
        InfiniteSource(LIMIT 5, STOP true) -> UDPIPEncap(1.0.0.1, 1, 2.0.0.2, 2) -> ToDump(out.pcap, ENCAP IP);
    """

    def configure(self, filename: Filename, snaplen: UInt32 = 2000, encap: Word = "", *, use_encap_from: str = "",
                  extra_length: bool = True, nano: bool = False, unbuffered: bool = False, per_node: bool = False) -> None:
        self.filename, self.snap_bytes = filename, snaplen or 0x40000
        if encap and use_encap_from:
            raise ConfigureError("specify at most one of 'ENCAP' and 'USE_ENCAP_FROM'")
        word = encap.upper() or "ETHER"
        if word not in LINK_TYPES and not word.isdigit():
            raise ConfigureError(f"ENCAP: unknown encapsulation '{encap}' ({', '.join(LINK_TYPES)})")
        self.link_type = LINK_TYPES[word] if word in LINK_TYPES else int(word) & 0xFFFF
        self.encap_from = use_encap_from.split()
        self.extra_length, self.nano, self.unbuffered = extra_length, nano, unbuffered
        self.set_sink()

    def initialize(self) -> None:
        for name in self.encap_from:
            element = self.router.find(name, self.name)
            handler = element.handlers.get("encap") if element is not None else None
            reader = getattr(element, "reader", None)
            if reader is None and handler is None:
                raise ConfigureError(f"'{name}' has no encapsulation")
            link = 101 if getattr(element, "force_ip", False) else reader.link_type if reader is not None else None
            if link is not None:
                self.link_type = link
        self.writer = CaptureWriter(self.filename, link_type=self.link_type, snap_bytes=self.snap_bytes, nanoseconds=self.nano)
        self.listen()

    def cleanup(self) -> None:
        if hasattr(self, "writer"):
            with contextlib.suppress(OSError):
                self.writer.close()

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("filename", lambda: self.filename)
        self.add_write("reset_counts", lambda text: setattr(self, "count", 0), flags="b")
        self.add_write("flush", lambda text: self._flush(), flags="b")

    def _flush(self) -> None:
        self.router.drain_host()
        try:
            self.writer.flush()
        except OSError as error:
            raise HandlerError(f"{self.filename}: {error.strerror}") from None

    def host_packet(self, packet: HostPacket) -> None:
        if self.failed:
            return
        length = packet.length + (packet.extra_length if self.extra_length else 0)
        try:
            self.writer.write(packet.data, packet.timestamp_ns, length)
            if self.unbuffered:
                self.writer.flush()
        except OSError as error:
            self.give_up(f"{self.filename}: {error.strerror}")

    @datapath
    def record(self, p: Packet) -> None:
        self.to_host(p, 0, self.snap_bytes)
