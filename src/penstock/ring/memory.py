"""The memory of one port of a switch, in a file of its own that cannot change its size."""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
from typing import Protocol

from penstock.datapath.ports import MAX_SLOTS, MIN_SLOTS, PortLayout

__all__ = ["PortMemory", "RingError"]

_SEALS = 0x0001 | 0x0002 | 0x0004  # no further seals, no shrinking, no growing
#: page 0, behind the waiting words: what a program that is given the file finds
_HEADER = struct.Struct("<8sIIII")
_HEADER_OFFSET = 1024
_MAGIC = b"PNSTKPRT"


class RingError(Exception):
    """A port cannot be made or opened, or its other side broke the rules; the message says why."""


class Forwards(Protocol):
    """Moves on what a port's rings hold, in the caller's thread."""

    def __call__(self) -> None: ...

    def close(self) -> None: ...


class PortMemory:
    """Both rings of a port, with ``slots`` slots each (a power of two, 16 to 4096): made here, or opened from a descriptor."""

    #: where the port lies in its file
    offset = 0
    #: where nobody else looks at these rings: what moves on what was put into them
    forward: Forwards | None = None

    def __init__(self, slots: int = 256, *, descriptor: int | None = None):
        if descriptor is None:
            if not MIN_SLOTS <= slots <= MAX_SLOTS or slots & (slots - 1):
                raise RingError(f"{slots} slots: a ring has a power of two of slots, {MIN_SLOTS} to {MAX_SLOTS}")
            self.layout = PortLayout(slots)
            self.descriptor = os.memfd_create("penstock-port", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            os.ftruncate(self.descriptor, self.layout.port_bytes)
            fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
            header = _HEADER.pack(_MAGIC, slots, 4 * self.layout.rx, 4 * self.layout.tx, self.layout.ring_header_bytes)
            os.pwrite(self.descriptor, header, _HEADER_OFFSET)
        else:
            self.descriptor = descriptor
            self.layout = _layout_of(descriptor)
        self._owns_descriptor = True
        self._map_it()

    @classmethod
    def placed(cls, descriptor: int, offset: int, layout: PortLayout) -> PortMemory:
        """Rings that lie in a larger file, whose descriptor stays its owner's."""
        made = cls.__new__(cls)
        made.descriptor, made.offset, made.layout, made._owns_descriptor = descriptor, offset, layout, False
        made._map_it()
        return made

    def _map_it(self) -> None:
        self._map = mmap.mmap(self.descriptor, self.layout.port_bytes, flags=mmap.MAP_SHARED, offset=self.offset)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._anchor)
        self.bytes = memoryview(self._map)
        self.words = self.bytes.cast("I")

    def close(self) -> None:
        if self.descriptor >= 0:
            self.words.release()
            self.bytes.release()
            del self._anchor
            self._map.close()
            if self.forward is not None:
                self.forward.close()
            if self._owns_descriptor:
                os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> PortMemory:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _layout_of(descriptor: int) -> PortLayout:
    try:
        sealed = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
        magic, slots, *_ = _HEADER.unpack(os.pread(descriptor, _HEADER.size, _HEADER_OFFSET))
    except (OSError, struct.error):
        raise RingError("this descriptor is no port of a switch") from None
    if magic != _MAGIC or sealed & _SEALS != _SEALS or slots & (slots - 1) or not MIN_SLOTS <= slots <= MAX_SLOTS:
        raise RingError("this descriptor is no port of a switch")
    layout = PortLayout(slots)
    if os.fstat(descriptor).st_size != layout.port_bytes:
        raise RingError("this port is of another size than it says")
    return layout
