"""The threads of a router: what each one has of its own, and how all but the first are run, stopped and ended."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from penstock.datapath.clock import Clock, Random
from penstock.datapath.host import HostRing
from penstock.datapath.pool import PacketPool
from penstock.datapath.program import Program
from penstock.datapath.sched import NEVER, Driver
from penstock.runtime.image import Image, LoadedImage

if TYPE_CHECKING:
    from penstock.runtime.router import Router

__all__ = ["Crew", "Lane"]

_SLICE_NS = 5_000_000
_FIRST_LIMIT, _MAX_LIMIT = 256, 1 << 20
#: how long a thread without work sleeps before it looks again: other threads cannot wake it
NAP_S = 0.0002


class Lane:
    """What a thread has of its own: driver, pool, clock, chance, the ring to Python, and an image."""

    pool: PacketPool
    program: Program

    def __init__(self, number: int, *, is_shared: bool):
        self.number = number
        self.clock, self.random, self.host = Clock(), Random(), HostRing()
        self.driver = Driver(self.clock)
        self.driver.is_shared = is_shared
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        """The code is made anew when it is needed."""
        self.image: Image | None = None
        self.loaded: LoadedImage | None = None
        self.run: Callable[..., int] | None = None
        self.upcall: Any = None

    def unload(self) -> None:
        """It does not run any more; what it was made of can still be looked at."""
        if self.loaded is not None:
            self.loaded.close()
        self.loaded = self.run = None

    @property
    def is_idle(self) -> bool:
        return not self.driver.runnable and not self.driver.has_posts


class Crew:
    """Runs all lanes but the first one, each in a thread, while the first one is driven."""

    def __init__(self, router: Router):
        self.router, self.lanes = router, router.lanes[1:] if router.engine == "compiled" else []
        self._threads: list[threading.Thread] = []
        self._resumed = threading.Event()
        self._pausing = self._ended = False
        self._depth = 0
        self.error: BaseException | None = None

    @property
    def naps(self) -> bool:
        """Whether others may give work to the first lane while it sleeps."""
        return len(self.router.lanes) > 1

    def __enter__(self) -> Crew:
        self._threads = [threading.Thread(target=self._work, args=(lane,), daemon=True) for lane in self.lanes]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended = True
        for lane in self.lanes:
            lane.driver.attention = 1
        for thread in self._threads:
            thread.join()

    def _work(self, lane: Lane) -> None:
        limit = _FIRST_LIMIT
        self._take_place(lane)
        try:
            while not self._ended:
                with lane.lock:
                    lane.driver.attention = 0
                    # Set before the driver's attention is asked for: what was set to 0 just now is not missed.
                    if self._ended or self._pausing:
                        steps = -1
                    else:
                        started = time.monotonic_ns()
                        steps = self.router.step(limit, lane) if lane.driver.runcount > 0 else 0
                        passed = time.monotonic_ns() - started
                        if steps >= limit:
                            limit = min(limit * 2, _MAX_LIMIT) if passed < _SLICE_NS // 2 else max(limit // 2, 16)
                        self.router.drain_lane(lane)
                if self._pausing:
                    self._resumed.wait(1.0)
                elif steps == 0 and (lane.is_idle or lane.driver.runcount <= 0):
                    until_s = (lane.driver.next_expiry - time.time_ns()) / 1e9 if lane.driver.next_expiry != NEVER else NAP_S
                    time.sleep(min(max(until_s, 0.0), NAP_S))
        except BaseException as error:
            self.error = error
            self.router.stop()

    def _take_place(self, lane: Lane) -> None:
        """Where the first thread is bound to a processor, each of the others goes to one of the next ones."""
        bound, there = os.sched_getaffinity(0), os.cpu_count() or 1
        if len(bound) == 1 and there > 1:
            with contextlib.suppress(OSError):
                os.sched_setaffinity(threading.get_native_id(), {(min(bound) + lane.number) % there})

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """All other threads stand still."""
        if not self.lanes or self._depth:
            yield
            return
        self._depth += 1
        self._resumed.clear()
        self._pausing = True
        for lane in self.lanes:
            lane.driver.attention = 1
        for lane in self.lanes:
            lane.lock.acquire()
        try:
            yield
        finally:
            self._depth -= 1
            # What a new configuration has taken over must not move in this one any more.
            self._ended = self._ended or self.router.successor is not None
            self._pausing = False
            for lane in self.lanes:
                lane.lock.release()
            self._resumed.set()

    def gather_stops(self) -> None:
        """A stop that one thread asked for is one of the router's; an error in one is everybody's."""
        if self.error is not None:
            raise self.error
        if any(lane.driver.runcount <= 0 for lane in self.lanes):
            with self.held():
                for lane in self.lanes:
                    self.router.driver.runcount -= 1 - min(lane.driver.runcount, 1)
                    lane.driver.runcount = 1

    def step_others(self, limit: int) -> int:
        """In the interpreter all lanes take turns in one thread."""
        if self.lanes:
            return 0
        steps = 0
        for lane in self.router.lanes[1:]:
            lane.driver.attention = 0
            steps += self.router.step(limit, lane)
            self.router.drain_lane(lane)
            if lane.driver.runcount <= 0:
                self.router.driver.runcount -= 1 - lane.driver.runcount
                lane.driver.runcount = 1
        return steps
