"""FromDump."""

from __future__ import annotations

import os
from collections.abc import Iterator

from penstock.elements import ConfigureError, HandlerError, Packet, datapath, u32
from penstock.elements.hostfed import HostFedSource
from penstock.lang.arguments import Filename, parse_real, parse_seconds
from penstock.packet.capture import LINK_TYPES, CaptureError, CapturePacket, CaptureReader
from penstock.packet.link import ip_start
from penstock.packet.tracefile import TraceFile

__all__ = ["FromDump"]

_ONE = 1 << 28
_BURST = 32
_FOREVER = 2**64 - 1


class FromDump(HostFedSource):
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
        FILEPOS, MMAP: accepted for compatibility.

    Handlers:
        count (read): packets so far. filename, encap, filepos, filesize (read). active, sampling_prob (read/write).
        stop, reset_counts (write).

    Example:
        FromDump(f.pcap, STOP true) -> c :: Counter -> Discard;
    """

    #: packets that are not IP are there with FORCE_IP too, without a network header position
    keeps_others = False

    sample: u32

    def configure(self, filename: Filename, *, stop: bool = False, timing: bool = False, active: bool = True,
                  sample: float = 1.0, force_ip: bool = False, start: str = "", start_after: str = "", end: str = "",
                  end_after: str = "", interval: str = "", end_call: str = "", filepos: int = 0, mmap: bool = False,
                  burst: int = _BURST) -> None:
        self.filename, self.timing, self.force_ip = filename, timing, force_ip
        self.set_end(stop, end_call)
        if not 0 <= sample <= 1:
            raise ConfigureError("SAMPLE: must be between 0 and 1")
        self.sample = round(sample * _ONE)
        self.samples = sample < 1
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
        self.iterator: Iterator[CapturePacket] = iter(self.reader)
        self.waiting: CapturePacket | None = None
        self.first_ns: int | None = None
        self.problem = ""
        self.listen()

    def open_trace(self) -> TraceFile:
        return CaptureReader(self.filename)

    def cleanup(self) -> None:
        if hasattr(self, "reader"):
            self.reader.close()

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("filename", lambda: self.filename)
        self.add_read("filepos", lambda: self.reader.position)
        self.add_read("filesize", self._size)
        self.add_read("encap", self._encap)
        self.add_read("sampling_prob", lambda: f"{self.sample / _ONE:g}")
        self.add_write("sampling_prob", self._set_sample)

    def _size(self) -> int | str:
        """Of a gzip file that is not the size of what is read, so it is not told."""
        if self.filename == "-" or self.filename.endswith(".gz"):
            return "-"
        return os.stat(self.filename).st_size

    def _encap(self) -> str:
        number = LINK_TYPES["IP"] if self.force_ip else self.reader.link_type
        return next((name for name, value in LINK_TYPES.items() if value == number), str(number))

    def _set_sample(self, text: str) -> None:
        value = parse_real(text.strip())
        if not 0 <= value <= 1:
            raise HandlerError("must be between 0 and 1")
        if not self.samples:
            raise HandlerError("configure the element with SAMPLE to change it later")
        self.sample = round(value * _ONE)

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

    def _next(self) -> CapturePacket | None:
        """The next packet that is wanted, or None at the end."""
        while True:
            try:
                packet = next(self.iterator, None)
            except CaptureError as error:
                self.problem = str(error)
                self.router.complain(str(error))
                return None
            if packet is None:
                return None
            if self.first_ns is None:
                self.first_ns = packet.timestamp_ns
                self.clock_at_first_ns = self._now()
                self._limits(self.first_ns)
            if packet.timestamp_ns >= self.until_ns:
                return None
            if packet.timestamp_ns < self.from_ns:
                continue
            if self.force_ip and not self.keeps_others and ip_start(packet.data, packet.link_type) is None:
                continue
            return packet

    def _now(self) -> int:
        clock = self.router.clock
        return int(clock.time if clock.simulated else clock.read())

    def feed(self) -> bool:
        """Move packets to the ring while there is room."""
        if not self.wants_more:
            return False
        fed = 0
        while True:
            packet = self.waiting or self._next()
            self.waiting = None
            if packet is None:
                self.source.closed = True
                break
            if self.timing and self.first_ns is not None:
                due = self.clock_at_first_ns + packet.timestamp_ns - self.first_ns
                if due > self._now():
                    self.waiting = packet
                    self.router.calls.call_at(due, lambda: None)
                    break
            if not self._offer(packet):
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

    @datapath
    def accept(self, p: Packet) -> Packet | None:
        if self.samples:
            if (self.random.next() & (_ONE - 1)) >= self.sample:
                p.kill()
                return None
        return p
