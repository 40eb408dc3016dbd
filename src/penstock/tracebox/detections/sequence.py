"""Whether sequence numbers are changed, and whether the offset is the same for each connection and over time."""

from __future__ import annotations

import itertools
import time

from penstock.tracebox.detections.verdict import Subject, Verdict, judged

__all__ = ["run"]

_ROUNDS, _PAUSE_S = 4, 0.3


def run(subject: Subject) -> Verdict:
    offsets: list[int] = []
    verdict = None
    for i in range(_ROUNDS):
        if i:
            time.sleep(_PAUSE_S)
        path = subject.trace("IP / TCP", port=subject.port)
        changes = [(c.sent, c.received) for h in path.hops for c in h.changes
                   if c.name == "TCP::SeqNumber" and isinstance(c.sent, int) and isinstance(c.received, int)]
        if verdict is None:
            verdict = judged(path, ("sequence randomiser",), "sequence numbers arrive as they were sent", fields=("SeqNumber",))
            if not changes:
                return verdict
        offsets += [(received - sent) & 0xFFFFFFFF for sent, received in changes[:1]]
    assert verdict is not None
    if len(set(offsets)) == 1:
        verdict.details.append(f"the offset is the same for each connection: {offsets[0]:#x}")
    else:
        steps = {(b - a) & 0xFFFFFFFF for a, b in itertools.pairwise(offsets)}
        told = f"grows by {steps.pop():#x} a connection" if len(steps) == 1 else "is another one for each connection"
        verdict.details.append(f"the offset {told}: {', '.join(map(hex, offsets))}")
    return verdict
