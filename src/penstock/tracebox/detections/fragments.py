"""Whether fragments pass, and whether something on the path puts them together."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, reach

__all__ = ["run"]

_DATA = "x" * 24


def run(subject: Subject) -> Verdict:
    whole = subject.trace(f"IP / UDP / raw('{_DATA}')", port=subject.udp_port)
    if subject.wide:
        first = subject.trace(f"IPv6 / fragment(0, 1, 7) / UDP / raw('{_DATA}')", port=subject.udp_port)
    else:
        first = subject.trace(f"ip{{flags=1}} / UDP / raw('{_DATA}')", port=subject.udp_port)
    changed = [f for f in first.findings if f.kind in ("fragmentation", "tunnel")]
    if changed:
        return Verdict("changed", "; ".join(map(str, changed)), findings=changed, path=first)
    routers = max((h.ttl for h in whole.hops if h.kind == "router"), default=0)
    # A first fragment alone gets no answer from its destination: routers count.
    if reach(first) < routers:
        return Verdict("blocked", f"whole packets pass hop {routers}, a first fragment is heard of up to hop {reach(first)}", path=first)
    if not routers:
        return Verdict("unknown", "no router answers", path=first)
    return Verdict("clean", "fragments pass as they are", path=first)
