"""Elements that do what others do, under the names that configurations use."""

from penstock.elements import Element, Packet, datapath
from penstock.elements.standard.discard import Discard
from penstock.elements.standard.idle import Idle
from penstock.elements.standard.queue import FullNoteQueue, Queue

__all__ = ["CPUQueue", "CPUSwitch", "DiscardNoFree", "MSQueue", "QuickNoteQueue", "SimpleIdle"]


class SimpleIdle(Idle):
    """Idle by its older name.

    Example:
        SimpleIdle -> Discard;
    """


class DiscardNoFree(Discard):
    """Drop all packets. Click keeps their memory, for measurements; here buffers always come back.

    Arguments:
        ACTIVE: false: packets stay where they are, where they can be pulled. BURST: packets pulled at a time.

    Handlers:
        count (read), reset (write), active, burst (read/write).

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> DiscardNoFree;
    """


class QuickNoteQueue(FullNoteQueue):
    """A queue that tells its neighbours when it is empty or full; the same as Queue.

    Arguments:
        CAPACITY: packets it holds (1000).

    Handlers:
        length, highwater_length, drops (read), capacity (read/write), reset_counts, reset (write).

    Example:
        InfiniteSource(LIMIT 5) -> QuickNoteQueue -> Unqueue -> Discard;
    """


class MSQueue(Queue):
    """A queue that several threads may fill; here the same as Queue.

    Arguments:
        CAPACITY: packets it holds (1000).

    Handlers:
        length, highwater_length, drops (read), capacity (read/write), reset_counts, reset (write).

    Example:
        InfiniteSource(LIMIT 5) -> MSQueue -> Unqueue -> Discard;
    """


class CPUQueue(Queue):
    """A queue for each processor; with one thread there is one, and it is the same as Queue.

    Arguments:
        CAPACITY: packets it holds (1000).

    Handlers:
        length, highwater_length, drops (read), capacity (read/write), reset_counts, reset (write).

    Example:
        InfiniteSource(LIMIT 5) -> CPUQueue -> Unqueue -> Discard;
    """


class CPUSwitch(Element):
    """Send packets to the output of the number of the thread that pushes them (modulo the number of outputs).

    Example:
        s :: CPUSwitch; InfiniteSource(LIMIT 1, STOP true) -> s; s[0] -> Discard; s[1] -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    def configure(self) -> None:
        self.number = self.router.spread.pushed[self.index] % self.noutputs

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.output(self.number).push(p)
