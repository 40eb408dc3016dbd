"""Whether something nearer than the destination answers for it: a transparent proxy, or a SYN proxy.

TCP's answers come from as far as those to ICMP echo, unless somebody on the way gives them.
"""

from __future__ import annotations

from penstock.tracebox.detections.verdict import Subject, Verdict
from penstock.tracebox.layers import TCP

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    over_tcp = subject.trace("IP / TCP / mss(1460)", port=subject.port)
    other = subject.trace("IP / ICMP / raw('penstock')")
    kind = "ICMP echo"
    if not other.is_reached:
        other, kind = subject.trace("IP / UDP / raw('penstock')", port=33434), "UDP"
    if not over_tcp.is_reached or over_tcp.answer is None:
        return Verdict("unknown", f"port {subject.port} does not answer", path=over_tcp)
    if not other.is_reached or other.length is None:
        return Verdict("unknown", "only TCP is answered: nothing to compare with", path=over_tcp)
    answer = over_tcp.answer.packet.find(TCP)
    said = "a RST" if answer is not None and (answer.get("flags") or 0) & 4 else "the handshake"
    if over_tcp.length is not None and over_tcp.length < other.length:
        return Verdict("changed", f"{said} for port {subject.port} comes from hop {over_tcp.length}, the destination is at hop "
                       f"{other.length} ({kind}): a proxy or firewall answers in its place", path=over_tcp)
    return Verdict("clean", f"TCP and {kind} are answered from the same distance ({other.length} hops)", path=over_tcp)
