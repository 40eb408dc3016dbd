"""What the ring of a port can end in: TAP interfaces and interfaces of this machine.

In: the memory of a domain's or a switch's port. Out: the frames on the device, and the device's frames in the ring.
"""

from penstock.device.interface import METHODS, InterfacePort, is_plain_interface, open_interface
from penstock.device.pumped import DeviceError, Pumped
from penstock.device.tap import TapPort

__all__ = ["METHODS", "DeviceError", "InterfacePort", "Pumped", "TapPort", "is_plain_interface", "open_interface"]
