"""Output as the original tracebox writes it, line for line, and its JSON."""

from __future__ import annotations

import json
from typing import Any

from penstock.tracebox.diff import Change
from penstock.tracebox.path import Hop, Path

__all__ = ["classic_json", "hop_line", "title_line"]

#: fields that the original does not compare
_NOT_COMPARED = {"IP::HeaderLength", "IPv6::NextHeader", "TCP::Reserved"}


def title_line(path: Path) -> str:
    return f"tracebox to {path.destination} ({path.name}): {path.hops_max} hops max"


def _ordered(changes: list[Change]) -> list[Change]:
    """Transport header first, then IP, then options and payload."""
    def rank(change: Change) -> int:
        return {"TCP": 0, "UDP": 0, "ICMP": 0, "ICMPv6": 0, "SCTP": 0, "IP": 1, "IPv6": 1}.get(change.layer, 2)

    return sorted((c for c in changes if c.name not in _NOT_COMPARED), key=rank)


def _changes(hop: Hop) -> list[Change]:
    return _ordered(hop.changes) if hop.kind != "destination" or (hop.reply is not None and hop.reply.quote) else []


def hop_line(hop: Hop, *, values: bool = False) -> str:
    """One hop's line. ``values`` writes what the fields were and are (``-v``)."""
    if hop.address is None:
        return f"{hop.ttl}: *"
    who = f"{hop.name} ({hop.address})" if hop.name and hop.name != hop.address else hop.address
    line = f"{hop.ttl}: {who} {(hop.round_trip_ns or 0) // 1_000_000}ms "
    if hop.comparison is not None and hop.comparison.is_partial:
        line += "[PARTIAL] "
    for change in _changes(hop):
        said = str(change) if values or change.kind != "changed" else change.name
        line += said + " "
    if hop.extensions:
        names = " ".join(f"ICMPExtensionObject {e.name}" if e.name != "ICMPExtensionObject" else e.name for e in hop.extensions)
        line += f"[Extra headers: ICMPExtension {names} ]"
    return line


def classic_json(path: Path, *, values: bool = False) -> str:
    """The original's JSON. ``values`` gives an object for each change in the place of its name."""
    hops: list[dict[str, Any]] = []
    for hop in path.hops:
        if hop.address is None:
            hops.append({"hop": hop.ttl, "from": "*"})
            continue
        entry: dict[str, Any] = {"hop": hop.ttl, "from": hop.address, "delay": (hop.round_trip_ns or 0) // 1000}
        if hop.name:
            entry["name"] = hop.name
        for key, kind in (("Modifications", "changed"), ("Additions", "added"), ("Deletions", "removed")):
            entry[key] = [_entry(c, values) for c in _changes(hop) if c.kind == kind]
        if hop.extensions:
            entry["ICMPExtensions"] = [{e.name: e.text} if values else e.name for e in hop.extensions]
        hops.append(entry)
    return json.dumps({"addr": path.destination, "name": path.name, "max_hops": path.hops_max, "Hops": hops})


def _entry(change: Change, values: bool) -> Any:
    if not values:
        return change.name
    if change.kind == "changed":
        return {change.name: {"Expected": change.before, "Received": change.after}}
    return {change.name: {"Info": change.before or change.after}}
