"""What a trace found: hops, and what each of them quoted."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from penstock.tracebox.diff import Change, Comparison
from penstock.tracebox.replies import Extension, Reply

if TYPE_CHECKING:
    from penstock.tracebox.inference import Finding

__all__ = ["Hop", "Path"]


@dataclass(slots=True)
class Hop:
    """One TTL. ``address`` is None where nothing came back.

    ``kind`` is "router" (time exceeded), "destination", "stop" (an error that ends the path: unreachable, prohibited,
    too big), "silent", or "remembered" (not probed: other paths had this router at this TTL).
    """

    ttl: int
    address: str | None = None
    kind: str = "silent"
    round_trip_ns: int | None = None
    comparison: Comparison | None = None
    reply: Reply | None = None
    sent: bytes = b""
    tries: int = 0
    name: str | None = None
    #: other routers that answered at this TTL, on paths of other flows
    alternatives: list[str] = field(default_factory=list)
    note: str = ""

    @property
    def changes(self) -> list[Change]:
        return self.comparison.changes if self.comparison is not None else []

    @property
    def extensions(self) -> tuple[Extension, ...]:
        return self.reply.extensions if self.reply is not None else ()


@dataclass(slots=True)
class Path:
    """The way to one destination. ``answer`` is the destination's own packet (SYN/ACK, RST, echo reply, …)."""

    destination: str
    name: str
    source: str
    probe: str
    hops_max: int
    hops: list[Hop] = field(default_factory=list)
    answer: Reply | None = None
    is_reached: bool = False
    duration_s: float = 0.0
    #: what cut the measurement short, "" for nothing
    error: str = ""
    #: kinds of remarks on the path as a whole: a loop, where it goes silent
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def length(self) -> int | None:
        """How many hops away the destination is, or None where it did not answer."""
        last = self.hops[-1] if self.hops else None
        return last.ttl if last is not None and last.kind == "destination" else None
