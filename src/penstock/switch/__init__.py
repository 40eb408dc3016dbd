"""The software switch: mSwitch's fabric, which moves frames, and modules, which say where.

In: the rings of ports (domains, programs, devices) and a module in the datapath subset. Out: the frames in other ports'
rings, counters, and the commands of the original (vale-ctl, pkt-gen, bdgfnctl). What a module's file needs is exported here.
"""

from penstock.datapath.containers import NONE, Table
from penstock.datapath.frames import Frame
from penstock.datapath.memory import Array, Struct
from penstock.datapath.source import datapath
from penstock.packet.integers import boolean, u8, u16, u32, u48, u64, u128
from penstock.switch.module import BROADCAST, DROP, Module, ModuleError
from penstock.switch.switch import PortCounters, Switch, SwitchError

__all__ = [
    "BROADCAST", "DROP", "NONE", "Array", "Frame", "Module", "ModuleError", "PortCounters", "Struct", "Switch", "SwitchError", "Table",
    "boolean", "datapath", "u8", "u16", "u32", "u48", "u64", "u128",
]
