"""Bars for those who wait, and nothing for programs."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys

SCRIPT = """
import time
from penstock.cli.progress import watched
for item in watched(iter(range(4)), 4):
    time.sleep(0.5)
    print("item", item)
"""


def test_a_bar_appears_on_a_terminal_when_it_takes_long_and_goes_again() -> None:
    master, slave = pty.openpty()
    with subprocess.Popen([sys.executable, "-c", SCRIPT], stdout=subprocess.PIPE, stderr=slave, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"}, text=True) as process:
        os.close(slave)
        seen = b""
        while select.select([master], [], [], 20)[0]:
            try:
                seen += os.read(master, 65536)
            except OSError:
                break
        out, _ = process.communicate(timeout=20)
    os.close(master)
    assert process.returncode == 0
    assert out == "item 0\nitem 1\nitem 2\nitem 3\n"
    assert b"/4" in seen and b"left" in seen


def test_a_program_sees_no_bar() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == "" and done.stdout.count("item") == 4
