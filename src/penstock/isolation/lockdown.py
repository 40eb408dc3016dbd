"""What a process gives up before it runs packet code: everything but waiting for its rings.

Each step tells whether it was possible; seccomp and no_new_privs must be, the others say so where they were not.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct

__all__ = ["LockdownError", "lock_down", "separate"]

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 1, 4, 38, 22
_SIGKILL = 9
_NAMESPACES = (("user", 0x10000000), ("mount", 0x00020000), ("network", 0x40000000), ("pid", 0x20000000), ("ipc", 0x08000000),
               ("uts", 0x04000000))
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446

# System calls: read the comments of loops.py for who needs which.
_WRITE, _RT_SIGRETURN, _EXIT, _GETTID, _FUTEX, _RESTART, _CLOCK_GETTIME, _EXIT_GROUP, _FUTEX_WAITV, _WAIT4 = (
    1, 15, 60, 186, 202, 219, 228, 231, 449, 61)
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_AUDIT_ARCH_X86_64 = 0xC000003E
_LOAD, _JUMP_EQUAL, _RETURN = 0x20, 0x15, 0x06


class LockdownError(Exception):
    """This kernel cannot confine a process."""


def separate(namespaces: tuple[tuple[str, int], ...] = _NAMESPACES) -> list[str]:
    """Leave the namespaces of the parent; gives the names of those that had to be kept."""
    kept: list[str] = []
    for name, flag in namespaces:
        if _libc.unshare(ctypes.c_int(flag)) != 0:
            kept.append(name)
    return kept


def _landlock(*, signals: bool) -> bool:
    """No access to any file: a rule set that handles every right and allows none; no signals either, where not ``signals``."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    file_rights = (1 << {1: 13, 2: 14, 3: 15, 4: 15}.get(version, 16)) - 1
    attributes = struct.pack("<QQQ", file_rights, 3 if version >= 4 else 0, (1 if signals else 3) if version >= 6 else 0)
    size = 8 if version < 4 else (16 if version < 6 else 24)
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, attributes, size, 0)
    if ruleset < 0:
        return False
    done = _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    os.close(ruleset)
    return bool(done == 0)


def _filter(calls: tuple[int, ...], write_to: int) -> bytes:
    """A seccomp program: ``calls``, and write(2) to one descriptor; anything else ends the process."""
    def instruction(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("<HBBI", code, yes, no, value)

    program = [
        instruction(_LOAD, 4), instruction(_JUMP_EQUAL, _AUDIT_ARCH_X86_64, 1, 0), instruction(_RETURN, _KILL_PROCESS),
        instruction(_LOAD, 0),
        # write: only where the low word of its first argument is the descriptor
        instruction(_JUMP_EQUAL, _WRITE, 0, 4), instruction(_LOAD, 16), instruction(_JUMP_EQUAL, write_to & 0xFFFFFFFF, 0, 1),
        instruction(_RETURN, _ALLOW), instruction(_RETURN, _KILL_PROCESS),
    ]
    for number in calls:
        program += [instruction(_JUMP_EQUAL, number, 0, 1), instruction(_RETURN, _ALLOW)]
    program.append(instruction(_RETURN, _KILL_PROCESS))
    return b"".join(program)


def _seccomp(calls: tuple[int, ...], write_to: int) -> None:
    program = _filter(calls, write_to)
    buffer = ctypes.create_string_buffer(program)
    header = struct.pack("<HxxxxxxQ", len(program) // 8, ctypes.addressof(buffer))
    if _libc.prctl(_PR_SET_SECCOMP, 2, ctypes.create_string_buffer(header), 0, 0) != 0:
        raise LockdownError(f"seccomp: {os.strerror(ctypes.get_errno())}")


def lock_down(keep: int, *, waits_only: bool = False) -> list[str]:
    """For the rest of this process's life; ``keep`` is the descriptor it may write to. Gives what was not possible."""
    missing: list[str] = []
    if _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise LockdownError(f"no_new_privs: {os.strerror(ctypes.get_errno())}")
    # The kernel's signal at a parent's death comes from that parent: one that may send none would leave its child running.
    if not _landlock(signals=waits_only):
        missing.append("landlock")
    os.closerange(0, keep)
    os.closerange(keep + 1, 1 << 16)
    for what, limit in ((resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NPROC, 0)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(what, (limit, limit))
    _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Last of all: changes of credentials clear it.
    _libc.prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    if waits_only:
        _seccomp((_WAIT4, _EXIT, _EXIT_GROUP, _RT_SIGRETURN, _RESTART), keep)
    else:
        _seccomp((_FUTEX, _FUTEX_WAITV, _CLOCK_GETTIME, _GETTID, _EXIT, _EXIT_GROUP, _RT_SIGRETURN, _RESTART), keep)
    return missing
