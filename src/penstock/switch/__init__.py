"""The software switch: mSwitch's fabric, which moves frames, and modules, which say where.

In: the rings of ports (domains, programs, devices) and a module in the datapath subset. Out: the frames in other ports'
rings, counters, and the commands of the original (vale-ctl, pkt-gen, bdgfnctl).
"""

from penstock.switch.module import BROADCAST, DROP, Module, ModuleError
from penstock.switch.switch import PortCounters, Switch, SwitchError

__all__ = ["BROADCAST", "DROP", "Module", "ModuleError", "PortCounters", "Switch", "SwitchError"]
