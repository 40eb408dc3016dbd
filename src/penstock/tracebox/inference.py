"""What the changes mean: which kind of box, and between which hops it is.

A change lies behind the last hop that would have shown it and did not, and not behind the first that did. Hops that quote too
little to show it say nothing. What one hop quotes and no later one does is that router's way of quoting, not a box.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from penstock.packet.checksum import internet_checksum
from penstock.tracebox.diff import Change, Comparison, Key
from penstock.tracebox.layers import ICMP, IP, SCTP, TCP, UDP, ICMPv6
from penstock.tracebox.packet import Packet, dissect
from penstock.tracebox.path import Hop, Path

__all__ = ["Finding", "infer"]

#: what every router changes, or what follows from other fields
_EXPECTED = {
    ("IP", "ttl"), ("IP", "checksum"), ("IP", "header_length"), ("IP", "length"), ("IPv6", "hop_limit"), ("IPv6", "length"),
    ("IPv6", "next_header"), ("TCP", "checksum"), ("TCP", "offset"), ("UDP", "checksum"), ("UDP", "length"), ("ICMP", "checksum"),
    ("ICMPv6", "checksum"), ("SCTP", "checksum"),
}
#: options that routers fill in: record route, source routes, traceroute
_FILLED_OPTIONS = {f"IPOption {k}" for k in (7, 68, 82, 131, 137)}
_KINDS: dict[tuple[str, str], tuple[str, str]] = {
    ("IP", "src"): ("NAT", "the source address is translated"),
    ("IP", "dst"): ("NAT", "the destination address is translated"),
    ("IPv6", "src"): ("NAT", "the source address is translated"),
    ("IPv6", "dst"): ("NAT", "the destination address is translated"),
    ("TCP", "src"): ("NAT", "the source port is translated"),
    ("TCP", "dst"): ("NAT", "the destination port is translated"),
    ("UDP", "src"): ("NAT", "the source port is translated"),
    ("UDP", "dst"): ("NAT", "the destination port is translated"),
    ("ICMP", "identifier"): ("NAT", "the echo identifier is translated"),
    ("ICMPv6", "identifier"): ("NAT", "the echo identifier is translated"),
    ("TCP", "sequence"): ("sequence randomiser", "the sequence number is changed"),
    ("TCP", "acknowledgement"): ("sequence randomiser", "the acknowledgement number is changed"),
    ("TCP", "window"): ("window changer", "the window is changed"),
    ("TCP", "flags"): ("flag changer", "TCP's flags are changed"),
    ("TCP", "reserved"): ("flag changer", "TCP's reserved bits are changed"),
    ("TCP", "urgent"): ("normaliser", "the urgent pointer is changed"),
    ("IP", "dscp"): ("DSCP changer", "the DSCP is changed"),
    ("IP", "ecn"): ("ECN changer", "the ECN bits are changed"),
    ("IPv6", "traffic_class"): ("DSCP changer", "the traffic class is changed"),
    ("IP", "identification"): ("IP ID changer", "the identification is changed"),
    ("IP", "flags"): ("fragmentation", "the fragmentation flags are changed"),
    ("IP", "fragment_offset"): ("fragmentation", "the fragment offset is changed"),
    ("IP", "protocol"): ("tunnel", "the protocol is another one"),
    ("IPv6", "flow_label"): ("flow label changer", "the flow label is changed"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A box. It lies behind hop ``after_hop`` (0: this host) and not behind hop ``by_hop``.

    ``confidence`` is "certain" where the hops on both sides show it, "likely" where one hop alone does.
    """

    kind: str
    text: str
    field: str
    before: str
    after: str
    after_hop: int
    by_hop: int
    confidence: str

    def __str__(self) -> str:
        where = f"between hops {self.after_hop} and {self.by_hop}" if self.after_hop else f"between this host and hop {self.by_hop}"
        values = f" ({self.before} -> {self.after})" if self.before and self.after else ""
        return f"{self.kind} {where}: {self.text}{values}"


@dataclass(slots=True)
class _Seen:
    key: Key
    change: Change
    kind: str
    text: str
    hops: list[Hop]


def infer(path: Path) -> list[Finding]:
    """Fill in and give the path's findings; what only one hop quotes oddly becomes a note."""
    hops = [h for h in path.hops if h.comparison is not None]
    seen: dict[tuple[str, str, str], _Seen] = {}
    for hop in hops:
        assert hop.comparison is not None
        for kind, text, change in _classified(hop.comparison):
            place = (kind, change.name, change.kind)
            seen.setdefault(place, _Seen(change.key, change, kind, text, [])).hops.append(hop)
    findings = [f for s in seen.values() if (f := _locate(path, hops, s)) is not None]
    if not any(f.kind == "NAT" for f in findings):
        findings += _hidden(path, hops)
    findings += _quoted_ttl(hops)
    findings.sort(key=lambda f: (f.by_hop, f.kind))
    path.findings = findings
    return findings


def _locate(path: Path, hops: list[Hop], seen: _Seen) -> Finding | None:
    first = seen.hops[0]
    last_clean = 0
    contradicted = 0
    for hop in hops:
        assert hop.comparison is not None
        if hop in seen.hops or not hop.comparison.observes(seen.key):
            continue
        if hop.ttl < first.ttl:
            last_clean = hop.ttl
        else:
            contradicted += 1
    if contradicted >= len(seen.hops):
        path.notes.append(f"hop {first.ttl} ({first.address}) quotes {seen.change}, later hops do not: its way of quoting")
        return None
    confidence = "certain" if len(seen.hops) > 1 and first.ttl == last_clean + 1 else "likely"
    change = seen.change
    return Finding(seen.kind, seen.text, change.name, change.before, change.after, last_clean, first.ttl, confidence)


def _classified(comparison: Comparison) -> Iterable[tuple[str, str, Change]]:
    changes = comparison.changes
    if any(c.key[0] == "IP" and c.key[2] == "protocol" for c in changes):
        # What follows is another header: nothing in it can be compared.
        changes = [c for c in changes if c.key[0] == "IP"]
    options = [c for c in changes if c.key[0].startswith(("TCPOption", "IPOption", "extension")) and not _is_pad(c)]
    for change in changes:
        identity, _, name = change.key
        layer = identity.split()[0]
        if (layer, name) in _EXPECTED or identity in _FILLED_OPTIONS:
            continue
        if layer in ("TCPOption", "IPOption", "extension"):
            if _is_pad(change) and options:
                continue
            yield _option(change, changes)
        elif layer == "RawLayer":
            yield _payload(change, comparison)
        elif (layer, name) in _KINDS:
            # Some old stacks quote the length and the fragment word in their own byte order.
            if isinstance(change.sent, int) and isinstance(change.received, int) and name == "identification" \
                    and change.received.to_bytes(2, "little") == change.sent.to_bytes(2, "big"):
                continue
            kind, text = _KINDS[layer, name]
            if (layer, name) == ("TCP", "flags") and isinstance(change.sent, int) and isinstance(change.received, int):
                lost = change.sent & ~change.received
                if lost & 0xC0 and not (change.sent ^ change.received) & 0x3F:
                    kind, text = "ECN changer", "TCP's ECN flags are cleared"
            if (layer, name) == ("IPv6", "traffic_class") and isinstance(change.sent, int) and isinstance(change.received, int):
                if not (change.sent ^ change.received) & ~3:
                    kind, text = "ECN changer", "the ECN bits are changed"
            yield kind, text, change
        elif not name and change.kind != "changed" and layer in ("TCP", "UDP", "ICMP", "ICMPv6", "SCTP", "IP", "IPv6"):
            yield "tunnel", f"{change.layer} is {change.kind}", change


def _is_pad(change: Change) -> bool:
    return change.layer.endswith("Pad")


def _option(change: Change, changes: list[Change]) -> tuple[str, str, Change]:
    name = change.layer
    if change.kind == "removed":
        padded = any(c.kind == "added" and _is_pad(c) for c in changes)
        return "option stripper", f"{name} is {'replaced by NOP' if padded else 'removed'}", change
    if change.kind == "added":
        return "option adder", f"{name} is added", change
    if name == "TCPOptionMaxSegSize" and isinstance(change.sent, int) and isinstance(change.received, int):
        if change.received < change.sent:
            return "MSS clamper", "the MSS is lowered", change
        return "MSS changer", "the MSS is raised", change
    return "option changer", f"{name} is changed", change


def _payload(change: Change, comparison: Comparison) -> tuple[str, str, Change]:
    sent, received = comparison.sent.payload, comparison.received.payload
    if change.kind == "added":
        return "payload rewriter", "payload is added", change
    if change.kind == "removed":
        return "payload rewriter", "the payload is removed", change
    if not comparison.is_partial and len(sent) != len(received):
        if sent.startswith(received):
            return "segment splitter", "the payload is cut", change
        if received.startswith(sent):
            return "segment coalescer", "payload of others follows", change
    return "payload rewriter", "the payload is changed", change


def _transport_checksum(comparison: Comparison) -> tuple[int, int] | None:
    """The quoted checksum, and the one that what is quoted would have; None where that cannot be said."""
    ours, theirs = comparison.sent.transport, comparison.received.transport
    if ours is None or theirs is None or type(ours) is not type(theirs) or "checksum" not in theirs.FIELDS or isinstance(theirs, SCTP):
        return None
    quoted = theirs.get("checksum")
    sent = ours.get("checksum")
    if quoted is None or sent is None or (isinstance(theirs, UDP) and (quoted == 0 or sent == 0)):
        return None
    if isinstance(theirs, (TCP, UDP)) and _checksum_of(comparison.sent) != sent:
        # A probe with a wrong checksum on purpose.
        return None
    structural = any(
        c.kind != "changed" or (isinstance(c.sent, bytes) and isinstance(c.received, bytes) and len(c.sent) != len(c.received))
        for c in comparison.changes if c.key[0] != "IP")
    if not comparison.is_partial:
        packet = comparison.received
    elif structural:
        return None
    else:
        # What was not quoted is taken from what was sent.
        start = sum(len(layer.data) for layer in comparison.received.layers)
        whole = b"".join(bytes(layer.data) for layer in comparison.received.layers)
        sent_bytes = b"".join(bytes(layer.data) for layer in comparison.sent.layers)
        if len(theirs.data) < 8 or len(sent_bytes) < start:
            return None
        packet = dissect(whole + sent_bytes[start:])
    return quoted, _checksum_of(packet)


def _checksum_of(packet: Packet) -> int:
    """The checksum that the transport header of a packet should have."""
    at = 0
    for layer in packet.layers:
        if isinstance(layer, (TCP, UDP, ICMP, ICMPv6)):
            break
        at += len(layer.data)
    data = bytearray(b"".join(bytes(layer.data) for layer in packet.layers)[at:])
    start, stop, _, _ = layer._PLACES["checksum"]
    data[start:stop] = b"\0\0"
    protocol = {TCP: 6, UDP: 17, ICMPv6: 58}.get(type(layer))
    covered = data
    if isinstance(layer, UDP):
        # What lies behind UDP's own length (RFC 9868) is not covered.
        covered = data[: max(layer.get("length") or 0, 8)]
    pseudo = packet.pseudo_header(protocol, len(covered)) if protocol is not None else b""
    value = internet_checksum(pseudo + bytes(covered))
    return 0xFFFF if protocol == 17 and value == 0 else value


def _hidden(path: Path, hops: list[Hop]) -> list[Finding]:
    """A checksum that does not fit what is quoted: something was changed, and changed back in the quote. NATs do that."""
    known: list[tuple[Hop, int, int]] = []
    for hop in hops:
        assert hop.comparison is not None
        found = _transport_checksum(hop.comparison)
        # ICMP's covers no addresses.
        if found is not None and not isinstance(hop.comparison.received.transport, (ICMP, ICMPv6)):
            known.append((hop, *found))
    at = next((i for i, (_, quoted, computed) in enumerate(known) if quoted != computed), None)
    if at is None:
        return []
    hop, quoted, computed = known[at]
    agree = sum(q != c for _, q, c in known[at + 1 :])
    if len(known) - at - 1 - agree > agree:
        path.notes.append(f"hop {hop.ttl} ({hop.address}) quotes a checksum that does not fit, later hops do not")
        return []
    return [Finding("NAT", "the quoted checksum belongs to another address or port, which the quote hides", "checksum", hex(computed),
                    hex(quoted), known[at - 1][0].ttl if at else 0, hop.ttl, "certain" if agree else "likely")]


def _quoted_ttl(hops: list[Hop]) -> list[Finding]:
    """A packet whose time has run out has TTL 1 (or 0). More means hops that do not count it: a tunnel (MPLS)."""
    for hop in hops:
        assert hop.comparison is not None
        network = hop.comparison.received.layers[0] if hop.comparison.received.layers else None
        name = "ttl" if isinstance(network, IP) else "hop_limit"
        left = network.get(name) if network is not None and name in network.FIELDS else None
        if hop.kind == "router" and left is not None and left > 1:
            return [Finding("TTL-hiding box", f"the packet still had TTL {left} when its time ran out: a tunnel that does not count hops",
                            name, "1", str(left), hop.ttl - 1, hop.ttl, "likely")]
    return []
