"""The fabric: moves frames between the rings of ports, where the module says.

mSwitch's list-based algorithm (Honda et al., SOSR 2015, section 3): a batch is read from one port; each frame is appended to
the list of its destination, or to the one for all; then each destination's list is copied out in order, with one look at its
ring and one publication. The time for a frame does not depend on how many ports there are.

Frames are copied between rings, ports never share buffers. What ports write is read once and checked before use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from penstock.datapath.frames import copy_lines, exchange, frame, prefetch
from penstock.datapath.memory import Array, Stateful, Struct
from penstock.datapath.packet import cycles, fence
from penstock.datapath.ports import (
    BUFFER_BYTES,
    DOMAIN_WAITING,
    HEAD,
    LENGTHS,
    MAX_RINGS,
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

__all__ = ["BATCH", "MAX_ALLOWED", "Fabric", "Outlet", "PortState", "Reason", "Worker", "port_state"]

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
#: batches that a program forwards before it looks whether it is to stand still
_PUSHES = 4
#: batches that can be on their way into a ring at once
LEASES = 32
#: a lock is a word on a cache line of its own
_LOCK_STRIDE = 16
_LOCK_TRIES = 1 << 30
_SHORT_LINES = 64


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
    #: the port that these rings belong to (itself; or, for its further rings, another), and which of its rings they are
    owner: u16
    ring: u8
    #: how many rings the port has, 0 for one
    rings: u8
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
    #: frames lost: the module said so; no such port
    dropped: u64
    nowhere: u64


class Outlet(Struct):
    """What whoever fills a port's ring changes, apart from what its own worker does: a line of the cache each."""

    #: slots up to here are taken
    tail: u32
    #: room that is not promised yet, of a patient port; with several workers what is promised
    left: u32
    #: slots up to here have been shown to the port, and the leases of those behind it, oldest first
    shown: u32
    first_lease: u32
    next_lease: u32
    packets_out: u64
    bytes_out: u64
    #: frames lost: the ring was full; too large for this port
    full: u64
    too_large: u64
    #: to the end of the cache line
    unused: u64


class Lease(Struct):
    """Slots that a worker fills: up to where, and whether it is done."""

    end: u32
    done: u32


def port_state(layout: PortLayout, place: int, *, owner: int, ring: int = 0, chains: bool = True, patient: bool = False) -> dict[str, int]:
    """A PortState of a port that has just come, whose memory begins at byte ``place`` of the ports' memory."""
    base, header = place // 4, layout.ring_header_bytes
    source, target = base + layout.tx, base + layout.rx
    return {
        **dict.fromkeys(PortState.FIELDS, 0), "page": base, "mask": layout.slots - 1, "attached": 1,
        "source": source, "source_buffers": 4 * source + header, "target": target, "target_buffers": 4 * target + header,
        "chains": int(chains), "patient": int(patient), "owner": owner, "ring": ring,
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


class Worker(Stateful):
    """What one worker has for itself. Where several work on the same ports, each sees its own in this place of the memory."""

    ALIGNMENT = 4096

    #: the rings that it reads from
    n_sources: u32
    #: where the batch is one frame of several slots, how many
    chain_slots: u32
    n_hot: u32
    n_touched: u32
    n_wake: u32
    cursor: u32
    #: frames moved
    moved: u64

    def __init__(self) -> None:
        self.sources = Array(u32, MAX_PORTS)
        self.lists: Array[Any] = Array(cast(Any, _List), MAX_PORTS + 1)
        self.hot = Array(u32, MAX_PORTS)
        self.touched = Array(u32, BATCH + 1)
        self.wake = Array(u32, MAX_PORTS)
        # A frame is known by its place in the batch; for each the next one for the same port.
        self.next = Array(u32, BATCH, alignment=64)


class Fabric(Stateful):
    """Forwarding, as each worker does it: ``turn`` looks at its ports, ``settle`` says whether it may sleep.

    With ``is_parallel`` several workers do so at once (mSwitch, section 3.3): who fills a ring takes slots under a lock, copies
    without it, and shows them to the port once all that were taken before are filled.
    """

    is_root = True

    faults: u64
    #: the ports that hear what is for all
    n_members: u32
    n_patient: u32
    n_taps: u32
    n_policed: u32
    #: ports with several rings
    n_ringed: u32
    #: seconds, for what modules forget
    now_s: u32

    def __init__(self, memory_bytes: int, module: Module, *, is_parallel: bool = False):
        self.module = module
        self.is_parallel = is_parallel
        #: cache lines that are copied while the lock is held: letting go of it and taking it again costs as much
        self.short_lines = _SHORT_LINES
        self.own = Worker()
        self.ports: Array[Any] = Array(cast(Any, PortState), MAX_PORTS, alignment=64)
        self.outlets: Array[Any] = Array(cast(Any, Outlet), MAX_PORTS, alignment=64)
        self.policies: Array[Any] = Array(cast(Any, Policy), MAX_PORTS)
        self.allowed = Array(u64, MAX_PORTS * MAX_ALLOWED)
        self.members = Array(u32, MAX_PORTS)
        #: the numbers of each port's rings, where it has several
        self.ring_numbers = Array(u16, MAX_PORTS * MAX_RINGS)
        if is_parallel:
            self.locks = Array(u32, (MAX_PORTS + 1) * _LOCK_STRIDE, alignment=64)
            self.leases: Array[Any] = Array(cast(Any, Lease), MAX_PORTS * LEASES, alignment=64)
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
        owner: u32 = port.owner
        total: u64 = 0
        taken: u32 = 0
        self.begin_deciding()
        for k in range(min(ready, _POLICED_BATCH if policed else BATCH)):
            slot = u64((head + k) & mask)
            length = self.memory[lengths + slot]
            if length > BUFFER_BYTES:
                break
            to: u32 = DROP
            if not policed or self.is_allowed(source, buffers + slot * BUFFER_BYTES, length):
                to = self.module.decide(buffers + slot * BUFFER_BYTES, length, owner) - 1
            if not self.enlist(k, to, source, owner, u32(1)):
                break
            total += length
            taken += 1
        self.end_deciding()
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
                self.begin_deciding()
                if not self.is_policed(source) or self.is_allowed(source, at, first):
                    to = self.module.decide(at, first, u32(port.owner)) - 1
                self.end_deciding()
                if not self.enlist(u32(0), to, source, u32(port.owner), k + 1):
                    return u32(0)
                self.own.chain_slots = k + 1
                self.finish(source, k + 1, u32(1), total)
                self.own.chain_slots = 0
                return k + 1
        if ready >= MAX_SEGMENTS:
            port.broken = Reason.CHAIN
        return u32(0)

    @datapath
    def begin_deciding(self) -> None:
        """Modules that change what they know are asked by one worker at a time."""
        if self.is_parallel:
            if not self.module.is_parallel:
                self.lock(u32(MAX_PORTS))

    @datapath
    def end_deciding(self) -> None:
        if self.is_parallel:
            if not self.module.is_parallel:
                self.unlock(u32(MAX_PORTS))

    @datapath
    def lock(self, what: u32) -> None:
        """Of a port's ring, or (MAX_PORTS) of the module. A worker that held it for seconds would be dead: then it is ours."""
        at = what * _LOCK_STRIDE
        for _ in range(_LOCK_TRIES):
            if self.locks[at] == 0:
                if exchange(self.locks, at, 1) == 0:
                    break
            fence()

    @datapath
    def unlock(self, what: u32) -> None:
        fence()
        self.locks[what * _LOCK_STRIDE] = 0

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
        self.own.moved += frames

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
    def enlist(self, i: u32, to: u32, source: u32, owner: u32, slots: u32) -> bool:
        """Append a frame to a port's list; false where it must wait for room."""
        if to > BROADCAST or to == owner:
            self.ports[source].dropped += 1
            return True
        ring: u32 = to
        if self.n_ringed != 0 and to != BROADCAST:
            ring = self.ring_of(to, source)
        entry = self.own.lists[ring]
        count: u32 = entry.count
        if count == 0 and to != BROADCAST:
            if self.ports[to].attached != 1 or not self.look_at(ring):
                self.ports[source].nowhere += 1
                return True
        if self.n_patient != 0 and to != BROADCAST:
            if not self.has_room(ring, slots):
                return False
        if count == 0:
            self.own.touched[self.own.n_touched] = ring
            self.own.n_touched += 1
            entry.first = i
        else:
            self.own.next[entry.last] = i
        entry.last = i
        entry.count = count + 1
        return True

    @datapath(rare=True)
    def ring_of(self, to: u32, source: u32) -> u32:
        """The ring of a port that has several: always the same one for what comes from one ring, so that order is kept."""
        n: u32 = self.ports[to].rings
        if n == 0:
            return to
        port = self.ports[source]
        return u32(self.ring_numbers[to * MAX_RINGS + (u32(port.owner) + u32(port.ring)) % n])

    @datapath(rare=True)
    def has_room(self, to: u32, slots: u32) -> bool:
        """Whether a frame fits into the ring of a port, where that port is patient; the room is promised then."""
        target, outlet = self.ports[to], self.outlets[to]
        if not target.patient:
            return True
        if self.is_parallel:
            self.lock(to)
            used = outlet.tail + outlet.left - self.memory[target.target + HEAD]
            fits = used + slots <= target.mask + 1
            if fits:
                outlet.left += slots
            self.unlock(to)
            if not fits:
                self.memory[target.target + STARVED] = 1
            return bool(fits)
        if outlet.left < slots:
            self.memory[target.target + STARVED] = 1
            return False
        outlet.left -= slots
        return True

    @datapath
    def look_at(self, to: u32) -> bool:
        """Find out how much room a port has; false where it is not there."""
        target = self.ports[to]
        if target.attached == 0 or target.broken != 0:
            return False
        tail: u32 = self.outlets[to].tail
        if not self.is_parallel:
            used = tail - self.memory[target.target + HEAD]
            if used > target.mask + 1:
                target.broken = Reason.INDEX
                return False
            self.own.lists[to].room = target.mask + 1 - used
            self.outlets[to].left = target.mask + 1 - used
        # With many ports nothing of these is in the cache; they are needed when the whole batch is sorted.
        slot = u64(tail & target.mask)
        prefetch(self.memory, target.target_buffers + slot * BUFFER_BYTES)
        prefetch(self.memory, (target.target + LENGTHS + slot) * 4)
        prefetch(self.memory, (target.target + TAIL) * 4)
        prefetch(self.memory, (target.page + DOMAIN_WAITING) * 4)
        return True

    # To ports

    @datapath
    def flush(self, source: u32) -> None:
        everywhere = self.own.lists[BROADCAST]
        n = self.own.n_touched
        if everywhere.count != 0:
            for m in range(self.n_members):
                to = self.members[m]
                if to != source:
                    if self.own.lists[to].count != 0 or self.look_at(to):
                        if self.n_taps != 0:
                            self.tap_list(u32(to), source, True)
                        self.deliver(u32(to), source, True)
            everywhere.count = 0
            if self.n_ringed != 0:
                # The first ring of a port hears what is for all; the others have lists of their own.
                for t in range(n):
                    if self.own.lists[self.own.touched[t]].count != 0:
                        self.deliver(u32(self.own.touched[t]), source, False)
            fence(True)
            for m in range(self.n_members):
                self.look_for_sleeper(u32(self.members[m]))
            if self.n_ringed != 0:
                for t in range(n):
                    if self.own.touched[t] != BROADCAST:
                        self.look_for_sleeper(u32(self.own.touched[t]))
        else:
            for t in range(n):
                if self.n_taps != 0:
                    self.tap_list(u32(self.own.touched[t]), source, False)
                self.deliver(u32(self.own.touched[t]), source, False)
            # One full fence for all: each reader sees its frames, or we see that it sleeps.
            fence(True)
            for t in range(n):
                self.look_for_sleeper(u32(self.own.touched[t]))
        self.own.n_touched = 0

    @datapath(rare=True)
    def tap_list(self, to: u32, source: u32, with_broadcast: bool) -> None:
        """What a port is about to be sent, to its tap."""
        if self.ports[to].tap != 0:
            tap = u32(self.ports[to].tap) - 1
            if self.look_at(tap):
                self.own.lists[tap].first = self.own.lists[to].first
                self.own.lists[tap].count = self.own.lists[to].count
                self.deliver_to_tap(tap, source, with_broadcast)

    @datapath(rare=True)
    def tap_batch(self, source: u32, frames: u32) -> None:
        """What a port has sent, to its tap; the lists are free again."""
        tap = u32(self.ports[source].tap) - 1
        if self.look_at(tap):
            for k in range(min(frames, BATCH)):
                self.own.next[k] = k + 1
            self.own.lists[tap].first = 0
            self.own.lists[tap].count = frames
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
        entry = self.own.lists[to]
        port, target, outlet = self.ports[source], self.ports[to], self.outlets[to]
        left: u32 = entry.count
        more: u32 = self.own.lists[BROADCAST].count if with_broadcast else u32(0)
        entry.count = 0
        if self.own.chain_slots != 0:
            self.deliver_chain(to, source)
            return
        i: u32 = entry.first
        b: u32 = self.own.lists[BROADCAST].first
        head: u32 = port.head
        here_mask: u32 = port.mask
        there_mask: u32 = target.mask
        here_lengths: u64 = port.source + LENGTHS
        there_lengths: u64 = target.target + LENGTHS
        here_buffers: u64 = port.source_buffers
        there_buffers: u64 = target.target_buffers
        total: u64 = 0
        lease: u32 = 0
        is_short: bool = True
        room: u32 = entry.room
        if self.is_parallel:
            self.lock(to)
            self.settle_promises(to, left)
            room = self.room_for(to)
        if with_broadcast:
            # What is for all takes no room that was promised.
            if target.patient and left + more + (outlet.left if self.is_parallel else u32(0)) > room:
                outlet.full += more
                more = 0
        count = min(left + more, room)
        if self.is_parallel:
            first = b if left == 0 or (more != 0 and b < i) else i
            lines = ((self.memory[here_lengths + u64((head + first) & here_mask)] & _LENGTH) + 63) >> 6
            is_short = count * lines <= self.short_lines
        if count != left + more:
            outlet.full += left + more - count
        tail: u32 = outlet.tail
        if self.is_parallel:
            lease = self.take(to, count)
            if not is_short:
                self.unlock(to)
        for _ in range(count):
            pick: u32 = i
            if with_broadcast and more != 0 and (left == 0 or b < i):
                pick = b
                more -= 1
                b = self.own.next[b]
            else:
                if with_broadcast:
                    left -= 1
                i = self.own.next[i]
            here = u64((head + pick) & here_mask)
            there = u64(tail & there_mask)
            # A length that grew since it was checked copies no more than a slot.
            length = min(self.memory[here_lengths + here] & _LENGTH, BUFFER_BYTES)
            copy_lines(self.memory, there_buffers + there * BUFFER_BYTES, self.memory, here_buffers + here * BUFFER_BYTES,
                       (length + 63) >> 6, SLOT_LINES)
            self.memory[there_lengths + there] = length
            total += length
            tail += 1
        if self.is_parallel:
            if not is_short:
                self.lock(to)
            self.show(to, lease)
        else:
            outlet.tail = tail
            fence()
            self.memory[target.target + TAIL] = tail
        outlet.packets_out += count
        outlet.bytes_out += total
        if self.is_parallel:
            self.unlock(to)

    # Several workers at one ring; its lock is held

    @datapath
    def settle_promises(self, to: u32, slots: u32) -> None:
        """What was promised by ``has_room`` is about to be taken."""
        if self.ports[to].patient:
            self.outlets[to].left -= slots

    @datapath
    def room_for(self, to: u32) -> u32:
        """Free slots of a ring; none where its reader's index makes no sense, or too many are filling it."""
        target, outlet = self.ports[to], self.outlets[to]
        used = outlet.tail - self.memory[target.target + HEAD]
        if used > target.mask + 1:
            target.broken = Reason.INDEX
            return u32(0)
        return u32(0) if outlet.next_lease - outlet.first_lease == LEASES else target.mask + 1 - used

    @datapath
    def take(self, to: u32, slots: u32) -> u32:
        """Take slots that are free; gives the number of the lease."""
        outlet = self.outlets[to]
        number: u32 = outlet.next_lease
        if slots != 0:
            outlet.tail += slots
            self.leases[to * LEASES + number % LEASES].end = outlet.tail
            self.leases[to * LEASES + number % LEASES].done = 0
            outlet.next_lease += 1
        return number

    @datapath
    def show(self, to: u32, number: u32) -> None:
        """A lease's slots are filled: the port sees all up to the first that are not."""
        outlet = self.outlets[to]
        if number != outlet.next_lease:
            self.leases[to * LEASES + number % LEASES].done = 1
        for _ in range(LEASES):
            at = to * LEASES + outlet.first_lease % LEASES
            if outlet.first_lease == outlet.next_lease or self.leases[at].done == 0:
                break
            outlet.shown = self.leases[at].end
            outlet.first_lease += 1
        fence()
        self.memory[self.ports[to].target + TAIL] = outlet.shown

    @datapath(rare=True)
    def deliver_chain(self, to: u32, source: u32) -> None:
        """The frame of several slots that the batch is: all of it or nothing."""
        port, target, outlet = self.ports[source], self.ports[to], self.outlets[to]
        lease: u32 = 0
        tail: u32 = outlet.tail
        room: u32 = self.own.lists[to].room
        if self.is_parallel:
            self.lock(to)
            self.settle_promises(to, u32(self.own.chain_slots))
            tail = outlet.tail
            room = self.room_for(to)
        if not target.chains or self.own.chain_slots > room:
            if target.chains:
                outlet.full += 1
            else:
                outlet.too_large += 1
            if self.is_parallel:
                self.unlock(to)
            return
        if self.is_parallel:
            lease = self.take(to, u32(self.own.chain_slots))
        for s in range(self.own.chain_slots):
            here = u64((port.head + s) & port.mask)
            there = u64((tail + s) & target.mask)
            length = min(self.memory[port.source + LENGTHS + here] & _LENGTH, BUFFER_BYTES)
            copy_lines(self.memory, target.target_buffers + there * BUFFER_BYTES, self.memory, port.source_buffers + here * BUFFER_BYTES,
                       (length + 63) >> 6, SLOT_LINES)
            more = u32(MORE) if s + 1 < self.own.chain_slots else u32(0)
            self.memory[target.target + LENGTHS + there] = length | more
            outlet.bytes_out += length
        outlet.packets_out += 1
        if self.is_parallel:
            self.show(to, lease)
            self.unlock(to)
        else:
            outlet.tail += self.own.chain_slots
            fence()
            self.memory[target.target + TAIL] = outlet.tail

    @datapath
    def look_for_sleeper(self, to: u32) -> None:
        target = self.ports[to]
        if self.memory[target.page + DOMAIN_WAITING] != 0:
            if self.own.n_wake < MAX_PORTS:
                self.own.wake[self.own.n_wake] = to
                self.own.n_wake += 1

    # The worker

    @datapath(inline=False)
    def turn(self, rounds: u32) -> u64:
        """Look at the ports some times; gives how many slots moved."""
        total: u64 = 0
        for _ in range(rounds):
            moved: u32 = 0
            k: u32 = 0
            for _ in range(self.own.n_hot):
                if k < self.own.n_hot:
                    source = self.own.hot[k]
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
            n_sources: u32 = self.own.n_sources
            for _ in range(min(n_sources, u32(_SCAN if moved == 0 else _SCAN_BUSY))):
                self.own.cursor = self.own.cursor + 1 if self.own.cursor + 1 < n_sources else u32(0)
                self.warm(u32(self.own.sources[self.own.cursor]))
                # Among thousands of ports the next one is in no cache, and not in the TLB either.
                ahead = self.own.cursor + 2 if self.own.cursor + 2 < n_sources else u32(0)
                prefetch(self.memory, (self.ports[self.own.sources[ahead]].source + TAIL) * 4)
            total += moved
            if moved == 0 or self.own.n_wake != 0:
                break
        return total

    @datapath(inline=False)
    def push(self, source: u32) -> u64:
        """For a program that forwards itself: some batches of its port; gives how many slots moved."""
        total: u64 = 0
        for _ in range(_PUSHES):
            n: u32 = 0
            if self.is_policed(source):
                n = self.forward(source, True)
            else:
                n = self.forward(source, False)
            total += n
            if n == 0 or self.own.n_wake != 0:
                break
        return total

    @datapath
    def warm(self, source: u32) -> None:
        port = self.ports[source]
        if not port.hot and port.broken == 0 and self.memory[port.source + TAIL] != port.head:
            port.hot = True
            port.idle = 0
            self.own.hot[self.own.n_hot] = source
            self.own.n_hot += 1

    @datapath
    def cool(self, k: u32) -> None:
        self.ports[self.own.hot[k]].hot = False
        self.own.n_hot -= 1
        self.own.hot[k] = self.own.hot[self.own.n_hot]

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
        for m in range(self.own.n_sources):
            self.memory[self.ports[self.own.sources[m]].page + PEER_WAITING] = 1
        fence(True)
        found: u64 = 0
        for m in range(self.own.n_sources):
            source = u32(self.own.sources[m])
            port = self.ports[source]
            if port.broken == 0 and self.memory[port.source + TAIL] != port.head:
                if self.is_policed(source) and self.must_wait(source):
                    found = max(found, 2)
                else:
                    found = 1
                    self.warm(source)
                    break
        return found

    @datapath(inline=False)
    def rouse(self) -> u64:
        """After sleeping: no port needs to call."""
        for m in range(self.own.n_sources):
            self.memory[self.ports[self.own.sources[m]].page + PEER_WAITING] = 0
        return u64(0)
