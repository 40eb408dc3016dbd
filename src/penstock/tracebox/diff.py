"""What differs between the packet that was sent and the one that a router quotes.

A quote may be 8 bytes of the transport header or all of the packet (RFC 792, RFC 1812 section 4.3.2.3). Whatever was not
quoted is not observable: it is neither unchanged nor removed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from penstock.tracebox.layers import IP, TCP, IPOption, IPv6, Layer, Raw, TCPOption, Value
from penstock.tracebox.packet import Packet, dissect

__all__ = ["Change", "Comparison", "Key", "compare"]

#: (identity of the layer, how many of that identity come before it, name of the field or "" for the layer itself)
Key = tuple[str, int, str]


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. ``before`` and ``after`` are values as tracebox writes them, "" where there is none."""

    kind: Literal["changed", "added", "removed"]
    key: Key
    layer: str
    field: str
    before: str
    after: str
    sent: Value | None = None
    received: Value | None = None

    @property
    def name(self) -> str:
        return f"{self.layer}::{self.field}" if self.field else self.layer

    def __str__(self) -> str:
        if self.kind == "changed":
            return f"{self.name} ({self.before} -> {self.after})"
        return ("+" if self.kind == "added" else "-") + self.layer


@dataclass(slots=True)
class Comparison:
    """A quote beside what was sent."""

    sent: Packet
    received: Packet
    #: bytes of the packet that were quoted, and how many it says it had
    quoted_bytes: int
    packet_bytes: int
    changes: list[Change] = field(default_factory=list)
    _seen: set[Key] = field(default_factory=set)
    _equal: set[tuple[str, int]] = field(default_factory=set)
    _has_all_options: dict[str, bool] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Not all of the packet was quoted."""
        return self.quoted_bytes < self.packet_bytes

    def observes(self, key: Key) -> bool:
        """Whether a change of this would show in this quote."""
        if key in self._seen or key[:2] in self._equal:
            return True
        identity = key[0]
        if identity.startswith(("TCPOption", "IPOption")):
            return self._has_all_options.get(identity.split()[0], False)
        return not self.is_partial and not key[2]


def _numbered(packet: Packet) -> list[tuple[str, int, Layer]]:
    counts: dict[str, int] = {}
    found = []
    for layer in packet.layers:
        identity = layer.identity
        number = counts.get(identity, 0)
        counts[identity] = number + 1
        found.append((identity, number, layer))
    return found


def _size_of(packet: Packet, otherwise: int) -> int:
    """The packet's length as its IP header says it."""
    first = packet.layers[0] if packet.layers else None
    length = first.get("length") if isinstance(first, (IP, IPv6)) else None
    if length is None:
        return otherwise
    return length + 40 if isinstance(first, IPv6) else length


def compare(sent: bytes, quoted: bytes) -> Comparison:
    """Compare a packet with a quote of it. Neither is trusted to be well-formed."""
    before, after = dissect(sent), dissect(quoted)
    # A quote without a whole IP header does not say how long the packet was.
    size = _size_of(after, max(len(quoted), len(sent)))
    if size < len(quoted) and size >= 20:
        # RFC 4884 section 4: a short quote is padded with zeros.
        quoted = quoted[:size]
        after = dissect(quoted)
    result = Comparison(before, after, len(quoted), max(size, len(quoted)))
    _note_options(result, after)
    had = {(i, n): layer for i, n, layer in _numbered(before)}
    has = {(i, n): layer for i, n, layer in _numbered(after)}
    for where, layer in has.items():
        if where not in had:
            if not _is_cut(layer):
                result.changes.append(Change("added", (*where, ""), layer.label, "", "", repr(layer)))
            continue
        if had[where].data == layer.data and not _is_cut(layer):
            result._equal.add(where)
            continue
        result._seen.add((*where, ""))
        _compare_layer(result, where, had[where], layer)
    for where, layer in had.items():
        if where not in has and result.observes((*where, "")):
            result.changes.append(Change("removed", (*where, ""), layer.label, "", repr(layer), ""))
    return result


def _is_cut(layer: Layer) -> bool:
    return len(layer.data) < layer.size_bytes or not layer.data


def _note_options(result: Comparison, after: Packet) -> None:
    ip = after.find(IP)
    header_bytes = (ip.get("header_length") or 0) * 4 if ip is not None else 0
    result._has_all_options["IPOption"] = 20 <= header_bytes <= result.quoted_bytes
    tcp = after.find(TCP)
    if tcp is None:
        return
    offset = tcp.get("offset")
    start = result.quoted_bytes - len(after.payload) - len(tcp.data) - sum(len(o.data) for o in after.find_all(TCPOption))
    result._has_all_options["TCPOption"] = offset is not None and len(tcp.data) >= 20 and start + offset * 4 <= result.quoted_bytes


def _compare_layer(result: Comparison, where: tuple[str, int], sent: Layer, received: Layer) -> None:
    ours, theirs = sent.values(), received.values()
    if isinstance(sent, Raw):
        _compare_payload(result, where, sent, received)
        return
    for name, value in theirs.items():
        old = ours.get(name)
        if isinstance(value, bytes) and _is_cut(received) and isinstance(old, bytes):
            old = old[: len(value)]
        result._seen.add((*where, name))
        if old != value:
            result.changes.append(Change(
                "changed", (*where, name), sent.label, received.field_label(name), sent.show(name, old) if old is not None else "nothing",
                received.show(name, value), old, value))
    if isinstance(sent, (TCPOption, IPOption)) and not _is_cut(received):
        for name, old in ours.items():
            if name not in theirs:
                result._seen.add((*where, name))
                result.changes.append(Change(
                    "changed", (*where, name), sent.label, sent.field_label(name), sent.show(name, old), "nothing", old))


def _compare_payload(result: Comparison, where: tuple[str, int], sent: Layer, received: Layer) -> None:
    ours, theirs = bytes(sent.data), bytes(received.data)
    if result.is_partial:
        # Bytes beyond the quote say nothing; bytes beyond what was sent do.
        if len(theirs) >= len(ours):
            result._seen.add((*where, "rest"))
        ours = ours[: len(theirs)]
    else:
        result._seen.add((*where, "rest"))
    if ours != theirs:
        result._seen.add((*where, "rest"))
        result.changes.append(Change(
            "changed", (*where, "rest"), sent.label, "Data", sent.show("rest", ours), received.show("rest", theirs), ours, theirs))
