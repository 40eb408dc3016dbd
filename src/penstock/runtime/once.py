"""What there is one of in a process, made when it is first asked for, by whichever thread."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import TypeVar

__all__ = ["once"]

T = TypeVar("T")
_lock = threading.RLock()


def once(function: Callable[[], T]) -> Callable[[], T]:
    """As functools.cache, but two threads get the same: with that alone, one of two results would be dropped."""
    cached = functools.cache(function)

    @functools.wraps(function)
    def call() -> T:
        with _lock:
            return cached()

    return call
