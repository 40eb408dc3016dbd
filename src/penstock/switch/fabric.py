"""The fabric: moves frames between the rings of ports, where the module says.

mSwitch's list-based algorithm (Honda et al., SOSR 2015, section 3): a batch is read from one port; each frame is appended to
the list of its destination, or to the one for all; then each destination's list is copied out in order, with one look at its
ring and one publication. The time for a frame does not depend on how many ports there are.

Frames are copied between rings, ports never share buffers. What ports write is read once and checked before use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from penstock.datapath.frames import copy_lines, frame, prefetch
from penstock.datapath.memory import Array, Stateful, Struct
from penstock.datapath.packet import cycles, fence
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
from penstock.packet.integers import boolean, i64, u8, u16, u32, u64, u128
from penstock.switch.module import BROADCAST, DROP, MAX_PORTS

if TYPE_CHECKING:
    from penstock.switch.module import Module

__all__ = ["BATCH", "MAX_ALLOWED", "Fabric", "PortState", "Reason", "port_state"]

BATCH = 256
#: of a port that is held to a rate, which it can overdraw by so much
_POLICED_BATCH = 16
#: addresses that a port can be held to
MAX_ALLOWED = 8
_LENGTH = 0xFFFF
#: rounds without a frame until a port is looked at now and then only
_PATIENCE = 64
#: ports without traffic that are looked at in a round, where nothing moved and where something did
_SCAN, _SCAN_BUSY = 8, 2


class Reason:
    """Why a port was detached by the fabric (PortState.broken)."""

    NONE, INDEX, LENGTH, CHAIN = range(4)
    TEXT = ("", "its write index makes no sense", "a slot's length is larger than the slot",
            f"a frame of more than {MAX_SEGMENTS} segments")


class PortState(Struct):
    """What the fabric knows of a port. Places are in 32-bit words (buffers: bytes) from the start of the ports' memory."""

    #: the ring from the port: its words, and buffers
    source: u64
    source_buffers: u64
    #: the ring to the port
    target: u64
    target_buffers: u64
    #: the page with the waiting words
    page: u64
    mask: u32
    head: u32
    tail: u32
    #: room that is not promised yet, of a patient port
    left: u32
    #: the port that gets a copy of everything that this one sends and is sent, plus one; 0: none does
    tap: u16
    idle: u8
    #: 1; 2 is a tap, which the module cannot send to
    attached: u8
    #: frames of several slots are understood
    chains: boolean
    #: senders wait for room in this ring, rather than to lose frames (those for one port, not those for all)
    patient: boolean
    broken: u8
    hot: boolean
    packets_in: u64
    bytes_in: u64
    packets_out: u64
    bytes_out: u64
    #: frames lost: the module said so; no such port; this port's ring was full; too large for this port
    dropped: u64
    nowhere: u64
    full: u64
    too_large: u64


def port_state(layout: PortLayout, place: int, *, chains: bool = True, patient: bool = False) -> dict[str, int]:
    """A PortState of a port that has just come, whose memory begins at byte ``place`` of the ports' memory."""
    base, header = place // 4, layout.ring_header_bytes
    source, target = base + layout.tx, base + layout.rx
    return {
        **dict.fromkeys(PortState.FIELDS, 0), "page": base, "mask": layout.slots - 1, "attached": 1,
        "source": source, "source_buffers": 4 * source + header, "target": target, "target_buffers": 4 * target + header,
        "chains": int(chains), "patient": int(patient),
    }


class Policy(Struct):
    """What a port may send: so many bytes a time, and from which Ethernet addresses."""

    #: bytes for 2^32 cycles of the processor's counter; 0: any number
    rate: u64
    #: bytes that it may send now, and at most; below 0 it waits
    tokens: i64
    burst: i64
    since_cycles: u64
    n_allowed: u32
    is_set: boolean
    #: frames from other addresses
    refused: u64


class _List(Struct):
    """The frames for one port, and the room in its ring."""

    first: u32
    last: u32
    count: u32
    room: u32


class Fabric(Stateful):
    """One worker's forwarding: ``turn`` looks at the ports, ``settle`` says whether it may sleep."""

    is_root = True

    faults: u64
    n_members: u32
    n_patient: u32
    n_taps: u32
    n_policed: u32
    #: where the batch is one frame of several slots, how many
    chain_slots: u32
    n_hot: u32
    n_touched: u32
    n_wake: u32
    cursor: u32
    #: seconds, for what modules forget
    now_s: u32
    #: frames moved, all ports
    moved: u64

    def __init__(self, memory_bytes: int, module: Module):
        self.module = module
        self.ports: Array[Any] = Array(cast(Any, PortState), MAX_PORTS, alignment=64)
        self.policies: Array[Any] = Array(cast(Any, Policy), MAX_PORTS)
        self.allowed = Array(u64, MAX_PORTS * MAX_ALLOWED)
        self.lists: Array[Any] = Array(cast(Any, _List), MAX_PORTS + 1)
        self.members = Array(u32, MAX_PORTS)
        self.hot = Array(u32, MAX_PORTS)
        self.touched = Array(u32, BATCH + 1)
        self.wake = Array(u32, MAX_PORTS)
        # A frame is known by its place in the batch; for each the next one for the same port.
        self.next = Array(u32, BATCH, alignment=64)
        #: every port's memory, each mapped in its place
        self.memory = Array(u32, memory_bytes // 4, alignment=4096)

    @datapath(inline=False)
    def release(self, offset: u64) -> None:
        """What ends a packet: there are none here."""

    # From a port

    @datapath(inline=False)
    def forward(self, source: u32, policed: bool) -> u32:
        """Move one batch of a port; gives how many slots."""
        port = self.ports[source]
        words: u64 = port.source
        head: u32 = port.head
        ready = self.memory[words + TAIL] - head
        fence()
        if ready == 0:
            return u32(0)
        mask: u32 = port.mask
        if ready > mask + 1:
            port.broken = Reason.INDEX
            return u32(0)
        if policed:
            if self.must_wait(source):
                return u32(0)
        buffers: u64 = port.source_buffers
        lengths: u64 = words + LENGTHS
        total: u64 = 0
        taken: u32 = 0
        for k in range(min(ready, _POLICED_BATCH if policed else BATCH)):
            slot = u64((head + k) & mask)
            length = self.memory[lengths + slot]
            if length > BUFFER_BYTES:
                break
            to: u32 = DROP
            if not policed or self.is_allowed(source, buffers + slot * BUFFER_BYTES, length):
                to = self.module.decide(buffers + slot * BUFFER_BYTES, length, source) - 1
            if not self.enlist(k, to, source, u32(1)):
                break
            total += length
            taken += 1
        if taken == 0:
            return self.forward_chain(source, ready)
        self.finish(source, taken, taken, total)
        return taken

    @datapath(rare=True)
    def forward_chain(self, source: u32, ready: u32) -> u32:
        """Move the frame of several slots that comes next, where all of it is there; gives how many slots."""
        port = self.ports[source]
        lengths: u64 = port.source + LENGTHS
        head: u32 = port.head
        first = self.memory[lengths + u64(head & port.mask)] & _LENGTH
        total: u64 = 0
        for k in range(min(ready, MAX_SEGMENTS)):
            word = self.memory[lengths + u64((head + k) & port.mask)]
            if (word & _LENGTH) > BUFFER_BYTES or first > BUFFER_BYTES:
                port.broken = Reason.LENGTH
                return u32(0)
            total += word & _LENGTH
            if word < MORE:
                at = port.source_buffers + u64(head & port.mask) * BUFFER_BYTES
                to: u32 = DROP
                if not self.is_policed(source) or self.is_allowed(source, at, first):
                    to = self.module.decide(at, first, source) - 1
                if not self.enlist(u32(0), to, source, k + 1):
                    return u32(0)
                self.chain_slots = k + 1
                self.finish(source, k + 1, u32(1), total)
                self.chain_slots = 0
                return k + 1
        if ready >= MAX_SEGMENTS:
            port.broken = Reason.CHAIN
        return u32(0)

    @datapath
    def resize(self, source: u32, at: u64, length: u32) -> bool:
        """For modules: the frame of one slot at byte ``at`` is so long from now on; false where it has several."""
        port = self.ports[source]
        slot = (at - port.source_buffers) // BUFFER_BYTES
        if length > BUFFER_BYTES or slot > port.mask or self.memory[port.source + LENGTHS + slot] >= MORE:
            return False
        self.memory[port.source + LENGTHS + slot] = length
        return True

    @datapath
    def finish(self, source: u32, slots: u32, frames: u32, total: u64) -> None:
        # What the module wrote comes before what is copied.
        fence()
        self.flush(source)
        port = self.ports[source]
        if self.n_taps != 0:
            if port.tap != 0:
                self.tap_batch(source, frames)
        port.packets_in += frames
        port.bytes_in += total
        if self.is_policed(source):
            self.policies[source].tokens -= i64(total)
        port.head += slots
        fence()
        self.memory[port.source + HEAD] = port.head
        self.moved += frames

    @datapath
    def is_policed(self, source: u32) -> bool:
        return self.n_policed != 0 and bool(self.policies[source].is_set)

    @datapath(rare=True)
    def must_wait(self, source: u32) -> bool:
        """Whether a port has sent what it may for now. It may overdraw by a batch, and then waits for longer."""
        policy = self.policies[source]
        if policy.rate == 0:
            return False
        now = cycles()
        earned = u64((u128(now - policy.since_cycles) * u128(policy.rate)) >> 32)
        if earned >= 1 << 31:
            policy.since_cycles = now
            policy.tokens = policy.burst
        elif earned != 0:
            # Whole bytes; the cycles that were not enough for another one count the next time.
            policy.since_cycles += (earned << 32) // policy.rate
            policy.tokens = min(policy.burst, policy.tokens + i64(earned))
        return bool(policy.tokens < 0)

    @datapath(rare=True)
    def is_allowed(self, source: u32, at: u64, length: u32) -> bool:
        policy = self.policies[source]
        if policy.n_allowed == 0:
            return True
        f = frame(self.memory, at, length)
        if f.data.has(0, 14):
            for k in range(min(policy.n_allowed, MAX_ALLOWED)):
                if self.allowed[source * MAX_ALLOWED + k] == f.ether.src:
                    return True
        policy.refused += 1
        return False

    @datapath
    def enlist(self, i: u32, to: u32, source: u32, slots: u32) -> bool:
        """Append a frame to a port's list; false where it must wait for room."""
        if to > BROADCAST or to == source:
            self.ports[source].dropped += 1
            return True
        entry = self.lists[to]
        count: u32 = entry.count
        if count == 0 and to != BROADCAST:
            if self.ports[to].attached != 1 or not self.look_at(to):
                self.ports[source].nowhere += 1
                return True
        if self.n_patient != 0 and to != BROADCAST:
            if not self.has_room(to, slots):
                return False
        if count == 0:
            self.touched[self.n_touched] = to
            self.n_touched += 1
            entry.first = i
        else:
            self.next[entry.last] = i
        entry.last = i
        entry.count = count + 1
        return True

    @datapath(rare=True)
    def has_room(self, to: u32, slots: u32) -> bool:
        """Whether a frame fits into the ring of a port, where that port is patient; the room is promised then."""
        target = self.ports[to]
        if not target.patient:
            return True
        if target.left < slots:
            self.memory[target.target + STARVED] = 1
            return False
        target.left -= slots
        return True

    @datapath
    def look_at(self, to: u32) -> bool:
        """Find out how much room a port has; false where it is not there."""
        target = self.ports[to]
        if target.attached == 0 or target.broken != 0:
            return False
        used = target.tail - self.memory[target.target + HEAD]
        if used > target.mask + 1:
            target.broken = Reason.INDEX
            return False
        self.lists[to].room = target.mask + 1 - used
        target.left = target.mask + 1 - used
        # With many ports nothing of these is in the cache; they are needed when the whole batch is sorted.
        slot = u64(target.tail & target.mask)
        prefetch(self.memory, target.target_buffers + slot * BUFFER_BYTES)
        prefetch(self.memory, (target.target + LENGTHS + slot) * 4)
        prefetch(self.memory, (target.target + TAIL) * 4)
        prefetch(self.memory, (target.page + DOMAIN_WAITING) * 4)
        return True

    # To ports

    @datapath
    def flush(self, source: u32) -> None:
        everywhere = self.lists[BROADCAST]
        n = self.n_touched
        if everywhere.count != 0:
            for m in range(self.n_members):
                to = self.members[m]
                if to != source:
                    if self.lists[to].count != 0 or self.look_at(to):
                        if self.n_taps != 0:
                            self.tap_list(u32(to), source, True)
                        self.deliver(u32(to), source, True)
            everywhere.count = 0
            fence(True)
            for m in range(self.n_members):
                self.look_for_sleeper(u32(self.members[m]))
        else:
            for t in range(n):
                if self.n_taps != 0:
                    self.tap_list(u32(self.touched[t]), source, False)
                self.deliver(u32(self.touched[t]), source, False)
            # One full fence for all: each reader sees its frames, or we see that it sleeps.
            fence(True)
            for t in range(n):
                self.look_for_sleeper(u32(self.touched[t]))
        self.n_touched = 0

    @datapath(rare=True)
    def tap_list(self, to: u32, source: u32, with_broadcast: bool) -> None:
        """What a port is about to be sent, to its tap."""
        if self.ports[to].tap != 0:
            tap = u32(self.ports[to].tap) - 1
            if self.look_at(tap):
                self.lists[tap].first = self.lists[to].first
                self.lists[tap].count = self.lists[to].count
                self.deliver_to_tap(tap, source, with_broadcast)

    @datapath(rare=True)
    def tap_batch(self, source: u32, frames: u32) -> None:
        """What a port has sent, to its tap; the lists are free again."""
        tap = u32(self.ports[source].tap) - 1
        if self.look_at(tap):
            for k in range(min(frames, BATCH)):
                self.next[k] = k + 1
            self.lists[tap].first = 0
            self.lists[tap].count = frames
            self.deliver_to_tap(tap, source, False)

    @datapath
    def deliver_to_tap(self, tap: u32, source: u32, with_broadcast: bool) -> None:
        self.deliver(tap, source, with_broadcast)
        fence(True)
        self.look_for_sleeper(tap)

    @datapath(rare=True)
    def deliver(self, to: u32, source: u32, with_broadcast: bool) -> None:
        """Copy what is on a port's list, and on the one for all, in the order of arrival, and publish it.

        Kept out of its caller, so that the processor's registers are all for this loop.
        """
        entry = self.lists[to]
        port, target = self.ports[source], self.ports[to]
        left: u32 = entry.count
        more: u32 = self.lists[BROADCAST].count if with_broadcast else u32(0)
        entry.count = 0
        if self.chain_slots != 0:
            self.deliver_chain(to, source)
            return
        i: u32 = entry.first
        b: u32 = self.lists[BROADCAST].first
        head: u32 = port.head
        tail: u32 = target.tail
        here_mask: u32 = port.mask
        there_mask: u32 = target.mask
        here_lengths: u64 = port.source + LENGTHS
        there_lengths: u64 = target.target + LENGTHS
        here_buffers: u64 = port.source_buffers
        there_buffers: u64 = target.target_buffers
        total: u64 = 0
        count = min(left + more, entry.room)
        if count != left + more:
            target.full += left + more - count
        for _ in range(count):
            pick: u32 = i
            if with_broadcast and more != 0 and (left == 0 or b < i):
                pick = b
                more -= 1
                b = self.next[b]
            else:
                if with_broadcast:
                    left -= 1
                i = self.next[i]
            here = u64((head + pick) & here_mask)
            there = u64(tail & there_mask)
            # A length that grew since it was checked copies no more than a slot.
            length = min(self.memory[here_lengths + here] & _LENGTH, BUFFER_BYTES)
            copy_lines(self.memory, there_buffers + there * BUFFER_BYTES, self.memory, here_buffers + here * BUFFER_BYTES,
                       (length + 63) >> 6, SLOT_LINES)
            self.memory[there_lengths + there] = length
            total += length
            tail += 1
        target.tail = tail
        target.packets_out += count
        target.bytes_out += total
        fence()
        self.memory[target.target + TAIL] = tail

    @datapath(rare=True)
    def deliver_chain(self, to: u32, source: u32) -> None:
        """The frame of several slots that the batch is: all of it or nothing."""
        port, target = self.ports[source], self.ports[to]
        if not target.chains:
            target.too_large += 1
            return
        if self.chain_slots > self.lists[to].room:
            target.full += 1
            return
        for s in range(self.chain_slots):
            here = u64((port.head + s) & port.mask)
            there = u64((target.tail + s) & target.mask)
            length = min(self.memory[port.source + LENGTHS + here] & _LENGTH, BUFFER_BYTES)
            copy_lines(self.memory, target.target_buffers + there * BUFFER_BYTES, self.memory, port.source_buffers + here * BUFFER_BYTES,
                       (length + 63) >> 6, SLOT_LINES)
            more = u32(MORE) if s + 1 < self.chain_slots else u32(0)
            self.memory[target.target + LENGTHS + there] = length | more
            target.bytes_out += length
        target.packets_out += 1
        target.tail += self.chain_slots
        fence()
        self.memory[target.target + TAIL] = target.tail

    @datapath
    def look_for_sleeper(self, to: u32) -> None:
        target = self.ports[to]
        if self.memory[target.page + DOMAIN_WAITING] != 0:
            if self.n_wake < MAX_PORTS:
                self.wake[self.n_wake] = to
                self.n_wake += 1

    # The worker

    @datapath(inline=False)
    def turn(self, rounds: u32) -> u64:
        """Look at the ports some times; gives how many slots moved."""
        total: u64 = 0
        for _ in range(rounds):
            moved: u32 = 0
            k: u32 = 0
            for _ in range(self.n_hot):
                if k < self.n_hot:
                    source = self.hot[k]
                    port = self.ports[source]
                    n: u32 = 0
                    if self.is_policed(u32(source)):
                        n = self.forward(u32(source), True)
                    else:
                        n = self.forward(u32(source), False)
                    port.idle = 0 if n != 0 else port.idle + 1
                    if n != 0:
                        self.look_for_starved(u32(source))
                    moved += n
                    if port.idle > _PATIENCE or port.broken != 0:
                        self.cool(k)
                    else:
                        k += 1
            for _ in range(min(self.n_members, u32(_SCAN if moved == 0 else _SCAN_BUSY))):
                self.cursor = self.cursor + 1 if self.cursor + 1 < self.n_members else u32(0)
                self.warm(u32(self.members[self.cursor]))
                # Among thousands of ports the next one is in no cache, and not in the TLB either.
                ahead = self.cursor + 2 if self.cursor + 2 < self.n_members else u32(0)
                prefetch(self.memory, (self.ports[self.members[ahead]].source + TAIL) * 4)
            total += moved
            if moved == 0 or self.n_wake != 0:
                break
        return total

    @datapath
    def warm(self, source: u32) -> None:
        port = self.ports[source]
        if not port.hot and port.broken == 0 and self.memory[port.source + TAIL] != port.head:
            port.hot = True
            port.idle = 0
            self.hot[self.n_hot] = source
            self.n_hot += 1

    @datapath
    def cool(self, k: u32) -> None:
        self.ports[self.hot[k]].hot = False
        self.n_hot -= 1
        self.hot[k] = self.hot[self.n_hot]

    @datapath
    def look_for_starved(self, source: u32) -> None:
        """A sender that found its ring full is told that there is room."""
        port = self.ports[source]
        fence(True)
        if self.memory[port.source + STARVED] != 0:
            self.memory[port.source + STARVED] = 0
            self.look_for_sleeper(source)

    @datapath(inline=False)
    def settle(self) -> u64:
        """Before sleeping: ask every port for a call. Gives 1 where there is something to do already, 2 where there soon is."""
        for m in range(self.n_members):
            self.memory[self.ports[self.members[m]].page + PEER_WAITING] = 1
        fence(True)
        found: u64 = 0
        for m in range(self.n_members):
            port = self.ports[self.members[m]]
            if port.broken == 0 and self.memory[port.source + TAIL] != port.head:
                if self.is_policed(u32(self.members[m])) and self.must_wait(u32(self.members[m])):
                    found = max(found, 2)
                else:
                    found = 1
                    self.warm(u32(self.members[m]))
                    break
        return found

    @datapath(inline=False)
    def rouse(self) -> u64:
        """After sleeping: no port needs to call."""
        for m in range(self.n_members):
            self.memory[self.ports[self.members[m]].page + PEER_WAITING] = 0
        return u64(0)
