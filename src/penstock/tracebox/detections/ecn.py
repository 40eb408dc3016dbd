"""Whether ECN survives: the codepoint in IP, and the flags of the handshake (RFC 3168)."""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict, judged
from penstock.tracebox.layers import TCP

__all__ = ["run"]

_ECE, _SYN_ACK = 0x40, 0x12


def run(subject: Subject) -> Verdict:
    probe = "ipv6{tc=2} / tcp{flags=TCP.SYN+TCP.ECE+TCP.CWR}" if subject.wide else "ip{ecn=2} / tcp{flags=TCP.SYN+TCP.ECE+TCP.CWR}"
    path = subject.trace(probe, port=subject.port)
    verdict = judged(path, ("ECN changer",), "codepoint and flags arrive as they were sent")
    answer = path.answer.packet.find(TCP) if path.answer is not None else None
    flags = (answer.get("flags") or 0) if answer is not None else 0
    if flags & _SYN_ACK == _SYN_ACK:
        verdict.details.append("the destination " + ("negotiates ECN" if flags & _ECE else "does not negotiate ECN"))
    elif not path.is_reached:
        plain = subject.trace("IP / TCP", port=subject.port)
        if plain.is_reached:
            return Verdict("blocked", "a SYN that asks for ECN gets no answer, a plain one does", path=path)
    return verdict
