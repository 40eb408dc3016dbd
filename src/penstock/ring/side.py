"""What both sides of a port have in common in Python: sleeping until the other one calls, and calling it."""

from __future__ import annotations

import threading
import time
from typing import ClassVar

from penstock.datapath.futex import futex_wait, futex_wake

__all__ = ["Side"]


class Side:
    """One side. Who has its memory sets ``address`` and ``_words``, and says how a frame is taken."""

    #: the words of page 0 that say that this side sleeps, and the other one
    mine: ClassVar[int]
    theirs: ClassVar[int]

    address: int
    _words: memoryview[int]

    def __init__(self, name: str):
        self.name = name
        self._lock = threading.Lock()

    def fence(self) -> None:
        """Taking a lock is a full fence: the other side sees what was written, or we see that it waits."""
        with self._lock:
            pass

    def call(self) -> None:
        """Wake the other side where it sleeps."""
        if self._words[self.theirs]:
            self._words[self.theirs] = 0
            futex_wake(self.address + 4 * self.theirs)

    def receive(self, timeout_s: float = 0.0) -> bytes | None:
        """The next frame from the other side; None where none comes in time."""
        frame = self._get()
        if frame is not None or timeout_s <= 0:
            return frame
        end = time.monotonic() + timeout_s
        words = self._words
        while True:
            words[self.mine] = 1
            self.fence()
            frame = self._get()
            left = end - time.monotonic()
            if frame is not None or left <= 0:
                words[self.mine] = 0
                return frame
            futex_wait(self.address + 4 * self.mine, 1, timeout_s=left)

    def _get(self) -> bytes | None:
        raise NotImplementedError
