"""What boxes remember of the flow that is looked at; it travels with the symbolic packet."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.verify.packet import SymbolicPacket
from penstock.verify.terms import Value

__all__ = ["Entry", "FlowState"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table that this flow made."""

    key: tuple[Value, ...]
    index: int


@dataclass(slots=True)
class FlowState:
    """Keys begin with the name of the box. Values and packets are found by offset in instance memory."""

    values: dict[tuple[str, int], Value] = field(default_factory=dict)
    packets: dict[tuple[str, object], SymbolicPacket] = field(default_factory=dict)
    entries: dict[tuple[str, int], tuple[Entry, ...]] = field(default_factory=dict)
    #: how many unknown values were named so far
    unknowns: int = 0

    def copy(self) -> FlowState:
        packets = {key: packet.copy() for key, packet in self.packets.items()}
        return FlowState(self.values.copy(), packets, self.entries.copy(), self.unknowns)
