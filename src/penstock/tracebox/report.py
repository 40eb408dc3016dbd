"""A path in words and as JSON. The verdict stands first; field by field on request."""

from __future__ import annotations

from typing import Any

from penstock.tracebox.layers import TCP, TCPOption
from penstock.tracebox.path import Hop, Path

__all__ = ["as_dict", "explanation", "table", "verdicts"]

_ROUTINE = {"IP::TTL", "IP::CheckSum", "IPv6::HopLimit"}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")


def answer_text(path: Path) -> str:
    """What the destination sent, in a few words."""
    if path.answer is None:
        return "no answer"
    reply = path.answer
    if reply.kind != "answer":
        return reply.text or reply.kind
    packet = reply.packet
    tcp = packet.find(TCP)
    if tcp is not None:
        flags = tcp.get("flags") or 0
        said = "/".join(name for i, name in enumerate(_FLAGS) if flags >> i & 1) or "no flags"
        options = [o.label.removeprefix("TCPOption") for o in packet.find_all(TCPOption) if not o.label.endswith("Pad")]
        return said + (f" with {', '.join(options)}" if options else "")
    transport = packet.transport
    return f"{transport.label} answer" if transport is not None else "an answer"


def verdicts(path: Path) -> list[str]:
    """What is to be said first, one sentence a line."""
    said: list[str] = []
    if path.error:
        said.append(path.error)
    if path.is_reached:
        away = f"{path.length} hop{'s' if path.length != 1 else ''} away" if path.length else "reached"
        said.append(f"{path.destination} is {away} and answers: {answer_text(path)}")
    elif path.hops and path.hops[-1].kind == "stop":
        hop = path.hops[-1]
        said.append(f"the path ends at hop {hop.ttl} ({hop.address}): {hop.note}")
    else:
        said.append(f"{path.destination} does not answer this probe")
    said += [f"{finding}; {finding.confidence}" for finding in path.findings]
    if not path.findings and any(h.comparison is not None for h in path.hops):
        partial = [h for h in path.hops if h.comparison is not None and h.comparison.is_partial]
        seen = sum(h.comparison is not None for h in path.hops)
        said.append("no change of the probe on the way" + (f" ({len(partial)} of {seen} hops quote only a part of it)" if partial else ""))
    return said + path.notes


def _quoted(hop: Hop) -> str:
    if hop.comparison is None:
        return ""
    c = hop.comparison
    return f"{c.quoted_bytes} of {c.packet_bytes}" if c.is_partial else f"all {c.quoted_bytes}"


def _news(hop: Hop, before: set[str]) -> str:
    fresh = [str(c) for c in hop.changes if c.name not in _ROUTINE and str(c) not in before]
    return " ".join(fresh)


def table(path: Path, *, all_fields: bool = False) -> list[str]:
    """The hops, one line each. ``all_fields`` lists every difference at every hop, not only what is new there."""
    rows = [("hop", "router", "round trip", "quoted bytes", "changes" if all_fields else "new changes")]
    seen: set[str] = set()
    for hop in path.hops:
        who = hop.address or "*"
        if hop.name:
            who = f"{hop.name} ({who})"
        if hop.alternatives:
            who += f" (also {', '.join(hop.alternatives)})"
        trip = f"{hop.round_trip_ns / 1e6:.2f} ms" if hop.round_trip_ns is not None else ""
        said = " ".join(map(str, hop.changes)) if all_fields else _news(hop, seen)
        seen |= {str(c) for c in hop.changes}
        if hop.kind == "destination":
            said = " ".join(filter(None, [said, f"answers: {answer_text(path)}"]))
        elif hop.note:
            said = " ".join(filter(None, [said, f"[{hop.note}]"]))
        for extension in hop.extensions:
            said = " ".join(filter(None, [said, f"[{extension.text}]"]))
        rows.append((str(hop.ttl), who, trip, _quoted(hop), said))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return [f"{a:>{widths[0]}}  {b:{widths[1]}}  {c:>{widths[2]}}  {d:{widths[3]}}  {e}".rstrip() for a, b, c, d, e in rows]


def explanation(path: Path) -> list[str]:
    """For each finding, what each hop showed of it."""
    lines: list[str] = []
    for finding in path.findings:
        lines.append(str(finding))
        for hop in path.hops:
            if hop.comparison is None:
                lines.append(f"  hop {hop.ttl}: {'the destination' if hop.kind == 'destination' else 'nothing'}: quotes nothing")
                continue
            shown = [c for c in hop.changes if c.name == finding.field]
            bytes_said = f"quotes {hop.comparison.quoted_bytes} bytes of {hop.comparison.packet_bytes}"
            if shown:
                said = f"shows {shown[0]}"
            elif finding.field in ("checksum", "ttl", "hop_limit"):
                said = "see the hops on both sides" if hop.ttl >= finding.by_hop else "shows nothing of it"
            else:
                keys = [c.key for h in path.hops for c in h.changes if c.name == finding.field]
                observes = any(hop.comparison.observes(k) for k in keys)
                said = "would show it, and does not" if observes else "quotes too little to show it"
            lines.append(f"  hop {hop.ttl} ({hop.address}): {bytes_said}: {said}")
    return lines


def as_dict(path: Path) -> dict[str, Any]:
    """The path as plain data: the schema of ``penstock trace --json`` (docs/tracebox.md), version 1."""
    return {
        "version": 1, "destination": path.destination, "name": path.name, "source": path.source, "probe": path.probe,
        "reached": path.is_reached, "length": path.length, "duration_s": round(path.duration_s, 4), "error": path.error or None,
        "answer": {"from": path.answer.source, "text": answer_text(path), "ttl": path.answer.ttl} if path.answer else None,
        "findings": [
            {"kind": f.kind, "text": f.text, "field": f.field, "before": f.before, "after": f.after, "after_hop": f.after_hop,
             "by_hop": f.by_hop, "confidence": f.confidence}
            for f in path.findings
        ],
        "notes": path.notes,
        "hops": [_hop(h) for h in path.hops],
    }


def _hop(hop: Hop) -> dict[str, Any]:
    comparison = hop.comparison
    return {
        "ttl": hop.ttl, "address": hop.address, "name": hop.name, "kind": hop.kind, "tries": hop.tries,
        "round_trip_ms": round(hop.round_trip_ns / 1e6, 3) if hop.round_trip_ns is not None else None,
        "alternatives": hop.alternatives, "note": hop.note or None,
        "quoted_bytes": comparison.quoted_bytes if comparison else None, "packet_bytes": comparison.packet_bytes if comparison else None,
        "changes": [{"kind": c.kind, "name": c.name, "before": c.before or None, "after": c.after or None} for c in hop.changes],
        "icmp": {"kind": hop.reply.kind, "code": hop.reply.code} if hop.reply is not None and hop.reply.kind != "answer" else None,
        "extensions": [{"name": e.name, "text": e.text} for e in hop.extensions],
    }
