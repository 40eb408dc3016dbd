"""What ``pkt-gen``, ``penstock bridge`` and ``penstock lb`` can be pointed at, by the names that netmap's programs take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from penstock.toolstack.errors import DomainError

if TYPE_CHECKING:
    from penstock.device import Pumped
    from penstock.ring import PortMemory

__all__ = ["KINDS", "SLOTS", "opened"]

SLOTS = 1024
KINDS = "vale0:p1, tap:tap3, netmap:eth0 or eth0"


@contextlib.contextmanager
def opened(name: str, *, slots: int = SLOTS) -> Iterator[PortMemory]:
    """The rings (of ``slots`` slots) of a port of a switch, of a TAP interface made for it, or of an interface; of nothing (``null``)."""
    from penstock.device import DeviceError, TapPort, open_interface
    from penstock.ring import PortMemory
    from penstock.toolstack.openport import RemotePort

    kind, _, rest = name.partition(":")
    if kind.startswith("vale"):
        with RemotePort(name, slots=slots) as port:
            yield port.memory
        return
    with PortMemory(slots) as memory:
        if name == "null":
            yield memory
            return
        try:
            if kind == "tap":
                device: Pumped = TapPort(memory, rest, is_owner=False)
            else:
                # As ``pcap:`` frames are only looked at, and the host has them too.
                (device,) = open_interface(rest if kind in ("netmap", "pcap") else name, lambda: memory, is_owner=False, most_queues=1,
                                           method="packet" if kind == "pcap" else "")
        except DeviceError as error:
            raise DomainError(str(error)) from None
        with device:
            yield memory
