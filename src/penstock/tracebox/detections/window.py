"""Whether the window, or its scale, is changed."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    path = subject.trace("IP / tcp{win=21345} / mss(1460) / wscale(7)", port=subject.port)
    return judged(path, ("window changer", "option stripper", "option changer"), "the window arrives as it was sent", fields=("Window",))
