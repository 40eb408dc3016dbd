"""Following one packet through a configuration, in the interpreter: what each element decided and changed."""

from __future__ import annotations

import inspect
import linecache
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock import datapath
from penstock.datapath import ir
from penstock.datapath.memory import Memory
from penstock.elements.element import Element
from penstock.lang.arguments import unparse_ether, unparse_ip
from penstock.packet import headers
from penstock.packet.layout import ANNO_BASE, ANNOTATIONS, META

__all__ = ["Decision", "PacketTrace", "Step"]

#: what elements are made of says nothing about the packet
_PLUMBING = (str(Path(datapath.__file__).parent), inspect.getsourcefile(Element) or "")
_NAMED = ("DST_IP", "PAINT", "ICMP_PARAMPROB", "FIX_IP_SRC", "AGGREGATE", "EXTRA_PACKETS")
_ADDRESSES = {("IP", "src"), ("IP", "dst"), ("ARP", "sender_ip"), ("ARP", "target_ip"), ("ICMP", "gateway")}


@dataclass(frozen=True)
class Decision:
    """A line of an element's source that was a question, and its answer."""

    file: str
    line: int
    source: str
    answer: bool


@dataclass
class Step:
    """What one element did with the packet. ``outcome`` says where it went."""

    element: Element
    decisions: list[Decision] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    outcome: str = ""


def _own_fields(kind: type[headers.Header]) -> list[headers.Field]:
    """The fields that make up the header, without the alternatives that overlap them."""
    covered: set[int] = set()
    own: list[headers.Field] = []
    for f in kind.FIELDS.values():
        bits = set(range(f.bit, f.bit + f.type.bits))
        if not bits & covered:
            own.append(f)
            covered |= bits
    return own


def _value(data: bytes, at: int, f: headers.Field) -> int | None:
    first, last = f.bit // 8, (f.bit + f.type.bits - 1) // 8
    if at < 0 or at + last >= len(data):
        return None
    number = int.from_bytes(data[at + first : at + last + 1], "big")
    return number >> (8 * (last + 1) - f.bit - f.type.bits) & f.type.mask


def _shown(kind: type[headers.Header], f: headers.Field, value: int | None) -> str:
    if value is None:
        return "-"
    if (kind.__name__, f.name) in _ADDRESSES:
        return unparse_ip(value)
    if f.type.bits == 48:
        return unparse_ether(value)
    return f"{value:#06x}" if f.name in ("checksum", "type", "fragment") else str(value)


class _Picture:
    """A packet at one moment. Places of headers are from the start of its buffer, so that they stay comparable."""

    def __init__(self, memory: Memory, slot: int):
        def meta(name: str) -> int:
            return memory.load(slot + META[name].offset, META[name].type.size_bytes)

        self.start, self.length = meta("data"), meta("length")
        self.buffer = bytes(memory.view[slot : slot + self.start + self.length])
        self.places = {name: meta(name) for name in ("mac", "network", "transport")}
        self.annotations = bytes(memory.view[slot + ANNO_BASE : slot + ANNO_BASE + 48])
        self.timestamp, self.kind = meta("timestamp"), meta("packet_type")

    @property
    def data(self) -> bytes:
        return self.buffer[self.start :]

    def views(self) -> list[tuple[type[headers.Header], int]]:
        """The headers that the positions speak of."""
        found: list[tuple[type[headers.Header], int]] = []
        if self.places["mac"]:
            found.append((headers.Ether, self.places["mac"]))
        at = self.places["network"]
        if at and at < len(self.buffer):
            version = self.buffer[at] >> 4
            found.append((headers.IP6 if version == 6 else headers.IP, at))
            transport = self.places["transport"]
            if version == 4 and transport and at + 9 < len(self.buffer):
                kind = {1: headers.ICMP, 6: headers.TCP, 17: headers.UDP}.get(self.buffer[at + 9])
                if kind is not None:
                    found.append((kind, transport))
        return found

    def annotation(self, name: str) -> str:
        offset, size = ANNOTATIONS[name]
        raw = self.annotations[offset : offset + size]
        return unparse_ip(int.from_bytes(raw, "big")) if name == "DST_IP" else str(int.from_bytes(raw, "little"))

    def differences(self, old: _Picture) -> list[str]:
        """What changed since ``old``, a line each."""
        lines: list[str] = []
        if self.length != old.length:
            lines.append(f"length {old.length} -> {self.length}")
        for name, place in self.places.items():
            if place != old.places[name]:
                lines.append(f"{name} header " + (f"at byte {place - self.start}" if place else "not set any more"))
        for kind, at in self.views():
            known = dict(old.views()).get(kind)
            for f in _own_fields(kind):
                before = _value(old.buffer, at if known is None else known, f)
                after = _value(self.buffer, at, f)
                if after != before and (known is not None or before is not None):
                    lines.append(f"{kind.__name__.lower()}.{f.name} {_shown(kind, f, before)} -> {_shown(kind, f, after)}")
        for name in _NAMED:
            if self.annotation(name) != old.annotation(name):
                lines.append(f"annotation {name} {old.annotation(name)} -> {self.annotation(name)}")
        if self.kind != old.kind:
            lines.append(f"packet type {old.kind} -> {self.kind}")
        if not lines and self.data != old.data:
            lines.append("content changed")
        return lines


class PacketTrace:
    """A tracer (see Interpreter) that waits for packet ``number`` of the sources and follows it to its end."""

    def __init__(self, memory: Memory, number: int):
        self.memory, self.number = memory, number
        self.seen = 0
        self.subject = 0
        self.steps: list[Step] = []
        self.done = False
        self.first: bytes = b""
        self.first_timestamp_ns = 0
        self._current: Step | None = None
        self._picture: _Picture | None = None

    # What the interpreter tells

    def enter(self, function: ir.Function, packet: int) -> None:
        if self.subject and packet == self.subject and isinstance(function.owner, Element):
            self._begin(function.owner)

    def exit(self, function: ir.Function, value: int) -> None:
        owner = function.owner
        if not isinstance(function.returns, ir.PacketType) or not isinstance(owner, Element) or not value:
            return
        if not self.subject and owner.ninputs == 0 and "_pull" in function.name:
            self._count(owner, value, "pulled from output 0")
        elif value == self.subject and "_pull" in function.name:
            if self._current is None or self._current.element is not owner:
                self._finish("kept")
                self._begin(owner)
            self._finish("pulled from its output")

    def pulled(self, function: ir.Function, packet: int) -> None:
        if self.subject and packet == self.subject and isinstance(function.owner, Element):
            self._begin(function.owner)

    def branch(self, function: ir.Function, line: int, taken: bool) -> None:
        step = self._current
        if step is None or function.owner is not step.element:
            return
        file = getattr(line, "file", function.file)
        if file.startswith(_PLUMBING):
            return
        made = Decision(Path(file).name, int(line), linecache.getline(file, line).strip(), taken)
        if made not in step.decisions:
            step.decisions.append(made)

    def fault(self, function: ir.Function, statement: ir.Check) -> None:
        if self._current is not None and function.owner is self._current.element:
            self._finish(f"ended by a fault: {statement.reason}")
            self._end()

    def kill(self, function: ir.Function, line: int, packet: int) -> None:
        if self.subject and packet == self.subject:
            if self._current is None and isinstance(function.owner, Element):
                self._begin(function.owner)
            self._finish("dropped" if self._current and self._current.element.noutputs else "ends here")
            self._end()

    def leave(self, function: ir.Function, port: int, packet: int) -> None:
        owner = function.owner
        if not isinstance(owner, Element):
            return
        if not self.subject and not self.done and owner.ninputs == 0:
            self._count(owner, packet, f"to output {port}")
        elif self.subject and packet == self.subject:
            if self._current is None:
                self._begin(owner)
            self._finish(f"to output {port}")
        elif self._current is not None and self._current.element is owner:
            self._current.changes.append(f"a copy to output {port}")

    # Bookkeeping

    def _count(self, owner: Element, packet: int, outcome: str) -> None:
        self.seen += 1
        if self.seen == self.number and not self.done:
            self.subject = packet
            picture = _Picture(self.memory, packet)
            self.first, self.first_timestamp_ns = picture.data, picture.timestamp
            self._begin(owner)
            self._finish(outcome)

    def _begin(self, element: Element) -> None:
        self._finish("kept")
        self._current = Step(element)
        self._picture = _Picture(self.memory, self.subject)

    def _finish(self, outcome: str) -> None:
        step, old = self._current, self._picture
        if step is None or old is None:
            return
        step.changes += _Picture(self.memory, self.subject).differences(old)
        step.outcome = outcome
        self.steps.append(step)
        self._current = self._picture = None

    def _end(self) -> None:
        self.subject = 0
        self.done = True

    def give_up(self) -> None:
        """Nothing will happen to the packet any more."""
        self._finish("kept")
        self.done = True

    def as_dict(self) -> dict[str, Any]:
        return {
            "packet": self.number, "bytes": len(self.first), "timestamp_ns": self.first_timestamp_ns,
            "steps": [{
                "element": s.element.name, "class": s.element.class_name, "changes": s.changes, "outcome": s.outcome,
                "decisions": [{"file": d.file, "line": d.line, "source": d.source, "answer": d.answer} for d in s.decisions],
            } for s in self.steps],
        }
