"""TCPBuffer: what comes of one connection, in order, for who pulls it."""

from penstock.elements import ConfigureError, Element, Notifier, Packet, abstraction, boolean, datapath, u32, u64
from penstock.elements.segments import HALF, SegmentPool
from penstock.elements.tcppayload import tcp_payload_bytes
from penstock.elements.tcpspeaking import FIN, RST, SYN
from penstock.lang.arguments import UInt32
from penstock.lang.ports import flow_reaches

__all__ = ["TCPBuffer"]


class TCPBuffer(Element):
    """Keep the segments of one direction of a TCP connection until they are pulled, in the order of their sequence numbers.

    The first segment that comes, or what a TCPConn upstream knows of the handshake, says where the order begins; a SYN begins a new one.
    A segment is not given out before all that precede it are. Repetitions, and what finds no room, are dropped: who acknowledges
    what is here (TCPAck) has it sent again.

    Arguments:
        SKIP: give out the first segment that is there, even if something before it is missing; that is then dropped when it comes.
        CAPACITY: segments kept (256).

    Handlers:
        length (read): segments kept. next (read): the number that is missing. drops (read): segments dropped. reset (write): drop all.

    Example:
        FromDump(f.pcap, STOP true) -> Strip(14) -> CheckIPHeader -> IPClassifier(tcp) -> TCPBuffer -> Unqueue -> Discard;
    """

    processing = "h/l"

    #: the link to the first segment kept
    first: u32
    begun: boolean
    #: the number of the first byte that is neither here nor was
    next: u32
    #: and of the first one that was not given out
    given: u32
    #: how often the order began
    connection: u32
    drops: u64

    def configure(self, skip: bool = False, *, capacity: UInt32 = 256) -> None:
        if not 1 <= capacity <= 1 << 16:
            raise ConfigureError("CAPACITY: out of range, bound 65536")
        self.skip, self.capacity = skip, capacity
        self.packets_held = capacity + 1
        self.kept = SegmentPool(capacity)
        self.ready = Notifier()

    def empty_notifier(self, port: int) -> Notifier:
        return self.ready

    def add_handlers(self) -> None:
        self.add_read("length", lambda: self.kept.count)
        for name in ("next", "drops"):
            self.add_data(name, name)
        self.add_write("reset", lambda text: self.drop_all(), flags="b")

    @datapath
    def drop_all(self) -> None:
        for _ in range(self.kept.count):
            p = self.take_first()
            if p is not None:
                p.kill()
        self.begun = False

    @datapath
    def begin(self, number: u32) -> None:
        """A connection begins: its first byte has that number."""
        self.drop_all()
        self.begun = True
        self.connection += 1
        self.next = number
        self.given = number

    @abstraction(of=begin)
    def begin_empty(self, number: u32) -> None:
        """Nothing is kept of an earlier one."""
        self.begun = True
        self.connection += 1
        self.next = number
        self.given = number
        self.kept.count = 0
        self.first = 0

    @datapath
    def take_first(self) -> Packet | None:
        if self.first == 0:
            return None
        link: u32 = self.first
        self.first = self.kept.slots[link - 1].after
        return self.kept.take(link)

    @datapath
    def advance(self) -> None:
        """Move ``next`` behind all that follow one another."""
        at: u32 = self.first
        for _ in range(self.kept.count):
            if at == 0 or (self.kept.slots[at - 1].sequence != self.next and self.kept.slots[at - 1].sequence - self.next < HALF):
                break
            end: u32 = self.kept.slots[at - 1].end
            if end - self.next < HALF:
                self.next = end
            at = self.kept.slots[at - 1].after

    @datapath
    def keep(self, p: Packet, sequence: u32, end: u32) -> bool:
        """Put it in its place; False where one like it is there."""
        before, at = self.kept.find(u32(self.first), sequence, u32(self.kept.count))
        if at != 0 and self.kept.slots[at - 1].sequence == sequence and end - self.kept.slots[at - 1].end - 1 >= HALF:
            p.kill()
            return False
        link = self.kept.put(p, before, at, sequence, end, u32(0), u64(0))
        if before == 0:
            self.first = link
        return True

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if not p.network.has(0, 20) or p.ip.protocol != 6 or not p.transport.has(0, 20):
            self.drops += 1
            p.kill()
            return
        flags = u32(p.tcp.flags)
        sequence: u32 = p.tcp.sequence
        if (flags & SYN) != 0:
            self.begin(sequence + 1)
            sequence = sequence + 1
        size = tcp_payload_bytes(p)
        end: u32 = sequence + size + (flags & FIN)
        if end == sequence or (flags & RST) != 0:
            # Nothing that has a place in the order.
            p.kill()
            return
        if not self.begun:
            self.begin(sequence)
        if end - self.given - 1 >= HALF or self.kept.is_full():
            self.drops += 1
            p.kill()
            return
        if not self.keep(p, sequence, end):
            self.drops += 1
            return
        self.advance()
        if self.skip or self.next != self.given:
            self.ready.wake()

    @abstraction(of=push)
    def any_push(self, port: int, p: Packet) -> None:
        """It is dropped, or kept, and then is the next one."""
        if self.kept.count != 0 or (self.random.next() & 1) != 0:
            self.drops += 1
            p.kill()
            return
        self.first = self.kept.put(p, u32(0), u32(0), u32(self.given), self.given + 1, u32(0), u64(0))
        self.ready.wake()

    @datapath
    def pull(self, port: int) -> Packet | None:
        for _ in range(self.capacity):
            if self.first == 0:
                break
            mine = self.kept.slots[self.first - 1]
            is_next = mine.sequence == self.given or mine.sequence - self.given >= HALF
            if not is_next and not self.skip:
                break
            end: u32 = mine.end
            p = self.take_first()
            if p is not None:
                if end - self.given - 1 < HALF:
                    self.given = end
                    if end - self.next < HALF:
                        self.next = end
                        self.advance()
                    return p
                self.drops += 1
                p.kill()
        self.ready.sleep()
        return None


def buffer_behind(element: Element) -> TCPBuffer:
    """The TCPBuffer that what leaves by the first output comes to. Raises ConfigureError where there is not just one."""
    found: dict[int, TCPBuffer] = {}
    seen: set[tuple[int, int]] = set()
    work = [(element, 0)]
    while work:
        here, output = work.pop()
        for peer, at in here.downstream(output):
            if (peer.index, at) in seen:
                continue
            seen.add((peer.index, at))
            if isinstance(peer, TCPBuffer):
                found[peer.index] = peer
            else:
                work += [(peer, o) for o in range(peer.noutputs) if flow_reaches(peer.flow, at, o)]
    if len(found) != 1:
        raise ConfigureError(f"there must be one TCPBuffer behind output 0, not {len(found)}")
    return next(iter(found.values()))
