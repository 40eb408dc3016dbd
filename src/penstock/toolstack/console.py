"""What a domain says: the lines its elements print, and what happens to it."""

from __future__ import annotations

import collections
import io
import threading
import time

__all__ = ["Console"]

_MAX_LINES = 1000


class Console(io.TextIOBase):
    """The last lines, numbered from 0; a text stream for elements to print to."""

    def __init__(self) -> None:
        self._lines: collections.deque[tuple[int, float, str]] = collections.deque(maxlen=_MAX_LINES)
        self._next = 0
        self._rest = ""
        self._changed = threading.Condition()

    def write(self, text: str) -> int:
        with self._changed:
            *whole, self._rest = (self._rest + text).split("\n")
            for line in whole:
                self._lines.append((self._next, time.time(), line))
                self._next += 1
            if whole:
                self._changed.notify_all()
        return len(text)

    def say(self, line: str) -> None:
        """A line of the toolstack's own."""
        self.write(f"[{line}]\n")

    def writable(self) -> bool:
        return True

    def lines(self, since: int = 0) -> list[tuple[int, float, str]]:
        """Lines from number ``since`` on: (number, seconds since the epoch, text)."""
        with self._changed:
            return [entry for entry in self._lines if entry[0] >= since]

    def wait(self, since: int, timeout_s: float) -> list[tuple[int, float, str]]:
        """As ``lines``, but waits for the first."""
        with self._changed:
            self._changed.wait_for(lambda: self._next > since, timeout_s)
            return [entry for entry in self._lines if entry[0] >= since]
