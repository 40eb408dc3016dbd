"""A router in a process of its own that can do nothing but wait for its rings.

The region is shared with the child, so that handlers are read and written as with any machine. A child cannot map
anything any more once it is locked down; when a configuration comes or goes, a new child takes the memory over.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import ctypes
import gc
import mmap
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator

from penstock.datapath.futex import futex_wake
from penstock.isolation.cgroups import Group
from penstock.isolation.events import events
from penstock.isolation.layout import Context, Event, Request, State
from penstock.isolation.lockdown import LockdownError, lock_down, separate
from penstock.isolation.loops import loops
from penstock.isolation.machine import Machine, host_loops
from penstock.runtime.once import once

__all__ = ["ProcessMachine"]

_NOTE_BYTES = 256
#: where the child writes what it could not do, in Context behind everything else
_NOTE = 3072
#: where the one in between writes the number of the one inside, as it is known outside
_INSIDE = 3584
#: what a child may touch beyond its region: copies of its parent's pages
_OWN_BYTES = 64 << 20
#: what the child needs until its end
_kept: list[mmap.mmap] = []
_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)


class ProcessMachine(Machine):
    """One locked-down process. ``missing`` names the parts of the confinement that this kernel or user does not have."""

    isolation = "process"
    can_interrupt = True

    def __init__(self, *, data_bytes: int = 4 << 20, name: str = ""):
        self.missing: list[str] = []
        self._child = 0
        super().__init__(data_bytes=data_bytes, name=name)
        self._group = Group(self.region.size + _OWN_BYTES)

    def share(self, *, weight: int, cap: int) -> bool:
        return self._group.share(weight=weight, cap=cap)

    def _run(self) -> None:
        context = self.context
        image = host_loops()
        loop = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)(image.address + loops().entries["thread"])
        fault = image.address + loops().entries["fault"]
        note = context.view[_NOTE : _NOTE + _NOTE_BYTES]
        note[:] = bytes(_NOTE_BYTES)
        context.store(_INSIDE, 8, 0)
        context.store(Context.STATE, 4, State.RUNNING)
        address, descriptor = context.address, events().descriptor

        def fork() -> int:
            gc.freeze()
            child = os.fork()
            if child == 0:
                self._group.enter()
                _child(note, descriptor, loop, fault, address)
            gc.unfreeze()
            return child

        self._child = _forker().submit(fork).result()
        threading.Thread(target=self._watch, args=(self._child,), name="penstock-watch", daemon=True).start()
        while not note[0] and self.state != State.CRASHED:
            time.sleep(0.0002)
        said = bytes(note).rstrip(b"\0").decode()
        if said.startswith("!"):
            raise LockdownError(said[1:])
        self.missing = [word for word in said.removeprefix("+").split(",") if word] + self._group.missing

    @property
    def thread_id(self) -> int:
        """The process inside has another number there."""
        return self.context.load(_INSIDE, 8)

    def _watch(self, child: int) -> None:
        """Hear of the child's end."""
        _, status = os.waitpid(child, 0)
        if child != self._child or self._closed:
            return
        if self.state != State.ENDED:
            number = os.waitstatus_to_exitcode(status)
            # The middle process passes the end of the one that ran packet code on as 64 + signal.
            reason = _explain(number - 64 if number > 64 else number)
            self.crash_reason = self.crash_reason or reason + self.where(self.context.load(Context.REASON, 8))
            self.context.store(Context.STATE, 4, State.CRASHED)
            futex_wake(self.context.address + Context.STATE)
            self.take_events(Event.CRASHED)

    def _standing_still(self) -> contextlib.AbstractContextManager[None]:
        return self._between_children()

    @contextlib.contextmanager
    def _between_children(self) -> Iterator[None]:
        with self.lock:
            running = self._started and self.state not in (State.CRASHED, State.ENDED)
            if running:
                self._end_child()
            try:
                yield
            finally:
                if running:
                    self._ask(Request.PAUSE if self._paused else Request.RUN)
                    self._run()

    def _end_child(self) -> None:
        child, self._child = self._child, 0
        self._ask(Request.END)
        self.kick()
        self._wait_for_state(State.ENDED, State.CRASHED)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)

    def _stopped(self) -> None:
        # The one inside first: the other then ends by itself, and is waited for.
        if self._child:
            for process in (self.thread_id, self._child):
                with contextlib.suppress(ProcessLookupError):
                    if process:
                        os.kill(process, signal.SIGKILL)

    def _release(self) -> None:
        self._group.close()
        super()._release()

    def _interrupt(self) -> None:
        self._stopped()

    def break_off(self, reason: str) -> None:
        """Stop a domain that does not come back; it counts as crashed."""
        self.crash_reason = reason
        self._interrupt()


@once
def _forker() -> concurrent.futures.ThreadPoolExecutor:
    """A thread that stays: the kernel ends the children of one that does not (PR_SET_PDEATHSIG)."""
    return concurrent.futures.ThreadPoolExecutor(1, "penstock-fork")


def _child(note: memoryview, descriptor: int, loop: object, fault: int, address: int) -> None:
    """Never comes back."""
    try:
        kept = separate()
        middle = os.fork()
        if middle:
            ctypes.c_uint64.from_address(address + _INSIDE).value = middle
            # This one was left in the old pid namespace: it waits for the one inside, and passes its end on.
            lock_down(descriptor, waits_only=True)
            _, status = os.waitpid(middle, 0)
            code = os.waitstatus_to_exitcode(status)
            os._exit(64 - code if code < 0 else code)
        _catch_faults(fault, address)
        missing = [f"{name} namespace" for name in kept] + lock_down(descriptor)
        said = ("+" + ",".join(missing)).encode()[:_NOTE_BYTES]
        note[: len(said)] = said
        loop(address)  # type: ignore[operator]
    except LockdownError as error:
        said = f"!{error}".encode()[:_NOTE_BYTES]
        note[: len(said)] = said
    finally:
        os._exit(0)


def _catch_faults(handler: int, context: int) -> None:
    """Have the faults of packet code noted before they end the process."""
    libc = ctypes.CDLL(None)
    stack = mmap.mmap(-1, 1 << 16)
    _kept.append(stack)
    stack[:8] = context.to_bytes(8, "little")
    base = ctypes.addressof(ctypes.c_char.from_buffer(stack))
    libc.sigaltstack(struct.pack("<QiiQ", base, 0, 0, len(stack)), None)
    # handler, mask of 128 bytes, SA_SIGINFO | SA_ONSTACK, restorer
    action = struct.pack("<Q128sixxxxQ", handler, b"", 0x08000004, 0)
    for number in _FAULTS:
        libc.sigaction(int(number), action, None)


def _explain(code: int) -> str:
    if code in (signal.SIGSEGV, signal.SIGBUS):
        return "it touched memory that is not its own"
    if code == signal.SIGSYS:
        return "it made a system call that is forbidden to it"
    if code == signal.SIGILL:
        return "it ran an instruction that does not exist"
    if code == signal.SIGKILL:
        return "it was killed"
    return f"its process ended with {code}"
