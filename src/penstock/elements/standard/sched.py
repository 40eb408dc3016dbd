"""Packet schedulers: which input a pull is answered from."""

from penstock.elements import Array, Element, Packet, datapath, u32
from penstock.elements.stride import StrideElement

__all__ = ["PrioSched", "RoundRobinSched", "SimplePrioSched", "SimpleRoundRobinSched", "StrideSched"]

class PrioSched(Element):
    """Pull from the first input that has a packet.

    Example:
        InfiniteSource(LIMIT 2) -> Queue -> s :: PrioSched -> Discard; InfiniteSource(LIMIT 2) -> Queue -> [1] s;
    """

    ports = "-/1"
    processing = "l/l"

    @datapath
    def pull(self, port: int) -> Packet | None:
        for i in tuple(range(self.ninputs)):
            p = self.input(i).pull()
            if p is not None:
                return p
        return None


class SimplePrioSched(PrioSched):
    """PrioSched by its older name.

    Example:
        InfiniteSource(LIMIT 2) -> Queue -> s :: SimplePrioSched -> Discard; Idle -> [1] s;
    """


class RoundRobinSched(Element):
    """Pull from the inputs in turn, passing over those that have nothing.

    Example:
        InfiniteSource(LIMIT 2) -> Queue -> s :: RoundRobinSched -> Discard; InfiniteSource(LIMIT 2) -> Queue -> [1] s;
    """

    ports = "-/1"
    processing = "l/l"

    following: u32

    @datapath
    def pull(self, port: int) -> Packet | None:
        start = self.following
        for turn in (0, 1):
            for i in tuple(range(self.ninputs)):
                if (turn == 0 and i >= start) or (turn == 1 and i < start):
                    p = self.input(i).pull()
                    if p is not None:
                        self.following = 0 if i + 1 == self.ninputs else i + 1
                        return p
        return None


class SimpleRoundRobinSched(RoundRobinSched):
    """RoundRobinSched by its older name.

    Example:
        InfiniteSource(LIMIT 2) -> Queue -> s :: SimpleRoundRobinSched -> Discard; Idle -> [1] s;
    """


class StrideSched(StrideElement):
    """Pull from the inputs in proportion to their tickets (Waldspurger and Weihl 1995).

    Arguments:
        TICKETS...: one number for each input.

    Handlers:
        tickets0, tickets1, ... (read/write).

    Example:
        InfiniteSource(LIMIT 4) -> Queue -> s :: StrideSched(1, 3) -> Discard; InfiniteSource(LIMIT 4) -> Queue -> [1] s;
    """

    ports = "1-/1"
    processing = "l/l"

    def configure(self, *tickets: int) -> None:
        self.set_tickets(tickets, self.ninputs, "input")
        self.tried = Array(u32, self.ninputs)

    @datapath
    def pull(self, port: int) -> Packet | None:
        for j in tuple(range(self.ninputs)):
            self.tried[j] = 0
        for _ in tuple(range(self.ninputs)):
            best: u32 = self.ninputs
            low: u32 = 0
            for k in tuple(range(self.ninputs)):
                if self.tried[k] == 0:
                    if best == self.ninputs or self.passes[k] - low >= 0x8000_0000:
                        best = u32(k)
                        low = self.passes[k]
            self.tried[best] = 1
            # An input that has nothing advances too, so that it cannot save up its turns.
            self.passes[best] = low + self.strides[best]
            for i in tuple(range(self.ninputs)):
                if best == i:
                    p = self.input(i).pull()
                    if p is not None:
                        return p
        return None
