"""The memory of a machine: one mapping, with windows for what must be kept apart.

A virtual machine sees it from address 0; its page tables give each window of 2 MiB its rights: the first is the host's (page
tables, Context), the second code (read, execute), the others data (read, write). Other machines use it where it lies.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import threading
from collections.abc import Iterator, Sequence

from penstock.datapath.memory import Memory
from penstock.isolation.errors import MachineError
from penstock.isolation.layout import CONTEXT_BYTES, CONTROL_BYTES
from penstock.isolation.template import cut, present_runs
from penstock.ring.port import data_runs

__all__ = ["CODE", "CONTEXT", "CONTROL", "DATA", "STACK_TOP", "THREAD_STACK", "THREAD_STACK_BYTES", "OutOfMemory", "Region"]

WINDOW = 2 << 20
CONTEXT = 0x10000
#: the stack of the thread that runs the machine: in the host's window, which the guest cannot reach
THREAD_STACK, THREAD_STACK_BYTES = 0x40000, 0x10000
CODE = WINDOW
DATA = 2 * WINDOW
#: the stack grows down towards the code, where writing is a fault
STACK_TOP = DATA + 0x10000
CONTROL = STACK_TOP
_FIRST = CONTROL + CONTROL_BYTES
_PAGE = mmap.PAGESIZE
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
MAP_FIXED, MAP_NORESERVE = 0x10, 0x4000
_CHUNK_BYTES = 16 << 30


def _whole_pages(size: int) -> int:
    return (size + _PAGE - 1) // _PAGE * _PAGE


class _Arena:
    """Places for private regions in a few large mappings, reused by size.

    A mapping for each would make every further virtual machine dearer: see the arena of the ports.
    """

    def __init__(self) -> None:
        self._chunk: mmap.mmap | None = None
        self._end = 0
        self._free: dict[int, list[tuple[mmap.mmap, int]]] = {}
        self._lock = threading.Lock()

    def take(self, size: int) -> tuple[mmap.mmap, int]:
        with self._lock:
            if self._free.get(size):
                return self._free[size].pop()
            if self._chunk is None or self._end + size > _CHUNK_BYTES:
                flags = mmap.MAP_PRIVATE | MAP_NORESERVE | mmap.MAP_ANONYMOUS
                self._chunk, self._end = mmap.mmap(-1, max(_CHUNK_BYTES, size), flags=flags), 0
            at = self._end
            self._end += size
            return self._chunk, at

    def give_back(self, block: mmap.mmap, start: int, size: int) -> None:
        """The pages have been given back; the place is free for a region of the same size."""
        with self._lock:
            self._free.setdefault(size, []).append((block, start))


class OutOfMemory(MachineError):
    """The domain's memory has no room for this."""


_arena = _Arena()


class Region:
    """``shared`` memory stays one with that of a child process."""

    def __init__(self, data_bytes: int, *, shared: bool = False):
        self.shared, self._closed = shared, False
        self.size = DATA + (max(data_bytes + (_FIRST - DATA), WINDOW) + WINDOW - 1) // WINDOW * WINDOW
        self._descriptor = os.memfd_create("penstock-domain", os.MFD_CLOEXEC) if shared else -1
        if shared:
            os.ftruncate(self._descriptor, self.size)
            self.block = mmap.mmap(self._descriptor, self.size)
            self.start = 0
        else:
            self.block, self.start = _arena.take(self.size)
        self._anchor = ctypes.c_char.from_buffer(self.block, self.start)
        self.address = ctypes.addressof(self._anchor)
        self._free = {"code": [(CODE, WINDOW)], "data": [(_FIRST, self.size - _FIRST)]}

    def allocate(self, kind: str, size: int) -> int:
        """The offset of ``size`` bytes of code or data, in whole pages. Raises OutOfMemory."""
        size = _whole_pages(size)
        places = self._free[kind]
        for i, (offset, room) in enumerate(places):
            if room >= size:
                places[i : i + 1] = [(offset + size, room - size)] if room > size else []
                return offset
        raise OutOfMemory(f"no {size // 1024} KiB of {kind} left in the memory of this domain; give it more 'memory'")

    def release(self, kind: str, offset: int, size: int) -> None:
        """Give it back: zero, and without what was mapped there."""
        size = _whole_pages(size)
        self._map_anew(offset, size)
        places = sorted([*self._free[kind], (offset, size)])
        merged: list[tuple[int, int]] = []
        for start, room in places:
            if merged and merged[-1][0] + merged[-1][1] == start:
                merged[-1] = (merged[-1][0], merged[-1][1] + room)
            else:
                merged.append((start, room))
        self._free[kind] = merged

    def _map_anew(self, offset: int, size: int) -> None:
        place, rights = ctypes.c_void_p(self.address + offset), mmap.PROT_READ | mmap.PROT_WRITE
        if self._descriptor >= 0:
            flags = mmap.MAP_SHARED | MAP_FIXED
            _libc.mmap(place, ctypes.c_size_t(size), rights, flags, self._descriptor, ctypes.c_long(offset))
            self.block.madvise(mmap.MADV_REMOVE, offset, size)
        else:
            flags = mmap.MAP_PRIVATE | MAP_NORESERVE | mmap.MAP_ANONYMOUS | MAP_FIXED
            _libc.mmap(place, ctypes.c_size_t(size), rights, flags, -1, ctypes.c_long(0))

    def put(self, offset: int, content: bytes) -> None:
        self.block[self.start + offset : self.start + offset + len(content)] = content

    def memory(self, offset: int, size: int) -> Memory:
        return Memory.within(self.block, self.start + offset, size)

    @property
    def context(self) -> Memory:
        return self.memory(CONTEXT, CONTEXT_BYTES)

    @property
    def control(self) -> Memory:
        return self.memory(CONTROL, CONTROL_BYTES)

    def pages(self, offset: int, size: int, without: Sequence[tuple[int, int]] = ()) -> list[tuple[int, bytes]]:
        """What is not zero in a part of the region, as (offset in it, bytes)."""
        return cut(self.memory(offset, size).view, self.runs(offset, size), without)

    def runs(self, offset: int, size: int) -> Iterator[tuple[int, int]]:
        """Runs (start, end) in a part of the region that were ever written."""
        if self._descriptor < 0:
            return present_runs(self.memory(offset, size))
        return data_runs(self._descriptor, offset, size)

    def close(self) -> None:
        """Give the pages back now; the addresses go once nothing looks at them any more."""
        self._map_anew(0, self.size)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        elif not self._closed:
            _arena.give_back(self.block, self.start, self.size)
        self._closed = True
