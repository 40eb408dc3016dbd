"""Whether TCP's extended data offset survives (draft-ietf-tcpm-tcp-edo)."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    path = subject.trace("IP / TCP / mss(1460) / EDOREQUEST", port=subject.port)
    return judged(path, ("option stripper", "option changer"), "the request for EDO arrives as it was sent", fields=("EDO",))
