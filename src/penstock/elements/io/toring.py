"""ToRing."""

from penstock.elements import BUFFER_BYTES, Element, Packet, Task, datapath, u32, u64
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import UInt32, Word

__all__ = ["ToRing"]


class ToRing(Element):
    """Send packets to an interface of the domain: the ring that a switch, a device or another domain reads.

    In a domain ``ToDevice`` means this element. Pulled packets wait upstream while the ring is full; pushed ones are
    dropped then. Packets longer than a slot (2,048 bytes) are dropped.

    Arguments:
        DEVNAME: the number of the interface (``0`` is the first ``vif``), or its name.
        BURST: packets a task sends at a time.
        METHOD, IGNORE_QUEUE_OVERFLOWS, ENCAP, DEBUG: accepted, as ToDevice's.

    Handlers:
        count (read): packets sent. drops (read): packets that were too long, or found the ring full.
        broken (read): the peer broke the rules of the ring. reset_counts (write).

    Example:
        FromRing(0) -> Queue -> ToRing(0);
    """

    ports = "1/0"
    processing = "a/h"
    takes_state = False

    sent: u64
    drops: u64

    def configure(self, devname: Word, *, burst: UInt32 = 32, method: Word = "", ignore_queue_overflows: bool = False,
                  encap: Word = "", debug: bool = False) -> None:
        self.burst = max(1, min(burst, 256))
        self.longest = BUFFER_BYTES
        self.pulls = self.input_codes[0] == "l"
        self.task = Task(self, active=self.pulls)
        self.port = self.router.port(devname, writer=self.task)

    def initialize(self) -> None:
        if self.pulls:
            self.signal = upstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        self.add_data("count", "sent")
        self.add_data("drops", "drops")
        self.add_read("broken", lambda: bool(self.port.broken))
        self.add_write("reset_counts", self._reset, flags="b")

    def _reset(self, text: str) -> None:
        self.sent = self.drops = 0

    @datapath
    def send(self, p: Packet) -> None:
        if p.length > self.longest:
            self.drops += 1
            p.kill()
        else:
            self.sent += 1
            self.port.put(p)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.port.room() == 0:
            self.drops += 1
            p.kill()
        else:
            # The driver publishes at the end of its turn.
            self.send(p)

    @datapath
    def run_task(self) -> bool:
        if not self.pulls:
            return False
        n = min(self.port.room(), self.burst)
        if n == 0:
            self.port.blocked = True
            return False
        moved: u32 = 0
        for _ in range(n):
            p = self.input(0).pull()
            if p is None:
                break
            moved += 1
            self.send(p)
        self.port.publish()
        if moved == n or self.signal.active():
            self.task.reschedule()
        return moved > 0
