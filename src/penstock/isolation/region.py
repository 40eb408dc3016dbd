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
from typing import Any

from penstock.datapath.memory import MAP_NORESERVE, Memory, map_at
from penstock.isolation.errors import MachineError
from penstock.isolation.layout import CONTEXT_BYTES, CONTROL_BYTES
from penstock.isolation.template import cut, outside, present_runs
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
#: far below where the kernel puts mappings, and far above programs: nobody else's come here
_PRIVATE_AT = 1 << 44
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE


def _whole_pages(size: int) -> int:
    return (size + _PAGE - 1) // _PAGE * _PAGE


class _Arena:
    """Addresses for private regions, one behind the other, so that the kernel joins their mappings; reused by size.

    Each mapping makes every further virtual machine dearer: see the arena of the ports.
    """

    def __init__(self) -> None:
        self._end = _PRIVATE_AT
        self._free: dict[int, list[int]] = {}
        self._lock = threading.Lock()

    def take(self, size: int) -> tuple[int, bool]:
        """The address, and whether it is mapped already."""
        with self._lock:
            if self._free.get(size):
                return self._free[size].pop(), True
            at = self._end
            self._end += size
            return at, False

    def give_back(self, address: int, size: int) -> None:
        """The pages have been given back; the place is free for a region of the same size."""
        with self._lock:
            self._free.setdefault(size, []).append(address)


class OutOfMemory(MachineError):
    """The domain's memory has no room for this."""


_arena = _Arena()


class Region:
    """``shared`` memory stays one with that of a child process."""

    def __init__(self, data_bytes: int, *, shared: bool = False):
        self.shared, self._closed = shared, False
        self.size = DATA + (max(data_bytes + (_FIRST - DATA), WINDOW) + WINDOW - 1) // WINDOW * WINDOW
        self._descriptor = os.memfd_create("penstock-domain", os.MFD_CLOEXEC) if shared else -1
        self._filled = True
        if shared:
            os.ftruncate(self._descriptor, self.size)
            self._block: Any = mmap.mmap(self._descriptor, self.size)
            self._anchor = ctypes.c_char.from_buffer(self._block)
            self.address = ctypes.addressof(self._anchor)
        else:
            self.address, self._filled = _arena.take(self.size)
            self._block = (ctypes.c_ubyte * self.size).from_address(self.address)
            if not self._filled:
                self._map_first(0, _FIRST)
        self._bytes = memoryview(self._block).cast("B")
        self._free = {"code": [(CODE, WINDOW)], "data": [(_FIRST, self.size - _FIRST)]}

    def _map_first(self, start: int, end: int) -> None:
        try:
            map_at(self.address + start, end - start, _ANONYMOUS, free=True)
        except OSError as error:
            raise MachineError(f"no memory for the domain: {error.strerror} (see /proc/sys/vm/max_map_count)") from None

    def allocate(self, kind: str, size: int, *, without: Sequence[tuple[int, int]] = ()) -> int:
        """The offset of ``size`` bytes of code or data, in whole pages. Raises OutOfMemory.

        Parts (start, end) of them may be left ``without`` memory: something is mapped there at once. To map over what is
        there takes a call to every virtual machine of this process (1.3 us each here).
        """
        size = _whole_pages(size)
        places = self._free[kind]
        for i, (offset, room) in enumerate(places):
            if room >= size:
                places[i : i + 1] = [(offset + size, room - size)] if room > size else []
                if kind == "data" and not self._filled:
                    self._filled = True
                    for start, end in outside(_FIRST, self.size, [(offset + a, offset + b) for a, b in without]):
                        self._map_first(start, end)
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
        if self._descriptor >= 0:
            map_at(self.address + offset, size, mmap.MAP_SHARED, self._descriptor, offset)
            self._block.madvise(mmap.MADV_REMOVE, offset, size)
        else:
            map_at(self.address + offset, size, _ANONYMOUS)

    def put(self, offset: int, content: bytes) -> None:
        self._bytes[offset : offset + len(content)] = content

    def memory(self, offset: int, size: int) -> Memory:
        return Memory.within(self._block, offset, size)

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
            _arena.give_back(self.address, self.size)
        self._closed = True
