"""Tee and PullTee."""

from penstock.elements import ConfigureError, Element, Packet, datapath

__all__ = ["PullTee", "Tee"]


class Tee(Element):
    """Send a copy of each packet to every output.

    Arguments:
        N: number of outputs; may be left out.

    Example:
        InfiniteSource(LIMIT 2, STOP true) -> t :: Tee; t[0] -> Discard; t[1] -> Print -> Discard;
    """

    ports = "1/1-"
    processing = "h/h"

    def configure(self, n: int | None = None) -> None:
        if n is not None and n != self.noutputs:
            raise ConfigureError(f"{n} outputs implies {n} arms")
        self.others = tuple(range(self.noutputs - 1))
        self.packets_held = self.noutputs

    @datapath
    def push(self, port: int, p: Packet) -> None:
        for i in self.others:
            q = p.clone()
            if q is not None:
                self.output(i).push(q)
        self.output(self.noutputs - 1).push(p)


class PullTee(Element):
    """Pull packets on output 0, and push a copy of each to the other outputs.

    Arguments:
        N: number of outputs; may be left out.

    Example:
        InfiniteSource(LIMIT 2) -> Queue -> t :: PullTee; t[0] -> Discard; t[1] -> Print -> Discard;
    """

    ports = "1/1-"
    processing = "l/lh"

    def configure(self, n: int | None = None) -> None:
        if n is not None and n != self.noutputs:
            raise ConfigureError(f"{n} outputs implies {n} arms")
        self.others = tuple(range(1, self.noutputs))
        self.packets_held = self.noutputs

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.input(0).pull()
        if p is None:
            return None
        for i in self.others:
            q = p.clone()
            if q is not None:
                self.output(i).push(q)
        return p
