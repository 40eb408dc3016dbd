"""Waiting on a word of shared memory, and waking who waits there (futex(2)); the words themselves are in ports.py."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

__all__ = ["FUTEX", "WAIT", "WAKE", "WAKE_ALL", "futex_wait", "futex_wait_any", "futex_wake"]

FUTEX, WAIT, WAKE, WAKE_ALL = 202, 0, 1, 0x7FFFFFFF
_WAITV = 449
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def futex_wake(address: int) -> None:
    _libc.syscall(FUTEX, ctypes.c_void_p(address), WAKE, WAKE_ALL, None, None, 0)


def futex_wait(address: int, expected: int, *, timeout_s: float = 0.05) -> None:
    """Until it changes, or the time is over."""
    timeout = (ctypes.c_long * 2)(int(timeout_s), int(timeout_s % 1 * 1e9))
    _libc.syscall(FUTEX, ctypes.c_void_p(address), WAIT, ctypes.c_uint32(expected), timeout, None, 0)


def futex_wait_any(addresses: Sequence[int], expected: int, *, timeout_s: float = 0.05) -> None:
    """Until one of up to 128 words changes, or the time is over."""
    waits = (ctypes.c_uint64 * (3 * len(addresses)))()
    for i, address in enumerate(addresses):
        # struct futex_waitv: the value, the address, flags (FUTEX2_SIZE_U32) and a reserved word
        waits[3 * i : 3 * i + 3] = [expected, address, 2]
    until = time.monotonic() + timeout_s
    deadline = (ctypes.c_long * 2)(int(until), int(until % 1 * 1e9))
    _libc.syscall(_WAITV, waits, len(addresses), 0, deadline, time.CLOCK_MONOTONIC)
