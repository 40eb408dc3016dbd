"""Time and chance, as packet code sees them."""

from __future__ import annotations

import ctypes
import functools
import mmap
import time

from penstock.datapath.memory import Stateful
from penstock.datapath.packet import cycles
from penstock.datapath.source import datapath
from penstock.packet.integers import boolean, u32, u64, u128

__all__ = ["SIMULATED_START_NS", "Clock", "Random", "ns_per_cycle_32", "read_cycles"]

SIMULATED_START_NS = 1_000_000_000 * 1_000_000_000
_CALIBRATION_NS = 2_000_000


@functools.cache
def _cycle_reader() -> object:
    """rdtsc as a function: Python has no other way to the counter that compiled code reads."""
    code = bytes.fromhex("0f31 48c1e220 4809d0 c3".replace(" ", ""))  # rdtsc; shl rdx,32; or rax,rdx; ret
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    function = ctypes.CFUNCTYPE(ctypes.c_uint64)(address)
    function._page = page  # type: ignore[attr-defined]
    return function


def read_cycles() -> int:
    return _cycle_reader()()  # type: ignore[operator, no-any-return]


class _Rate:
    """Nanoseconds a cycle, times 2^32; the longer the process lives the better it knows."""

    def __init__(self) -> None:
        self.cycles, self.ns = read_cycles(), time.monotonic_ns()

    def value(self) -> int:
        while True:
            cycles_now, ns = read_cycles(), time.monotonic_ns()
            if ns - self.ns >= _CALIBRATION_NS and cycles_now > self.cycles:
                return ((ns - self.ns) << 32) // (cycles_now - self.cycles)


_rate = functools.cache(_Rate)


def ns_per_cycle_32() -> int:
    """Nanoseconds a cycle, times 2^32."""
    return _rate().value()


class Clock(Stateful):
    """Nanoseconds since the epoch. Simulated time advances by one nanosecond at each reading, as Click's."""

    is_root = True

    simulated: boolean
    time: u64
    base_ns: u64
    base_cycles: u64
    ns_per_cycle_32: u64
    #: the last reading: good enough for timeouts, without the cost of a new one (timers read it again and again)
    recent: u64

    @datapath(rare=True)
    def now(self) -> u64:
        if self.simulated:
            self.time += 1
            self.recent = self.time
            return self.time
        passed = u128(cycles() - self.base_cycles) * u128(self.ns_per_cycle_32)
        self.recent = self.base_ns + u64(passed >> 32)
        return self.recent

    def synchronise(self) -> None:
        """Set the base that compiled code counts from; called before each run of the image."""
        if not self.simulated:
            self.ns_per_cycle_32 = ns_per_cycle_32()
            self.base_ns, self.base_cycles = time.time_ns(), read_cycles()
            self.recent = self.base_ns

    def read(self) -> int:
        """The time, for Python: an ordinary reading, which advances simulated time."""
        if self.simulated:
            self.time += 1
            return self.time
        return time.time_ns()

    def cycles_now(self) -> int:
        """What the interpreter gives for cycles()."""
        return read_cycles()


class Random(Stateful):
    """xorshift64*: small state, one multiplication (Marsaglia 2003; Vigna 2016)."""

    is_root = True

    state: u64

    @datapath(inline=False)
    def next(self) -> u32:
        x = self.state
        x = x ^ (x >> 12)
        x = x ^ (x << 25)
        x = x ^ (x >> 27)
        self.state = x
        return u32((x * 0x2545F4914F6CDD1D) >> 32)
