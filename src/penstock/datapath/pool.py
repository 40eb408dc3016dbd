"""The packet pool: a fixed number of slots, a stack of the free ones."""

from __future__ import annotations

from array import array

from penstock.datapath.containers import RingSide
from penstock.datapath.memory import Array, Stateful
from penstock.datapath.packet import Packet, adopt, fence, meta, set_meta, zero_meta
from penstock.datapath.source import datapath
from penstock.packet.integers import u8, u32, u64
from penstock.packet.layout import BUFFER_OFFSET, DEFAULT_HEADROOM

__all__ = ["LanePool", "PacketPool", "share"]


class PacketPool(Stateful):
    """``capacity`` packets with buffers of ``buffer_bytes``. An empty pool gives None, and counts it.

    The stride between slots is an odd number of cache lines, never a power of two: with 2,048-byte strides
    the headers of all packets fall into the same few sets of the cache.
    """

    is_root = True

    free: u32
    failures: u64
    faults: u64

    def __init__(self, capacity: int, buffer_bytes: int):
        self.capacity = capacity
        lines = (BUFFER_OFFSET + buffer_bytes + 63) // 64
        self.stride = (lines | 1) * 64
        self.stack = Array(u64, capacity)
        self.slots = Array(u8, capacity * self.stride)

    def fill(self) -> None:
        """All slots are free; the first ones are given out first."""
        first, last = self.slots.offset, self.slots.offset + (self.capacity - 1) * self.stride
        self.stack.view()[:] = array("Q", range(last, first - 1, -self.stride)).tobytes()
        self.free = self.capacity

    @datapath(inline=False)
    def take_slot(self) -> u64:
        if self.free == 0:
            self.failures += 1
            return u64(0)
        self.free -= 1
        return self.stack[self.free]

    @datapath(inline=False)
    def release(self, slot: u64) -> None:
        self.stack[self.free] = slot
        self.free += 1

    @datapath
    def allocate(self, length: u32, headroom: u32 = DEFAULT_HEADROOM) -> Packet | None:
        """A packet of ``length`` bytes whose content is not defined; None where none is free or too long."""
        if length > self.stride - BUFFER_OFFSET - headroom:
            self.failures += 1
            return None
        p = adopt(self.take_slot())
        if p is None:
            return None
        zero_meta(p)
        set_meta(p, "data", BUFFER_OFFSET + headroom)
        set_meta(p, "length", length)
        return p

    @datapath
    def allocate_zeroed(self, length: u32, headroom: u32 = DEFAULT_HEADROOM) -> Packet | None:
        p = self.allocate(length, headroom)
        if p is None:
            return None
        p.data.fill(0, length, 0)
        return p

    @datapath
    def clone(self, p: Packet) -> Packet | None:
        """A copy with the same data, annotations and header positions."""
        start = meta(p, "data")
        q = self.allocate(p.length, start - BUFFER_OFFSET)
        if q is None:
            return None
        self.copy_slot(q, p)
        return q

    @datapath(rare=True)
    def copy_slot(self, q: Packet, p: Packet) -> None:
        """Metadata, the headers that were stripped off, and the data."""
        for name in ("mac", "network", "transport", "packet_type", "timestamp", "device", "extra_length"):
            set_meta(q, name, meta(p, name))
        for i in (0, 8, 16, 24, 32, 40):
            q.anno64[i] = p.anno64[i]
        back = meta(p, "data") - BUFFER_OFFSET
        n = back + p.length
        set_meta(q, "data", BUFFER_OFFSET)
        set_meta(q, "length", n)
        set_meta(p, "data", BUFFER_OFFSET)
        set_meta(p, "length", n)
        q.data.copy(0, p.data, 0, n)
        q.pull(back)
        p.pull(back)

    @datapath(rare=True)
    def shift_back(self, p: Packet, need: u32) -> None:
        """Make headroom for ``need`` bytes by moving the data towards the end of the buffer, if there is room there."""
        if need > self.stride:
            return
        shift = need - p.headroom
        n = p.length
        if shift > p.tailroom:
            return
        p.put(shift)
        p.data.copy(shift, p.data, 0, n)
        p.pull(shift)
        if p.has_mac:
            set_meta(p, "mac", min(meta(p, "mac") + shift, meta(p, "data") + n))
        if p.has_network:
            set_meta(p, "network", min(meta(p, "network") + shift, meta(p, "data") + n))
        if p.has_transport:
            set_meta(p, "transport", min(meta(p, "transport") + shift, meta(p, "data") + n))


class ReturnRing(Stateful):
    """Slots on their way back from one thread to the pool of another one, which made them: one writes, one reads."""

    def __init__(self, owner: LanePool):
        self.owner = owner
        # As many as there are slots: it is never full.
        self.places = 1 << max(1, owner.capacity.bit_length())
        self.slots = Array(u64, self.places)
        self.writer, self.reader = RingSide(), RingSide()

    @datapath
    def put(self, slot: u64) -> None:
        self.slots[self.writer.index & (self.places - 1)] = slot
        fence()
        self.writer.index += 1


class LanePool(PacketPool):
    """The pool of one of several threads. A slot that is released in another thread goes back through a ring."""

    first: u64
    span: u64

    def __init__(self, capacity: int, buffer_bytes: int):
        super().__init__(capacity, buffer_bytes)
        #: where others give back what is this pool's, and where this thread gives back what is theirs
        self.returned: list[ReturnRing] = []
        self.others: list[ReturnRing] = []

    def fill(self) -> None:
        super().fill()
        self.first, self.span = self.slots.offset, self.capacity * self.stride

    @datapath(inline=False)
    def take_slot(self) -> u64:
        if self.free == 0:
            self.collect()
        if self.free == 0:
            self.failures += 1
            return u64(0)
        self.free -= 1
        return self.stack[self.free]

    @datapath(rare=True)
    def collect(self) -> None:
        for ring in self.returned:
            at = ring.reader.index
            fence()
            end = ring.writer.index
            fence()
            for k in range(end - at):
                self.stack[self.free + k] = ring.slots[(at + k) & (ring.places - 1)]
            fence()
            ring.reader.index = end
            self.free += end - at

    @datapath(inline=False)
    def release(self, slot: u64) -> None:
        if slot - self.first < self.span:
            self.stack[self.free] = slot
            self.free += 1
        else:
            self.give_back(slot)

    @datapath
    def give_back(self, slot: u64) -> None:
        for ring in self.others:
            if slot - ring.owner.first < ring.owner.span:
                ring.put(slot)


def share(pools: list[LanePool]) -> None:
    """Tie the pools of all threads together."""
    for owner in pools:
        for user in pools:
            if user is not owner:
                ring = ReturnRing(owner)
                owner.returned.append(ring)
                user.others.append(ring)
