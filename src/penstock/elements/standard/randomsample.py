"""RandomSample."""

from penstock.elements import ConfigureError, Element, Packet, boolean, datapath, u32, u64
from penstock.lang.arguments import parse_bool, parse_real

__all__ = ["RandomSample"]

_ONE = 1 << 28


class RandomSample(Element):
    """Pass each packet with a given probability. Others go to output 1, or are dropped.

    Arguments:
        P or SAMPLE: the probability that a packet passes. DROP: that it does not.
        ACTIVE: false passes all.

    Handlers:
        sampling_prob, drop_prob, active (read/write), drops (read), clear_counts (write).

    Example:
        InfiniteSource(LIMIT 10, STOP true) -> RandomSample(0.5) -> Discard;
    """

    ports = "1/1-2"
    processing = "a/ah"

    sample: u32
    drops: u64
    active: boolean

    def configure(self, p: float | None = None, *, sample: float | None = None, drop: float | None = None,
                  active: bool = True) -> None:
        given = [v for v in (p, sample, None if drop is None else 1 - drop) if v is not None]
        if len(given) != 1:
            raise ConfigureError("need one of P, SAMPLE and DROP")
        self._set(given[0])
        self.active = active

    def _set(self, probability: float) -> None:
        if not 0 <= probability <= 1:
            raise ConfigureError("probability must be between 0 and 1")
        self.sample = round(probability * _ONE)

    def add_handlers(self) -> None:
        self.add_read("sampling_prob", lambda: f"{self.sample / _ONE:g}")
        self.add_write("sampling_prob", lambda text: self._set(parse_real(text.strip())))
        self.add_read("drop_prob", lambda: f"{1 - self.sample / _ONE:g}")
        self.add_write("drop_prob", lambda text: self._set(1 - parse_real(text.strip())))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", lambda text: setattr(self, "active", parse_bool(text.strip())))
        self.add_data("drops", "drops")
        self.add_write("clear_counts", lambda text: setattr(self, "drops", 0), flags="b")

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active and (self.random.next() & (_ONE - 1)) >= self.sample:
            self.drops += 1
            self.checked_output_push(1, p)
            return None
        return p
