"""Frames by the million at a port: what pkt-gen sends, receives, pings and answers with."""

from __future__ import annotations

from collections.abc import Sequence

from penstock.datapath.frames import copy_lines, frame
from penstock.datapath.memory import Array, Stateful
from penstock.datapath.packet import cycles, fence
from penstock.datapath.ports import (
    BUFFER_BYTES,
    HEAD,
    LENGTHS,
    MORE,
    PEER_WAITING,
    SLOT_LINES,
    STARVED,
    TAIL,
    PortLayout,
)
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u64

__all__ = ["ENTRIES", "TEMPLATES", "WAKE", "Generator"]

#: how many different frames are sent in turn
TEMPLATES = 512
#: where, from the start of a frame's Ethernet header, the number of a frame stands in txseq and ping: after UDP over IPv4
SEQUENCE_OFFSET = 42
#: in what the entry points give: the other side sleeps and is to be called
WAKE = 1 << 63
ENTRIES = {"send": 2, "receive": 1, "ping": 2, "pong": 1}
_HISTOGRAM = 64


class Generator(Stateful):
    """The owner's side of a port, with templates of frames; counts are state."""

    is_root = True

    faults: u64
    sent: u64
    sent_bytes: u64
    received: u64
    received_bytes: u64
    #: frames that were not the next ones (rxseq), and what is expected
    out_of_order: u64
    expected: u32
    number: u32
    #: processor cycles of the round trips
    rtt_total: u64
    rtt_least: u64
    rtt_count: u64
    at_cycles: u64

    def __init__(self, layout: PortLayout, lengths: Sequence[int], *, fragments: int = 1, numbered: bool = False):
        """``lengths`` of the templates; each frame is sent as ``fragments`` slots."""
        self.slots, self.rx, self.tx, self.header = layout.slots, layout.rx, layout.tx, layout.ring_header_bytes
        self.n_templates, self.fragments, self.numbered = len(lengths), fragments, numbered
        self.memory = Array(u32, layout.port_bytes // 4, alignment=4096)
        self.template_lengths = Array(u32, TEMPLATES, lengths)
        self.templates = Array(u32, TEMPLATES * BUFFER_BYTES // 4, alignment=64)
        self.histogram = Array(u64, _HISTOGRAM)

    @datapath(inline=False)
    def release(self, offset: u64) -> None:
        """What ends a packet: there are none here."""

    @datapath
    def buffer(self, ring: int, slot: u32) -> u64:
        return u64(4 * ring + self.header) + u64(slot) * BUFFER_BYTES

    @datapath(inline=False)
    def send(self, frames: u32, burst: u32) -> u64:
        """Send up to ``frames``, published ``burst`` at a time, as far as there is room; gives how many, perhaps with WAKE."""
        tail = self.memory[self.tx + TAIL]
        room = self.slots - (tail - self.memory[self.tx + HEAD])
        fence()
        count = min(frames, room // self.fragments)
        if count < frames:
            self.memory[self.tx + STARVED] = 1
        since: u32 = 0
        total: u64 = 0
        k: u32 = self.number % self.n_templates
        for _ in range(count):
            length = self.template_lengths[k]
            for part in range(self.fragments):
                slot = tail & (self.slots - 1)
                at = self.buffer(self.tx, slot)
                copy_lines(self.memory, at, self.templates, u64(k) * BUFFER_BYTES, (length + 63) >> 6, SLOT_LINES)
                if self.numbered:
                    f = frame(self.memory, at, length)
                    if f.data.has(SEQUENCE_OFFSET, 4):
                        f.data.u32[SEQUENCE_OFFSET] = self.number
                self.memory[self.tx + LENGTHS + slot] = length | (MORE if part + 1 < self.fragments else 0)
                tail += 1
                total += length
            if self.numbered:
                self.number += 1
            k = k + 1 if k + 1 < self.n_templates else u32(0)
            since += 1
            if since == burst:
                fence()
                self.memory[self.tx + TAIL] = tail
                since = 0
        if not self.numbered:
            self.number = k
        self.sent += count
        self.sent_bytes += total
        fence()
        self.memory[self.tx + TAIL] = tail
        return u64(count) | self.look_for_sleeper()

    @datapath
    def look_for_sleeper(self) -> u64:
        fence(True)
        return u64(WAKE) if self.memory[PEER_WAITING] != 0 else u64(0)

    @datapath(inline=False)
    def receive(self, frames: u32) -> u64:
        """Take what is there; gives how many slots, perhaps with WAKE."""
        head = self.memory[self.rx + HEAD]
        ready = self.memory[self.rx + TAIL] - head
        fence()
        count = min(min(ready, frames), self.slots)
        for _ in range(count):
            slot = head & (self.slots - 1)
            word = self.memory[self.rx + LENGTHS + slot]
            length = min(word & 0xFFFF, BUFFER_BYTES)
            self.received_bytes += length
            if word < MORE:
                self.received += 1
            if self.numbered:
                f = frame(self.memory, self.buffer(self.rx, slot), length)
                if f.data.has(SEQUENCE_OFFSET, 4):
                    number = f.data.u32[SEQUENCE_OFFSET]
                    if number != self.expected:
                        self.out_of_order += 1
                    self.expected = number + 1
            head += 1
        return u64(count) | self.give_back(head)

    @datapath
    def give_back(self, head: u32) -> u64:
        fence()
        self.memory[self.rx + HEAD] = head
        fence(True)
        if self.memory[self.rx + STARVED] == 0:
            return u64(0)
        self.memory[self.rx + STARVED] = 0
        return u64(WAKE) if self.memory[PEER_WAITING] != 0 else u64(0)

    @datapath(inline=False)
    def ping(self, started: u32, spins: u32) -> u64:
        """With ``started`` 0 send one numbered frame; then look for its answer. Gives 1 when it came, 0 to try again, or WAKE."""
        tail = self.memory[self.tx + TAIL]
        if started == 0:
            if self.slots - (tail - self.memory[self.tx + HEAD]) == 0:
                return u64(0)
            slot = tail & (self.slots - 1)
            at = self.buffer(self.tx, slot)
            copy_lines(self.memory, at, self.templates, 0, (self.template_lengths[0] + 63) >> 6, SLOT_LINES)
            f = frame(self.memory, at, u32(self.template_lengths[0]))
            self.number += 1
            f.data.u32[SEQUENCE_OFFSET] = self.number
            self.memory[self.tx + LENGTHS + slot] = self.template_lengths[0]
            self.at_cycles = cycles()
            fence()
            self.memory[self.tx + TAIL] = tail + 1
            self.sent += 1
            called = self.look_for_sleeper()
            if called != 0:
                return called
        for _ in range(spins):
            head = self.memory[self.rx + HEAD]
            fence()
            if self.memory[self.rx + TAIL] != head:
                fence()
                slot = head & (self.slots - 1)
                length = min(self.memory[self.rx + LENGTHS + slot] & 0xFFFF, BUFFER_BYTES)
                f = frame(self.memory, self.buffer(self.rx, slot), length)
                found = f.data.has(SEQUENCE_OFFSET, 4) and f.data.u32[SEQUENCE_OFFSET] == self.number
                now = cycles()
                self.give_back(head + 1)
                if found:
                    self.note(now - self.at_cycles)
                    return u64(1)
        return u64(0)

    @datapath
    def note(self, took: u64) -> None:
        self.rtt_total += took
        self.rtt_count += 1
        if self.rtt_least == 0 or took < self.rtt_least:
            self.rtt_least = took
        log: u32 = 0
        left: u64 = took
        for _ in range(_HISTOGRAM - 1):
            left = left >> 1
            if left == 0:
                break
            log += 1
        self.histogram[log] += 1

    @datapath(inline=False)
    def pong(self, frames: u32) -> u64:
        """Send back what comes, with Ethernet and IPv4 addresses exchanged; gives how many, perhaps with WAKE."""
        head = self.memory[self.rx + HEAD]
        tail = self.memory[self.tx + TAIL]
        ready = self.memory[self.rx + TAIL] - head
        room = self.slots - (tail - self.memory[self.tx + HEAD])
        fence()
        count = min(min(ready, frames), min(room, self.slots))
        for _ in range(count):
            here, there = head & (self.slots - 1), tail & (self.slots - 1)
            length = min(self.memory[self.rx + LENGTHS + here] & 0xFFFF, BUFFER_BYTES)
            at = self.buffer(self.tx, there)
            copy_lines(self.memory, at, self.memory, self.buffer(self.rx, here), (length + 63) >> 6, SLOT_LINES)
            f = frame(self.memory, at, length)
            if f.data.has(0, 34):
                src, dst = u64(f.ether.src), u64(f.ether.dst)
                f.ether.dst = src
                f.ether.src = dst
                if f.ether.type == 0x0800:
                    a, b = u32(f.data.u32[26]), u32(f.data.u32[30])
                    f.data.u32[26] = b
                    f.data.u32[30] = a
            self.memory[self.tx + LENGTHS + there] = length
            self.received += 1
            self.received_bytes += length
            head += 1
            tail += 1
        if count == 0:
            return u64(0)
        fence()
        self.memory[self.tx + TAIL] = tail
        return u64(count) | self.give_back(head) | self.look_for_sleeper()
