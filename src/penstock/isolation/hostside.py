"""The part of a configuration's work that is done in Python: scripts, files, control sockets.

Packet code runs apart; what its elements do on the host's side (HostCalls) is done here, in a thread of its own for each
configuration that has such elements, while the domain stands still for a moment.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.datapath.sched import NEVER
from penstock.runtime.driver import may_go_on
from penstock.runtime.router import Router

if TYPE_CHECKING:
    from penstock.isolation.machine import Instance

__all__ = ["HostSide", "has_host_side"]

_MAX_WAIT_S = 1.0
#: how often a source in a file is asked for more
_FEED_S = 0.002


def has_host_side(router: Router) -> bool:
    calls = router.calls
    return bool(calls.readers or calls.feeders or calls.after_run or calls.stop_managers or calls.next_ns != NEVER)


class HostSide:
    """Does an instance's work in Python until it is closed, or until its driver stops (``finished`` is told)."""

    def __init__(self, instance: Instance, finished: Callable[[Instance], None]):
        self.instance, self._finished = instance, finished
        self._ended = False
        self._guard = threading.Lock()
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._thread = threading.Thread(target=self._run, name="penstock-host", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        with self._guard:
            if self._woken >= 0:
                os.eventfd_write(self._woken, 1)

    def _run(self) -> None:
        try:
            self._work()
        finally:
            with self._guard:
                os.close(self._woken)
                self._woken = -1

    def _work(self) -> None:
        router, machine = self.instance.router, self.instance.machine
        calls, driver = router.calls, router.driver
        while not self._ended:
            with machine.held():
                if self._ended:
                    return
                worked = False
                for feeder in calls.feeders:
                    worked = feeder() or worked
                worked = calls.run_due(time.time_ns()) or worked
                worked = self._read() or worked
                for call in calls.after_run:
                    call()
                router.drain_host()
                stopped = driver.runcount <= 0 and not may_go_on(router)
                busy = driver.runnable
            if stopped:
                self._ended = True
                self._finished(self.instance)
                return
            if worked or busy:
                machine.kick()
            self._wait(worked)

    def _read(self) -> bool:
        readers = self.instance.router.calls.readers
        if not readers:
            return False
        ready, _, _ = select.select(list(readers), [], [], 0)
        for descriptor in ready:
            if (reader := readers.get(descriptor)) is not None:
                reader()
        return bool(ready)

    def _wait(self, worked: bool) -> None:
        calls = self.instance.router.calls
        timeout = _FEED_S if calls.feeders else _MAX_WAIT_S
        if worked:
            timeout = 0.0
        elif calls.next_ns != NEVER:
            timeout = min(timeout, max(0.0, (calls.next_ns - time.time_ns()) / 1e9))
        poll = select.poll()
        for descriptor in (self._woken, *calls.readers):
            poll.register(descriptor, select.POLLIN)
        if poll.poll(timeout * 1000):
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._woken)

    def close(self) -> None:
        """The domain may be held by who calls this: the thread ends by itself, at its next look."""
        self._ended = True
        self.wake()
        if threading.current_thread() is not self._thread and not self.instance.machine.lock_is_mine():
            self._thread.join(2)
