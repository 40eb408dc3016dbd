"""Which options of TCP survive, one that nobody knows among them; and whether the destination echoes it."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged
from penstock.tracebox.layers import TCPOption

__all__ = ["run"]

_UNKNOWN_KIND = 77


def run(subject: Subject) -> Verdict:
    options = f"mss(1460) / sackp() / timestamp(1, 0) / wscale(7) / TCPOption.new({_UNKNOWN_KIND}, 4, 'PS')"
    path = subject.trace(f"IP / TCP / {options}", port=subject.port)
    kinds = ("option stripper", "option adder", "option changer", "MSS clamper", "MSS changer")
    verdict = judged(path, kinds, "all options arrive as they were sent")
    if path.answer is not None and any(o.kind == _UNKNOWN_KIND for o in path.answer.packet.find_all(TCPOption)):
        verdict.details.append("the destination echoes an option that it cannot know")
    return verdict
