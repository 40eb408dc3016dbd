"""RED."""

from penstock.elements import ConfigureError, Element, Packet, datapath, u32, u64
from penstock.elements.standard.queue import SimpleQueue
from penstock.lang.arguments import Raw, UInt32, parse_int, parse_real
from penstock.lang.text import split_words

__all__ = ["RED"]

_FRACTION_BITS = 16
_MAX_THRESHOLD = 0xFFFF


class RED(Element):
    """Drop packets at random before queues are full: Random Early Detection (Floyd and Jacobson 1993).

    The queue length that counts is that of the queues named in QUEUES; where none are named, of those that are found
    downstream of a push RED, or upstream of a pull RED. Its average decides: below MIN_THRESH nothing is dropped, up
    to MAX_THRESH with a probability that grows to MAX_P, above it everything. With GENTLE the probability grows from
    MAX_P to 1 between MAX_THRESH and twice MAX_THRESH. Dropped packets go to output 1 where there is one.

    Arguments:
        MIN_THRESH, MAX_THRESH: packets. MAX_P: probability.
        QUEUES: names of queues. STABILITY: the average's weight is 2^-STABILITY (4). GENTLE: as above.

    Handlers:
        min_thresh, max_thresh, max_p (read/write), avg_queue_size (read), drops (read), queues (read), stats (read).

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> RED(5, 50, 0.02) -> Queue(200) -> Unqueue -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"
    takes_state = True

    drops: u64
    average: u64
    count: u32
    min_threshold: u32
    max_threshold: u32
    max_p_16: u32

    def configure(self, min_thresh: UInt32, max_thresh: UInt32, max_p: float, *, queues: Raw = "", stability: UInt32 = 4,
                  gentle: bool = False) -> None:
        if max_thresh > _MAX_THRESHOLD or min_thresh > max_thresh:
            raise ConfigureError("MIN_THRESH must be <= MAX_THRESH, and MAX_THRESH < 65536")
        if not 0 <= max_p <= 1:
            raise ConfigureError("MAX_P: must be between 0 and 1")
        if not 1 <= stability <= 16:
            raise ConfigureError("STABILITY: must be between 1 and 16")
        self.min_threshold, self.max_threshold = min_thresh, max_thresh
        self.max_p_16 = round(max_p * 65536)
        self.stability, self.gentle, self.queue_names = stability, gentle, split_words(queues)

    def initialize(self) -> None:
        self.queues = self._named() if self.queue_names else self._found()
        if not self.queues:
            raise ConfigureError("no nearby Queues")

    def _named(self) -> list[SimpleQueue]:
        found: list[SimpleQueue] = []
        for name in self.queue_names:
            element = self.router.find(name, self.name)
            if not isinstance(element, SimpleQueue):
                raise ConfigureError(f"'{name}' is not a queue")
            found.append(element)
        return found

    def _found(self) -> list[SimpleQueue]:
        """Queues next to this one, looking through other elements."""
        downstream = self.output_codes[0] == "h"
        seen: set[int] = set()
        found: list[SimpleQueue] = []
        work: list[Element] = [self]
        while work:
            here = work.pop()
            for port in range(here.noutputs if downstream else here.ninputs):
                for peer, _ in here.downstream(port) if downstream else here.upstream(port):
                    if peer.index in seen:
                        continue
                    seen.add(peer.index)
                    if isinstance(peer, SimpleQueue):
                        found.append(peer)
                    else:
                        work.append(peer)
        return found

    def add_handlers(self) -> None:
        self.add_data("min_thresh", "min_threshold", lambda text: parse_int(text.strip(), 0, _MAX_THRESHOLD))
        self.add_data("max_thresh", "max_threshold", lambda text: parse_int(text.strip(), 0, _MAX_THRESHOLD))
        self.add_data("max_p", "max_p_16", lambda text: round(parse_real(text.strip()) * 65536), lambda v: f"{v / 65536:g}")
        self.add_read("avg_queue_size", lambda: f"{self.average / (1 << _FRACTION_BITS):g}")
        self.add_data("drops", "drops")
        self.add_read("queues", lambda: "".join(f"{q.name}\n" for q in self.queues))
        self.add_read("stats", lambda: f"{sum(q.length for q in self.queues)} current queue\n"
                      f"{self.average / (1 << _FRACTION_BITS):g} avg queue\n{self.drops} drops\n")

    @datapath
    def queue_length(self) -> u32:
        total: u32 = 0
        for queue in self.queues:
            total += queue.ring.count()
        return total

    @datapath
    def should_drop(self) -> bool:
        now = u64(self.queue_length()) << _FRACTION_BITS
        average = self.average
        # An exponential average whose steps are 2^-STABILITY of the difference.
        if now >= average:
            self.average = average + ((now - average) >> self.stability)
        else:
            self.average = average - ((average - now) >> self.stability)
        low = u64(self.min_threshold) << _FRACTION_BITS
        high = u64(self.max_threshold) << _FRACTION_BITS
        level = self.average
        if level <= low:
            self.count = 0
            return False
        chance: u64 = 65536
        if level < high:
            chance = u64(self.max_p_16) * (level - low) // (high - low + 1)
        elif self.gentle and level < 2 * high:
            chance = u64(self.max_p_16) + u64(65536 - self.max_p_16) * (level - high) // (high + 1)
        if chance >= 65536:
            self.count = 0
            return True
        # Spread the drops evenly: the chance grows with the packets since the last one.
        self.count += 1
        spread = chance * u64(self.count)
        limit: u64 = 65536
        if spread < 65536:
            limit = chance * 65536 // (65536 - spread + 1)
        if u64(self.random.next() & 0xFFFF) < limit:
            self.count = 0
            return True
        return False

    @datapath
    def is_unlucky(self, p: Packet) -> bool:
        """Whether this packet is dropped; counts."""
        if self.should_drop():
            self.drops += 1
            return True
        return False

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.is_unlucky(p):
            self.checked_output_push(1, p)
        else:
            self.output(0).push(p)

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.input(0).pull()
        if p is None:
            return None
        if self.is_unlucky(p):
            self.checked_output_push(1, p)
            return None
        return p
