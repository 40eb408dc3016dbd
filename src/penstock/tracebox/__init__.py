"""Tracebox: which middleboxes are on a path, what they change, and between which hops.

Probes go out with growing TTL; routers that drop one quote it in their ICMP error; what is quoted is compared with what
was sent. In: a destination and a probe (layers, or a line of the original's language). Out: :class:`Path`, with its hops,
the changes at each, and what they mean. It uses packet/headers.py and captures, and nothing else of the data plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from penstock.tracebox.api import trace, trace_many
    from penstock.tracebox.diff import Change, Comparison, compare
    from penstock.tracebox.inference import Finding
    from penstock.tracebox.language import ProbeError, parse_probe
    from penstock.tracebox.packet import Packet, dissect
    from penstock.tracebox.path import Hop, Path
    from penstock.tracebox.settings import NetworkError, Settings

__all__ = [
    "Change", "Comparison", "Finding", "Hop", "NetworkError", "Packet", "Path", "ProbeError", "Settings", "compare", "dissect",
    "parse_probe", "trace", "trace_many",
]

_HOMES = {
    "trace": "api", "trace_many": "api", "Change": "diff", "Comparison": "diff", "compare": "diff", "Finding": "inference",
    "ProbeError": "language", "parse_probe": "language", "Packet": "packet", "dissect": "packet", "Hop": "path", "Path": "path",
    "NetworkError": "settings", "Settings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'penstock.tracebox' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"penstock.tracebox.{_HOMES[name]}"), name)
