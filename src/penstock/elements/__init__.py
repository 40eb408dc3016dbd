"""The elements, by Click's own groups: one file an element, or a tight family of them.

Elements are found by looking in these folders (catalog.py); nothing is registered. What an element's file
needs comes from here: the base class, the datapath subset, state, tasks and timers, argument types.
"""

from penstock.datapath.containers import NONE, PacketRing, Table
from penstock.datapath.host import HostPacket, HostSource
from penstock.datapath.memory import Array, PacketSlot, Stateful, Struct
from penstock.datapath.packet import Cursor, Packet, take
from penstock.datapath.ports import BUFFER_BYTES, RingPort
from penstock.datapath.sched import Notifier, Task, Timer
from penstock.datapath.source import abstraction, datapath
from penstock.elements.element import ConfigureError, Element, HandlerError
from penstock.packet.integers import boolean, i8, i16, i32, i64, u8, u16, u32, u48, u64, u128

__all__ = [
    "BUFFER_BYTES",
    "NONE",
    "Array",
    "ConfigureError",
    "Cursor",
    "Element",
    "HandlerError",
    "HostPacket",
    "HostSource",
    "Notifier",
    "Packet",
    "PacketRing",
    "PacketSlot",
    "RingPort",
    "Stateful",
    "Struct",
    "Table",
    "Task",
    "Timer",
    "abstraction",
    "boolean",
    "datapath",
    "i8",
    "i16",
    "i32",
    "i64",
    "take",
    "u8",
    "u16",
    "u32",
    "u48",
    "u64",
    "u128",
]
