"""What rewriters of IPv4 and of IPv6 share: input specifications, the choice among a pattern's ports, handlers."""

from __future__ import annotations

from penstock.datapath.packet import Packet
from penstock.datapath.source import datapath
from penstock.elements.element import ConfigureError, HandlerError
from penstock.elements.reaping import ReapingElement
from penstock.elements.rewriter_patterns import Addresses, InputSpec, Pattern, ip4_addresses, parse_input
from penstock.lang.arguments import ArgumentError
from penstock.packet.integers import u32, u64

__all__ = ["MAX_MAPPINGS", "TICK_SHIFT", "RewritingElement", "ticks"]

#: timeouts are counted in units of 2^30 ns
TICK_SHIFT = 30
MAX_MAPPINGS = 1 << 22


def ticks(seconds: float) -> int:
    return min(-int(-seconds * 1e9 // (1 << TICK_SHIFT)), 1 << 30)


class RewritingElement(ReapingElement):
    """Has ``specs``, one for each input, and a ``table`` of flows, two entries each."""

    ports = "1-/1-"
    processing = "h/h"
    takes_state = True

    failures: u64
    rotation: u32

    def read_inputs(self, inputs: tuple[str, ...], capacity: int, *, with_ports: bool = True, with_destination: bool = True,
                    addresses: Addresses = ip4_addresses) -> None:
        if len(inputs) != self.ninputs:
            raise ConfigureError(f"need {self.ninputs} arguments, one per input port")
        if not 1 <= capacity <= MAX_MAPPINGS:
            raise ConfigureError(f"MAPPING_CAPACITY: out of range, bound {MAX_MAPPINGS}")
        specs: list[InputSpec] = []
        problems: list[str] = []
        for number, text in enumerate(inputs):
            try:
                specs.append(parse_input(text, self.router.context, self.noutputs, ports=with_ports, destination=with_destination,
                                         addresses=addresses))
            except ArgumentError as error:
                problems.append(f"input {number}: {error}")
        if problems:
            raise ConfigureError("\n".join(problems))
        self.specs, self.capacity = tuple(specs), capacity

    def add_handlers(self) -> None:
        self.add_read("nmappings", lambda: self.table.entries // 2)
        self.add_data("mapping_failures", "failures")
        self.add_read("capacity", lambda: self.capacity)
        self.add_read("table", self._table)
        self.add_write("clear", self._clear, flags="b")

    def _table(self) -> str:
        """The flows, one a line."""
        raise NotImplementedError

    def _clear(self, text: str) -> None:
        if text.strip():
            raise HandlerError("takes no value")
        self.table.clear()

    @datapath
    def now_ticks(self) -> u32:
        return u32(self.clock.recent >> TICK_SHIFT)

    @datapath
    def is_over(self, i: u32, now_ns: u64) -> bool:
        """A flow is as young as its younger direction."""
        now = u32(now_ns >> TICK_SHIFT)
        if now <= self.table.slots[i].value.expiry:
            return False
        return bool(now > self.table.slots[self.table.slots[i].value.peer].value.expiry)

    @datapath(rare=True)
    def end_entry(self, i: u32) -> None:
        peer = self.table.slots[i].value.peer
        self.table.remove(i)
        if peer != i:
            self.table.remove(peer)

    @datapath
    def first_pick(self, pattern: Pattern, ports: u32, sport: u32) -> u32:
        """Of a pattern's choices, the first one to try for a packet with these ports."""
        start: u32 = 0
        if pattern.choices > 1:
            if pattern.order == "same" and pattern.ports > 1:
                mine = (ports >> 16) - sport
                start = self.random.next() % pattern.choices
                if mine < pattern.ports:
                    start = mine
            elif pattern.order == "?":
                start = self.random.next() % pattern.choices
            else:
                start = self.rotation % pattern.choices
        return start

    @datapath
    def untouched(self, port: int, p: Packet) -> None:
        """A packet that cannot belong to a flow: passes where its input passes, else is dropped."""
        for number, spec in enumerate(self.specs):
            if port == number:
                if spec.kind == "pass":
                    self.output(spec.forward).push(p)
                else:
                    p.kill()
                return
        p.kill()
