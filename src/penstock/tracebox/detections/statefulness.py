"""Whether a box on the path follows connections: packets that belong to none get less far than a SYN."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, reach

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    syn = subject.trace("IP / TCP / mss(1460)", port=subject.port)
    stray = subject.trace("IP / tcp{flags=TCP.ACK, ack=1}", port=subject.port)
    if not syn.is_reached and not reach(syn):
        return Verdict("unknown", "nothing answers", path=syn)
    if reach(stray) < reach(syn) or (syn.is_reached and not stray.is_reached):
        last = reach(stray)
        return Verdict("changed", f"a SYN gets to hop {reach(syn)}, an ACK of no connection is heard of up to hop {last}: "
                       f"something behind hop {last} follows connections", path=stray)
    return Verdict("clean", "packets of no connection get as far as a SYN", path=stray)
