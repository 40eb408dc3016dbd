"""Whether the DSCP survives (expedited forwarding, 46)."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    probe = "ipv6{tc=184} / TCP" if subject.wide else "ip{dscp=46} / TCP"
    return judged(subject.trace(probe, port=subject.port), ("DSCP changer",), "the DSCP arrives as it was sent")
