"""How to probe, and what keeps a probe from leaving."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["NetworkError", "Settings"]


class NetworkError(OSError):
    """Nothing can be sent or received: no permission, no route, no such interface. The message says the remedy."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``hops_min`` to ``hops_max`` are the TTLs that are tried.

    ``silence_s`` is what a hop that does not answer may cost in all, however many such hops there are; within it a TTL is
    tried ``tries`` times (1 to 4). ``window`` TTLs are in flight at first, ``pace_pps`` probes leave a second at most.
    ``one_by_one`` sends a TTL only when the one before has answered or been given up. ``is_marked`` False leaves the probe as
    it is, so that TTLs can be told apart only one by one. ``ttls`` leaves out all TTLs but those.
    """

    hops_max: int = 30
    hops_min: int = 1
    silence_s: float = 1.5
    tries: int = 3
    window: int = 16
    pace_pps: int = 4000
    one_by_one: bool = False
    is_marked: bool = True
    interface: str | None = None
    ttls: frozenset[int] | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.hops_min <= self.hops_max <= 255:
            raise ValueError(f"hops go from 1 to 255, the first not after the last: {self.hops_min} to {self.hops_max}")
        if not 1 <= self.tries <= 4:
            raise ValueError(f"a TTL is tried 1 to 4 times, not {self.tries}")
        if self.silence_s <= 0 or self.pace_pps < 1 or self.window < 1:
            raise ValueError("time, pace and window are more than 0")
