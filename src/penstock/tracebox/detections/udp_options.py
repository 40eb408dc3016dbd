"""Whether UDP datagrams with options behind them pass (RFC 9868: IP is longer than UDP says)."""

from __future__ import annotations

from penstock.tracebox.api import trace
from penstock.tracebox.constructors import ip, ipv6, raw, udp
from penstock.tracebox.detections.verdict import Subject, Verdict, reach
from penstock.tracebox.packet import Packet

__all__ = ["run"]

_DATA, _OPTIONS = b"penstock", b"\x01\x01\x01\x00"


def run(subject: Subject) -> Verdict:
    plain = subject.trace("IP / UDP / raw('penstock')", port=subject.udp_port)
    layer = udp(dst=subject.udp_port)
    layer["length"] = 8 + len(_DATA)
    packet = Packet([ipv6() if subject.wide else ip()]) / layer / raw(_DATA + _OPTIONS)
    # The checksum covers what UDP's length says; zero says that there is none, which IPv4 allows.
    layer = packet.layers[1]
    if not subject.wide:
        layer["checksum"] = 0
    with_options = trace(subject.destination, probe=packet, settings=subject.settings)
    if reach(with_options) < reach(plain):
        text = f"plain datagrams get to hop {reach(plain)}, such with options to hop {reach(with_options)}"
        return Verdict("blocked", text, path=with_options)
    changed = [f for f in with_options.findings if f.kind != "NAT"]
    if changed:
        return Verdict("changed", "; ".join(map(str, changed)), findings=changed, path=with_options)
    return Verdict("clean", "datagrams with options get as far as plain ones", path=with_options)
