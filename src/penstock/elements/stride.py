"""What elements share that choose among ports by tickets (Waldspurger and Weihl 1995)."""

from __future__ import annotations

from functools import partial

from penstock.datapath.memory import Array
from penstock.elements.element import ConfigureError, Element, HandlerError
from penstock.lang.arguments import parse_int
from penstock.packet.integers import u32

__all__ = ["StrideElement"]

_STRIDE1 = 1 << 16


class StrideElement(Element):
    """``strides`` and ``passes`` by port."""

    def set_tickets(self, tickets: tuple[int, ...], ports: int, kind: str) -> None:
        """One number for each of so many ``kind`` (input, output) ports."""
        if len(tickets) != ports:
            raise ConfigureError(f"need {ports} arguments, one per {kind} port")
        for t in tickets:
            if not 0 < t <= _STRIDE1:
                raise ConfigureError(f"number of tickets must be between 1 and {_STRIDE1}")
        self.tickets = list(tickets)
        self.strides = Array(u32, ports, [_STRIDE1 // t for t in tickets])
        self.passes = Array(u32, ports, [_STRIDE1 // t for t in tickets])

    def add_handlers(self) -> None:
        for i in range(len(self.tickets)):
            self.add_read(f"tickets{i}", partial(self.tickets.__getitem__, i))
            self.add_write(f"tickets{i}", partial(self._set_tickets, i))

    def _set_tickets(self, number: int, text: str) -> None:
        tickets = parse_int(text.strip())
        if not 0 < tickets <= _STRIDE1:
            raise HandlerError(f"tickets must be between 1 and {_STRIDE1}")
        self.tickets[number] = tickets
        self.strides[number] = _STRIDE1 // tickets
