"""A thread that looks at the running domains a few times a second, for the sake of the others.

A domain that does not come back is broken off. One that computes all the time gets the processor less often and longer:
the kernel then lets whoever wakes up interrupt it (sched(7), since Linux 6.12), and frames for others need not wait for its turn
to end. Its share stays what its weight says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from penstock.isolation.layout import State
from penstock.runtime.threads import set_slice
from penstock.toolstack.domain import Domain

__all__ = ["Watcher"]

_LOOK_S = 0.25
#: a domain whose turn takes longer than this is broken off
_HANG_S = 2.0
#: of those who computed, or waited for a processor, for more than half of the time since the last look
_LONG_SLICE_NS = 20_000_000


@dataclass
class _Seen:
    turns: int
    since: float
    at: float
    wanted_s: float
    long: bool = False


def _wanted_s(thread: int) -> float:
    """How long a thread has run or waited to run, in seconds (proc(5): schedstat)."""
    try:
        ran_ns, waited_ns, _ = Path(f"/proc/{thread}/schedstat").read_text().split()
    except (OSError, ValueError):
        return 0.0
    return (int(ran_ns) + int(waited_ns)) / 1e9


class Watcher:
    def __init__(self, domains: Callable[[], Iterable[Domain]]):
        self._domains = domains
        self._seen: dict[int, _Seen] = {}
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="penstock-watch", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        pause_s = _LOOK_S
        while not self._ended.wait(pause_s):
            started = time.thread_time()
            domains = list(self._domains())
            for domain in domains:
                self._look(domain)
            if len(self._seen) > len(domains):
                there = {d.id for d in domains}
                self._seen = {n: s for n, s in self._seen.items() if n in there}
            # With thousands of domains a look takes longer: it may use half a percent of a processor.
            pause_s = max(_LOOK_S, 200 * (time.thread_time() - started))

    def _look(self, domain: Domain) -> None:
        machine, now = domain.machine, time.monotonic()
        seen = self._seen.get(domain.id)
        if machine.state != State.RUNNING:
            if seen is not None:
                del self._seen[domain.id]
                if seen.long:
                    set_slice(machine.thread_id, 0)
            return
        if seen is None:
            self._seen[domain.id] = _Seen(machine.turns, now, now, _wanted_s(machine.thread_id))
            return
        wanted_s = _wanted_s(machine.thread_id)
        busy = 2 * (wanted_s - seen.wanted_s) > now - seen.at
        if busy != seen.long:
            set_slice(machine.thread_id, _LONG_SLICE_NS if busy else 0)
        seen.long, seen.wanted_s, seen.at = busy, wanted_s, now
        if machine.turns != seen.turns:
            seen.turns, seen.since = machine.turns, now
        elif now - seen.since > _HANG_S and machine.can_interrupt:
            del self._seen[domain.id]
            machine.break_off(f"its packet code did not come back for {_HANG_S:.0f} s")

    def close(self) -> None:
        self._ended.set()
