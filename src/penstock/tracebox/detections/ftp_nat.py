"""Whether an application gateway rewrites the addresses in FTP (PORT), in a session that looks like one.

The PORT command comes after a login, as gateways expect. Routers that quote only the header show nothing.
"""

from __future__ import annotations

from penstock.tracebox.connection import Connection
from penstock.tracebox.detections.verdict import Subject, Verdict, full_quoting

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    routers = full_quoting(subject, subject.ftp_port)
    if not routers:
        return Verdict("unknown", "no router quotes all of a packet")
    with Connection(subject.destination, subject.ftp_port, settings=subject.settings) as connection:
        greeting = connection.receive()
        connection.send(b"USER anonymous\r\n")
        connection.send(b"PASS penstock@example.org\r\n")
        address = connection.source.replace(".", ",") if ":" not in connection.source else "192,0,2,1"
        command = f"PORT {address},{connection.own_port >> 8},{connection.own_port & 255}\r\n"
        path = connection.trace(command.encode(), ttls=routers)
    seen = [h for h in path.hops if h.comparison is not None and h.comparison.received.payload]
    if not seen:
        return Verdict("unknown", "no router quotes payload", path=path)
    findings = [f for f in path.findings if f.kind in ("payload rewriter", "segment coalescer", "segment splitter")]
    details = [] if greeting else ["the server sent no greeting"]
    if findings:
        return Verdict("changed", f"ALG: {'; '.join(map(str, findings))}", details, findings, path)
    return Verdict("clean", f"PORT arrives as it was sent, as far as hop {seen[-1].ttl} shows", details, path=path)
