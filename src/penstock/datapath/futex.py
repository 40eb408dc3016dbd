"""Waiting on a word of shared memory, and waking who waits there (futex(2)); the words themselves are in ports.py."""

from __future__ import annotations

import ctypes

__all__ = ["FUTEX", "WAIT", "WAKE", "WAKE_ALL", "futex_wait", "futex_wake"]

FUTEX, WAIT, WAKE, WAKE_ALL = 202, 0, 1, 0x7FFFFFFF
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def futex_wake(address: int) -> None:
    _libc.syscall(FUTEX, ctypes.c_void_p(address), WAKE, WAKE_ALL, None, None, 0)


def futex_wait(address: int, expected: int, *, timeout_s: float = 0.05) -> None:
    """Until it changes, or the time is over."""
    timeout = (ctypes.c_long * 2)(int(timeout_s), int(timeout_s % 1 * 1e9))
    _libc.syscall(FUTEX, ctypes.c_void_p(address), WAIT, ctypes.c_uint32(expected), timeout, None, 0)
