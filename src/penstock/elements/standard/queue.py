"""Queue and its relatives: where push meets pull."""

from penstock.datapath.containers import SharedRing
from penstock.elements import ConfigureError, Element, HandlerError, Notifier, Packet, PacketRing, datapath, u32, u64
from penstock.lang.arguments import ArgumentError, parse_int

__all__ = ["FrontDropQueue", "FullNoteQueue", "MixedQueue", "NotifierQueue", "Queue", "SimpleQueue", "ThreadSafeQueue"]

_SLEEPINESS_TRIGGER = 9


class SimpleQueue(Element):
    """Store packets in a first-in, first-out queue, without telling anybody.

    A packet that finds the queue full goes to output 1, or is dropped where it is not connected.

    Arguments:
        CAPACITY: packets the queue can hold.

    Handlers:
        length (read): packets in the queue.
        highwater_length (read): the largest length so far.
        capacity (read/write): at most what was configured, which is what memory was laid out for.
        drops (read): packets dropped.
        reset_counts (write): set drops and highwater_length to zero.
        reset (write): drop all packets.

    Example:
        InfiniteSource(LIMIT 5) -> SimpleQueue(10) -> Unqueue -> Discard;
    """

    ports = "1/1-2"
    processing = "h/lh"
    takes_state = True
    #: one thread may push to it while another one pulls; then ``is_shared`` is true
    between_threads = True
    is_shared = False

    limit: u32
    drops: u64
    highwater: u32
    sleepiness: u32

    def configure(self, capacity: int = 1000) -> None:
        if not 0 <= capacity <= 1 << 22:
            raise ConfigureError("CAPACITY: out of range, bound 4194304")
        self.limit = self.configured = capacity
        self.ring: PacketRing = (SharedRing if self.is_shared else PacketRing)(max(capacity, 1))
        self.packets_held = capacity + 1

    @property
    def length(self) -> int:
        head, tail = self.ring.span
        return (tail - head) & 0xFFFFFFFF

    def add_handlers(self) -> None:
        self.add_data("length", "length")
        self.add_data("highwater_length", "highwater")
        self.add_read("capacity", lambda: self.limit)
        self.add_write("capacity", self._set_capacity)
        self.add_data("drops", "drops")
        self.add_write("reset_counts", self._reset_counts, flags="b")
        self.add_write("reset", lambda text: self.drop_all(), flags="b")

    def _set_capacity(self, text: str) -> None:
        try:
            capacity = parse_int(text.strip(), 0)
        except ArgumentError as error:
            raise HandlerError(f"CAPACITY: {error}") from None
        if capacity > self.ring.places:
            raise HandlerError(f"CAPACITY: out of range, bound {self.ring.places} (configure a larger one)")
        self.limit = capacity

    def _reset_counts(self, text: str) -> None:
        self.drops = 0
        self.highwater = self.length

    @datapath
    def drop_all(self) -> None:
        self.ring.drop_all()

    @datapath
    def enqueue(self, p: Packet) -> None:
        self.ring.put(p)
        n = self.ring.count_at_most(u32(self.highwater) + 1)
        if n > self.highwater:
            self.highwater = n

    @datapath
    def overflow(self, p: Packet) -> None:
        self.drops += 1
        self.checked_output_push(1, p)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.ring.count_at_most(u32(self.limit)) >= self.limit:
            self.overflow(p)
        else:
            self.enqueue(p)

    @datapath
    def pull(self, port: int) -> Packet | None:
        return self.ring.get()

    @datapath
    def look(self) -> None:
        """What a thread at one of its ends does now and then: here there is nothing to do."""


class NotifierQueue(SimpleQueue):
    """A queue that tells pullers when it has packets.

    Example:
        InfiniteSource(LIMIT 5) -> NotifierQueue(10) -> Unqueue -> Discard;
    """

    def configure(self, capacity: int = 1000) -> None:
        super().configure(capacity)
        self.nonempty = Notifier()
        self.nonfull = Notifier(True)
        self.tells_full = False

    def empty_notifier(self, port: int) -> Notifier | None:
        return self.nonempty if port == 0 else None

    @datapath
    def enqueue(self, p: Packet) -> None:
        self.ring.put(p)
        n = self.ring.count_at_most(u32(self.highwater) + 1)
        if n > self.highwater:
            self.highwater = n
        self.nonempty.wake()
        if self.tells_full:
            if n >= self.limit:
                self.nonfull.sleep()

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.ring.get()
        if p is None:
            # Asleep only after several pulls in vain: a queue that oscillates should not toggle its signal.
            self.sleepiness += 1
            if self.sleepiness >= _SLEEPINESS_TRIGGER:
                self.nonempty.sleep()
            return None
        if self.sleepiness != 0:
            self.sleepiness = 0
        if self.tells_full:
            self.tell_room()
        return p

    @datapath
    def tell_room(self) -> None:
        """Between threads not for each packet: a signal to another processor takes as long as many packets."""
        if not self.is_shared or (not self.nonfull.active and self.ring.count() <= self.limit >> 1):
            self.nonfull.wake()

    @datapath
    def look(self) -> None:
        """Both threads look now and then: one may have gone to sleep while the other one saw it still awake."""
        n = self.ring.count()
        if n != 0:
            self.nonempty.wake()
        if self.tells_full and n <= self.limit >> 1:
            self.nonfull.wake()

    @datapath
    def drop_all(self) -> None:
        self.ring.drop_all()
        if self.tells_full:
            self.nonfull.wake()


class FullNoteQueue(NotifierQueue):
    """A queue that tells pullers when it has packets, and pushers when it has room.

    Example:
        InfiniteSource(LIMIT 5) -> FullNoteQueue(10) -> Unqueue -> Discard;
    """

    def configure(self, capacity: int = 1000) -> None:
        super().configure(capacity)
        self.tells_full = True

    def full_notifier(self, port: int) -> Notifier | None:
        return self.nonfull


class Queue(FullNoteQueue):
    """Store packets in a first-in, first-out queue; the queue that configurations use.

    Pullers sleep while it is empty, and sources that listen (InfiniteSource, RatedSource, Unqueue) sleep while
    it is full. A packet that finds it full goes to output 1, or is dropped where that is not connected.

    Arguments:
        CAPACITY: packets the queue can hold.

    Handlers:
        length (read): packets in the queue.
        highwater_length (read): the largest length so far.
        capacity (read/write): at most what was configured, which is what memory was laid out for.
        drops (read): packets dropped.
        reset_counts (write): set drops and highwater_length to zero.
        reset (write): drop all packets.

    Example:
        InfiniteSource(LIMIT 5) -> Queue(10) -> Unqueue -> Discard;
    """


class ThreadSafeQueue(FullNoteQueue):
    """Queue under the name of Click's queue for several threads: every Queue here may be pushed to by one and pulled by another.

    Example:
        InfiniteSource(LIMIT 5) -> ThreadSafeQueue(10) -> Unqueue -> Discard;
    """


class FrontDropQueue(NotifierQueue):
    """A queue that makes room for a new packet by dropping the oldest one.

    Example:
        InfiniteSource(LIMIT 5) -> FrontDropQueue(3) -> Unqueue -> Discard;
    """

    between_threads = False

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.ring.count() >= self.limit:
            old = self.ring.get()
            if old is not None:
                self.overflow(old)
        if self.limit == 0:
            self.overflow(p)
        else:
            self.enqueue(p)


class MixedQueue(NotifierQueue):
    """A queue with two inputs: input 0 is first-in, first-out, input 1 is last-in, first-out.

    When it is full, a packet on input 1 pushes out the packet at the end; one on input 0 is dropped.

    Example:
        InfiniteSource(LIMIT 5) -> q :: MixedQueue(10) -> Unqueue -> Discard; Idle -> [1] q;
    """

    ports = "2/1-2"
    between_threads = False

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if port == 0:
            if self.ring.count() >= self.limit:
                self.overflow(p)
            else:
                self.enqueue(p)
        else:
            if self.ring.count() >= self.limit:
                old = self.ring.get_last()
                if old is not None:
                    self.overflow(old)
            self.ring.put_front(p)
            self.nonempty.wake()
