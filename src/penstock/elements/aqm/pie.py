"""PIE (RFC 8033)."""

from penstock.datapath.checksum import checksum_adjust
from penstock.elements import ConfigureError, Packet, Timer, datapath, i64, u32, u64
from penstock.elements.aqm.red import RED
from penstock.lang.arguments import Raw, Seconds
from penstock.lang.text import split_words

__all__ = ["PIE"]

_ONE_32 = 1 << 32
#: below each of these probabilities steps are divided by so much (RFC 8033, section 4.2)
_SCALES = tuple((int(limit * _ONE_32), divisor) for limit, divisor in (
    (0.000001, 2048), (0.00001, 512), (0.0001, 128), (0.001, 32), (0.01, 8), (0.1, 2)))
_FIFTH_32, _TENTH_32 = _ONE_32 // 5, _ONE_32 // 10
_FEW_PACKETS = 2
#: waits are not told to be longer than this
_LONGEST_NS = 10_000_000_000


class PIE(RED):
    """Drop at random so that packets wait as long as TARGET says: Proportional Integral controller Enhanced (RFC 8033).

    Every TUPDATE the probability grows by ALPHA times the distance of the wait from TARGET, and BETA times the wait's growth; smaller
    probabilities move in smaller steps. How long packets wait is told from the queue's length and how quickly it empties. A burst of up
    to BURST passes. With ECN, packets whose ends understand it are marked instead, while the probability is below a tenth.

    Arguments:
        TARGET: the wait that is good (15 ms). TUPDATE: how often the probability changes (15 ms). ALPHA, BETA: gains, per second
        (0.125 and 1.25). BURST: how long a burst may last (150 ms). ECN: mark instead of dropping, where that helps.
        QUEUES: names of queues; without them those that are found near.

    Handlers:
        p (read): the probability. delay (read): seconds that packets wait. drops, marks, queues, stats (read).

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> PIE -> Queue(200) -> Unqueue -> Discard;
    """

    #: in 2^-32
    p_32: i64
    delay_ns: u64
    old_queue: u32
    passed: u32
    #: nanoseconds between two packets that leave the queue, on average; 0: not known
    gap_ns: u64
    burst_left_ns: u64
    marks: u64

    def configure(self, target: Seconds = 0.015, *, tupdate: Seconds = 0.015, alpha: float = 0.125, beta: float = 1.25,
                  burst: Seconds = 0.15, ecn: bool = False, queues: Raw = "") -> None:
        if target <= 0 or tupdate <= 0 or not 0 < alpha <= 16 or not 0 < beta <= 16 or burst < 0:
            raise ConfigureError("TARGET, TUPDATE, ALPHA and BETA must be positive, ALPHA and BETA at most 16")
        self.target_ns, self.period_ns, self.burst_ns, self.ecn = int(target * 1e9), int(tupdate * 1e9), int(burst * 1e9), ecn
        #: 2^-48 a nanosecond, so that small gains count
        self.gain_a, self.gain_b = round(alpha * (1 << 48) / 1e9), round(beta * (1 << 48) / 1e9)
        self.burst_left_ns, self.scales = self.burst_ns, _SCALES
        self.queue_names = split_words(queues)
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(self.period_ns)

    def add_handlers(self) -> None:
        self.add_data("p", "p_32", None, lambda v: f"{v / _ONE_32:g}")
        self.add_data("delay", "delay_ns", None, lambda v: f"{v / 1e9:g}")
        self.add_data("drops", "drops")
        self.add_data("marks", "marks")
        self.add_read("queues", lambda: "".join(f"{q.name}\n" for q in self.queues))
        self.add_read("stats", lambda: f"{sum(q.length for q in self.queues)} current queue\n{self.p_32 / _ONE_32:g} p\n"
                      f"{self.delay_ns / 1e9:g} delay\n{self.drops} drops\n{self.marks} marks\n")

    @datapath
    def measure(self) -> u64:
        """How long a packet that comes now will wait."""
        now = self.queue_length()
        left = self.passed + self.old_queue - now
        self.passed = 0
        self.old_queue = now
        if left > 0 and left < 0x8000_0000:
            gap = u64(self.period_ns) // u64(left)
            self.gap_ns = gap if self.gap_ns == 0 else (7 * self.gap_ns + gap) // 8
        if now == 0:
            return u64(0)
        if self.gap_ns == 0:
            return u64(self.target_ns)
        return min(u64(now) * self.gap_ns, u64(_LONGEST_NS))

    @datapath
    def run_timer(self) -> bool:
        old = self.delay_ns
        delay = self.measure()
        up: u64 = 0
        down: u64 = 0
        if delay >= self.target_ns:
            up = u64(self.gain_a) * (delay - self.target_ns)
        else:
            down = u64(self.gain_a) * (self.target_ns - delay)
        if delay >= old:
            up += u64(self.gain_b) * (delay - old)
        else:
            down += u64(self.gain_b) * (old - delay)
        up = up >> 16
        down = down >> 16
        p = self.p_32
        for limit, divisor in self.scales:
            if p < limit:
                up = up // divisor
                down = down // divisor
                break
        if p >= _TENTH_32 and up > _ONE_32 // 50:
            up = u64(_ONE_32 // 50)
        p = p + i64(min(up, u64(_ONE_32))) - i64(min(down, u64(_ONE_32)))
        if delay == 0 and old == 0:
            p = p - p // 50
        if p < 0:
            p = i64(0)
        if p > _ONE_32:
            p = i64(_ONE_32)
        if p == 0 and delay < self.target_ns // 2 and old < self.target_ns // 2:
            self.burst_left_ns = u64(self.burst_ns)
        elif self.burst_left_ns > self.period_ns:
            self.burst_left_ns -= self.period_ns
        else:
            self.burst_left_ns = 0
        self.p_32 = p
        self.delay_ns = delay
        self.timer.schedule_after(self.period_ns)
        return True

    @datapath
    def should_drop(self) -> bool:
        if self.burst_left_ns > 0 or (self.delay_ns < self.target_ns // 2 and self.p_32 < _FIFTH_32) or self.queue_length() <= _FEW_PACKETS:
            return False
        return u64(self.random.next()) < u64(self.p_32)

    @datapath
    def marks_instead(self, p: Packet) -> bool:
        """Mark a packet whose ends understand it (RFC 3168)."""
        if self.ecn:
            if self.p_32 < _TENTH_32 and p.network.has(0, 20):
                ip = p.ip
                if ip.version == 4 and (ip.tos & 3) != 0:
                    old = p.network.u16[0]
                    ip.tos = ip.tos | 3
                    ip.checksum = checksum_adjust(ip.checksum, old, p.network.u16[0])
                    self.marks += 1
                    return True
        return False

    @datapath
    def is_unlucky(self, p: Packet) -> bool:
        if self.should_drop():
            if not self.marks_instead(p):
                self.drops += 1
                return True
        self.passed += 1
        return False
