"""What a box remembers of the flow that is looked at; it travels with the symbolic packet."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from functools import cached_property

from penstock.verify.packet import SymbolicPacket
from penstock.verify.terms import Value

__all__ = ["BoxState", "Entry"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a table that this flow made."""

    key: tuple[Value, ...]
    index: int


@dataclass
class BoxState:
    """Values and packets by their offset in instance memory, entries by that of their table's slots.

    Variables of the box itself are named relative to it. One that is not being run on is not changed any more.
    """

    values: dict[int, Value] = field(default_factory=dict)
    packets: dict[Hashable, SymbolicPacket] = field(default_factory=dict)
    entries: dict[int, tuple[Entry, ...]] = field(default_factory=dict)
    #: how many unknown values were named so far
    unknowns: int = 0

    def copy(self) -> BoxState:
        packets = {key: packet.copy() for key, packet in self.packets.items()} if self.packets else {}
        return BoxState(self.values.copy(), packets, self.entries.copy(), self.unknowns)

    @cached_property
    def signature(self) -> Hashable:
        """The same for states that cannot be told apart."""
        packets = tuple((key, packet.signature) for key, packet in self.packets.items())
        return frozenset(self.values.items()), packets, frozenset(self.entries.items()), self.unknowns
