"""The rings of packets between a domain and its peers, and the shared memory they are in.

In: frames from a switch, a device or a test. Out: the memory that a domain maps, and the frames that it sent.
"""

from penstock.ring.port import PortError, SharedPort

__all__ = ["PortError", "SharedPort"]
