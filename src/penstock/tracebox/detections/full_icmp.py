"""Which routers quote all of a packet (RFC 1812), and which only its start (RFC 792)."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    path = subject.trace("IP / TCP / mss(1460) / SACKP / TS / WSCALE", port=subject.port)
    quoting = [h for h in path.hops if h.comparison is not None]
    if not quoting:
        return Verdict("unknown", "no router quotes the probe", path=path)
    full = [h for h in quoting if h.comparison is not None and not h.comparison.is_partial]
    details = [f"hop {h.ttl} ({h.address}): {h.comparison.quoted_bytes} of {h.comparison.packet_bytes} bytes"
               for h in quoting if h.comparison is not None]
    return Verdict("clean", f"{len(full)} of {len(quoting)} hops quote all of the packet", details, path=path)
