"""What a ring can end in: devices of this machine, and the pumps between them and the rings.

In: the port of a domain. Out: frames on a network interface, and back, without Python on their way.
"""

from penstock.device.tap import DeviceError, TapPort

__all__ = ["DeviceError", "TapPort"]
