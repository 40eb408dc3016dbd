"""The rings of packets between a domain or a program and its peers, and the shared memory they are in.

In: frames from a switch, a device or a test. Out: the memory that a domain maps, and the frames that it sent.
"""

from penstock.ring.memory import PortMemory, RingError
from penstock.ring.opened import OpenPort
from penstock.ring.port import PortError, SharedPort

__all__ = ["OpenPort", "PortError", "PortMemory", "RingError", "SharedPort"]
