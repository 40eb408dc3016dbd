"""Frames from one opened port to others, for programs that stand between ports: netmap's ``bridge`` and ``lb``."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Sequence

from penstock.datapath.frames import Frame, copy_lines, frame
from penstock.datapath.futex import futex_wait_any, futex_wake
from penstock.datapath.memory import Array, Memory, Stateful
from penstock.datapath.packet import fence
from penstock.datapath.ports import (
    BUFFER_BYTES,
    DOMAIN_WAITING,
    HEAD,
    LENGTHS,
    MAX_SEGMENTS,
    MORE,
    PEER_WAITING,
    SLOT_LINES,
    STARVED,
    TAIL,
    PortLayout,
)
from penstock.datapath.source import datapath
from penstock.packet.integers import u32, u64
from penstock.ring import PortMemory, RingError
from penstock.runtime.image import LoadedImage
from penstock.switch.program import CodeProgram

__all__ = ["Relay", "flow_hash"]

_BROKEN = 0xFFFFFFFF


@datapath
def flow_hash(f: Frame) -> u32:
    """The same number for both directions of a flow, from addresses, protocol and ports; VLAN tags are looked behind.

    Fragments have no ports, so all packets of an address pair that are fragments share one number.
    """
    at: u32 = 12
    kind: u32 = u32(f.data.u16[12]) if f.data.has(12, 2) else u32(0)
    for _ in range(2):
        if (kind == 0x8100 or kind == 0x88A8) and f.data.has(at + 4, 2):
            at += 4
            kind = u32(f.data.u16[at])
    key: u64 = 0
    ports: u32 = 0
    protocol: u32 = 0
    if kind == 0x0800 and f.data.has(at + 2, 20):
        protocol = u32(f.data.u8[at + 11])
        key = u64(f.data.u32[at + 14] ^ f.data.u32[at + 18]) | (u64(f.data.u32[at + 14] + f.data.u32[at + 18]) << 32)
        if f.data.u16[at + 8] & 0x3FFF == 0:
            ports = at + 2 + (u32(f.data.u8[at + 2]) & 15) * 4
    elif kind == 0x86DD and f.data.has(at + 2, 40):
        protocol = u32(f.data.u8[at + 8])
        for i in range(4):
            a, b = f.data.u32[at + 10 + 4 * u32(i)], f.data.u32[at + 26 + 4 * u32(i)]
            key = (key ^ (u64(a ^ b) | (u64(a + b) << 32))) * 0x9E3779B97F4A7C15
        ports = at + 42
    elif f.data.has(0, 12):
        key = u64(f.ether.src) ^ u64(f.ether.dst)
    if ports != 0 and (protocol == 6 or protocol == 17 or protocol == 132) and f.data.has(ports, 4):
        a16, b16 = u32(f.data.u16[ports]), u32(f.data.u16[ports + 2])
        key ^= u64(a16 ^ b16) << 8 | u64(a16 + b16) << 40
    key = (key ^ u64(protocol)) * 0x9E3779B97F4A7C15
    key = (key ^ (key >> 29)) * 0xBF58476D1CE4E5B9
    return u32(key >> 32)


class _Mover(Stateful):
    """The owner's side of several ports of one layout."""

    is_root = True

    faults: u64

    def __init__(self, layout: PortLayout, n_ports: int, groups: Sequence[tuple[int, int]]):
        self.slots, self.rx, self.tx, self.header = layout.slots, layout.rx, layout.tx, layout.ring_header_bytes
        self.stride = layout.port_bytes // 4
        self.memory = Array(u32, n_ports * self.stride, alignment=4096)
        #: groups of ports: the first, and how many
        self.firsts, self.counts = Array(u32, len(groups), [f for f, _ in groups]), Array(u32, len(groups), [n for _, n in groups])
        #: frames taken from each port, given to it, and lost because it had no room
        self.taken, self.given, self.lost = (Array(u64, n_ports) for _ in range(3))

    @datapath(inline=False)
    def release(self, offset: u64) -> None:
        """What ends a packet: there are none here."""

    @datapath
    def buffer(self, ring: u32, slot: u32) -> u64:
        return u64(ring) * 4 + u64(self.header) + u64(slot) * BUFFER_BYTES

    @datapath(inline=False)
    def relay(self, source: u32, group: u32, n_groups: u32, patient: u32, burst: u32) -> u64:
        """Move frames from port ``source`` to one port of each of ``n_groups`` groups, by flow; gives how many slots were read.

        ``patient``, with one group: what finds no room stays; else it is lost. A frame of several slots goes as a whole.
        """
        here: u32 = source * self.stride + self.rx
        head: u32 = self.memory[here + HEAD]
        ready = self.memory[here + TAIL] - head
        fence()
        if ready > self.slots:
            return u64(_BROKEN)
        start: u32 = head
        left: u32 = min(ready, burst + MAX_SEGMENTS)
        for _ in range(burst):
            if left == 0 or head - start >= burst:
                break
            parts: u32 = 0
            word: u32 = MORE
            for _ in range(min(left, u32(MAX_SEGMENTS))):
                if word < MORE:
                    break
                word = self.memory[here + LENGTHS + ((head + parts) & (self.slots - 1))]
                parts += 1
            if word >= MORE:
                # Its end is not there: it has too many segments, or will never come.
                if parts == MAX_SEGMENTS or ready == self.slots:
                    return u64(_BROKEN)
                break
            hashed: u32 = 0
            if n_groups > 1 or self.counts[group] > 1:
                length = min(self.memory[here + LENGTHS + (head & (self.slots - 1))] & 0xFFFF, BUFFER_BYTES)
                hashed = flow_hash(frame(self.memory, self.buffer(here, head & (self.slots - 1)), length))
            waits: u32 = 0
            for g in range(n_groups):
                target = self.firsts[group + g] + u32((u64(hashed) * self.counts[group + g]) >> 32)
                there = target * self.stride + self.tx
                tail = self.memory[there + TAIL]
                used = tail - self.memory[there + HEAD]
                fence()
                if used > self.slots:
                    return u64(_BROKEN)
                if self.slots - used < parts:
                    self.memory[there + STARVED] = 1
                    waits = patient
                    if patient == 0:
                        self.lost[target] += 1
                else:
                    for i in range(parts):
                        a, b = (head + i) & (self.slots - 1), (tail + i) & (self.slots - 1)
                        size = min(self.memory[here + LENGTHS + a] & 0xFFFF, BUFFER_BYTES)
                        copy_lines(self.memory, self.buffer(there, b), self.memory, self.buffer(here, a), (size + 63) >> 6, SLOT_LINES)
                        self.memory[there + LENGTHS + b] = size | (MORE if i + 1 < parts else 0)
                    fence()
                    self.memory[there + TAIL] = tail + parts
                    self.given[target] += 1
            if waits != 0:
                break
            self.taken[source] += 1
            head += parts
            left -= parts
        fence()
        self.memory[here + HEAD] = head
        fence(True)
        return u64(head - start)


class Relay:
    """Moves frames between ``ports``, which are open here and have one layout; ``groups`` of them are (first, how many)."""

    def __init__(self, ports: Sequence[PortMemory], groups: Sequence[tuple[int, int]]):
        self.ports, self.groups = ports, groups
        layout = ports[0].layout
        self.mover = _Mover(layout, len(ports), groups)
        program = CodeProgram([("mover", self.mover)], {"relay": 5})
        self.memory = Memory(program.layout.size)
        program.attach(self.memory)
        for i, port in enumerate(ports):
            self.memory.map_at(self.mover.memory.offset + i * layout.port_bytes, layout.port_bytes, port.descriptor, at=port.offset)
        self._image = LoadedImage(program.image())
        self._entry = self._image.function("relay", *[ctypes.c_uint32] * 5, returns=ctypes.c_uint64)

    def move(self, source: int, group: int, *, n_groups: int = 1, burst: int = 512) -> int:
        """Frames of port ``source`` to one port of each group from ``group`` on, by flow; gives how many slots went.

        What finds no room at the only port of the only group stays where it is; else it is lost. RingError: a peer broke the rules.
        """
        patient = n_groups == 1 and self.groups[group][1] == 1
        moved = int(self._entry(self.memory.address, source, group, n_groups, int(patient), burst))
        if moved == _BROKEN:
            raise RingError(f"the other side of port {source}, or of one that it sends to, broke the rules of its ring")
        if moved:
            port = self.ports[source]
            if port.words[port.layout.rx + STARVED]:
                port.words[port.layout.rx + STARVED] = 0
                self._wake(port)
            for first, count in self.groups[group : group + n_groups]:
                for target in self.ports[first : first + count]:
                    self._wake(target)
        return moved

    def _wake(self, port: PortMemory) -> None:
        if port.forward is not None:
            port.forward()
        elif port.words[PEER_WAITING]:
            port.words[PEER_WAITING] = 0
            futex_wake(port.address + 4 * PEER_WAITING)

    def wait(self, timeout_s: float = 0.05) -> None:
        """Until a peer calls: there are frames, or room."""
        for port in self.ports:
            port.words[DOMAIN_WAITING] = 1
        if all(p.words[p.layout.rx + TAIL] == p.words[p.layout.rx + HEAD] for p in self.ports):
            futex_wait_any([p.address + 4 * DOMAIN_WAITING for p in self.ports], 1, timeout_s=timeout_s)
        else:
            # What is there found no room.
            time.sleep(0.0001)
        for port in self.ports:
            port.words[DOMAIN_WAITING] = 0

    def counters(self) -> list[tuple[int, int, int]]:
        """Of each port: frames taken from it, given to it, and lost for want of room."""
        m = self.mover
        return [(int(m.taken[i]), int(m.given[i]), int(m.lost[i])) for i in range(len(self.ports))]

    def close(self) -> None:
        self.memory.close()
        self._image.close()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
