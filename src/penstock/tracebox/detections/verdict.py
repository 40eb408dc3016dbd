"""What a detection is given, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from penstock.tracebox.api import trace
from penstock.tracebox.inference import Finding
from penstock.tracebox.path import Path
from penstock.tracebox.settings import Settings

__all__ = ["Subject", "Verdict", "full_quoting", "judged", "reach"]


@dataclass(frozen=True)
class Subject:
    """The path in question. ``port`` is that of TCP probes, ``udp_port`` of UDP's, ``ftp_port`` of FTP's."""

    destination: str
    port: int = 80
    udp_port: int = 53
    ftp_port: int = 21
    wide: bool = False
    settings: Settings = field(default_factory=Settings)

    def trace(self, probe: str, *, port: int | None = None) -> Path:
        if self.wide:
            probe = probe.replace("IP /", "IPv6 /", 1)
        return trace(self.destination, probe=probe, port=port, wide=self.wide, settings=self.settings)


@dataclass
class Verdict:
    """``state`` is "clean" (nothing interferes), "changed", "blocked", or "unknown" (the path does not say)."""

    state: Literal["clean", "changed", "blocked", "unknown"]
    text: str
    details: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    path: Path | None = None
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.state}: {self.text}"


def judged(path: Path, kinds: tuple[str, ...], clean: str, *, fields: tuple[str, ...] = ()) -> Verdict:
    """The verdict on findings of some kinds; a path that shows nothing at all is unknown."""
    findings = [f for f in path.findings if f.kind in kinds and (not fields or any(n in f.field for n in fields))]
    if findings:
        return Verdict("changed", "; ".join(map(str, findings)), findings=findings, path=path)
    if not any(h.comparison is not None for h in path.hops):
        return Verdict("unknown", "no router quotes the probe", path=path)
    return Verdict("clean", clean, path=path)


def full_quoting(subject: Subject, port: int) -> frozenset[int]:
    """The TTLs of routers that quote payload: the first phase of what needs a connection. The second asks those alone."""
    path = subject.trace("IP / TCP / mss(1460) / SACKP / TS / WSCALE", port=port)
    return frozenset(h.ttl for h in path.hops if h.kind == "router" and h.comparison is not None and not h.comparison.is_partial)


def reach(path: Path) -> int:
    """The last TTL that anything came back from."""
    return max((h.ttl for h in path.hops if h.address), default=0)
