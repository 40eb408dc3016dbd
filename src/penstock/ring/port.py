"""The peer's side of a domain's port, and the memory that both share."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from penstock.datapath.ports import (
    BUFFER_BYTES,
    DOMAIN_WAITING,
    HEAD,
    LENGTHS,
    PAGE_BYTES,
    PEER_WAITING,
    PORT_BYTES,
    RING_HEADER_BYTES,
    RX,
    SLOTS,
    STARVED,
    TAIL,
    TX,
    PortLayout,
)
from penstock.ring.side import Side

if TYPE_CHECKING:
    from penstock.datapath.memory import Memory

__all__ = ["PortError", "SharedPort", "data_runs"]

_libc = ctypes.CDLL(None, use_errno=True)
_WRAP = 1 << 32
_ARENA_BYTES = 16 << 30
_MAP_NORESERVE = 0x4000


class PortError(Exception):
    """The domain broke the rules of the ring; the port is lost."""


class _Arena:
    """One file of shared memory for many ports: one descriptor, and one mapping of this process.

    Every mapping makes each further virtual machine dearer: KVM takes all locks of a process when it makes one
    (0.17 us each here).
    """

    def __init__(self) -> None:
        self.descriptor = os.memfd_create("penstock-rings", os.MFD_CLOEXEC)
        os.ftruncate(self.descriptor, _ARENA_BYTES)
        self.block = mmap.mmap(self.descriptor, _ARENA_BYTES, flags=mmap.MAP_SHARED | _MAP_NORESERVE)
        self._anchor = ctypes.c_char.from_buffer(self.block)
        self.address = ctypes.addressof(self._anchor)
        self._end = 0
        self._free: list[int] = []
        self._lock = threading.Lock()

    def allocate(self) -> int:
        with self._lock:
            if self._free:
                return self._free.pop()
            at = self._end
            if at + PORT_BYTES > _ARENA_BYTES:
                raise PortError("too many ports in one process")
            self._end += PORT_BYTES
            return at

    def release(self, at: int) -> None:
        _libc.fallocate(self.descriptor, 3, ctypes.c_long(at), ctypes.c_long(PORT_BYTES))  # punch a hole, keep the size
        with self._lock:
            self._free.append(at)


_arena: dict[int, _Arena] = {}


def _current_arena() -> _Arena:
    """Of this process: a child must not hand out its parent's places."""
    pid = os.getpid()
    if pid not in _arena:
        _arena[pid] = _Arena()
    return _arena[pid]


def data_runs(descriptor: int, offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Runs (start, end) of a part of a file in memory that were ever written, from the start of the part."""
    at, end = offset, offset + size
    while at < end:
        try:
            at = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        stop = min(os.lseek(descriptor, at, os.SEEK_HOLE), end)
        if at < stop:
            yield at - offset, stop - offset
        at = max(stop, at + mmap.PAGESIZE)


def _buffer(ring: int, index: int) -> int:
    """Where the buffer of a slot starts, in bytes from the start of the port."""
    return 4 * ring + RING_HEADER_BYTES + index % SLOTS * BUFFER_BYTES


class Follower(Protocol):
    """A peer that runs by itself (a switch) and is told when the rings jump."""

    def held(self) -> AbstractContextManager[None]:
        """It leaves the rings alone inside."""

    def resume(self) -> None:
        """It goes on where the rings say that it was."""


class SharedPort(Side):
    """One interface of a domain, from outside: send frames to the domain, receive those it sent.

    What the domain writes is checked before use; PortError tells that it broke the rules.
    """

    mine, theirs = PEER_WAITING, DOMAIN_WAITING
    layout = PortLayout(SLOTS)

    def __init__(self, name: str = ""):
        super().__init__(name)
        self._arena = _current_arena()
        self.descriptor, self.offset = self._arena.descriptor, self._arena.allocate()
        self._bytes = memoryview(self._arena.block)[self.offset : self.offset + PORT_BYTES]
        self._words = self._bytes.cast("I")
        self.address = self._arena.address + self.offset
        self._closed = False
        self.tail = self.head = 0
        self.follower: Follower | None = None
        self.mapped_by: Memory | None = None
        self.domain_address = 0

    def map_into(self, memory: Memory, offset: int, *, keep: bool = False) -> None:
        """Put the port where an instance has room for it. An instance starts with empty rings, unless it is to ``keep`` them."""
        with self.follower.held() if self.follower else contextlib.nullcontext():
            if not keep:
                for base in (RX, TX):
                    for word in (HEAD, TAIL, STARVED):
                        self._words[base + word] = 0
            self.resume()
        memory.map_at(offset, PORT_BYTES, self.descriptor, at=self.offset)
        self.mapped_by, self.domain_address = memory, memory.address + offset

    def unmapped(self) -> None:
        self.mapped_by, self.domain_address = None, 0

    def content(self) -> list[tuple[int, bytes]]:
        """What the rings hold now, as (offset, bytes): the indices and lengths, and the frames on their way."""
        found = [(0, bytes(self._bytes[:PAGE_BYTES]))]
        for base in (RX, TX):
            start = 4 * base
            found.append((start, bytes(self._bytes[start : start + RING_HEADER_BYTES])))
            head, waiting = self._words[base + HEAD], (self._words[base + TAIL] - self._words[base + HEAD]) % _WRAP
            for i in range(waiting if waiting <= SLOTS else 0):
                found.append((_buffer(base, head + i), self._frame(base, head + i)))
        return found

    def restore(self, content: Sequence[tuple[int, bytes | memoryview]]) -> None:
        """Make the rings hold that; before the port is mapped with ``keep``."""
        with self.follower.held() if self.follower else contextlib.nullcontext():
            for at, page in content:
                self._bytes[at : at + len(page)] = page
            self.resume()

    def resume(self) -> None:
        """Go on where the rings say that their peer was."""
        self.tail, self.head = self._words[RX + TAIL], self._words[TX + HEAD]
        if self.follower:
            self.follower.resume()

    def _frame(self, ring: int, index: int) -> bytes:
        """What a slot holds, whatever its length says."""
        at = _buffer(ring, index)
        return bytes(self._bytes[at : at + min(self._words[ring + LENGTHS + index % SLOTS], BUFFER_BYTES)])

    def frames_behind(self, tail: int) -> list[bytes]:
        """Frames for the domain that were put behind that index."""
        found: list[bytes] = []
        while tail != self._words[RX + TAIL] and len(found) < SLOTS:
            found.append(self._frame(RX, tail))
            tail = (tail + 1) % _WRAP
        return found

    @property
    def inward_tail(self) -> int:
        return self._words[RX + TAIL]

    # Frames

    def send(self, frame: bytes) -> bool:
        """One frame to the domain; False where the ring is full. The domain is woken."""
        done = self.put(frame)
        self.flush()
        return done

    def put(self, frame: bytes) -> bool:
        """As ``send``, but the domain sees it at the next ``flush``."""
        if len(frame) > BUFFER_BYTES:
            raise ValueError(f"a frame of {len(frame)} bytes; the slots have {BUFFER_BYTES}")
        words = self._words
        used = (self.tail - words[RX + HEAD]) % _WRAP
        if used > SLOTS:
            raise PortError(f"{self.name}: the domain's read index makes no sense")
        if used == SLOTS:
            words[RX + STARVED] = 1
            return False
        at = _buffer(RX, self.tail)
        self._bytes[at : at + len(frame)] = frame
        words[RX + LENGTHS + self.tail % SLOTS] = len(frame)
        self.tail = (self.tail + 1) % _WRAP
        return True

    def flush(self) -> None:
        words = self._words
        words[RX + TAIL] = self.tail
        self.fence()
        self.call()

    def _get(self) -> bytes | None:
        words = self._words
        ready = (words[TX + TAIL] - self.head) % _WRAP
        if ready == 0:
            return None
        length = words[TX + LENGTHS + self.head % SLOTS]
        if ready > SLOTS or length > BUFFER_BYTES:
            raise PortError(f"{self.name}: the domain's write index or a length makes no sense")
        at = _buffer(TX, self.head)
        frame = bytes(self._bytes[at : at + length])
        self.head = (self.head + 1) % _WRAP
        words[TX + HEAD] = self.head
        self.fence()
        if words[TX + STARVED]:
            words[TX + STARVED] = 0
            self.call()
        return frame

    def close(self) -> None:
        """Give the memory back. Nothing may run on it any more."""
        if not self._closed:
            self._closed = True
            self._words.release()
            self._bytes.release()
            self._arena.release(self.offset)

    def __enter__(self) -> SharedPort:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
