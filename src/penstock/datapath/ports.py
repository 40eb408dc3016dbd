"""Interfaces of an isolated router: two netmap-style rings in memory that it shares with a peer.

The peer (a switch, a device, another domain) is not trusted: its indices and lengths are read once and checked before
use, and a peer that breaks the rules loses the port, nothing else. Each ring has one writer and one reader, free-running
32-bit indices on cache lines of their own, and buffers of a fixed size. Who has nothing to do raises its ``waiting`` word
and sleeps on it (a futex); the other side lowers it and wakes it.

Layout, in 32-bit words from the start of the port: page 0 holds the two ``waiting`` words; then each ring: its indices,
the length of each slot, and from the next page on the buffers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.datapath.memory import Array, Stateful
from penstock.datapath.packet import Packet, fence
from penstock.datapath.source import datapath
from penstock.packet.integers import boolean, u32, u64

if TYPE_CHECKING:
    from penstock.datapath.pool import PacketPool
    from penstock.datapath.sched import Driver, Task

__all__ = [
    "BUFFER_BYTES", "DOMAIN_WAITING", "HEAD", "LENGTHS", "MAX_RINGS", "MAX_SEGMENTS", "MAX_SLOTS", "MIN_SLOTS", "MORE",
    "PAGE_BYTES", "PEER_WAITING", "PORT_BYTES", "RING_BYTES", "RING_HEADER_BYTES", "RX", "SLOTS", "SLOT_LINES", "STARVED", "TAIL",
    "TX", "PortLayout", "RingPort",
]

#: 33 cache lines: slots that lie a power of two apart fall into the same few sets of the caches (2,048: 80 % slower at 60 bytes)
BUFFER_BYTES = 2112
#: cache lines of a slot
SLOT_LINES = BUFFER_BYTES // 64
PAGE_BYTES = 4096

# Words of page 0
DOMAIN_WAITING, PEER_WAITING = 0, 16
# Words of a ring
HEAD, TAIL, STARVED, LENGTHS = 0, 16, 32, 64


#: slots of a ring, at least and at most; segments of a frame larger than a slot; pairs of rings of a switch's port
MIN_SLOTS, MAX_SLOTS, MAX_SEGMENTS, MAX_RINGS = 16, 4096, 64, 8
#: in a slot's length: the frame goes on in the next slot (between switches and programs; domains take frames of one slot)
MORE = 0x8000_0000


@dataclass(frozen=True)
class PortLayout:
    """Where things are in a port whose rings have ``slots`` slots (a power of two)."""

    slots: int

    @property
    def ring_header_bytes(self) -> int:
        return _pages(4 * (LENGTHS + self.slots))

    @property
    def ring_bytes(self) -> int:
        return self.ring_header_bytes + _pages(self.slots * BUFFER_BYTES)

    @property
    def port_bytes(self) -> int:
        return PAGE_BYTES + 2 * self.ring_bytes

    @property
    def rx(self) -> int:
        """The ring towards whoever opened the port, in words from its start."""
        return PAGE_BYTES // 4

    @property
    def tx(self) -> int:
        return (PAGE_BYTES + self.ring_bytes) // 4


def _pages(size: int) -> int:
    return (size + PAGE_BYTES - 1) // PAGE_BYTES * PAGE_BYTES


# The ports of domains
SLOTS = 256
_LAYOUT = PortLayout(SLOTS)
RING_HEADER_BYTES, RING_BYTES, PORT_BYTES = _LAYOUT.ring_header_bytes, _LAYOUT.ring_bytes, _LAYOUT.port_bytes
# Where the rings start, in words; the names are the domain's view
RX, TX = _LAYOUT.rx, _LAYOUT.tx
_MASK = SLOTS - 1


class RingPort(Stateful):
    """The domain's side of one port."""

    is_root = True

    head: u32
    tail: u32
    #: a packet waits because the ring to the peer is full
    blocked: boolean
    broken: boolean
    #: packets were put that the peer has not been shown
    unpublished: boolean
    faults: u64

    def __init__(self, name: str, driver: Driver):
        self.port_name = name
        self.driver = driver
        self.words = Array(u32, PORT_BYTES // 4, alignment=PAGE_BYTES)
        self.pool: PacketPool
        self.reader: Task | None = None
        self.writer: Task | None = None

    # From the peer

    @datapath
    def count(self) -> u32:
        """Packets to read; none for ever once the peer's index makes no sense."""
        n = self.words[RX + TAIL] - self.head
        fence()
        if n > SLOTS:
            self.broken = True
        return 0 if self.broken else n

    @datapath
    def get(self, pool: PacketPool) -> Packet | None:
        """The next packet, where ``count()`` is not 0; None where the pool is empty (it stays) or the slot is wrong."""
        at = self.head & _MASK
        length: u32 = self.words[RX + LENGTHS + at]
        fence()
        if length > BUFFER_BYTES:
            self.broken = True
            return None
        p = pool.allocate(length)
        if p is None:
            return None
        p.data.load_from(self.words, RX * 4 + RING_HEADER_BYTES + at * BUFFER_BYTES, 0, length)
        self.head += 1
        return p

    @datapath
    def give_back(self) -> None:
        """The slots that were read are the peer's again."""
        fence()
        self.words[RX + HEAD] = self.head
        fence(True)
        if self.words[RX + STARVED] != 0:
            self.words[RX + STARVED] = 0
            self.driver.wake_peers = 1

    # To the peer

    @datapath
    def room(self) -> u32:
        """Free slots; none for ever once the peer's index makes no sense."""
        used = self.tail - self.words[TX + HEAD]
        fence()
        if used > SLOTS:
            self.broken = True
        return 0 if self.broken else SLOTS - used

    @datapath
    def put(self, p: Packet) -> None:
        """Copy a packet of at most ``BUFFER_BYTES`` into the next slot, where ``room()`` is not 0."""
        at = self.tail & _MASK
        n = p.length
        self.words[TX + LENGTHS + at] = n
        p.data.store_to(self.words, TX * 4 + RING_HEADER_BYTES + at * BUFFER_BYTES, 0, n)
        p.kill()
        self.tail += 1
        self.unpublished = True

    @datapath
    def publish(self) -> None:
        """What was put is the peer's to read."""
        self.unpublished = False
        fence()
        self.words[TX + TAIL] = self.tail
        fence(True)
        if self.words[PEER_WAITING] != 0:
            self.driver.wake_peers = 1

    # The driver's side

    @datapath
    def poll(self) -> None:
        """Wake the tasks that have something to do."""
        if self.reader is not None:
            if self.count() != 0 and self.pool.free != 0:
                self.reader.reschedule()
        if self.writer is not None:
            if self.blocked:
                if self.room() != 0:
                    self.blocked = False
                    self.writer.reschedule()

    @datapath
    def sleep(self) -> bool:
        """Ask the peer for a call; false where there is already something to do."""
        self.words[DOMAIN_WAITING] = 1
        if self.blocked:
            self.words[TX + STARVED] = 1
        fence(True)
        if self.reader is not None:
            # Without a free buffer nothing can be read: whatever frees one comes from a timer or the host.
            if self.count() != 0 and self.pool.free != 0:
                return False
        if self.blocked:
            if self.room() != 0:
                return False
        return True
