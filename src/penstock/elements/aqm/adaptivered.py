"""AdaptiveRED and PI: queue management that finds its own drop probability."""

from penstock.elements import ConfigureError, Timer, datapath, i64, u32, u64
from penstock.elements.aqm.red import RED
from penstock.lang.arguments import Raw, UInt32
from penstock.lang.text import split_words

__all__ = ["PI", "AdaptiveRED"]

_ADAPT_NS = 500_000_000
_HALF_16 = 32768
#: 0.01 of 65536
_STEP_16 = 655


class AdaptiveRED(RED):
    """RED that holds the average queue near a target by itself (Floyd, Gummadi and Shenker 2001).

    The thresholds are half the target and one and a half times it; twice a second MAX_P grows by 0.01 (or a quarter of it) where
    the average is in the upper 40 percent between them, and falls by a tenth in the lower 40 percent.

    Arguments:
        TARGET: packets in the queue. MAX_P: probability to begin with (0.02).
        QUEUES: names of queues. STABILITY: the average's weight is 2^-STABILITY (4).

    Handlers:
        min_thresh, max_thresh, max_p (read/write), avg_queue_size (read), drops (read), queues (read), stats (read).

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> AdaptiveRED(20) -> Queue(200) -> Unqueue -> Discard;
    """

    def configure(self, target: UInt32, max_p: float = 0.02, *, queues: Raw = "", stability: UInt32 = 4) -> None:
        if target < 2:
            raise ConfigureError("TARGET: must be at least 2")
        super().configure(target // 2, target + target // 2, max_p, queues=queues, stability=stability, gentle=True)
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(_ADAPT_NS)

    @datapath
    def run_timer(self) -> bool:
        low = u64(self.min_threshold) << 16
        part = ((u64(self.max_threshold) << 16) - low) * 4 // 10
        if self.average < low + part:
            self.max_p_16 = self.max_p_16 * 9 // 10
        elif self.average > low + part + part // 2 and self.max_p_16 <= _HALF_16:
            self.max_p_16 += min(self.max_p_16 // 4, u32(_STEP_16)) + 1
        self.timer.schedule_after(_ADAPT_NS)
        return True


class PI(RED):
    """Drop at random with the probability of a proportional-integral controller (Hollot and others 2001).

    W times a second the probability grows by A times the queue's distance from QREF, less B times what that was before.

    Arguments:
        W: samples a second. QREF: packets that the queue should have. A, B: the controller's gains.
        QUEUES: names of queues; without them those that are found near. STABILITY: accepted, there is no average.

    Handlers:
        p (read): the probability. drops, queues, stats (read).

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> PI(170, 50, 0.00001822, 0.00001816) -> Queue(200) -> Unqueue -> Discard;
    """

    #: in 2^-32, so that small gains count
    p_32: i64
    old_queue: u32

    def configure(self, w: UInt32, qref: UInt32, a: float, b: float, *, queues: Raw = "", stability: UInt32 = 4) -> None:
        if not 1 <= w <= 1_000_000:
            raise ConfigureError("W: must be between 1 and 1000000")
        if not 0 <= a < 1 or not 0 <= b < 1:
            raise ConfigureError("A and B must be between 0 and 1")
        if not 1 <= stability <= 16:
            raise ConfigureError("STABILITY: must be between 1 and 16")
        self.period_ns = 1_000_000_000 // w
        self.reference = qref
        self.gain_a, self.gain_b = round(a * (1 << 32)), round(b * (1 << 32))
        self.queue_names = split_words(queues)
        self.timer = Timer(self)

    def started(self) -> None:
        self.timer.schedule_after(self.period_ns)

    def add_handlers(self) -> None:
        self.add_data("p", "p_32", None, lambda v: f"{v / (1 << 32):g}")
        self.add_data("drops", "drops")
        self.add_read("queues", lambda: "".join(f"{q.name}\n" for q in self.queues))
        self.add_read("stats", lambda: f"{sum(q.length for q in self.queues)} current queue\n"
                      f"{self.p_32 / (1 << 32):g} p\n{self.drops} drops\n")

    @datapath
    def run_timer(self) -> bool:
        now = self.queue_length()
        p = self.p_32 + i64(self.gain_a) * (i64(now) - i64(self.reference)) - i64(self.gain_b) * (i64(self.old_queue) - i64(self.reference))
        if p < 0:
            p = i64(0)
        if p > 0x1_0000_0000:
            p = i64(0x1_0000_0000)
        self.p_32 = p
        self.old_queue = now
        self.timer.schedule_after(self.period_ns)
        return True

    @datapath
    def should_drop(self) -> bool:
        return u64(self.random.next() & 0xFFFF) < u64(self.p_32) >> 16
