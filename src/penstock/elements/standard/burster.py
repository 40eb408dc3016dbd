"""Burster, Unqueue2 and DRRSched."""

from penstock.elements import Array, ConfigureError, Element, Packet, datapath, i32, u32
from penstock.elements.standard.timed import TimedUnqueue
from penstock.elements.standard.unqueue import Unqueue
from penstock.lang.arguments import Seconds

__all__ = ["Burster", "DRRSched", "Unqueue2"]


class Burster(TimedUnqueue):
    """Pull up to BURST packets every INTERVAL and push them.

    Arguments:
        INTERVAL: seconds between bursts. BURST: packets (8).

    Example:
        InfiniteSource(LIMIT 10) -> Queue -> Burster(0.1, 3) -> Discard;
    """

    def configure(self, interval: Seconds, burst: int = 8) -> None:
        super().configure(interval, burst)


class Unqueue2(Unqueue):
    """Pull packets as fast as they come, as long as what is downstream has room, and push them.

    Arguments:
        BURST: packets moved at a time; 0 or less: all there are.
        QUIET: accepted, and of no effect.

    Handlers:
        count (read): packets moved. active, burst, limit (read/write), reset (write).

    Example:
        InfiniteSource(LIMIT 5) -> Queue -> Unqueue2 -> Queue -> Discard;
    """

    def configure(self, burst: int = 1, *, quiet: bool = False) -> None:
        super().configure(burst)


class DRRSched(Element):
    """Pull from the inputs in turn, by deficit round robin: equal shares in bytes (Shreedhar and Varghese 1995).

    Arguments:
        QUANTUM: bytes that an input may give in its turn (500).

    Example:
        InfiniteSource(LIMIT 4) -> Queue -> s :: DRRSched -> Discard; InfiniteSource(LENGTH 1000, LIMIT 4) -> Queue -> [1] s;
    """

    ports = "-/1"
    processing = "l/l"

    turn: u32
    has_turn: u32

    def configure(self, quantum: int = 500) -> None:
        if not 0 < quantum <= 1 << 20:
            raise ConfigureError("QUANTUM: must be between 1 and 1048576")
        self.quantum = quantum
        self.deficits = Array(i32, max(self.ninputs, 1))

    @datapath
    def pull_from(self, port: u32) -> Packet | None:
        for i in tuple(range(self.ninputs)):
            if port == i:
                return self.input(i).pull()
        return None

    @datapath
    def pull(self, port: int) -> Packet | None:
        # What a packet's length overdraws is paid back in the input's later turns: packets need not be kept back.
        for _ in tuple(range(2 * self.ninputs)):
            i = self.turn
            if self.has_turn == 0:
                self.deficits[i] += self.quantum
                self.has_turn = u32(1)
            if self.deficits[i] > 0:
                p = self.pull_from(u32(i))
                if p is not None:
                    self.deficits[i] -= i32(p.length)
                    return p
                self.deficits[i] = i32(0)
            self.has_turn = u32(0)
            self.turn = u32(0) if i + 1 >= self.ninputs else i + 1
        return None
