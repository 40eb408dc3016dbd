"""An interface of this machine (a NIC, a veth) at the other end of a port, through a packet socket."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import socket
import struct

from penstock.device.pumped import DeviceError, Pumped
from penstock.ring import PortMemory, SharedPort

__all__ = ["InterfacePort", "is_plain_interface"]

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, _PACKET_IGNORE_OUTGOING, _PACKET_QDISC_BYPASS = 263, 1, 23, 20
_PACKET_MR_PROMISC = 1
_SIOCETHTOOL, _ETHTOOL_GDRVINFO = 0x8946, 3
_BUFFER_BYTES = 8 << 20


def is_plain_interface(name: str) -> bool:
    """Whether there is an interface of that name that is no Linux bridge, as its driver says (not sysfs, which can be another
    network namespace's).
    """
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    information = ctypes.create_string_buffer(struct.pack("I", _ETHTOOL_GDRVINFO), 196)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(information)))
        except OSError:
            return True
    return information.raw[4:36].rstrip(b"\0") != b"bridge"


class InterfacePort(Pumped):
    """Frames that the interface receives go to the port, and the other way round. The host's own stack sees them too.

    What this host sends through the interface is not received. Needs the right CAP_NET_RAW.
    """

    def __init__(self, port: SharedPort | PortMemory, name: str, *, is_owner: bool = True):
        self.name = name
        try:
            index = socket.if_nametoindex(name)
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError:
            raise DeviceError(f"{name}: packet sockets need the right CAP_NET_RAW (run it as root)") from None
        except OSError as error:
            there = ", ".join(n for _, n in socket.if_nameindex())
            raise DeviceError(f"{name}: {'no such interface' if error.errno in (errno.ENODEV, errno.ENXIO, None) else error.strerror} "
                              f"(there are {there})") from None
        with made:
            made.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b""))
            made.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            made.setsockopt(_SOL_PACKET, _PACKET_QDISC_BYPASS, 1)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                made.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
            made.bind((name, _ETH_P_ALL))
            made.setblocking(False)
            super().__init__(port, made.detach(), is_socket=True, is_owner=is_owner)
