"""What is left to a process that is locked down: next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, socket, sys
from penstock.isolation.lockdown import lock_down
keep = os.eventfd(0)
libc = ctypes.CDLL(None)
missing = lock_down(keep)
what = sys.argv[1]
if what == "open": libc.open(b"/etc/passwd", 0)
elif what == "socket": libc.socket(1, 1, 0)
elif what == "fork": libc.fork()
elif what == "mmap": libc.mmap(None, ctypes.c_size_t(4096), 7, 0x22, -1, ctypes.c_long(0))
elif what == "mprotect": libc.mprotect(ctypes.c_void_p(id(what) & ~4095), ctypes.c_size_t(4096), 7)
elif what == "write": libc.write(keep + 1, b"x", 1)
elif what == "kill": libc.kill(os.getppid() if False else 1, 0)
elif what == "ptrace": libc.ptrace(0, 0, 0, 0)
elif what == "x32": libc.syscall(ctypes.c_long(0x40000000 + 39))
elif what == "allowed":
    libc.syscall(186)
    assert libc.write(keep, b"\\1\\0\\0\\0\\0\\0\\0\\0", 8) == 8
libc._exit(7)
"""


@pytest.mark.parametrize(("what", "status"), [
    *((w, -31) for w in ("open", "socket", "fork", "mmap", "mprotect", "write", "kill", "ptrace", "x32")), ("allowed", 7)])
def test_a_locked_down_process_may_wait_and_nothing_else(what: str, status: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, what], capture_output=True, timeout=30)
    assert done.returncode == status, done.stderr
