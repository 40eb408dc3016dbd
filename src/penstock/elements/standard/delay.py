"""DelayUnqueue, DelayShaper and LinkUnqueue: packets that come out later."""

from penstock.elements import ConfigureError, Element, Packet, PacketRing, PacketSlot, Task, Timer, datapath, take, u64
from penstock.elements.shaping import ShapingElement
from penstock.elements.signals import upstream_signal
from penstock.lang.arguments import Bandwidth, Seconds, parse_bandwidth, parse_seconds, unparse_bandwidth

__all__ = ["DelayShaper", "DelayUnqueue", "LinkUnqueue"]


class _Delay(Element):
    """A packet is held until DELAY after its timestamp; one without a timestamp gets one when it is pulled."""

    held: PacketSlot
    delay_ns: u64

    def configure(self, delay: Seconds) -> None:
        if delay < 0:
            raise ConfigureError("DELAY: must be >= 0")
        self.delay_ns = int(delay * 1e9)

    def add_handlers(self) -> None:
        self.add_read("delay", lambda: f"{self.delay_ns / 1e9:g}")
        self.add_write("delay", lambda text: setattr(self, "delay_ns", int(parse_seconds(text.strip()) * 1e9)))

    @datapath
    def next_packet(self) -> Packet | None:
        p = take(self.held)
        if p is not None:
            return p
        q = self.input(0).pull()
        if q is None:
            return None
        if q.timestamp == 0:
            q.timestamp = self.clock.now()
        return q


class DelayUnqueue(_Delay):
    """Pull packets and push each one DELAY after its timestamp.

    A packet without a timestamp gets one when it is pulled.

    Arguments:
        DELAY: the delay.

    Handlers:
        delay (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> DelayUnqueue(10ms) -> Discard;
    """

    processing = "l/h"

    def configure(self, delay: Seconds) -> None:
        super().configure(delay)
        self.task = Task(self)
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.signal = upstream_signal(self, 0, self.task)

    @datapath
    def run_timer(self) -> bool:
        self.task.reschedule()
        return True

    @datapath
    def run_task(self) -> bool:
        p = self.next_packet()
        if p is None:
            if self.signal.active():
                self.task.reschedule()
            return False
        due = p.timestamp + self.delay_ns
        if self.clock.now() < due:
            self.held = p
            self.timer.schedule_at(due)
            return False
        self.output(0).push(p)
        self.task.reschedule()
        return True


class DelayShaper(ShapingElement, _Delay):
    """Let each packet be pulled DELAY after its timestamp.

    Arguments:
        DELAY: the delay.

    Handlers:
        delay (read/write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> DelayShaper(10ms) -> Unqueue -> Discard;
    """

    def configure(self, delay: Seconds) -> None:
        super().configure(delay)
        self.set_shaper()

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.next_packet()
        if p is not None:
            due = p.timestamp + self.delay_ns
            if self.clock.now() < due:
                self.held = p
                self.rest_until(due)
                return None
        self.go_on()
        return p


class LinkUnqueue(Element):
    """Behave like a link: each packet takes its transmission time at BANDWIDTH, then LATENCY.

    Arguments:
        LATENCY: propagation time.
        BANDWIDTH: speed.
        CAPACITY: packets that can be on the link.

    Handlers:
        latency, bandwidth (read/write), size (read): packets on the link, reset (write).

    Example:
        InfiniteSource(LIMIT 3) -> Queue -> LinkUnqueue(10ms, 10Mbps) -> Discard;
    """

    processing = "l/h"

    latency_ns: u64
    ns_per_byte_16: u64
    free_at: u64

    def configure(self, latency: Seconds, bandwidth: Bandwidth, *, capacity: int = 1024) -> None:
        if bandwidth < 1:
            raise ConfigureError("BANDWIDTH: bandwidth must be >= 1Bps")
        if not 1 <= capacity <= 1 << 20:
            raise ConfigureError("CAPACITY: must be between 1 and 1048576")
        self.latency_ns = int(latency * 1e9)
        self.bandwidth = bandwidth
        self.ns_per_byte_16 = int(1e9 / bandwidth * 65536)
        self.ring = PacketRing(capacity)
        self.packets_held = capacity + 1
        self.task = Task(self)
        self.timer = Timer(self)

    def initialize(self) -> None:
        self.signal = upstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        self.add_read("latency", lambda: f"{self.latency_ns / 1e9:g}")
        self.add_write("latency", lambda text: setattr(self, "latency_ns", int(parse_seconds(text.strip()) * 1e9)))
        self.add_read("bandwidth", lambda: unparse_bandwidth(self.bandwidth))
        self.add_write("bandwidth", self._set_bandwidth)
        self.add_read("size", lambda: (self.ring.tail - self.ring.head) & 0xFFFFFFFF)
        self.add_write("reset", lambda text: self.ring.drop_all(), flags="b")

    def _set_bandwidth(self, text: str) -> None:
        self.bandwidth = parse_bandwidth(text.strip())
        self.ns_per_byte_16 = int(1e9 / max(self.bandwidth, 1) * 65536)

    @datapath
    def run_timer(self) -> bool:
        self.task.reschedule()
        return True

    @datapath
    def run_task(self) -> bool:
        worked = False
        now = self.clock.now()
        # Onto the link, as long as its sender is free.
        for _ in range(32):
            if self.free_at > now or self.ring.count() >= self.ring.capacity:
                break
            p = self.input(0).pull()
            if p is None:
                break
            worked = True
            start = max(self.free_at, now)
            self.free_at = start + ((u64(p.length + p.extra_length) * self.ns_per_byte_16) >> 16)
            p.timestamp = self.free_at + self.latency_ns
            self.ring.put(p)
        # And off it at the far end.
        next_due: u64 = 0xFFFF_FFFF_FFFF_FFFF
        n = self.ring.count()
        for _ in range(n):
            q = self.ring.get()
            if q is None:
                break
            if q.timestamp > now:
                next_due = q.timestamp
                self.ring.put_front(q)
                break
            worked = True
            self.output(0).push(q)
        if self.free_at > now:
            next_due = min(next_due, self.free_at)
        elif self.signal.active():
            self.task.reschedule()
        # Even where it asks on: simulated time goes by timers when nothing comes.
        if next_due != 0xFFFF_FFFF_FFFF_FFFF:
            self.timer.schedule_at(next_due)
        return worked


