"""ToIPFlowDumps."""

from __future__ import annotations

import gzip
import re
import struct
import sys
from pathlib import Path

from penstock.elements import ConfigureError, HandlerError, HostPacket, Packet, datapath, u32
from penstock.elements.hostfed import HostSink
from penstock.elements.summary_binary import pack_record
from penstock.elements.summary_fields import FIELDS, MISSING, View
from penstock.lang.arguments import ElementName, UInt32, unparse_ip

__all__ = ["ToIPFlowDumps"]

_PATTERN = re.compile(r"%(0?\d*)([nsSdDp%])")
_MAX_FLOWS = 65_536
_NUMBERS = ("tcp_seq", "tcp_ack")


class _Flow:
    """The lines of one aggregate."""

    def __init__(self, view: View, packet: HostPacket, *, relative: bool):
        ip = view.ip
        self.src, self.dst = int.from_bytes(ip[12:16], "big"), int.from_bytes(ip[16:20], "big")
        if packet.anno(16):
            self.src, self.dst = self.dst, self.src
        ports = [view.u16(view.of(6, 17), at) or 0 for at in (0, 2)]
        self.sport, self.dport = reversed(ports) if packet.anno(16) else ports
        self.protocol = view.protocol
        self.first_ns = packet.timestamp_ns if relative else 0
        self.first_sequence: list[int | None] = [None, None]
        self.lines: list[bytes] = []
        self.count = 0


class ToIPFlowDumps(HostSink):
    """Write one summary dump for each flow: for each aggregate annotation, as AggregateIPFlows or FlowCache set it.

    Lines have ``timestamp direction tcp_flags tcp_seq payload_len tcp_ack`` for TCP and ``timestamp direction payload_len`` for
    others, with times since the flow's first packet, and sequence numbers since the first ones of each direction. The direction is the
    paint annotation: ``>`` for 0, ``<`` for 1. Files are written at the end, or by the handler.

    Arguments:
        OUTPUT_PATTERN: file names: ``%n`` is the aggregate (``%04n`` with zeros), ``%s %S %d %D`` source address and port, destination
        address and port, ``%p`` T, U or X, ``%%`` a percent sign. ``-``, as usual: all to standard output. ``.gz`` compresses, as GZIP
        does.
        NOTIFIER: accepted: the element that gives the aggregates. ABSOLUTE_TIME, ABSOLUTE_SEQ: times and numbers as they are.
        TCP_OPT, TCP_WINDOW, IP_ID: more fields. MINCOUNT: flows of fewer packets are not written (0).
        BINARY: binary records, as ToIPSummaryDump's. OUTPUT_LARGER: not possible here.

    Handlers:
        count (read): packets. flows (read): flows that are not written yet. clear (write): write all, and begin anew.

    Example:
        MemSource(FLOWS 3, LIMIT 6, STOP true) -> Strip(14) -> CheckIPHeader -> AggregateIPFlows -> ToIPFlowDumps(-);
    """

    def configure(self, output_pattern: str = "-", *, notifier: ElementName = "", absolute_time: bool = False, absolute_seq: bool = False,
                  binary: bool = False, tcp_opt: bool = False, tcp_window: bool = False, ip_id: bool = False, gzip: bool = False,
                  mincount: UInt32 = 0, output_larger: str = "") -> None:
        if output_larger:
            raise ConfigureError("OUTPUT_LARGER is not possible here: each flow is one dump")
        if output_pattern != "-" and not re.search(r"%0?\d*[nsSdD]", output_pattern):
            raise ConfigureError("OUTPUT_PATTERN: needs %n, or addresses and ports, so that flows have files of their own")
        self.pattern, self.notifier, self.mincount, self.compress = output_pattern, notifier, mincount, gzip
        self.absolute_time, self.absolute_seq, self.binary = absolute_time, absolute_seq, binary
        more = [name for name, wanted in (("tcp_window", tcp_window), ("tcp_opt", tcp_opt)) if wanted]
        common = ["ip_id"] if ip_id else []
        self.fields = {6: ["tcp_flags", "tcp_seq", "payload_len", "tcp_ack", *more, *common], 0: ["payload_len", *common]}
        self.stamp = "timestamp" if absolute_time else "ntimestamp"
        self.flows: dict[int, _Flow] = {}
        self.set_sink()

    def initialize(self) -> None:
        if self.notifier and self.router.find(self.notifier, self.name) is None:
            raise ConfigureError(f"no element named '{self.notifier}'")
        self.listen()

    def cleanup(self) -> None:
        if hasattr(self, "flows"):
            self._write_all()

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_read("flows", lambda: len(self.flows))
        self.add_write("clear", self._clear, flags="b")

    def _clear(self, text: str) -> None:
        self.router.drain_host()
        self._write_all()
        if self.failed:
            raise HandlerError("a file cannot be written")

    def host_packet(self, packet: HostPacket) -> None:
        view = View(packet)
        number = packet.anno(20, 4)
        if not view.ip or not number:
            return
        flow = self.flows.get(number)
        if flow is None:
            if len(self.flows) >= _MAX_FLOWS:
                self._write_all()
            flow = self.flows[number] = _Flow(view, packet, relative=not self.absolute_time)
        direction = packet.anno(16) & 1
        since = packet.timestamp_ns - flow.first_ns
        names = self.fields.get(view.protocol, self.fields[0])
        values = [FIELDS[name].show(view) for name in names]
        words = [MISSING if v is None else self._number(flow, name, direction, str(v)) for name, v in zip(names, values)]
        seconds, fraction = divmod(max(since, 0), 1_000_000_000)
        if self.binary:
            given = {n: (int(w) & 0xFFFFFFFF).to_bytes(4, "big") for n, w in zip(names, words) if n in _NUMBERS and w.isdigit()}
            given[self.stamp] = struct.pack(">II", seconds & 0xFFFFFFFF, fraction // 1000 if self.absolute_time else fraction)
            given["direction"] = bytes([direction])
            flow.lines.append(pack_record([self.stamp, "direction", *names], view, given))
        else:
            flow.lines.append(f"{seconds}.{fraction // 1000:06d} {'<' if direction else '>'} {' '.join(words)}\n".encode("latin-1"))
        flow.count += 1

    def _number(self, flow: _Flow, name: str, direction: int, text: str) -> str:
        """Sequence numbers since the first one of who sent the bytes that they count."""
        if self.absolute_seq or name not in _NUMBERS or not text.isdigit():
            return text
        side = direction if name == "tcp_seq" else 1 - direction
        first = flow.first_sequence[side]
        if first is None:
            if name == "tcp_ack":
                return text
            first = flow.first_sequence[side] = int(text)
        return str((int(text) - first) & 0xFFFFFFFF)

    def _name(self, number: int, flow: _Flow) -> str:
        letter = {6: "T", 17: "U"}.get(flow.protocol, "X")
        values = {"n": number, "s": unparse_ip(flow.src), "S": flow.sport, "d": unparse_ip(flow.dst), "D": flow.dport, "p": letter}

        def fill(match: re.Match[str]) -> str:
            if match[2] == "%":
                return "%"
            value, width = values[match[2]], match[1]
            return str(value).rjust(int(width or 0), "0" if width.startswith("0") else " ")

        return _PATTERN.sub(fill, self.pattern)

    def _dump(self, number: int, flow: _Flow) -> bytes:
        head = (f"!IPSummaryDump 1.3\n!flowid {unparse_ip(flow.src)} {flow.sport} {unparse_ip(flow.dst)} {flow.dport} "
                f"{ {6: 'T', 17: 'U'}.get(flow.protocol, flow.protocol)}\n!aggregate {number}\n")
        if not self.absolute_time:
            head += f"!firsttime {flow.first_ns // 1_000_000_000}.{flow.first_ns % 1_000_000_000 // 1000:06d}\n"
        for direction, first in zip("><", flow.first_sequence):
            if first is not None and not self.absolute_seq:
                head += f"!firstseq {direction} {first}\n"
        head += f"!data {self.stamp} direction {' '.join(self.fields.get(flow.protocol, self.fields[0]))}\n"
        return (head + ("!binary\n" if self.binary else "")).encode() + b"".join(flow.lines)

    def _write_all(self) -> None:
        try:
            for number, flow in sorted(self.flows.items()):
                if flow.count < self.mincount:
                    continue
                dump = self._dump(number, flow)
                if self.pattern == "-":
                    if self.binary:
                        sys.stdout.flush()
                        sys.stdout.buffer.write(dump)
                    else:
                        sys.stdout.write(dump.decode("latin-1"))
                    continue
                name = self._name(number, flow)
                if self.compress and not name.endswith(".gz"):
                    name += ".gz"
                Path(name).write_bytes(gzip.compress(dump) if name.endswith(".gz") else dump)
        except OSError as error:
            self.give_up(f"{error.filename or '-'}: {error.strerror}")
        self.flows = {}

    @datapath
    def record(self, p: Packet) -> None:
        if p.has_network and p.network_offset >= 0:
            self.to_host(p, self.count, u32(p.network_offset) + 160)
