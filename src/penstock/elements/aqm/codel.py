"""CoDel."""

from penstock.elements import ConfigureError, Element, Packet, boolean, datapath, u32, u64
from penstock.lang.arguments import Seconds, parse_seconds

__all__ = ["CoDel"]


class CoDel(Element):
    """Drop packets that have waited too long, when they are pulled: Controlled Delay (RFC 8289).

    How long a packet has waited is told by its FIRST_TIMESTAMP annotation, where it has one, else by its timestamp. When every
    packet of an interval has waited for longer than the target, one is dropped, and then more and more often. Dropped packets go
    to output 1 where there is one.

    Arguments:
        TARGET: the wait that is good (5 ms). INTERVAL: for so long it may be longer (100 ms).

    Handlers:
        target, interval (read/write), drops (read), dropping (read), reset (write).

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> Queue(200) -> CoDel -> Unqueue -> Discard;
    """

    ports = "1/1-2"
    processing = "l/lh"
    takes_state = True

    drops: u64
    target_ns: u64
    interval_ns: u64
    #: when the wait has been too long for an interval; 0: it is good
    first_above_ns: u64
    drop_next_ns: u64
    count: u32
    last_count: u32
    dropping: boolean

    def configure(self, target: Seconds = 0.005, interval: Seconds = 0.1) -> None:
        if target <= 0 or interval <= 0:
            raise ConfigureError("TARGET and INTERVAL must be positive")
        self.target_ns, self.interval_ns = int(target * 1e9), int(interval * 1e9)

    def add_handlers(self) -> None:
        for name in ("target", "interval"):
            self.add_data(name, f"{name}_ns", lambda text: int(parse_seconds(text.strip()) * 1e9), lambda ns: f"{ns / 1e9:g}")
        self.add_data("drops", "drops")
        self.add_read("dropping", lambda: bool(self.dropping))
        self.add_write("reset", self._reset, flags="b")

    def _reset(self, text: str) -> None:
        self.drops = self.first_above_ns = self.drop_next_ns = self.count = self.last_count = 0
        self.dropping = False

    @datapath
    def control(self, at: u64) -> u64:
        """The next drop: INTERVAL over the root of the number of drops later (section 5.3)."""
        # Sixteen bits behind the point: Newton's method from above.
        value = u64(self.count) << 32
        root: u64 = 1 << 32
        for _ in range(40):
            following = (root + value // root) >> 1
            if following >= root:
                break
            root = following
        return at + (self.interval_ns << 16) // max(root, u64(1))

    @datapath
    def waited_too_long(self, p: Packet, now: u64) -> bool:
        since = p.first_timestamp if p.first_timestamp != 0 else p.timestamp
        if since == 0 or now < since or now - since < self.target_ns:
            self.first_above_ns = u64(0)
            return False
        if self.first_above_ns == 0:
            self.first_above_ns = now + self.interval_ns
            return False
        return now >= self.first_above_ns

    @datapath
    def drop(self, p: Packet) -> None:
        self.drops += 1
        self.checked_output_push(1, p)

    @datapath
    def pull(self, port: int) -> Packet | None:
        now = self.clock.now()
        # In one pull no more are dropped than a loop may take.
        for _ in range(1000):
            p = self.input(0).pull()
            if p is None:
                self.first_above_ns = u64(0)
                self.dropping = False
                return None
            late = self.waited_too_long(p, now)
            if self.dropping:
                if not late:
                    self.dropping = False
                    return p
                if now < self.drop_next_ns:
                    return p
                self.count += 1
                self.drop(p)
                self.drop_next_ns = self.control(self.drop_next_ns)
            else:
                if not late:
                    return p
                self.drop(p)
                self.dropping = True
                # If it was dropping not long ago, it goes on near where it was (section 5.4).
                recent = self.count - self.last_count if self.count > self.last_count else u32(0)
                self.count = recent if recent > 1 and now - self.drop_next_ns < 16 * self.interval_ns else u32(1)
                self.last_count = self.count
                self.drop_next_ns = self.control(now)
        return None
