"""What the elements that print lines share: where the lines go, and the ``active`` handler."""

from __future__ import annotations

from typing import TextIO

from penstock.datapath.host import HostPacket
from penstock.elements.element import ConfigureError, Element
from penstock.lang.arguments import parse_bool
from penstock.packet.integers import boolean

__all__ = ["PrintElement", "timestamp_text"]


def timestamp_text(ns: int) -> str:
    """``seconds.nanoseconds``, as Click prints time."""
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000:09d}"


class PrintElement(Element):
    """A subclass makes the line for a packet; it is written in Python while the packet goes on."""

    active: boolean

    out: TextIO | None = None
    outfile = ""

    def setup(self, active: bool, outfile: str = "") -> None:
        self.active, self.outfile = active, outfile

    def initialize(self) -> None:
        if self.outfile and self.outfile != "-":
            try:
                self.out = open(self.outfile, "w", encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
            except OSError as error:
                raise ConfigureError(f"{self.outfile}: {error.strerror}") from None

    def cleanup(self) -> None:
        if self.out is not None:
            self.out.close()
            self.out = None

    def add_handlers(self) -> None:
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", lambda text: setattr(self, "active", parse_bool(text.strip())))

    def line(self, packet: HostPacket) -> str:
        raise NotImplementedError

    def host_packet(self, packet: HostPacket) -> None:
        stream = self.out or (self.router.stdout if self.outfile == "-" else self.router.stderr)
        print(self.line(packet), file=stream, flush=True)
