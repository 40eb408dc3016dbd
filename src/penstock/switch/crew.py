"""The workers of a switch: threads that forward, each with its own view of one memory.

All views are mappings of the same file of memory, so that they share the ports, their rings and what the module knows; only the
pages of ``Fabric.own`` are each worker's own, mapped over the file's in the same place. So the same code runs in all of them.

With ``is_open`` programs may be workers too (see joined.py): the rings of all ports are in that file, and behind the instance's memory
it has a context for each program, and the code.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from penstock.datapath.futex import futex_wait, futex_wake
from penstock.datapath.memory import Array, Memory
from penstock.datapath.ports import PEER_WAITING
from penstock.runtime.image import LoadedImage
from penstock.runtime.once import once
from penstock.runtime.threads import join_thread, start_thread
from penstock.switch.fabric import Fabric, PortState
from penstock.switch.module import MAX_PORTS
from penstock.switch.worker import CONTEXT_BYTES, MAX_WAITS, WorkerContext, WorkerState, worker

__all__ = ["MAX_WORKERS", "Crew", "Plan", "View", "loops"]

MAX_WORKERS = 16
_WAIT = struct.Struct("<QQII")
_WORD_SIZE_FLAG = 2
_PAUSE_NS = 200_000
_PAGE = mmap.PAGESIZE
#: room for code, of which half is in use
_CODE_BYTES = 4 << 20
#: a program that stays in the fabric for so long has stopped there
_LOST_S = 2.0


@once
def loops() -> LoadedImage:
    return LoadedImage(worker())


def _whole_pages(size: int) -> int:
    return -(-size // _PAGE) * _PAGE


@dataclass(frozen=True)
class Plan:
    """Where things are in every worker's view, in bytes from its start: what a program must know to be a worker."""

    size: int
    own: int
    own_bytes: int
    n_sources: int
    sources: int
    n_hot: int
    cursor: int
    n_wake: int
    wake: int
    ports: int
    pages: int
    state_bytes: int
    #: in the file, behind the view
    contexts: int
    code: int

    @classmethod
    def of(cls, fabric: Fabric, size: int) -> Plan:
        own, size = fabric.own, _whole_pages(size)
        start = min(own._offsets.values())
        end = max([a.offset + a.size_bytes for _, a in own.state_objects() if isinstance(a, Array)])
        return cls(size, start, _whole_pages(end - start), own._offsets["n_sources"], own.sources.offset, own._offsets["n_hot"],
                   own._offsets["cursor"], own._offsets["n_wake"], own.wake.offset, fabric.memory.offset,
                   fabric.ports.offset + PortState.FIELDS["page"][1], fabric.ports.stride, size, size + MAX_PORTS * CONTEXT_BYTES)

    @property
    def file_bytes(self) -> int:
        return self.code + _CODE_BYTES


class Asked:
    """Somebody who forwards, and is asked to stand still now and then, by the words of a context."""

    def __init__(self, context: Memory):
        self.context = context

    def ask(self, request: int) -> None:
        """0 go on, 1 stand still, 2 end."""
        self.context.store(WorkerContext.REQUEST, 8, request)
        self.context.store(WorkerContext.KICK, 4, 1)
        futex_wake(self.context.address + WorkerContext.KICK)

    def wait(self, timeout_s: float = 3600.0) -> bool:
        """Until it stands still; false where it does not in time."""
        end = time.monotonic() + timeout_s
        while self.context.load(WorkerContext.STATE, 4) == WorkerState.RUNNING:
            left = end - time.monotonic()
            if left <= 0:
                return False
            futex_wait(self.context.address + WorkerContext.STATE, WorkerState.RUNNING, timeout_s=left)
        return True

    def give_up(self) -> bool:
        """It is gone; true where it was at work then."""
        was_at_work = self.context.load(WorkerContext.STATE, 4) == WorkerState.RUNNING
        self.context.store(WorkerContext.REQUEST, 8, 2)
        self.context.store(WorkerContext.STATE, 4, WorkerState.ENDED)
        futex_wake(self.context.address + WorkerContext.STATE)
        return was_at_work


class View(Asked):
    """One worker's: its memory, with pages that are its own, and the context of its loop."""

    def __init__(self, plan: Plan, descriptor: int, context: Memory):
        super().__init__(context)
        self.plan = plan
        self.memory = Memory(plan.size, huge_pages=False, reserve=False, descriptor=descriptor)
        if descriptor >= 0:
            self.memory.make_private(plan.own, plan.own_bytes)
        base = self.memory.address
        for word, value in (
            (WorkerContext.MEMORY, base), (WorkerContext.N_WAKE, base + plan.n_wake), (WorkerContext.WAKE, base + plan.wake),
            (WorkerContext.PORTS, base + plan.ports), (WorkerContext.PAGES, base + plan.pages),
            (WorkerContext.STATE_BYTES, plan.state_bytes), (WorkerContext.PAUSE, _PAUSE_NS),
        ):
            context.store(word, 8, value)

    def read_from(self, numbers: Sequence[int], places: Sequence[int]) -> None:
        """The rings that this worker reads from, and where in the ports' memory they are; it stands still.

        It sleeps on a word of each, and on ours. With too many it looks around instead.
        """
        plan, memory, context = self.plan, self.memory, self.context
        for i, number in enumerate(numbers):
            memory.store(plan.sources + 4 * i, 4, number)
        memory.store(plan.n_sources, 4, len(numbers))
        for word in (plan.n_hot, plan.n_wake, plan.cursor):
            memory.store(word, 4, 0)
        many = len(numbers) > MAX_WAITS
        base = memory.address + plan.ports
        words = [(0, context.address + WorkerContext.KICK), *((1, base + at + 4 * PEER_WAITING) for at in (() if many else places))]
        for i, (expected, address) in enumerate(words):
            at = WorkerContext.WAITS + i * _WAIT.size
            context.view[at : at + _WAIT.size] = _WAIT.pack(expected, address, _WORD_SIZE_FLAG, 0)
        context.store(WorkerContext.N_WAITS, 8, 0 if many else len(words))


class _Thread(View):
    """A worker of this process."""

    def __init__(self, plan: Plan, descriptor: int):
        self._block = mmap.mmap(-1, CONTEXT_BYTES)
        super().__init__(plan, descriptor, Memory.within(self._block, 0, CONTEXT_BYTES))
        self._thread = 0

    def load(self, image: LoadedImage) -> None:
        """Run that code from now on; the worker stands still."""
        for word, name in ((WorkerContext.TURN, "turn"), (WorkerContext.SETTLE, "settle"), (WorkerContext.ROUSE, "rouse")):
            self.context.store(word, 8, image.address + image.image.entries[name])

    def start(self) -> None:
        self._thread = start_thread(loops().address + loops().image.entries["work"], self.context.address)

    def join(self) -> None:
        if self._thread:
            join_thread(self._thread)
            self._thread = 0


class Crew:
    """``count`` workers on a memory of ``size`` bytes. The fabric is laid out; whoever attaches it uses the first one's memory."""

    def __init__(self, fabric: Fabric, size: int, count: int, *, is_open: bool = False):
        self.fabric, self.is_open = fabric, is_open
        self.plan = Plan.of(fabric, size)
        self.descriptor = -1
        if fabric.is_parallel:
            self.descriptor = os.memfd_create("penstock-switch", os.MFD_CLOEXEC)
            os.ftruncate(self.descriptor, self.plan.file_bytes if is_open else self.plan.size)
        self.views = [_Thread(self.plan, self.descriptor) for _ in range(count)]
        #: programs that forward themselves, by the numbers of their ports
        self.programs: dict[int, Asked] = {}
        self._contexts = self._map_contexts() if is_open else None
        self._half = 0
        self._push = 0

    def _map_contexts(self) -> mmap.mmap:
        return mmap.mmap(self.descriptor, MAX_PORTS * CONTEXT_BYTES, offset=self.plan.contexts)

    @property
    def memory(self) -> Memory:
        return self.views[0].memory

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nobody forwards inside. A program that does not come back is taken for dead."""
        everybody = [*self.views, *self.programs.values()]
        for one in everybody:
            one.ask(1)
        for view in self.views:
            view.wait()
        for number, program in list(self.programs.items()):
            if not program.wait(_LOST_S):
                self.leave(number)
                self.heal()
        try:
            yield
        finally:
            for one in everybody:
                if one.context.load(WorkerContext.REQUEST, 8) == 1:
                    one.ask(0)

    def load(self, image: LoadedImage) -> None:
        """All run that code from now on; they stand still."""
        for view in self.views:
            view.load(image)
        if self.is_open:
            # The other half: nobody is in this one any more when the next code comes.
            self._half ^= _CODE_BYTES // 2
            if len(image.image.code) > _CODE_BYTES // 2:
                raise ValueError("this module's code is too large to be shared")
            os.pwrite(self.descriptor, image.image.code, self.plan.code + self._half)
            self._push = self._half + image.image.entries["push"]
            for program in self.programs.values():
                program.context.store(WorkerContext.TURN, 8, self._push)

    def start(self) -> None:
        for view in self.views:
            view.start()

    # Programs that forward themselves

    def join(self, number: int) -> None:
        """The program that has this port forwards what it sends; the others stand still."""
        assert self._contexts is not None
        context = Memory.within(self._contexts, number * CONTEXT_BYTES, CONTEXT_BYTES)
        context.view[:] = bytes(CONTEXT_BYTES)
        context.store(WorkerContext.STATE, 4, WorkerState.PARKED)
        context.store(WorkerContext.SOURCE, 8, number)
        context.store(WorkerContext.TURN, 8, self._push)
        self.programs[number] = Asked(context)

    def leave(self, number: int) -> bool:
        """It does not forward any more; true where it was at it."""
        program = self.programs.pop(number, None)
        return program is not None and program.give_up()

    def heal(self) -> None:
        """Somebody has ended in the middle of it: give back what it held. What it was copying may arrive as anything."""
        fabric = self.fabric
        fabric.locks.view()[:] = bytes(fabric.locks.size_bytes)
        for number in range(MAX_PORTS):
            outlet = fabric.outlets[number]
            if outlet.first_lease != outlet.next_lease:
                outlet.shown, outlet.first_lease = outlet.tail, outlet.next_lease

    # Ports' memory

    def map_at(self, offset: int, size: int, descriptor: int, at: int) -> None:
        for view in self.views:
            view.memory.map_at(offset, size, descriptor, at=at)

    def unmap_at(self, offset: int, size: int) -> None:
        for view in self.views:
            view.memory.unmap_at(offset, size)

    def close(self) -> None:
        for number in list(self.programs):
            self.leave(number)
        for view in self.views:
            view.ask(2)
        for view in self.views:
            view.join()
        for view in self.views:
            view.memory.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
