"""A program that forwards what it sends itself: VALE's way, for ports that trust one another.

It maps the switch's whole memory, so it could do anything to the frames of others; in return nobody has to be woken up to forward,
and a frame is where it goes when ``flush`` returns.
"""

from __future__ import annotations

import ctypes
import dataclasses
import mmap
import os
from dataclasses import dataclass
from typing import Any

from penstock.datapath.memory import Memory
from penstock.datapath.ports import PortLayout
from penstock.ring import PortMemory, RingError
from penstock.switch.crew import Plan, View, loops
from penstock.switch.worker import CONTEXT_BYTES, WorkerContext

__all__ = ["Forwarder", "Joining"]

_ENDED = (1 << 64) - 1
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p


@dataclass(frozen=True)
class Joining:
    """What a program must know, beside a descriptor of the switch's memory. ``place`` is where its rings are in the file."""

    plan: Plan
    number: int
    slots: int
    place: int

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Joining:
        return cls(**{**values, "plan": Plan(**values["plan"])})

    def memory(self, descriptor: int) -> PortMemory:
        """The rings, with what forwards them; the descriptor is theirs from now on."""
        made = PortMemory.placed(descriptor, self.place, PortLayout(self.slots))
        made.forward = Forwarder(descriptor, self)
        return made


class Forwarder:
    """Forwards what a port's rings hold when it is called, in the caller's thread; closes the descriptor at the end."""

    def __init__(self, descriptor: int, joining: Joining):
        plan = joining.plan
        self._file = descriptor
        self._contexts = mmap.mmap(descriptor, CONTEXT_BYTES, offset=plan.contexts + joining.number * CONTEXT_BYTES)
        self._view = View(plan, descriptor, Memory.within(self._contexts, 0, CONTEXT_BYTES))
        # Not with Python's mmap: ctypes does not tell where that is, unless it can be written.
        self._code_bytes = ctypes.c_size_t(plan.file_bytes - plan.code)
        rights = mmap.PROT_READ | mmap.PROT_EXEC
        self._code = _libc.mmap(None, self._code_bytes, rights, mmap.MAP_SHARED, descriptor, ctypes.c_long(plan.code))
        if self._code == ctypes.c_void_p(-1).value:
            raise RingError(f"the switch's code cannot be mapped: {os.strerror(ctypes.get_errno())}")
        self._view.context.store(WorkerContext.CODE, 8, self._code)
        entry = loops().address + loops().image.entries["forward"]
        self._forward = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(entry)

    def __call__(self) -> None:
        if self._forward(self._view.context.address) == _ENDED:
            raise RingError("the switch is gone, or this port was taken off")

    @property
    def function(self) -> tuple[int, int]:
        """(address, argument): for programs that are not Python's."""
        return loops().address + loops().image.entries["forward"], self._view.context.address

    def close(self) -> None:
        self._view.memory.close()
        _libc.munmap(ctypes.c_void_p(self._code), self._code_bytes)
        os.close(self._file)
