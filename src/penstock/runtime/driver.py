"""The driver: runs the image, gives Python elements their turn, waits, and stops."""

from __future__ import annotations

import heapq
import os
import select
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from penstock.datapath.sched import NEVER
from penstock.runtime.lane import NAP_S, Crew

if TYPE_CHECKING:
    from penstock.runtime.router import Router

__all__ = ["HostCalls", "drive", "may_go_on"]

_MAX_WAIT_S = 1.0
_SLICE_NS = 5_000_000
_MAX_STOP_STEPS = 1000
_MAX_LIMIT = 1 << 20


class HostCalls:
    """What Python elements want from the driver: calls at a time, on a readable descriptor, in every round."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.readers: dict[int, Callable[[], None]] = {}
        #: called before each run of the image; true if that made something runnable
        self.feeders: list[Callable[[], bool]] = []
        #: called after each run of the image
        self.after_run: list[Callable[[], None]] = []
        #: asked when the driver is about to stop; true keeps it running
        self.stop_managers: list[Callable[[], bool]] = []

    def call_at(self, when_ns: int, call: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (when_ns, self._count, call))

    @property
    def next_ns(self) -> int:
        return self._heap[0][0] if self._heap else NEVER

    def run_due(self, now_ns: int) -> bool:
        ran = False
        due: list[Callable[[], None]] = []
        while self._heap and self._heap[0][0] <= now_ns:
            due.append(heapq.heappop(self._heap)[2])
        for call in due:
            call()
            ran = True
        return ran


def drive(router: Router, *, until: Callable[[], bool] | None = None, slice_steps: int | None = None) -> None:
    """Run until the router is stopped (or ``until`` says so).

    Between two looks at everything else the image runs ``slice_steps`` tasks; None lets the time they take decide.
    """
    calls, driver = router.calls, router.driver
    router.load()
    limit = slice_steps or 256
    with Crew(router) as crew:
        while True:
            crew.gather_stops()
            if driver.runcount <= 0:
                with crew.held():
                    if not may_go_on(router):
                        return
            if router.successor is not None or (until is not None and until()):
                return
            worked = _serve(router, crew)
            driver.attention = 0
            if driver.runcount <= 0:
                continue
            started = time.monotonic_ns()
            steps = router.step(limit)
            passed = time.monotonic_ns() - started
            if steps >= limit and slice_steps is None:
                # Long enough that Python costs nothing, short enough that a signal is answered at once.
                limit = min(limit * 2, _MAX_LIMIT) if passed < _SLICE_NS // 2 else max(limit // 2, 16)
            router.drain_lane(router.lanes[0])
            steps += crew.step_others(limit)
            if calls.after_run:
                with crew.held():
                    for call in calls.after_run:
                        call()
            worked = worked or steps > 0
            _wait(router, crew, idle=not worked and not driver.runnable and not driver.attention)


def _serve(router: Router, crew: Crew) -> bool:
    """Give Python elements their turn, while all threads stand still; true if that made something runnable."""
    calls, clock = router.calls, router.clock
    is_due = calls.next_ns != NEVER and (clock.simulated or calls.next_ns <= time.time_ns())
    if not calls.feeders and not is_due:
        return False
    worked = False
    with crew.held():
        for feeder in calls.feeders:
            worked = feeder() or worked
        if clock.simulated:
            worked = calls.run_due(clock.time) or worked
        elif is_due:
            worked = calls.run_due(time.time_ns()) or worked
    return worked


def may_go_on(router: Router) -> bool:
    """Ask DriverManager and Script what to do about a stop, as often as they say "go on and stop again"."""
    for _ in range(_MAX_STOP_STEPS):
        if not any(manager() for manager in router.calls.stop_managers):
            return False
        if router.driver.runcount > 0:
            return True
    return False


def _wait(router: Router, crew: Crew, *, idle: bool) -> None:
    """Sleep until something is due (simulated time jumps there); look at descriptors in any case."""
    calls, clock = router.calls, router.clock
    next_ns = min(calls.next_ns, router.driver.next_expiry)
    if clock.simulated and next_ns != NEVER and router.driver.fruitless > 2 * router.driver.n_tasks and not router.driver.attention:
        # Tasks that only ask whether it is time yet would ask for ever.
        idle = True
    timeout: float = 0.0
    if idle and router.driver.runcount > 0:
        if clock.simulated and next_ns != NEVER:
            clock.time = max(clock.time, next_ns)
        elif next_ns == NEVER:
            timeout = _MAX_WAIT_S
        else:
            timeout = min(max(0.0, (next_ns - time.time_ns()) / 1e9), _MAX_WAIT_S)
        if crew.naps:
            timeout = min(timeout, NAP_S)
    if calls.readers:
        ready, _, _ = select.select(list(calls.readers), [], [], timeout)
        if ready:
            with crew.held():
                for descriptor in ready:
                    reader = calls.readers.get(descriptor)
                    if reader is not None:
                        reader()
    elif timeout:
        time.sleep(timeout)


def wake_on_signals(router: Router) -> Callable[[], None]:
    """Make SIGINT and SIGTERM stop the router at once, also while it sleeps; gives the function that undoes it."""
    import signal

    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    os.set_blocking(write_end, False)
    router.calls.readers[read_end] = lambda: (os.read(read_end, 64), None)[1]

    def handler(number: int, frame: object) -> None:
        router.interrupted = number
        router.driver.runcount = -1_000_000
        router.driver.attention = 1

    before = {s: signal.signal(s, handler) for s in (signal.SIGINT, signal.SIGTERM)}
    old_wakeup = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def undo() -> None:
        signal.set_wakeup_fd(old_wakeup)
        for number, action in before.items():
            signal.signal(number, action)
        router.calls.readers.pop(read_end, None)
        os.close(read_end)
        os.close(write_end)

    return undo
