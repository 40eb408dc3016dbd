"""Keeper: an element that does to a table what packets say."""

from __future__ import annotations

from penstock.datapath.containers import NONE, Table
from penstock.datapath.memory import Struct
from penstock.elements import Element, Packet, datapath, u32


class Kept(Struct):
    number: u32


class Keeper(Element):
    """Byte 0 of a packet: 0 enter, 1 look, 2 remove, 3 clear; bytes 1 to 4 the key; bytes 5 to 8 the value, or the answer."""

    ports = "1/1"

    def configure(self) -> None:
        self.table = Table((u32,), Kept, 12)

    @datapath
    def simple_action(self, p: Packet) -> Packet:
        what = p.data.u8[0]
        key = p.data.u32[1]
        i = self.table.find((key,))
        if what == 0:
            if i == NONE:
                i = self.table.insert((key,))
            if i != NONE:
                self.table.slots[i].value.number = p.data.u32[5]
        elif what == 2 and i != NONE:
            self.table.remove(i)
        elif what == 3:
            self.table.clear()
        if what < 2:
            p.data.u32[5] = u32(NONE) if i == NONE else self.table.slots[i].value.number
        return p
