"""FromTcpdump."""

from __future__ import annotations

import re

from penstock.elements.analysis.fromipsummarydump import FromIPSummaryDump, TextTrace
from penstock.elements.summary_fields import Parts
from penstock.lang.arguments import ArgumentError, Filename, parse_ip
from penstock.packet.headers import PROTOCOL_NUMBERS

__all__ = ["FromTcpdump"]

#: ``[time] [IP] source > destination: what``; the time in seconds (tcpdump -tt) or as a time of the day
_LINE = re.compile(r"(?:(?P<time>\d+\.\d+|\d\d:\d\d:\d\d\.\d+)\s+)?(?:IP\s+(?:\((?P<ip>[^)]*(?:\([^)]*\)[^)]*)*)\)\s*)?)?"
                   r"(?P<src>\d+\.\d+\.\d+\.\d+)(?:\.(?P<sport>[\w-]+))?\s+>\s+(?P<dst>\d+\.\d+\.\d+\.\d+)(?:\.(?P<dport>[\w-]+))?:\s*(?P<rest>.*)$")
_OLD_TCP = re.compile(r"(?P<flags>[SFPRWE.]+)(?:\s+\[[^\]]*\])?(?:\s+(?P<seq>\d+):(?P<end>\d+)\((?P<len>\d+)\))?"
                      r"(?:\s+ack\s+(?P<ack>\d+))?(?:\s+win\s+(?P<win>\d+))?(?![\w:])")
_FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, ".": 0, "W": 128, "E": 64, "U": 32}
_NEW_FLAGS = {**_FLAGS, ".": 16}
_NAMES = {"domain": 53, "http": 80, "https": 443, "ssh": 22, "telnet": 23, "ftp": 21, "ftp-data": 20, "smtp": 25, "bootps": 67,
          "bootpc": 68, "tftp": 69, "ntp": 123, "snmp": 161, "imap": 143, "pop3": 110, "auth": 113, "www": 80}
_ICMP = {"echo request": 8, "echo reply": 0, "time exceeded": 11}
_PROTOCOLS = re.compile(r"(?:proto|ip-proto-)\s*(\d+|[A-Za-z]\w*)")


class _Lines(TextTrace):
    """What tcpdump printed, today's and the older form."""

    def parts_of(self, text: str) -> Parts | None:
        match = _LINE.match(text)
        if match is None:
            self.bad_lines += bool(text)
            return None
        try:
            return self._read(match)
        except (ValueError, ArgumentError, OverflowError):
            self.bad_lines += 1
            return None

    def _read(self, match: re.Match[str]) -> Parts:
        parts = Parts(src=parse_ip(match["src"]), dst=parse_ip(match["dst"]), flags=0)
        if match["time"]:
            whole, _, fraction = match["time"].partition(".")
            seconds = 0
            for word in whole.split(":"):
                seconds = seconds * 60 + int(word)
            parts.timestamp_ns = seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))
        parts.sport, parts.dport = self._port(match["sport"]), self._port(match["dport"])
        self._header(parts, match["ip"] or "")
        rest = match["rest"]
        if rest.startswith("Flags ["):
            self._tcp(parts, rest)
        elif match["sport"] and (old := _OLD_TCP.match(rest)):
            self._old_tcp(parts, old)
        elif "icmp" in rest[:8].lower():
            parts.protocol = 1
            parts.icmp = {"type": next((kind for name, kind in _ICMP.items() if name in rest.lower()), 3)}
        elif match["sport"]:
            parts.protocol = 17
            length = re.search(r"(?:length|udp)\s+(\d+)", rest, re.IGNORECASE)
            parts.payload_bytes = int(length[1]) if length else 0
        elif found := _PROTOCOLS.search(rest):
            parts.protocol = int(found[1]) if found[1].isdigit() else PROTOCOL_NUMBERS[found[1].lower()]
        else:
            raise ValueError("nothing that is known")
        return parts

    @staticmethod
    def _port(text: str | None) -> int:
        if not text:
            return 0
        number = int(text) if text.isdigit() else _NAMES.get(text, -1)
        if not 0 <= number <= 0xFFFF:
            raise ValueError(f"port {text}")
        return number

    @staticmethod
    def _header(parts: Parts, text: str) -> None:
        """What ``tcpdump -v`` says of the IP header."""
        for name, field in (("ttl", "ttl"), ("id", "ident"), ("length", "total")):
            if found := re.search(rf"\b{name} (\d+)", text):
                setattr(parts, field, int(found[1]))
        if found := re.search(r"\btos (0x[0-9a-f]+)", text):
            parts.tos = int(found[1], 16)
        if "DF" in text:
            parts.fragment |= 0x4000

    @staticmethod
    def _tcp(parts: Parts, text: str) -> None:
        flags = text[7 : text.index("]")]
        parts.flags = 0 if flags == "none" else sum(_NEW_FLAGS[letter] for letter in flags)
        for pattern, field in ((r"\bseq (\d+)", "sequence"), (r"\back (\d+)", "acknowledgement"), (r"\bwin (\d+)", "window"),
                               (r"\blength (\d+)", "payload_bytes")):
            if found := re.search(pattern, text):
                setattr(parts, field, int(found[1]) & 0xFFFFFFFF)
        parts.window = min(parts.window, 0xFFFF)

    @staticmethod
    def _old_tcp(parts: Parts, old: re.Match[str]) -> None:
        parts.flags = sum(_FLAGS[letter] for letter in old["flags"]) | (16 if old["ack"] else 0)
        parts.sequence, parts.payload_bytes = int(old["seq"] or 0) & 0xFFFFFFFF, int(old["len"] or 0)
        parts.acknowledgement, parts.window = int(old["ack"] or 0) & 0xFFFFFFFF, min(int(old["win"] or 0), 0xFFFF)


class FromTcpdump(FromIPSummaryDump):
    """Make packets from what ``tcpdump -n`` printed, plain or gzip; ``-tt`` gives whole timestamps, ``-S`` whole sequence numbers.

    TCP, UDP and ICMP lines over IPv4, in today's form and the older one, with what ``-v`` says in one line. What lines do not say is
    filled in; payload is zero bytes.

    Arguments:
        FILENAME: the file; ``-`` is standard input.
        STOP: stop the driver at the end. ACTIVE: false waits. ZERO: fill packets to their length.
        CHECKSUM, SAMPLE: accepted for compatibility.

    Handlers:
        count (read): packets made. bad_lines (read): lines that cannot be read. active (read/write). stop (write).

    Example:
        FromTcpdump(f.dump, STOP true) -> IPPrint -> Discard;
    """

    def configure(self, filename: Filename, *, stop: bool = False, active: bool = True, zero: bool = True, checksum: bool = False,
                  sample: float = 1.0) -> None:
        super().configure(filename, stop=stop, active=active, zero=zero, sample=sample)

    def open_trace(self) -> TextTrace:
        return _Lines(self.filename)
