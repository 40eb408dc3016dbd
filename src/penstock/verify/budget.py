"""How long a question may take: one that takes longer is not decided, and says so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from penstock.verify.errors import OutOfTime

__all__ = ["budget", "check_budget"]

#: (when it is over, how long it was), in seconds of the monotonic clock
_end: ContextVar[tuple[float, float] | None] = ContextVar("end", default=None)


@contextmanager
def budget(seconds: float | None) -> Iterator[None]:
    """What is asked inside raises OutOfTime after so long; with None it may take for ever."""
    token = _end.set(None if seconds is None else (time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _end.reset(token)


def check_budget() -> None:
    """Raises OutOfTime where the time is over."""
    end = _end.get()
    if end is not None and time.monotonic() > end[0]:
        raise OutOfTime(f"it takes longer than {end[1]:g} s")
