"""FromDump."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.elements import ConfigureError, HandlerError
from penstock.elements.tracesource import TraceSource
from penstock.lang.arguments import ArgumentError, Filename, parse_seconds
from penstock.packet.capture import LINK_TYPES, CaptureError, CapturePacket, CaptureReader
from penstock.packet.link import ip_start
from penstock.packet.tracefile import TraceFile

__all__ = ["FromDump"]

_BURST = 32
_FOREVER = 2**64 - 1


class FromDump(TraceSource):
    """Read packets from a capture file: pcap or pcapng, plain or gzip; ``-`` is standard input.

    Packets have the file's timestamps. Ethernet frames have the MAC header position set. With FORCE_IP, packets start
    at the IP header, with network and transport header positions, and what is not IP is left out.

    Arguments:
        FILENAME: the file.
        STOP: stop the driver at the end of the file.
        TIMING: keep the time between packets, instead of reading as fast as possible.
        ACTIVE: false waits until the handler ``active`` is written.
        SAMPLE: the probability that a packet is taken.
        FORCE_IP: IP packets only, as above.
        START, START_AFTER, END, END_AFTER, INTERVAL: take packets from one time to another: since the epoch, or after
            the first packet; INTERVAL is from the start on.
        END_CALL: ``handler [value]``, written at the end of the file.
        BURST: packets a task takes at a time.
        FILEPOS: where in the file to start: what the handler ``filepos`` says between packets. MMAP: accepted for compatibility.

    Handlers:
        count (read): packets so far. filename, encap, filepos, packet_filepos, filesize (read). active, sampling_prob (read/write).
        extend_interval (write): END, or the end of INTERVAL, is so much later. stop, reset_counts (write).

    Example:
        FromDump(f.pcap, STOP true) -> c :: Counter -> Discard;
    """

    #: packets that are not IP are there with FORCE_IP too, without a network header position
    keeps_others = False

    def configure(self, filename: Filename, *, stop: bool = False, timing: bool = False, active: bool = True,
                  sample: float = 1.0, force_ip: bool = False, start: str = "", start_after: str = "", end: str = "",
                  end_after: str = "", interval: str = "", end_call: str = "", filepos: int = 0, mmap: bool = False,
                  burst: int = _BURST) -> None:
        self.filename, self.force_ip, self.start_position = filename, force_ip, filepos
        self.set_end(stop, end_call)
        self.set_trace(sample, timing=timing)
        if not 1 <= burst <= 1024:
            raise ConfigureError("BURST: must be between 1 and 1024")
        self.set_source(active, burst)
        if (start and start_after) or bool(end) + bool(end_after) + bool(interval) > 1:
            raise ConfigureError("START and START_AFTER, and END, END_AFTER and INTERVAL exclude each other")
        self.window = (start, start_after, end, end_after, interval)
        for text in self.window:
            if text:
                parse_seconds(text)

    def initialize(self) -> None:
        try:
            self.reader = self.open_trace()
        except CaptureError as error:
            raise ConfigureError(str(error)) from None
        if self.start_position:
            try:
                self.reader.skip_to(self.start_position)
            except CaptureError as error:
                raise ConfigureError(f"FILEPOS: {error}") from None
        self.extension_ns = 0
        self.iterator: Iterator[CapturePacket] = iter(self.reader)
        self.waiting: CapturePacket | None = None
        self.problem = ""
        self.listen()

    def open_trace(self) -> TraceFile:
        return CaptureReader(self.filename)

    def cleanup(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("encap", self._encap)
        self.add_write("extend_interval", self._extend)

    @property
    def position(self) -> int:
        return self.reader.position

    def _extend(self, text: str) -> None:
        try:
            more = int(parse_seconds(text.strip()) * 1e9)
        except ArgumentError as error:
            raise HandlerError(str(error)) from None
        if not any(self.window[2:]):
            raise HandlerError("there is no END, END_AFTER or INTERVAL to extend")
        self.extension_ns += more
        if self.first_ns is not None:
            self._limits(self.first_ns)
        if self.source.closed:
            # The end was reached: go on with the packet that was too late.
            self.source.closed = self.ended = False
            self.wake()

    def _encap(self) -> str:
        number = LINK_TYPES["IP"] if self.force_ip else self.reader.link_type
        return next((name for name, value in LINK_TYPES.items() if value == number), str(number))

    # Python's side: from the file to the ring

    def _limits(self, first_ns: int) -> None:
        start, start_after, end, end_after, interval = (int(parse_seconds(t) * 1e9) if t else None for t in self.window)
        self.from_ns = start if start is not None else first_ns + (start_after or 0)
        self.until_ns = _FOREVER
        if end is not None:
            self.until_ns = end
        elif end_after is not None:
            self.until_ns = first_ns + end_after
        elif interval is not None:
            self.until_ns = self.from_ns + interval
        self.until_ns = min(self.until_ns + self.extension_ns, _FOREVER)

    def _next(self) -> CapturePacket | None:
        """The next packet that is wanted, or None at the end."""
        while True:
            try:
                packet = self.waiting or next(self.iterator, None)
                self.waiting = None
            except CaptureError as error:
                self.problem = str(error)
                self.router.complain(str(error))
                return None
            if packet is None:
                return None
            if self.first_ns is None:
                self.begin_at(packet.timestamp_ns)
                self._limits(packet.timestamp_ns)
            if packet.timestamp_ns >= self.until_ns:
                self.waiting = packet
                return None
            if packet.timestamp_ns < self.from_ns:
                continue
            if self.force_ip and not self.keeps_others and ip_start(packet.data, packet.link_type) is None:
                continue
            return packet

    def feed(self) -> bool:
        """Move packets to the ring while there is room."""
        if not self.wants_more:
            return False
        fed = 0
        while True:
            packet = self._next()
            if packet is None:
                self.source.closed = True
                break
            if self.is_early(packet.timestamp_ns) or not self._offer(packet):
                self.waiting = packet
                break
            fed += 1
        if fed or self.source.closed:
            self.wake()
            return True
        return False

    def _offer(self, packet: CapturePacket) -> bool:
        found = ip_start(packet.data, packet.link_type) if self.force_ip else None
        start = found or 0
        network = transport = None
        if found is not None:
            network = 0
            header = packet.data[start]
            transport = (header & 15) * 4 if header >> 4 == 4 else 40
            if transport > len(packet.data) - start:
                transport = None
        return self.source.offer(
            packet.data[start:], timestamp_ns=packet.timestamp_ns, length=packet.length - start, network=network,
            transport=transport, mac=0 if packet.link_type == 1 and not self.force_ip else None,
        )
