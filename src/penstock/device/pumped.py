"""A device's descriptor at a port, and the two threads between them."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
from collections.abc import Mapping

from penstock.datapath.futex import futex_wake
from penstock.datapath.memory import Memory
from penstock.datapath.ports import DOMAIN_WAITING, PEER_WAITING
from penstock.device.pump import CONTEXT_BYTES, PumpContext, pumps
from penstock.ring import PortMemory, SharedPort
from penstock.runtime.image import LoadedImage
from penstock.runtime.once import once
from penstock.runtime.threads import join_thread, start_thread

__all__ = ["DeviceError", "Pumped"]


class DeviceError(Exception):
    """A device cannot be made or joined; the message says why and what to do."""


@once
def _loaded() -> LoadedImage:
    return LoadedImage(pumps())


class Pumped:
    """Moves frames between ``descriptor``, which it closes at the end, and a port: a domain's, or with PortMemory a switch's.

    With ``is_owner`` false the other side of PortMemory is the program that opened it, not a switch.
    """

    def __init__(self, port: SharedPort | PortMemory, descriptor: int, *, is_owner: bool = True,
                 is_partial: bool = False, image: LoadedImage | None = None, words: Mapping[int, int] | None = None):
        """``is_partial``: its frames may have unfinished checksums (partial.py).

        ``image`` and ``words``: other loops than pump.py's, and what they find in their contexts.
        """
        self.port, self._descriptor = port, descriptor
        # Who opened a port is woken by its "domain" word, reads RX and writes TX; its peer the other way round.
        owns = isinstance(port, PortMemory) and is_owner
        layout = port.layout
        self._mine, theirs = (DOMAIN_WAITING, PEER_WAITING) if owns else (PEER_WAITING, DOMAIN_WAITING)
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._block = mmap.mmap(-1, 2 * CONTEXT_BYTES)
        self._contexts = [Memory.within(self._block, i * CONTEXT_BYTES, CONTEXT_BYTES) for i in range(2)]
        self._threads: list[int] = []
        image = image or _loaded()
        rings = (layout.tx, layout.rx) if owns else (layout.rx, layout.tx)
        for context, loop, ring in zip(self._contexts, ("inward", "outward"), rings):
            places = {PumpContext.RING: 4 * ring, PumpContext.HEADER: layout.ring_header_bytes, PumpContext.MASK: layout.slots - 1,
                     PumpContext.MINE: 4 * self._mine, PumpContext.THEIRS: 4 * theirs}
            for word, value in places.items():
                context.store(word, 8, value)
            context.store(PumpContext.DEVICE, 8, descriptor)
            context.store(PumpContext.PORT, 8, port.address)
            context.store(PumpContext.STOP_DESCRIPTOR, 8, self._stop)
            context.store(PumpContext.IS_PARTIAL, 8, int(is_partial))
            for offset, value in (words or {}).items():
                context.store(offset, 8, value)
            self._threads.append(start_thread(image.address + image.image.entries[loop], context.address))

    def _both(self, offset: PumpContext) -> tuple[int, int]:
        return self._contexts[0].load(offset, 8), self._contexts[1].load(offset, 8)

    @property
    def counts(self) -> tuple[int, int]:
        """Frames moved from the device, and to it."""
        return self._both(PumpContext.COUNT)

    @property
    def drops(self) -> tuple[int, int]:
        return self._both(PumpContext.DROPS)

    @property
    def is_open(self) -> bool:
        return bool(self._threads)

    @property
    def is_broken(self) -> bool:
        """The other side broke the rules of its ring; nothing is moved any more."""
        return any(self._both(PumpContext.BROKEN))

    def close(self) -> None:
        """End the threads and close the descriptor."""
        if not self._threads:
            return
        for context in self._contexts:
            context.store(PumpContext.STOP, 8, 1)
        os.eventfd_write(self._stop, 1)
        waiting = self.port.address + 4 * self._mine
        ctypes.c_uint32.from_address(waiting).value = 0
        futex_wake(waiting)
        for thread in self._threads:
            join_thread(thread)
        self._threads.clear()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        os.close(self._stop)

    def __enter__(self) -> Pumped:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
