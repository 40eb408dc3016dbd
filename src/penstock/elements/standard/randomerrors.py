"""RandomBitErrors and RandomSource."""

from penstock.elements import ConfigureError, Element, Packet, Task, abstraction, boolean, datapath, i64, u32, u64
from penstock.elements.signals import downstream_signal
from penstock.elements.sourceend import EndingSource
from penstock.lang.arguments import UInt32, Word, parse_bool, parse_int, parse_real

__all__ = ["RandomBitErrors", "RandomSource"]

_ONE = 1 << 28
_KINDS = {"flip": 0, "set": 1, "clear": 2}


class RandomBitErrors(Element):
    """Change bits of packets, each with a given probability.

    Arguments:
        P: the probability of an error in one bit.
        KIND: flip (the usual), set or clear: what becomes of the bit.
        ACTIVE: false changes nothing.

    Handlers:
        p_bit_error, kind, active (read/write).

    Example:
        InfiniteSource(LIMIT 3, STOP true) -> RandomBitErrors(0.01) -> Print -> Discard;
    """

    probability: u32
    kind: u32
    active: boolean

    def configure(self, p: float, kind: Word = "flip", active: bool = True) -> None:
        self._set_probability(p)
        self._set_kind(kind)
        self.active = active

    def _set_probability(self, p: float) -> None:
        if not 0 <= p <= 1:
            raise ConfigureError("drop probability must be between 0 and 1")
        self.probability = round(p * _ONE)

    def _set_kind(self, kind: str) -> None:
        found = [number for name, number in _KINDS.items() if kind and name.startswith(kind.lower())]
        if not found:
            raise ConfigureError("bad action (must be 'set', 'clear' or 'flip')")
        self.kind = found[0]

    def add_handlers(self) -> None:
        self.add_read("p_bit_error", lambda: f"{self.probability / _ONE:g}")
        self.add_write("p_bit_error", lambda text: self._set_probability(parse_real(text.strip())))
        self.add_read("kind", lambda: next(n for n, k in _KINDS.items() if k == self.kind))
        self.add_write("kind", lambda text: self._set_kind(text.strip()))
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", lambda text: setattr(self, "active", parse_bool(text.strip())))

    @datapath
    def errors(self) -> u32:
        """The bits of one byte that change."""
        found: u32 = 0
        for bit in range(8):
            if (self.random.next() & (_ONE - 1)) < self.probability:
                found = found | u32(1 << u32(bit))
        return found

    @abstraction(of=errors)
    def any_errors(self) -> u32:
        """Any of them."""
        return u32(self.random.next() & 0xFF)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        if self.active and self.probability != 0:
            for i in range(min(p.length, 0x10000)):
                errors = self.errors()
                if errors != 0:
                    byte: u32 = p.data.u8[i]
                    if self.kind == 0:
                        byte = byte ^ errors
                    elif self.kind == 1:
                        byte = byte | errors
                    else:
                        byte = byte & (errors ^ 0xFF)
                    p.data.u8[i] = byte
        return p


class RandomSource(EndingSource):
    """Make packets of random bytes, as fast as what is downstream takes them.

    Arguments:
        LENGTH: bytes a packet.
        LIMIT: packets to make; negative for no limit.
        BURST: packets a task makes at a time. ACTIVE: false stops it.
        STOP: stop the driver at the limit. END_CALL: ``handler [value]``, written at the limit.

    Handlers:
        count (read), reset (write), active, length (read/write).

    Example:
        RandomSource(LENGTH 20, LIMIT 2, STOP true) -> Print -> Discard;
    """

    ports = "0/1"
    processing = "h/h"
    may_generate = True

    count: u64
    limit: i64
    burst: u32
    active: boolean
    length: u32

    def configure(self, length: UInt32, limit: int = -1, burst: int = 1, active: bool = True, *, stop: bool = False,
                  end_call: str = "") -> None:
        if length > 65535:
            raise ConfigureError("LENGTH: out of range, bound 65535")
        if burst < 1:
            raise ConfigureError("BURST: must be >= 1")
        self.length, self.limit, self.burst, self.active = length, limit, burst, active
        self.buffer_bytes = max(length, 2048)
        self.set_end(stop, end_call)
        self.task = Task(self, active=active)

    def initialize(self) -> None:
        self.room = downstream_signal(self, 0, self.task)

    def add_handlers(self) -> None:
        self.add_data("count", "count")
        self.add_write("reset", self._reset, flags="b")
        self.add_read("active", lambda: bool(self.active), flags="c")
        self.add_write("active", self._set_active)
        self.add_data("length", "length", lambda text: parse_int(text.strip(), 0, 65535))

    def _reset(self, text: str) -> None:
        self.count = 0
        self.task.reschedule()

    def _set_active(self, text: str) -> None:
        self.active = parse_bool(text.strip())
        if self.active:
            self.task.reschedule()

    @datapath
    def run_task(self) -> bool:
        made: u32 = 0
        for _ in range(self.burst):
            if not self.active or not self.room.active() or (self.limit >= 0 and i64(self.count) >= self.limit):
                break
            p = self.make_packet(self.length)
            if p is None:
                break
            for i in range(min(p.length, 0x10000)):
                p.data.u8[i] = self.random.next() & 0xFF
            p.timestamp = self.clock.now()
            self.count += 1
            made += 1
            self.output(0).push(p)
        if self.active:
            if self.limit >= 0 and i64(self.count) >= self.limit:
                self.end()
            elif self.room.active():
                self.task.reschedule()
        return made != 0
