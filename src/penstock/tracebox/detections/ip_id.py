"""Whether the identification of IPv4 is rewritten."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    if subject.wide:
        return Verdict("unknown", "IPv6 has no identification")
    return judged(subject.trace("ip{id=4660} / TCP", port=subject.port), ("IP ID changer",), "the identification arrives as it was sent")
