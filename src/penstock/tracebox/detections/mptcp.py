"""Whether Multipath TCP survives, in versions 0 (RFC 6824) and 1 (RFC 8684), and whether the destination speaks it."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged
from penstock.tracebox.layers import TCPOption

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    worst: Verdict | None = None
    for version in (0, 1):
        path = subject.trace(f"IP / TCP / mss(1460) / mpcapable{{version={version}}}", port=subject.port)
        verdict = judged(path, ("option stripper", "option changer"), "MP_CAPABLE arrives as it was sent", fields=("MPTCP",))
        options = [o for o in path.answer.packet.find_all(TCPOption) if o.kind == 30] if path.answer is not None else []
        if options:
            told = options[0].get("version")
            verdict.details.append(f"asked for version {version}, the destination answers with version {told if told is not None else '?'}")
        if worst is None or (verdict.state == "changed" and worst.state != "changed"):
            worst = Verdict(verdict.state, verdict.text, (worst.details if worst else []) + verdict.details, verdict.findings, path)
        else:
            worst.details += verdict.details
    assert worst is not None
    return worst
