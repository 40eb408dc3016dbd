"""Whether a box that changes sequence numbers changes the blocks of SACK with them: if not, loss recovery breaks."""

from __future__ import annotations

from penstock.tracebox.connection import Connection
from penstock.tracebox.constructors import mss, nop_option, sack, sackp
from penstock.tracebox.detections.verdict import Subject, Verdict

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    offered = (mss(1460), sackp(), nop_option(), nop_option())
    with Connection(subject.destination, subject.port, settings=subject.settings, options=offered) as connection:
        left = (connection.acknowledgement + 1460) & 0xFFFFFFFF
        right = (left + 1460) & 0xFFFFFFFF
        path = connection.trace(options=(nop_option(), nop_option(), sack([[left, right]])))
    acknowledged, blocks = None, None
    for hop in path.hops:
        for change in hop.changes:
            was, became = change.sent, change.received
            if change.name == "TCP::AckNumber" and isinstance(was, int) and isinstance(became, int):
                acknowledged = (became - was) & 0xFFFFFFFF
            if change.layer == "TCPOptionSACK" and isinstance(was, bytes) and isinstance(became, bytes) and len(became) >= 4:
                blocks = (int.from_bytes(became[:4]) - int.from_bytes(was[:4])) & 0xFFFFFFFF
    if acknowledged is None and blocks is None:
        if not any(h.comparison is not None for h in path.hops):
            return Verdict("unknown", "no router quotes the segment", path=path)
        return Verdict("clean", "acknowledgement and blocks arrive as they were sent", path=path)
    if acknowledged == blocks:
        return Verdict("clean", f"acknowledgement and blocks are changed alike (by {acknowledged:#x})", path=path, findings=path.findings)
    text = f"the acknowledgement is changed by {acknowledged or 0:#x}, the blocks by {blocks or 0:#x}: they no longer fit"
    return Verdict("changed", text, path=path, findings=path.findings)
