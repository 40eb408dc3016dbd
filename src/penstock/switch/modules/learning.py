"""The learning bridge, the module that a switch starts with."""

from __future__ import annotations

import os
from collections.abc import Sequence

from penstock.datapath.frames import Frame
from penstock.datapath.memory import Array
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u64, u128
from penstock.switch.module import BROADCAST, DROP, MAX_PORTS, Module, ModuleError
from penstock.switch.static import format_ethernet

__all__ = ["Learning"]

_WAYS = 8
_BUCKETS = 8192
_MULTICAST = 1 << 40


class Learning(Module):
    """Sends a frame where its destination was last heard, and to all ports while that is not known: ``learning [AGE]``.

    64 K addresses in buckets of 8 (a cache line each); an address is forgotten ``AGE`` seconds (300; 0: never) after it was
    last heard, and with its port (IEEE 802.1D, section 7.9). A station that moves is followed with its first frame.
    """

    name = "learning"

    seed: u64
    #: changes whenever an entry does: until then a port's last source address needs no second look
    changes: u32
    learnt: u32

    def __init__(self, age_s: int = 300):
        self.age_s = age_s
        self.seed = int.from_bytes(os.urandom(8), "little")
        # An entry: the address, above 16 bits for the port plus one. 0 is empty.
        self.entries = Array(u64, _WAYS * _BUCKETS, alignment=64)
        self.heard_s = Array(u32, _WAYS * _BUCKETS, alignment=64)
        self.last = Array(u64, MAX_PORTS)
        self.last_change = Array(u32, MAX_PORTS)
        self.last_s = Array(u32, MAX_PORTS)

    def configure(self, arguments: Sequence[str]) -> None:
        super().configure(arguments[1:])
        if arguments:
            if not arguments[0].isdigit():
                raise ModuleError(f"'{arguments[0]}' is no age in seconds")
            self.age_s = int(arguments[0])

    @datapath
    def lookup(self, frame: Frame, source: u32) -> u32:
        if not frame.data.has(0, 14):
            return u32(DROP)
        src: u64 = frame.ether.src
        now = self.fabric.now_s
        # Most frames of a port come from the same station as the one before.
        if self.last[source] != src or self.last_change[source] != self.changes or self.last_s[source] != now:
            self.learn(src, source, now)
        dst: u64 = frame.ether.dst
        if dst & _MULTICAST != 0:
            return u32(BROADCAST)
        bucket = self.bucket(dst)
        for i in range(_WAYS):
            entry = self.entries[bucket + i]
            if entry >> 16 == dst and entry != 0:
                if self.age_s == 0 or now - self.heard_s[bucket + i] <= self.age_s:
                    return u32(entry & 0xFFFF) - 1
        return u32(BROADCAST)

    @datapath
    def bucket(self, address: u64) -> u32:
        # Folded products, as in wyhash: a plain multiplication spreads addresses in steps badly for some secrets.
        product = u128(address ^ self.seed) * u128(0x9E3779B97F4A7C15)
        return ((u32(product) ^ u32(product >> 64)) & (_BUCKETS - 1)) * _WAYS

    @datapath(rare=True)
    def learn(self, src: u64, source: u32, now: u32) -> None:
        bucket = self.bucket(src)
        oldest: u32 = bucket
        found = False
        if src & _MULTICAST == 0 and src != 0:
            for i in range(_WAYS):
                k = bucket + i
                entry = self.entries[k]
                if entry >> 16 == src and entry != 0:
                    found = True
                    oldest = k
                elif not found:
                    # An empty place, else the one heard longest ago.
                    if self.entries[oldest] != 0:
                        if entry == 0 or now - self.heard_s[k] > now - self.heard_s[oldest]:
                            oldest = k
            made = src << 16 | (source + 1)
            if self.entries[oldest] != made:
                if self.entries[oldest] == 0:
                    self.learnt += 1
                self.entries[oldest] = made
                self.changes += 1
            self.heard_s[oldest] = now
        self.last[source] = src
        self.last_change[source] = self.changes
        self.last_s[source] = now

    def port_detached(self, number: int) -> None:
        view = self.entries.view().cast("Q")
        for k in [k for k, entry in enumerate(view.tolist()) if entry & 0xFFFF == number + 1]:
            view[k] = 0
            self.learnt -= 1
        self.changes += 1
        self.last[number] = 0

    def forget(self) -> None:
        """Empty the table."""
        self.entries.view()[:] = bytes(self.entries.size_bytes)
        self.changes += 1
        self.learnt = 0

    def addresses(self) -> list[tuple[str, int, int]]:
        """(address, port, seconds since it was heard), those too old left out, the youngest first."""
        now, heard, found = self.fabric.now_s, self.heard_s.view().cast("I"), []
        for k, entry in enumerate(self.entries.view().cast("Q").tolist()):
            age = (now - heard[k]) & 0xFFFFFFFF
            if entry and (self.age_s == 0 or age <= self.age_s):
                found.append((format_ethernet(entry >> 16), (entry & 0xFFFF) - 1, age))
        return sorted(found, key=lambda row: (row[2], row[0]))

    def report(self) -> list[tuple[str, ...]]:
        return [("address", "port", "age s"), *((a, str(p), str(s)) for a, p, s in self.addresses())]
