"""Meter, BandwidthMeter and Block: decisions by rates."""

from penstock.elements import Array, ConfigureError, Element, Packet, datapath, u32, u64
from penstock.lang.arguments import Bandwidth, UInt32, parse_int

__all__ = ["BandwidthMeter", "Block", "Meter"]

#: the average moves by 1/16 of the difference each time, as Click's rate estimates do
_STABILITY = 4
_EPOCH_NS = 10**7
_FORGOTTEN = 400
_EPOCHS_A_SECOND = 10**9 // _EPOCH_NS


class _Rate(Element):
    """A moving average of packets (or bytes) an epoch, in 1/65536."""

    average: u64
    in_epoch: u64
    epoch: u64

    def begin(self) -> None:
        self.decay = Array(u64, _FORGOTTEN + 1, [round((1 - 2**-_STABILITY) ** k * 2**32) for k in range(_FORGOTTEN)])

    @datapath
    def note(self, amount: u32) -> None:
        now = self.clock.now() // _EPOCH_NS
        passed = now - self.epoch
        if self.epoch == 0:
            passed = u64(1)
            self.average = u64(0)
        if passed != 0:
            self.average = self.average - (self.average >> _STABILITY) + ((self.in_epoch << 16) >> _STABILITY)
            self.in_epoch = u64(0)
            # Epochs without a packet: after a few hundred nothing is left.
            self.average = (self.average * self.decay[u32(min(passed - 1, u64(_FORGOTTEN)))]) >> 32
            self.epoch = now
        self.in_epoch += amount

    @property
    def per_second(self) -> float:
        return int(self.average) / 65536 * _EPOCHS_A_SECOND


class Meter(_Rate):
    """Send packets to outputs by their recent rate: below RATE1 to output 0, below RATE2 to output 1, and so on.

    Arguments:
        RATE...: packets a second, in ascending order; one less than outputs.

    Handlers:
        rate (read): packets a second now. rates (read): those that were given.

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> m :: Meter(50); m[0] -> Discard; m[1] -> Discard;
    """

    ports = "1/2-"
    processing = "h/h"

    def configure(self, *rate: UInt32) -> None:
        self._set_rates([float(r) for r in rate])

    def _set_rates(self, rates: list[float]) -> None:
        self.begin()
        if len(rates) != self.noutputs - 1:
            raise ConfigureError(f"need {self.noutputs - 1} rates, one less than outputs")
        if sorted(rates) != rates or len(set(rates)) != len(rates):
            raise ConfigureError("rates must increase")
        self.given = rates
        self.bounds = tuple((i, round(r / _EPOCHS_A_SECOND * 65536)) for i, r in enumerate(rates))

    def add_handlers(self) -> None:
        self.add_read("rate", lambda: f"{self.per_second:g}")
        self.add_read("rates", lambda: " ".join(f"{r:g}" for r in self.given))

    @datapath
    def amount(self, p: Packet) -> u32:
        return u32(1)

    @datapath
    def push(self, port: int, p: Packet) -> None:
        self.note(self.amount(p))
        for output, bound in self.bounds:
            if self.average < bound:
                self.output(output).push(p)
                return
        self.output(self.noutputs - 1).push(p)


class BandwidthMeter(Meter):
    """Send packets to outputs by their recent bandwidth: below RATE1 to output 0, below RATE2 to output 1, and so on.

    Arguments:
        RATE...: bytes a second, or with a unit as in ``10Mbps``, in ascending order; one less than outputs.

    Handlers:
        rate (read): bytes a second now. rates (read): those that were given.

    Example:
        InfiniteSource(LIMIT 100, STOP true) -> m :: BandwidthMeter(50kBps); m[0] -> Discard; m[1] -> Discard;
    """

    def configure(self, *rate: Bandwidth) -> None:
        self._set_rates([float(r) for r in rate])

    @datapath
    def amount(self, p: Packet) -> u32:
        return p.length


class Block(Element):
    """Send packets to output 0 whose fixed-source annotation is below a threshold, others to output 1.

    A threshold of 0 passes all packets.

    Arguments:
        THRESH: the threshold.

    Handlers:
        thresh (read/write).

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> b :: Block(0); b[0] -> Discard; b[1] -> Discard;
    """

    ports = "1/2"
    processing = "h/h"

    threshold: u32

    def configure(self, thresh: UInt32) -> None:
        self.threshold = thresh

    def add_handlers(self) -> None:
        self.add_data("thresh", "threshold", lambda text: parse_int(text.strip(), 0, 0xFFFFFFFF))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        if self.threshold == 0 or p.fix_ip_src <= self.threshold:
            self.output(0).push(p)
        else:
            self.output(1).push(p)


