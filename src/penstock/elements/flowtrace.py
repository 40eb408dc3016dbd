"""What a trace's flows were, as an XML file: AggregateIPFlows writes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TextIO
from xml.sax.saxutils import quoteattr

from penstock.datapath.host import HostPacket
from penstock.elements.summary_fields import View
from penstock.lang.arguments import unparse_ip

__all__ = ["FlowTrace"]

_MAX_FLOWS = 65_536


@dataclass
class _Flow:
    src: int
    sport: int
    dst: int
    dport: int
    protocol: int
    first_ns: int
    last_ns: int
    packets: list[int] = field(default_factory=lambda: [0, 0])
    octets: list[int] = field(default_factory=lambda: [0, 0])


def _seconds(ns: int) -> str:
    return f"{ns // 1_000_000_000}.{ns % 1_000_000_000 // 1000:06d}"


class FlowTrace:
    """Writes ``<flow>`` elements, one for each aggregate, in the order of their numbers; ``silent_ns`` is when a flow is over for sure."""

    def __init__(self, name: str, source: str, silent_ns: int):
        self._out: TextIO = open(name, "w", encoding="utf-8")  # noqa: SIM115
        self._silent_ns = silent_ns
        self._flows: dict[int, _Flow] = {}
        self._limit = _MAX_FLOWS
        self._out.write(f"<?xml version='1.0' standalone='yes'?>\n<trace{f' file={quoteattr(source)}' if source else ''}>\n")

    def add(self, packet: HostPacket, now_ns: int) -> None:
        """A packet that has its aggregate and its direction (paint annotation)."""
        number, direction = packet.anno(20, 4), packet.anno(16) & 1
        flow = self._flows.get(number)
        stamp = packet.timestamp_ns or now_ns
        if flow is None:
            flow = self._flows[number] = self._begin(View(packet), direction, stamp)
            if len(self._flows) > self._limit:
                self._write(stamp - self._silent_ns)
                self._limit = max(_MAX_FLOWS, 2 * len(self._flows))
        flow.last_ns = max(flow.last_ns, stamp)
        flow.packets[direction] += 1
        flow.octets[direction] += packet.length + packet.extra_length

    @staticmethod
    def _begin(view: View, direction: int, stamp: int) -> _Flow:
        ends = [(int.from_bytes(view.ip[12:16], "big"), view.u16(view.of(6, 17), 0) or 0),
                (int.from_bytes(view.ip[16:20], "big"), view.u16(view.of(6, 17), 2) or 0)]
        (src, sport), (dst, dport) = reversed(ends) if direction else ends
        return _Flow(src, sport, dst, dport, view.protocol, stamp, stamp)

    def _write(self, before_ns: int | None) -> None:
        """The flows that had their last packet before that; None: all."""
        for number, f in sorted(self._flows.items()):
            if before_ns is not None and f.last_ns >= before_ns:
                continue
            streams = (f"  <stream dir='{d}' packets='{f.packets[d]}' bytes='{f.octets[d]}' />\n" for d in (0, 1) if f.packets[d])
            self._out.write(
                f"<flow aggregate='{number}' proto='{f.protocol}' src='{unparse_ip(f.src)}' sport='{f.sport}' "
                f"dst='{unparse_ip(f.dst)}' dport='{f.dport}' begin='{_seconds(f.first_ns)}' "
                f"duration='{_seconds(f.last_ns - f.first_ns)}'>\n{''.join(streams)}</flow>\n")
            del self._flows[number]

    def close(self) -> None:
        self._write(None)
        self._out.write("</trace>\n")
        self._out.close()
