"""CompareBlock."""

from penstock.elements import Element, Packet, datapath, u32, u64
from penstock.lang.arguments import UInt32, parse_int

__all__ = ["CompareBlock"]

_FWD_RATE, _REV_RATE = 20, 24


class CompareBlock(Element):
    """Tell apart packets whose address sends much more than it is sent, by the rates that IPRateMonitor annotates.

    A packet goes to output 1 where one of the rates is above THRESH and FWD_WEIGHT times the forward rate is more than REV_WEIGHT times
    the reverse rate; else to output 0.

    Arguments:
        FWD_WEIGHT, REV_WEIGHT: factors. THRESH: the rate below which nothing is compared.

    Handlers:
        fwd_weight, rev_weight, thresh (read/write).

    Example:
        MemSource(FLOWS 3, LIMIT 100, STOP true) -> Strip(14) -> CheckIPHeader -> IPRateMonitor(PACKETS, 1, 10, ANNO true)
        -> c :: CompareBlock(1, 4, 20); c[0] -> Discard; c[1] -> Counter -> Discard;
    """

    ports = "1/2"
    processing = "h/h"

    fwd_weight: u32
    rev_weight: u32
    thresh: u32

    def configure(self, fwd_weight: UInt32, rev_weight: UInt32, thresh: UInt32) -> None:
        self.fwd_weight, self.rev_weight, self.thresh = fwd_weight, rev_weight, thresh

    def add_handlers(self) -> None:
        for name in ("fwd_weight", "rev_weight", "thresh"):
            self.add_data(name, name, lambda text: parse_int(text.strip(), 0, 0xFFFFFFFF))

    @datapath
    def push(self, port: int, p: Packet) -> None:
        forward: u32 = p.anno32[_FWD_RATE]
        reverse: u32 = p.anno32[_REV_RATE]
        many = forward > self.thresh or reverse > self.thresh
        if many and u64(forward) * u64(self.fwd_weight) > u64(reverse) * u64(self.rev_weight):
            self.output(1).push(p)
        else:
            self.output(0).push(p)
