"""ToIPSummaryDump."""

import contextlib
import sys
from typing import TextIO

from penstock.elements import ConfigureError, HandlerError, HostPacket, Packet, datapath, u32
from penstock.elements.hostfed import HostSink
from penstock.elements.summary_binary import has_binary_form, pack_record, pack_text
from penstock.elements.summary_fields import FIELDS, MISSING, View, canonical_name
from penstock.lang.arguments import Filename
from penstock.lang.text import split_words

__all__ = ["ToIPSummaryDump"]


class ToIPSummaryDump(HostSink):
    """Write a line of text for each packet, with the fields that CONTENTS names.

    Packets need a network header position for the IP fields; what a packet does not have is written ``-``.

    Arguments:
        FILENAME: the file; ``-`` is standard output.
        CONTENTS: names of fields, for example ``timestamp ip_src ip_dst ip_proto sport dport``. FIELDS and DATA are the same.
        VERBOSE: write host name and time into the header. BANNER: a line of the header. HEADER: false leaves it out.
        MULTIPACKET: a packet that stands for several is written as several lines.
        BAD_PACKETS: a line that starts with ``!bad`` for packets without an IP header.
        BINARY: records instead of lines, behind a text header that ends with ``!binary``. UNBUFFERED: write each packet at once.
        CAREFUL_TRUNC: accepted for compatibility.

    Handlers:
        count (read): packets written. flush (write).

    Example:
        MemSource(FLOWS 3, LIMIT 3, STOP true) -> Strip(14) -> CheckIPHeader
        -> ToIPSummaryDump(-, CONTENTS ip_src sport ip_dst dport ip_proto);
    """

    def configure(self, filename: Filename, *, contents: str = "ip_src ip_dst", fields: str = "", verbose: bool = False,
                  banner: str = "", multipacket: bool = False, binary: bool = False, careful_trunc: bool = True,
                  bad_packets: bool = False, header: bool = True, unbuffered: bool = False, data: str = "") -> None:
        names: list[str] = []
        unknown: list[str] = []
        for word in split_words(fields or data or contents):
            name = canonical_name(word)
            if name is None:
                unknown.append(word)
            else:
                names.append(name)
        if unknown:
            raise ConfigureError(f"CONTENTS: unknown field '{unknown[0]}' (fields are {', '.join(FIELDS)})")
        if not names:
            raise ConfigureError("CONTENTS: no contents specified")
        formless = [n for n in names if binary and not has_binary_form(n)]
        if formless:
            raise ConfigureError(f"CONTENTS: field '{formless[0]}' has no binary form")
        self.names, self.binary = names, binary
        self.filename, self.verbose, self.banner, self.header = filename, verbose, banner, header
        self.multipacket, self.bad_packets, self.unbuffered = multipacket, bad_packets, unbuffered
        needs_payload = any(n.startswith("payload") for n in names)
        self.limit = 0xFFFFFF if needs_payload or "ip_capture_len" in names else 160
        self.set_sink()

    def initialize(self) -> None:
        self.shown = [FIELDS[n].show for n in self.names]
        self.out: TextIO = sys.stdout
        if self.filename != "-":
            self.out = open(self.filename, "w", encoding="latin-1", errors="replace")  # noqa: SIM115
        if self.header or self.binary:
            self.out.write("!IPSummaryDump 1.3\n")
            if self.verbose:
                import socket

                self.out.write(f"!host {socket.gethostname()}\n!runtime {self.clock.read() / 1e9:.6f}\n")
            if self.banner:
                self.out.write(f"!creator \"{self.banner}\"\n")
            self.out.write(f"!data {' '.join(self.names)}\n")
        if self.binary:
            self.out.write("!binary\n")
            self.out.flush()
        self.listen()

    def cleanup(self) -> None:
        if hasattr(self, "out"):
            with contextlib.suppress(OSError):
                if self.out is sys.stdout:
                    self.out.flush()
                else:
                    self.out.close()

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("flush", lambda text: self._flush(), flags="b")

    def _flush(self) -> None:
        self.router.drain_host()
        try:
            self.out.flush()
        except OSError as error:
            raise HandlerError(f"{self.filename}: {error.strerror}") from None

    def host_packet(self, packet: HostPacket) -> None:
        if self.failed:
            return
        view = View(packet, packet.tag)
        times = 1 + packet.anno(24, 4) if self.multipacket and "count" not in self.names else 1
        is_bad = self.bad_packets and not view.ip
        try:
            if self.binary:
                record = pack_record(self.names, view)
                self.out.buffer.write((pack_text("!bad no IP header\n") if is_bad else b"") + record * times)
            else:
                values = [show(view) for show in self.shown]
                line = " ".join(MISSING if v is None else str(v) for v in values) + "\n"
                self.out.write(("!bad no IP header\n" if is_bad else "") + line * times)
            if self.unbuffered:
                self.out.flush()
        except OSError as error:
            self.give_up(f"{self.filename}: {error.strerror}")

    @datapath
    def record(self, p: Packet) -> None:
        limit = self.limit
        if self.limit == 160 and p.has_network and p.network_offset > 0:
            self.to_host(p, self.count, u32(p.network_offset) + 160)
        else:
            self.to_host(p, self.count, limit)
