"""Whether the headers of an HTTP request are changed or added to (Via, X-Forwarded-For, …)."""

from __future__ import annotations

from penstock.tracebox.connection import Connection
from penstock.tracebox.detections.verdict import Subject, Verdict, full_quoting

__all__ = ["run"]


def run(subject: Subject) -> Verdict:
    request = (f"GET /penstock HTTP/1.1\r\nHost: {subject.destination}\r\nUser-Agent: penstock\r\nAccept-Encoding: gzip\r\n"
               "Connection: close\r\nX-Penstock: 1\r\n\r\n").encode()
    routers = full_quoting(subject, subject.port)
    if not routers:
        return Verdict("unknown", "no router quotes all of a packet")
    with Connection(subject.destination, subject.port, settings=subject.settings) as connection:
        path = connection.trace(request, ttls=routers)
    seen = [h for h in path.hops if h.comparison is not None and h.comparison.received.payload]
    if not seen:
        return Verdict("unknown", "no router quotes payload", path=path)
    for hop in seen:
        assert hop.comparison is not None
        got = hop.comparison.received.payload
        if got != request[: len(got)]:
            ours, theirs = request.split(b"\r\n"), got.split(b"\r\n")
            lost = [x.decode("latin-1") for x in ours if x and x not in theirs and not got.endswith(x[: len(theirs[-1])] or b"\0")]
            added = [x.decode("latin-1") for x in theirs[:-1] if x and x not in ours]
            details = [f"without: {x!r}" for x in lost] + [f"with: {x!r}" for x in added]
            text = f"at hop {hop.ttl} ({hop.address}) the request is not the one that was sent"
            return Verdict("changed", text, details, path.findings, path)
    return Verdict("clean", f"the request arrives as it was sent, as far as hop {seen[-1].ttl} shows", path=path)
