"""An interface of this machine (a NIC, a veth) at the other end of a port: by AF_XDP sockets, or by a packet socket."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path

from penstock.datapath.ports import MAX_RINGS
from penstock.device.mappedpump import BLOCK_BYTES, FRAME_BYTES, FRAMES, MappedContext, mapped_pumps
from penstock.device.pumped import DeviceError, Pumped
from penstock.device.xdp import MAX_MTU_BYTES, Redirection, XdpPort, receive_queues
from penstock.ring import PortMemory, SharedPort
from penstock.runtime.image import LoadedImage
from penstock.runtime.once import once

__all__ = ["METHODS", "InterfacePort", "is_plain_interface", "open_interface"]

#: how frames are fetched from an interface
METHODS = ("xdp", "packet")

_ETH_P_ALL = 3
_SOL_PACKET, _PACKET_MR_PROMISC, _TPACKET_V2 = 263, 1, 1
_PACKET_ADD_MEMBERSHIP, _PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_TX_RING = 1, 5, 6, 10, 13
_PACKET_LOSS, _PACKET_QDISC_BYPASS, _PACKET_IGNORE_OUTGOING = 14, 20, 23
_SIOCGIFADDR, _SIOCGIFMTU = 0x8915, 0x8921
_SIOCETHTOOL, _ETHTOOL_GDRVINFO = 0x8946, 3
_REFUSALS = {
    errno.EOPNOTSUPP: "its driver takes no XDP programs",
    errno.EBUSY: "another program fetches its frames with XDP",
    errno.EPERM: "XDP needs the rights CAP_NET_ADMIN and CAP_BPF (run it as root)",
    errno.ENOSPC: "its peer sends with more queues than it receives with (ethtool -L)",
}


def is_plain_interface(name: str) -> bool:
    """Whether there is an interface of that name that is no Linux bridge, as its driver says (not sysfs, which can be another
    network namespace's).
    """
    try:
        socket.if_nametoindex(name)
    except OSError:
        return False
    return _driver(name) != b"bridge"


def _driver(name: str) -> bytes:
    information = ctypes.create_string_buffer(struct.pack("I", _ETHTOOL_GDRVINFO), 196)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            fcntl.ioctl(control, _SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(information)))
        except OSError:
            return b""
    return information.raw[4:36].rstrip(b"\0")


@once
def _loaded() -> LoadedImage:
    return LoadedImage(mapped_pumps())


class InterfacePort(Pumped):
    """Frames that the interface receives go to the port, and the other way round, by a memory-mapped packet socket. The host's own stack
    sees them too.

    What this host sends through the interface is not received. Needs the right CAP_NET_RAW.
    """

    def __init__(self, port: SharedPort | PortMemory, name: str, *, is_owner: bool = True):
        self.name, self._lost = name, 0
        try:
            index = socket.if_nametoindex(name)
            made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError:
            raise DeviceError(f"{name}: packet sockets need the right CAP_NET_RAW (run it as root)") from None
        except OSError as error:
            there = ", ".join(n for _, n in socket.if_nameindex())
            raise DeviceError(f"{name}: {'no such interface' if error.errno in (errno.ENODEV, errno.ENXIO, None) else error.strerror} "
                              f"(there are {there})") from None
        self._socket = made
        with contextlib.ExitStack() as undo:
            undo.callback(made.close)
            for option in (_PACKET_IGNORE_OUTGOING, _PACKET_QDISC_BYPASS, _PACKET_LOSS):
                made.setsockopt(_SOL_PACKET, option, 1)
            made.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
            size = FRAMES * FRAME_BYTES
            for ring in (_PACKET_RX_RING, _PACKET_TX_RING):
                made.setsockopt(_SOL_PACKET, ring, struct.pack("IIII", BLOCK_BYTES, size // BLOCK_BYTES, FRAME_BYTES, FRAMES))
            self._frames = mmap.mmap(made.fileno(), 2 * size, mmap.MAP_SHARED)
            start = ctypes.addressof(ctypes.c_char.from_buffer(self._frames))
            made.setsockopt(_SOL_PACKET, _PACKET_ADD_MEMBERSHIP, struct.pack("iHH8s", index, _PACKET_MR_PROMISC, 0, b""))
            made.bind((name, _ETH_P_ALL))
            made.setblocking(False)
            super().__init__(port, os.dup(made.fileno()), is_owner=is_owner, is_partial=_driver(name) == b"veth", image=_loaded(),
                             words={MappedContext.RECEIVED: start, MappedContext.TO_SEND: start + size})
            undo.pop_all()

    @property
    def drops(self) -> tuple[int, int]:
        """What the port's ring, or the kernel's, had no room for, and what the device did not take."""
        if self.is_open:
            # The kernel counts from the last question on.
            self._lost += struct.unpack("II", self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))[1]
        inward, outward = super().drops
        return inward + self._lost, outward

    def close(self) -> None:
        if self.is_open:
            _ = self.drops
            super().close()
            self._socket.close()
            self._frames.close()


def open_interface(name: str, ring: Callable[[], PortMemory], *, method: str = "", is_owner: bool = True,
                   most_queues: int = MAX_RINGS) -> list[Pumped]:
    """What moves the interface's frames, one for each pair of rings that it asks ``ring`` for, ``most_queues`` at most.

    ``method``: "xdp" (AF_XDP sockets, one for each receive queue: past the host's stack, in the driver) or "packet" (a packet
    socket: the host's stack sees the frames as well). If nothing is asked for: "xdp" where the driver can and the interface has
    no address of the host, which would be cut off.
    """
    if method not in ("", *METHODS):
        raise DeviceError(f"'{method}' is no way to fetch frames (there are {', '.join(METHODS)})")
    if method != "packet":
        reason = _no_xdp(name, most_queues, is_asked_for=method == "xdp")
        if not reason:
            try:
                return _open_xdp(name, ring, is_owner=is_owner)
            except OSError as error:
                reason = _REFUSALS.get(error.errno or 0) or str(error)
        if method == "xdp":
            raise DeviceError(f"{name}: {reason}; it can be reached with a packet socket (method packet)")
    return [InterfacePort(ring(), name, is_owner=is_owner)]


def _no_xdp(name: str, most_queues: int, *, is_asked_for: bool) -> str:
    """Why AF_XDP is not for this interface; empty where it may be."""
    request = struct.pack("16s24x", name.encode()[:15])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            (mtu_bytes,) = struct.unpack_from("i", fcntl.ioctl(control, _SIOCGIFMTU, request), 16)
        except OSError:
            return ""
        if mtu_bytes > MAX_MTU_BYTES:
            return f"its MTU is {mtu_bytes} bytes, and frames of {MAX_MTU_BYTES} at most can be fetched with XDP"
        if (queues := receive_queues(name)) > most_queues:
            return f"it has {queues} receive queues, and {most_queues} at most can be read (ethtool -L {name} combined {most_queues})"
        if is_asked_for:
            return ""
        try:
            fcntl.ioctl(control, _SIOCGIFADDR, request)
        except OSError:
            pass
        else:
            return "it has an address of this host"
    try:
        lines = [line.split() for line in Path("/proc/net/if_inet6").read_text().splitlines()]
    except OSError:
        return ""
    # Address, index, length, scope (00: global), flags, name; every interface that is up has a link-local one.
    return "it has an address of this host" if any(line[5] == name and line[3] == "00" for line in lines) else ""


def _open_xdp(name: str, ring: Callable[[], PortMemory], *, is_owner: bool) -> list[Pumped]:
    queues = receive_queues(name)
    opened: list[Pumped] = []
    try:
        redirection = Redirection(name, queues)
    except OSError as error:
        if error.errno in (errno.ENODEV, errno.ENXIO, None):
            return [InterfacePort(ring(), name, is_owner=is_owner)]
        raise
    try:
        for queue in range(queues):
            opened.append(XdpPort(ring(), redirection, queue, is_owner=is_owner, is_partial=_driver(name) == b"veth"))
        redirection.attach()
    except BaseException:
        for port in opened:
            port.close()
        redirection.close()
        raise
    return opened
