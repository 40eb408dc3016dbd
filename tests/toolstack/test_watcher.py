"""What the watcher does for the others: computing domains are interrupted by whoever wakes up."""

from __future__ import annotations

import ctypes
import os
import struct

import pytest

from penstock.toolstack import Toolstack
from tests.toolstack.test_toolstack import MIRROR, bounce, eventually, spec

needs_slices = pytest.mark.skipif(tuple(int(n) for n in os.uname().release.split("-")[0].split(".")[:2]) < (6, 12),
                                  reason="needs slices that a thread may choose: Linux 6.12")


def slice_ns(thread: int) -> int:
    buffer = ctypes.create_string_buffer(48)
    ctypes.CDLL(None).syscall(315, thread, buffer, 48, 0)
    return int(struct.unpack("<IIQiIQQQ", buffer.raw)[5])


@needs_slices
@pytest.mark.parametrize("isolation", ["inline", ""])
def test_a_domain_that_computes_all_the_time_has_long_slices_until_it_sleeps(isolation: str) -> None:
    with Toolstack() as toolstack:
        busy, calm = toolstack.create(spec("busy", isolation=isolation, weight=512)), toolstack.create(spec("calm"))
        toolstack.start("calm", MIRROR)
        usual = slice_ns(calm.machine.thread_id)
        number = toolstack.start("busy", "InfiniteSource(LENGTH 60) -> Discard")
        thread = busy.machine.thread_id
        nice = os.getpriority(os.PRIO_PROCESS, thread)
        eventually(lambda: slice_ns(thread) == 20_000_000, 10)
        assert bounce(calm) is not None
        toolstack.remove("busy", number)
        eventually(lambda: slice_ns(thread) == usual, 10)
        assert slice_ns(calm.machine.thread_id) == usual
        assert os.getpriority(os.PRIO_PROCESS, thread) == nice
