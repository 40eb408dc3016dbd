"""The workers of a switch: threads that forward, each with its own view of one memory.

All views lie in the same file of memory, so that they share the ports, their rings and what the module knows; only the pages of
``Fabric.own`` are each worker's own, mapped over the file's in the same place. So the same code runs in all of them.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator, Sequence

from penstock.datapath.futex import futex_wait, futex_wake
from penstock.datapath.memory import Array, Memory, attach
from penstock.datapath.ports import PEER_WAITING
from penstock.runtime.image import LoadedImage
from penstock.runtime.once import once
from penstock.runtime.threads import join_thread, start_thread
from penstock.switch.fabric import Fabric, PortState, Worker
from penstock.switch.worker import CONTEXT_BYTES, MAX_WAITS, WorkerContext, WorkerState, worker

__all__ = ["MAX_WORKERS", "Crew", "View"]

MAX_WORKERS = 16
_WAIT = struct.Struct("<QQII")
_WORD_SIZE_FLAG = 2
_PAUSE_NS = 200_000
_PAGE = mmap.PAGESIZE


@once
def _loops() -> LoadedImage:
    return LoadedImage(worker())


class View:
    """One worker's: its memory, what is its own in it, and the context of its loop."""

    def __init__(self, memory: Memory, fabric: Fabric, own: Worker):
        self.memory, self.fabric, self.own = memory, fabric, own
        self._block = mmap.mmap(-1, CONTEXT_BYTES)
        self.context = Memory.within(self._block, 0, CONTEXT_BYTES)
        self._thread = 0

    def load(self, image: LoadedImage) -> None:
        """Run that code from now on; the worker stands still."""
        fabric, context, base = self.fabric, self.context, self.memory.address
        entries = {name: image.address + at for name, at in image.image.entries.items()}
        for word, value in (
            (WorkerContext.MEMORY, base), (WorkerContext.TURN, entries["turn"]), (WorkerContext.SETTLE, entries["settle"]),
            (WorkerContext.ROUSE, entries["rouse"]), (WorkerContext.N_WAKE, base + fabric.own._offsets["n_wake"]),
            (WorkerContext.WAKE, base + fabric.own.wake.offset), (WorkerContext.PORTS, base + fabric.memory.offset),
            (WorkerContext.PAGES, base + fabric.ports.offset + PortState.FIELDS["page"][1]),
            (WorkerContext.STATE_BYTES, fabric.ports.stride), (WorkerContext.PAUSE, _PAUSE_NS),
        ):
            context.store(word, 8, value)

    def read_from(self, numbers: Sequence[int], places: Sequence[int]) -> None:
        """The rings that this worker reads from, and where in the ports' memory they are; it stands still.

        It sleeps on a word of each, and on ours. With too many it looks around instead.
        """
        own, context = self.own, self.context
        for i, number in enumerate(numbers):
            own.sources[i] = number
        own.n_sources, own.n_hot, own.n_wake, own.cursor = len(numbers), 0, 0, 0
        many = len(numbers) > MAX_WAITS
        base = self.memory.address + self.fabric.memory.offset
        words = [(0, context.address + WorkerContext.KICK), *((1, base + at + 4 * PEER_WAITING) for at in (() if many else places))]
        for i, (expected, address) in enumerate(words):
            at = WorkerContext.WAITS + i * _WAIT.size
            context.view[at : at + _WAIT.size] = _WAIT.pack(expected, address, _WORD_SIZE_FLAG, 0)
        context.store(WorkerContext.N_WAITS, 8, 0 if many else len(words))

    def start(self) -> None:
        self._thread = start_thread(_loops().address + _loops().image.entries["work"], self.context.address)

    def ask(self, request: int) -> None:
        """0 go on, 1 stand still, 2 end."""
        self.context.store(WorkerContext.REQUEST, 8, request)
        self.context.store(WorkerContext.KICK, 4, 1)
        futex_wake(self.context.address + WorkerContext.KICK)

    def wait(self) -> None:
        """Until it stands still."""
        while self.context.load(WorkerContext.STATE, 4) == WorkerState.RUNNING:
            futex_wait(self.context.address + WorkerContext.STATE, WorkerState.RUNNING)

    def join(self) -> None:
        if self._thread:
            join_thread(self._thread)
            self._thread = 0


class Crew:
    """``count`` workers on a memory of ``size`` bytes. The fabric is laid out; whoever attaches it uses the first one's memory."""

    def __init__(self, fabric: Fabric, size: int, count: int):
        self.fabric = fabric
        self._descriptor = os.memfd_create("penstock-switch", os.MFD_CLOEXEC) if fabric.is_parallel else -1
        if fabric.is_parallel:
            os.ftruncate(self._descriptor, -(-size // _PAGE) * _PAGE)
        self.views = [self._view(size, first=i == 0) for i in range(count)]

    @property
    def memory(self) -> Memory:
        return self.views[0].memory

    def _view(self, size: int, *, first: bool) -> View:
        memory = Memory(size, huge_pages=False, reserve=False, descriptor=self._descriptor)
        if self._descriptor >= 0:
            memory.make_private(*_pages(self.fabric.own))
        return View(memory, self.fabric, self.fabric.own if first else _twin(self.fabric.own, memory))

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        for view in self.views:
            view.ask(1)
        for view in self.views:
            view.wait()
        try:
            yield
        finally:
            for view in self.views:
                view.ask(0)

    def load(self, image: LoadedImage) -> None:
        for view in self.views:
            view.load(image)

    def start(self) -> None:
        for view in self.views:
            view.start()

    def map_at(self, offset: int, size: int, descriptor: int, at: int) -> None:
        for view in self.views:
            view.memory.map_at(offset, size, descriptor, at=at)

    def unmap_at(self, offset: int, size: int) -> None:
        for view in self.views:
            view.memory.unmap_at(offset, size)

    def close(self) -> None:
        for view in self.views:
            view.ask(2)
        for view in self.views:
            view.join()
        for view in self.views:
            view.memory.close()
        if self._descriptor >= 0:
            os.close(self._descriptor)


def _pages(own: Worker) -> tuple[int, int]:
    """(offset, size) of what is each worker's own."""
    end = max([array.offset + array.size_bytes for _, array in own.state_objects() if isinstance(array, Array)])
    start = min(own._offsets.values())
    return start, -(-(end - start) // _PAGE) * _PAGE


def _twin(own: Worker, memory: Memory) -> Worker:
    """The same place of another view, seen from Python."""
    made = Worker()
    made._offsets = own._offsets
    for (_, array), (_, there) in zip(made.state_objects(), own.state_objects(), strict=True):
        assert isinstance(array, Array) and isinstance(there, Array)
        array.offset = there.offset
    attach([("own", made)], memory)
    return made
