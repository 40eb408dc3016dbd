"""Threads without Python: what machines and pumps run in."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading

__all__ = ["join_thread", "set_slice", "start_thread"]

_SCHED_SETATTR = 314
_STACK_BYTES = 128 << 10
_ALL_SIGNALS = b"\xff" * 128
_libc = ctypes.CDLL(None, use_errno=True)


def join_thread(thread: int) -> None:
    _libc.pthread_join(ctypes.c_ulong(thread), None)


def set_slice(thread: int, slice_ns: int) -> None:
    """How long a thread may keep the processor while others want it, 0 for what is usual; kernels before 6.12 take no notice.

    sched_setattr(2): of a thread with normal scheduling, sched_runtime is its slice.
    """
    with contextlib.suppress(OSError):
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        attributes = struct.pack("<IIQiIQQQ", 48, 0, 0, nice, 0, slice_ns, 0, 0)
        _libc.syscall(_SCHED_SETATTR, thread, ctypes.create_string_buffer(attributes), 0)


_attributes = threading.local()


def start_thread(function: int, argument: int, *, here: bool = False, stack: tuple[int, int] | None = None) -> int:
    """A thread without Python, with a small stack and all signals blocked: they are for the main thread.

    ``here``: on this CPU at first. A virtual CPU that was made on one CPU and first runs on another costs the kernel
    a call between them: 0.3 to 3 ms where this machine is a virtual one itself.
    """
    if not hasattr(_attributes, "value"):
        _attributes.value = ctypes.create_string_buffer(64)
        _libc.pthread_attr_init(_attributes.value)
        _libc.pthread_attr_setstacksize(_attributes.value, ctypes.c_size_t(_STACK_BYTES))
    attributes = _attributes.value
    if stack is not None:
        # Of the caller's memory: each mapping less makes every further virtual machine of this process cheaper.
        attributes = ctypes.create_string_buffer(64)
        _libc.pthread_attr_init(attributes)
        _libc.pthread_attr_setstack(attributes, ctypes.c_void_p(stack[0]), ctypes.c_size_t(stack[1]))
    if here:
        mask = (1 << _libc.sched_getcpu()).to_bytes(128, "little")
        _libc.pthread_attr_setaffinity_np(attributes, ctypes.c_size_t(128), mask)
    before = ctypes.create_string_buffer(128)
    thread = ctypes.c_ulong()
    _libc.pthread_sigmask(2, _ALL_SIGNALS, before)
    try:
        error = _libc.pthread_create(ctypes.byref(thread), attributes, ctypes.c_void_p(function), ctypes.c_void_p(argument))
    finally:
        _libc.pthread_sigmask(2, before, None)
    if error:
        raise OSError(error, os.strerror(error))
    return thread.value
