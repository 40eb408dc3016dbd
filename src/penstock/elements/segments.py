"""Segments of TCP that wait, in lists in the order of their sequence numbers, all in one pool."""

from __future__ import annotations

from penstock.datapath.memory import Array, PacketSlot, Stateful, Struct
from penstock.datapath.packet import Packet, take
from penstock.datapath.source import datapath
from penstock.packet.integers import u8, u32, u64

__all__ = ["HALF", "SegmentPool"]

#: of two sequence numbers the one is before the other where it is so much behind, at most (RFC 9293, section 3.4)
HALF = 0x8000_0000


class _Segment(Struct):
    packet: PacketSlot
    #: the first byte's number, and that behind the last one
    sequence: u32
    end: u32
    #: the next one of its list, as ``links`` are
    after: u32
    #: whose list it is in, and whether it is in one
    owner: u32
    used: u8
    tries: u8
    at_ns: u64


class SegmentPool(Stateful):
    """A link to a segment is its place plus one; 0 is the end of a list. Who owns a list keeps the link to its first segment."""

    free: u32
    #: no place from here on was ever used
    top: u32
    #: segments in all lists
    count: u32

    def __init__(self, capacity: int):
        self.capacity = capacity
        self.slots = Array(_Segment, capacity)

    @datapath
    def is_full(self) -> bool:
        return self.free == 0 and self.top >= u32(self.capacity)

    @datapath
    def find(self, first: u32, sequence: u32, length: u32) -> tuple[u32, u32]:
        """Links to the segments between which one with that number belongs, in a list of at most ``length``: before the first one that
        does not begin earlier."""
        before: u32 = 0
        at: u32 = first
        for _ in range(length):
            if at == 0 or self.slots[at - 1].sequence - sequence < HALF:
                break
            before = at
            at = self.slots[at - 1].after
        return before, at

    @datapath
    def put(self, p: Packet, before: u32, at: u32, sequence: u32, end: u32, owner: u32, at_ns: u64) -> u32:
        """Keep a segment between those two, where the pool is not full; gives its link, which is the list's first where ``before`` is 0."""
        link: u32 = self.free
        if link != 0:
            self.free = self.slots[link - 1].after
        else:
            self.top += 1
            link = self.top
        mine = self.slots[link - 1]
        mine.packet = p
        mine.sequence = sequence
        mine.end = end
        mine.after = at
        mine.owner = owner
        mine.used = 1
        mine.tries = 0
        mine.at_ns = at_ns
        if before != 0:
            self.slots[before - 1].after = link
        self.count += 1
        return link

    @datapath
    def take(self, link: u32) -> Packet | None:
        """The packet of the first segment of a list, which its owner has noted what comes after."""
        mine = self.slots[link - 1]
        mine.used = 0
        mine.after = self.free
        self.free = link
        self.count -= 1
        return take(mine.packet)
