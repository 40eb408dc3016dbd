"""The memory of a machine: one mapping, with windows for what must be kept apart.

A virtual machine sees it from address 0; its page tables give each window of 2 MiB its rights: the first is the host's (page
tables, Context), the second code (read, execute), the others data (read, write). Other machines use it where it lies.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from collections.abc import Iterator, Sequence

from penstock.datapath.memory import Memory
from penstock.isolation.errors import MachineError
from penstock.isolation.layout import CONTEXT_BYTES, CONTROL_BYTES
from penstock.isolation.template import cut, present_runs
from penstock.ring.port import data_runs

__all__ = ["CODE", "CONTEXT", "CONTROL", "DATA", "STACK_TOP", "OutOfMemory", "Region"]

WINDOW = 2 << 20
CONTEXT = 0x10000
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


class OutOfMemory(MachineError):
    """The domain's memory has no room for this."""


class Region:
    """``shared`` memory stays one with that of a child process."""

    def __init__(self, data_bytes: int, *, shared: bool = False):
        self.shared = shared
        self.size = DATA + (max(data_bytes + (_FIRST - DATA), WINDOW) + WINDOW - 1) // WINDOW * WINDOW
        self._descriptor = os.memfd_create("penstock-domain", os.MFD_CLOEXEC) if shared else -1
        if shared:
            os.ftruncate(self._descriptor, self.size)
            self.block = mmap.mmap(self._descriptor, self.size)
        else:
            self.block = mmap.mmap(-1, self.size, flags=mmap.MAP_PRIVATE | MAP_NORESERVE | mmap.MAP_ANONYMOUS)
        self._anchor = ctypes.c_char.from_buffer(self.block)
        self.address = ctypes.addressof(self._anchor)
        self._free = {"code": [(CODE, WINDOW)], "data": [(_FIRST, self.size - _FIRST)]}

    def allocate(self, kind: str, size: int) -> int:
        """The offset of ``size`` bytes of code or data, in whole pages. Raises OutOfMemory."""
        size = (size + _PAGE - 1) // _PAGE * _PAGE
        places = self._free[kind]
        for i, (offset, room) in enumerate(places):
            if room >= size:
                places[i : i + 1] = [(offset + size, room - size)] if room > size else []
                return offset
        raise OutOfMemory(f"no {size // 1024} KiB of {kind} left in the memory of this domain; give it more 'memory'")

    def release(self, kind: str, offset: int, size: int) -> None:
        """Give it back: zero, and without what was mapped there."""
        size = (size + _PAGE - 1) // _PAGE * _PAGE
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
        self.block[offset : offset + len(content)] = content

    def memory(self, offset: int, size: int) -> Memory:
        return Memory.within(self.block, offset, size)

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
