"""How machines call Python: one descriptor and one thread for all of a process."""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Protocol

from penstock.runtime.once import once

__all__ = ["Events", "events"]


class Listener(Protocol):
    """A machine, as far as this is concerned."""

    def take_events(self) -> None: ...


class Events:
    """One thread of this process that hears what all its machines want."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.machines: dict[int, Listener] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, machine: Listener) -> None:
        with self._lock:
            self.machines[id(machine)] = machine
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="penstock-events", daemon=True)
                self._thread.start()

    def remove(self, machine: Listener) -> None:
        with self._lock:
            self.machines.pop(id(machine), None)

    def _run(self) -> None:
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        while True:
            poll.poll()
            with contextlib.suppress(BlockingIOError):
                os.read(self.descriptor, 8)
            for machine in list(self.machines.values()):
                machine.take_events()


@once
def events() -> Events:
    return Events()
