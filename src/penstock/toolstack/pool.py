"""Ready-made empty machines, so that making a domain only maps its image."""

from __future__ import annotations

import threading

from penstock.isolation import machine_class
from penstock.isolation.errors import MachineError
from penstock.isolation.machine import Machine

__all__ = ["MachinePool"]


_QUIET_S = 0.02


class MachinePool:
    """Keeps ``size`` machines of one kind and memory, each started and asleep; a thread makes up for those taken."""

    def __init__(self, isolation: str, *, size: int, data_bytes: int):
        self.isolation, self.size, self.data_bytes = isolation, size, data_bytes
        self._ready: list[Machine] = []
        self._wanted = threading.Event()
        self._ended = False
        self._lock = threading.Lock()
        self.problem = ""
        self._thread = threading.Thread(target=self._fill, name="penstock-pool", daemon=True)
        self._thread.start()
        self._wanted.set()

    def take(self, isolation: str, data_bytes: int) -> Machine | None:
        """A machine of that kind with at least that memory, or None where none is ready."""
        if isolation != self.isolation or data_bytes > self.data_bytes:
            return None
        with self._lock:
            return self._ready.pop() if self._ready else None

    def refill(self) -> None:
        """Make up for what was taken, once there is time."""
        self._wanted.set()

    @property
    def ready(self) -> int:
        return len(self._ready)

    def _fill(self) -> None:
        while not self._ended:
            self._wanted.wait()
            self._wanted.clear()
            # Not while domains are being made: their makers have the processor.
            while self._wanted.wait(_QUIET_S) and self._ready and not self._ended:
                self._wanted.clear()
            while len(self._ready) < self.size and not self._ended:
                try:
                    machine = machine_class(self.isolation)(data_bytes=self.data_bytes, name="ready")
                    machine.start()
                except MachineError as error:
                    self.problem = str(error)
                    break
                with self._lock:
                    self._ready.append(machine)

    def close(self) -> None:
        self._ended = True
        self._wanted.set()
        self._thread.join()
        for machine in self._ready:
            machine.close()
        self._ready.clear()
