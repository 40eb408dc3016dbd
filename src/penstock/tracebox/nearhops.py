"""What the paths of a campaign share: the routers near the vantage point, which all of them would ask again and again.

Routers limit their errors (Linux: one a second to a client after a burst of six), so a near router is asked no more often than a
budget allows; for the other paths it is remembered.
"""

from __future__ import annotations

from collections import deque

from penstock.tracebox.path import Path

__all__ = ["NearHops"]

_AGREEING = 4
_RECENT = 64
_MARGIN = 1


class NearHops:
    """``router_pps`` is how many probes a second may die at one near router."""

    def __init__(self, *, router_pps: int = 100):
        self.router_pps = router_pps
        self._last: dict[int, deque[str]] = {}
        self._asked: dict[str, deque[int]] = {}
        self._lengths: deque[int] = deque(maxlen=_RECENT)

    def agreed(self) -> dict[int, str]:
        """TTL -> router, as far out as the last paths agree."""
        found: dict[int, str] = {}
        ttl = 1
        while (last := self._last.get(ttl)) is not None and len(last) == _AGREEING and len(set(last)) == 1:
            found[ttl] = last[0]
            ttl += 1
        return found

    def known(self, now_ns: int) -> dict[int, str]:
        """The near routers that are not to be asked now; counts those that will be."""
        spared: dict[int, str] = {}
        for ttl, address in self.agreed().items():
            times = self._asked.setdefault(address, deque())
            while times and times[0] < now_ns - 1_000_000_000:
                times.popleft()
            if len(times) >= self.router_pps:
                spared[ttl] = address
            else:
                times.append(now_ns)
        return spared

    def window(self, most: int) -> int:
        """How many TTLs to try at first: as far as the paths so far went, and a little more."""
        return min(most, max(self._lengths) + _MARGIN) if len(self._lengths) >= _AGREEING else most

    def learn(self, path: Path) -> None:
        """Take note of a path; its near routers that kept silent for once are filled in."""
        agreed = self.agreed()
        for hop in path.hops:
            if hop.kind == "router" and hop.address:
                self._last.setdefault(hop.ttl, deque(maxlen=_AGREEING)).append(hop.address)
            elif hop.kind == "silent" and hop.ttl in agreed:
                hop.kind, hop.address, hop.note = "remembered", agreed[hop.ttl], "other paths had this router here"
        if path.length:
            self._lengths.append(path.length)
