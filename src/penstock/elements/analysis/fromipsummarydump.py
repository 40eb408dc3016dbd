"""FromIPSummaryDump."""

from __future__ import annotations

import dataclasses
import gzip
import os
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

from penstock.elements import ConfigureError, Packet, datapath
from penstock.elements.summary_binary import MAX_RECORD_BYTES, METADATA, read_record
from penstock.elements.summary_fields import FIELDS, MISSING, Parts, canonical_name
from penstock.elements.tracesource import TraceSource
from penstock.lang.arguments import ArgumentError, Filename, parse_int, parse_ip
from penstock.lang.text import split_words
from penstock.packet.build import with_transport_checksum

__all__ = ["FromIPSummaryDump"]

_MAX_LINE_BYTES = 1 << 20


class TextTrace:
    """A file of text whose lines become packets; a subclass reads a line in ``parts_of``. ``-`` is standard input."""

    def __init__(self, name: str):
        self.name = name
        self.line_number = 0
        self.bad_lines = 0
        #: bytes read so far, of a plain file
        self.position = 0
        if name == "-":
            self.file: BinaryIO = sys.stdin.buffer
        elif name.endswith(".gz"):
            self.file = cast(BinaryIO, gzip.open(name, "rb"))  # noqa: SIM115
        else:
            self.file = open(name, "rb")  # noqa: SIM115

    def __iter__(self) -> Iterator[Parts]:
        while True:
            line = self.next_line()
            if line is None:
                return
            self.line_number += 1
            parts = self.parts_of(line)
            if parts is not None:
                yield parts

    def next_line(self) -> str | None:
        line = self.file.readline(_MAX_LINE_BYTES)
        self.position += len(line)
        return line.decode("latin-1").strip() if line else None

    def parts_of(self, text: str) -> Parts | None:
        """What a line says; None where it is no packet."""
        raise NotImplementedError

    def close(self) -> None:
        if self.file is not sys.stdin.buffer:
            self.file.close()


class _Dump(TextTrace):
    """The lines of a summary dump; behind ``!binary``, records."""

    def __init__(self, name: str, contents: list[str], defaults: Parts):
        super().__init__(name)
        self.contents = contents
        self.defaults = defaults
        self.is_binary = False

    def next_line(self) -> str | None:
        """The next line of text. Records of packets are kept in ``record``, and have an empty line."""
        self.record: bytes | None = None
        if not self.is_binary:
            return super().next_line()
        head = self._read(4, 0)
        if not head:
            return None
        word = int.from_bytes(head, "big")
        size = (word & ~METADATA) - 4
        if not 0 <= size <= MAX_RECORD_BYTES:
            raise ValueError(f"a record of {size + 4} bytes")
        body = self._read(size, 4)
        if word & METADATA:
            return body.decode("latin-1").strip()
        self.record = body
        return ""

    def _read(self, count: int, before: int) -> bytes:
        data = self.file.read(count)
        if len(data) < count and (data or before):
            raise ValueError(f"breaks off at byte {self.position + len(data)}")
        self.position += len(data)
        return data

    def parts_of(self, text: str) -> Parts | None:
        if text.startswith("!"):
            self._directive(text)
            return None
        if self.record is None and (not text or text.startswith("#")):
            return None
        parts = dataclasses.replace(self.defaults, icmp=dict(self.defaults.icmp))
        if self.record is None:
            return parts if self._fill(parts, text) else None
        try:
            read_record(self.contents, self.record, parts)
        except (ValueError, KeyError, OverflowError):
            self.bad_lines += 1
            return None
        return parts

    def _directive(self, text: str) -> None:
        word, _, rest = text.partition(" ")
        if word in ("!data", "!contents"):
            names = [canonical_name(w) for w in split_words(rest)]
            self.contents = [n or "" for n in names]
        elif word == "!binary":
            self.is_binary = True
        elif word == "!proto":
            self._set_default("ip_proto", rest.strip())
        elif word == "!aggregate" and rest.strip().isdigit():
            self.defaults.aggregate = int(rest) & 0xFFFFFFFF
        elif word == "!flowid":
            words = rest.split()
            try:
                if len(words) >= 4:
                    self.defaults.src, self.defaults.sport = parse_ip(words[0]), parse_int(words[1], 0, 0xFFFF)
                    self.defaults.dst, self.defaults.dport = parse_ip(words[2]), parse_int(words[3], 0, 0xFFFF)
            except ArgumentError:
                self.bad_lines += 1

    def _set_default(self, name: str, text: str) -> None:
        setter = FIELDS[name].set
        try:
            if setter is not None:
                setter(self.defaults, text)
        except (ValueError, KeyError, OverflowError):
            self.bad_lines += 1

    def _fill(self, parts: Parts, text: str) -> bool:
        good = True
        for name, value in zip(self.contents, split_words(text)):
            setter = FIELDS[name].set if name else None
            if setter is None or value == MISSING:
                continue
            try:
                setter(parts, value)
            except (ValueError, KeyError, OverflowError, IndexError):
                good = False
        if not good:
            self.bad_lines += 1
        return good


class FromIPSummaryDump(TraceSource):
    """Make packets from the lines, or the binary records, of a summary dump (ToIPSummaryDump's format), plain or gzip.

    Packets start at their IP header; network and transport header positions, timestamp, aggregate, paint and
    EXTRA_PACKETS annotations are set. What the lines do not say is filled in: addresses 0, protocol TCP, no payload. The
    IP length says what the line says; only the headers are there, unless ZERO or a payload fills the packet.

    Arguments:
        FILENAME: the file; ``-`` is standard input.
        STOP: stop the driver at the end. ACTIVE: false waits. ZERO: fill packets with zero bytes to their length.
        CHECKSUM: checksums of TCP, UDP and ICMP are made right (those of IP headers always are). PROTO: protocol where the lines do not
        say it.
        MULTIPACKET: a line with a count above 1 becomes as many packets.
        DEFAULT_CONTENTS, CONTENTS, FIELDS: fields of files without ``!data``. DEFAULT_FLOWID, FLOWID: ``SRC SPORT DST DPORT``.
        SAMPLE: the probability that a packet is taken. TIMING: keep the time between packets. ALLOW_NONEXISTENT: a file that is not there
        is an empty one.

    Handlers:
        count (read): packets made. bad_lines (read): lines that cannot be read. filename, filepos, packet_filepos, filesize, encap (read).
        active, sampling_prob (read/write). stop, reset_counts (write).

    Example:
        FromIPSummaryDump(f.dump, STOP true) -> IPPrint -> Discard;
    """

    def configure(self, filename: Filename, *, stop: bool = False, active: bool = True, zero: bool = True, checksum: bool = False,
                  proto: str = "6", multipacket: bool = False, default_contents: str = "", contents: str = "", fields: str = "",
                  default_flowid: str = "", sample: float = 1.0, timing: bool = False, allow_nonexistent: bool = False,
                  flowid: str = "") -> None:
        self.filename, self.zero, self.multipacket = filename, zero, multipacket
        self.checksum, self.allow_nonexistent = checksum, allow_nonexistent
        self.set_trace(sample, timing=timing)
        self.set_end(stop, "")
        self.set_source(active)
        self.contents: list[str] = []
        for word in split_words(contents or fields or default_contents):
            name = canonical_name(word)
            if name is None:
                raise ConfigureError(f"CONTENTS: unknown field '{word}' (fields are {', '.join(FIELDS)})")
            self.contents.append(name)
        self.defaults = Parts()
        setter = FIELDS["ip_proto"].set
        assert setter is not None
        setter(self.defaults, proto)
        words = split_words(default_flowid or flowid)
        if words:
            if len(words) != 4:
                raise ConfigureError("DEFAULT_FLOWID: expected SRC SPORT DST DPORT")
            self.defaults.src, self.defaults.dst = parse_ip(words[0]), parse_ip(words[2])
            self.defaults.sport, self.defaults.dport = parse_int(words[1], 0, 0xFFFF), parse_int(words[3], 0, 0xFFFF)

    def open_trace(self) -> TextTrace:
        return _Dump(self.filename, self.contents, self.defaults)

    def initialize(self) -> None:
        self.lines: Iterator[Parts] = iter(())
        if not self.allow_nonexistent or os.path.exists(self.filename):
            self.dump = self.open_trace()
            self.lines = self._packets()
        self.waiting: Parts | None = None
        self.listen()

    def _packets(self) -> Iterator[Parts]:
        for parts in self.dump:
            times = parts.count if self.multipacket else 1
            if self.multipacket:
                parts.count = 1
            for _ in range(times):
                yield parts

    def cleanup(self) -> None:
        if hasattr(self, "dump"):
            if self.dump.bad_lines:
                self.router.complain(f"{self.filename}: {self.dump.bad_lines} bad lines", self)
                self.dump.bad_lines = 0
            self.dump.close()

    def add_handlers(self) -> None:
        super().add_handlers()
        self.add_read("bad_lines", lambda: self.dump.bad_lines if hasattr(self, "dump") else 0)
        self.add_read("encap", lambda: "IP")

    @property
    def position(self) -> int:
        return self.dump.position if hasattr(self, "dump") else 0

    def feed(self) -> bool:
        if not self.wants_more:
            return False
        while True:
            try:
                parts = self.waiting or next(self.lines, None)
            except (OSError, EOFError, ValueError) as error:
                self.router.complain(f"{self.filename}:{self.dump.line_number}: {error}", self)
                parts = None
            self.waiting = None
            if parts is None:
                self.source.closed = True
                break
            if self.first_ns is None:
                self.begin_at(parts.timestamp_ns)
            if self.is_early(parts.timestamp_ns) or not self._offer(parts):
                self.waiting = parts
                break
        self.wake()
        return True

    def _offer(self, parts: Parts) -> bool:
        data, length = parts.build()
        if self.zero and len(data) < min(length, 65535):
            data += bytes(min(length, 65535) - len(data))
        if self.checksum:
            data = with_transport_checksum(data)
        annotations = bytearray(48)
        annotations[0:4] = parts.dst.to_bytes(4, "big")
        annotations[16] = parts.paint
        annotations[20:24] = parts.aggregate.to_bytes(4, "little")
        annotations[24:28] = ((parts.count - 1) & 0xFFFFFFFF).to_bytes(4, "little")
        annotations[32:40] = (parts.first_timestamp_ns & (2**64 - 1)).to_bytes(8, "little")
        network, transport, mac = 0, (data[0] & 15) * 4, None
        if parts.ethers is not None:
            head = parts.ethers[1].to_bytes(6, "big") + parts.ethers[0].to_bytes(6, "big") + parts.ether_type.to_bytes(2, "big")
            data = head + data
            network, transport, mac, length = 14, transport + 14, 0, length + 14
        return self.source.offer(data, timestamp_ns=parts.timestamp_ns & (2**64 - 1), length=max(length, len(data)),
                                 network=network, transport=transport, mac=mac, annotations=bytes(annotations))

    @datapath
    def accept(self, p: Packet) -> Packet | None:
        # Where the lines have Ethernet addresses, their header is in front of the packet, behind its start.
        if p.has_mac:
            p.pull(14)
        return self.take_sample(p)
