"""What sources share that replay a file of packets: taking some of them, keeping the time between them, telling where they are."""

from __future__ import annotations

import os

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, HandlerError
from penstock.elements.hostfed import HostFedSource
from penstock.lang.arguments import parse_real
from penstock.packet.integers import u32

__all__ = ["TraceSource"]

_ONE = 1 << 28


class TraceSource(HostFedSource):
    """A source that reads a file named ``filename``."""

    filename: str

    sample: u32

    def set_trace(self, sample: float, *, timing: bool) -> None:
        if not 0 <= sample <= 1:
            raise ConfigureError("SAMPLE: must be between 0 and 1")
        self.sample, self.samples, self.timing = round(sample * _ONE), sample < 1, timing
        self.first_ns: int | None = None

    @property
    def position(self) -> int:
        """Bytes of the file that are read."""
        raise NotImplementedError

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("filename", lambda: self.filename)
        for name in ("filepos", "packet_filepos"):
            self.add_read(name, lambda: self.position)
        self.add_read("filesize", self._size)
        self.add_read("sampling_prob", lambda: f"{self.sample / _ONE:g}")
        self.add_write("sampling_prob", self._set_sample)

    def _size(self) -> int | str:
        """Of a gzip file that is not the size of what is read, so it is not told."""
        if self.filename == "-" or self.filename.endswith(".gz") or not os.path.exists(self.filename):
            return "-"
        return os.stat(self.filename).st_size

    def _set_sample(self, text: str) -> None:
        value = parse_real(text.strip())
        if not 0 <= value <= 1:
            raise HandlerError("must be between 0 and 1")
        if not self.samples:
            raise HandlerError("configure the element with SAMPLE to change it later")
        self.sample = round(value * _ONE)

    def begin_at(self, timestamp_ns: int) -> None:
        """The file's first packet is this old: its time is now."""
        self.first_ns, self.clock_at_first_ns = timestamp_ns, self._now()

    def _now(self) -> int:
        clock = self.router.clock
        return int(clock.time if clock.simulated else clock.read())

    def is_early(self, timestamp_ns: int) -> bool:
        """With TIMING: the packet's time has not come. When it does, ``feed`` is called again."""
        if not self.timing or self.first_ns is None:
            return False
        due = self.clock_at_first_ns + timestamp_ns - self.first_ns
        if due <= self._now():
            return False
        self.router.calls.call_at(due, lambda: None)
        return True

    @datapath
    def accept(self, p: Packet) -> Packet | None:
        return self.take_sample(p)

    @datapath
    def take_sample(self, p: Packet) -> Packet | None:
        if self.samples:
            if (self.random.next() & (_ONE - 1)) >= self.sample:
                p.kill()
                return None
        return p
