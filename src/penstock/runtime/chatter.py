"""Standard error that others listen to, too."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

__all__ = ["Chatter"]


class Chatter(io.TextIOBase):
    """A text stream for what elements say: to the console (or this process's standard error), and to all listeners.

    A listener returns true where the text need not be printed otherwise.
    """

    def __init__(self, console: io.TextIOBase | None, listeners: list[Callable[[str], bool]]):
        self._console, self._listeners = console, listeners

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        heard = [listener(text) for listener in list(self._listeners)]
        if not any(heard):
            (self._console or sys.stderr).write(text)
        return len(text)

    def flush(self) -> None:
        (self._console or sys.stderr).flush()
