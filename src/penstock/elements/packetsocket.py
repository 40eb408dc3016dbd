"""Memory-mapped packet sockets of Linux (packet(7), TPACKET_V2) and TAP interfaces, for FromDevice and ToDevice.

The rings are mapped into instance memory, so that packet code reads and writes the kernel's slots itself.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

from penstock.datapath.memory import Array
from penstock.elements.element import ConfigureError
from penstock.packet.integers import u32

if TYPE_CHECKING:
    from penstock.datapath.memory import Memory

__all__ = ["HEADER_BYTES", "FrameRing", "PacketSocket", "missing_interface"]

HEADER_BYTES = 32
_BLOCK_BYTES = 1 << 16
#: what stands in a slot before a received frame, at most: the header, an address, and room to align what is behind the MAC header
_FRONT_BYTES = 128
_SLOT_BYTES, _RING_BYTES, _LARGE_RING_BYTES = 2048, 1 << 22, 1 << 24
_GET_MTU = 0x8921
_SOL_PACKET = 263
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, _TX_RING, _LOSS, _IGNORE_OUTGOING = 1, 5, 6, 10, 13, 14, 23
_MR_PROMISC = 1
_ETH_P_ALL = 3


class FrameRing:
    """How a ring is laid out whose slots have room for frames of ``longest`` bytes; ``slots`` is the ring in instance memory, as 32-bit
    words."""

    def __init__(self, longest: int):
        self.slot_bytes = max(_SLOT_BYTES, 1 << (longest + _FRONT_BYTES - 1).bit_length())
        self.count = (_RING_BYTES if self.slot_bytes == _SLOT_BYTES else _LARGE_RING_BYTES) // self.slot_bytes
        self.words = self.slot_bytes // 4
        self.slots: Array[int] = Array(u32, self.count * self.words, alignment=4096)

    def request(self) -> bytes:
        """As the kernel wants to be told."""
        block = max(_BLOCK_BYTES, self.slot_bytes)
        return struct.pack("IIII", block, self.count * self.slot_bytes // block, self.slot_bytes, self.count)


def missing_interface(device: str) -> ConfigureError:
    """There is no interface of that name."""
    return ConfigureError(f"{device}: no such interface (there are {', '.join(name for _, name in socket.if_nameindex())})")


def _explain(error: OSError, device: str, what: str) -> ConfigureError:
    if error.errno == errno.EPERM:
        return ConfigureError(f"{device}: {what} needs the right CAP_NET_RAW (run it as root)")
    if error.errno in (errno.ENODEV, errno.ENXIO):
        return missing_interface(device)
    return ConfigureError(f"{device}: {error.strerror}")


class PacketSocket:
    """One socket with one ring, for receiving or for sending."""

    def __init__(self, device: str, *, promisc: bool = False, outbound: bool = False):
        try:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except OSError as error:
            raise _explain(error, device, "a packet socket") from None
        self.device = device
        try:
            self.index = socket.if_nametoindex(device)
            self.socket.setsockopt(_SOL_PACKET, _VERSION, 1)
            if not outbound:
                with contextlib.suppress(OSError):
                    self.socket.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
            if promisc:
                request = struct.pack("iHH8s", self.index, _MR_PROMISC, 0, b"")
                self.socket.setsockopt(_SOL_PACKET, _ADD_MEMBERSHIP, request)
        except OSError as error:
            self.socket.close()
            raise _explain(OSError(errno.ENODEV, "") if error.errno is None else error, device, "promiscuous mode") from None

    @property
    def longest(self) -> int:
        """Bytes of the longest frame of the interface's own: its MTU, an Ethernet header and a VLAN tag."""
        request = struct.pack("16si20x", self.device.encode(), 0)
        return int(struct.unpack_from("i", fcntl.ioctl(self.socket, _GET_MTU, request), 16)[0]) + 18

    def ring(self, ring: FrameRing, *, sends: bool) -> None:
        """Have the kernel make the ring."""
        request = ring.request()
        try:
            if sends:
                self.socket.setsockopt(_SOL_PACKET, _LOSS, 1)
            self.socket.setsockopt(_SOL_PACKET, _TX_RING if sends else _RX_RING, request)
            self.socket.bind((self.device, 0 if sends else _ETH_P_ALL))
        except OSError as error:
            raise _explain(error, self.device, "a packet ring") from None

    def map_into(self, memory: Memory, ring: FrameRing) -> None:
        memory.map_at(ring.slots.offset, ring.slots.size_bytes, self.socket.fileno())

    def kick(self) -> None:
        """Have the kernel send what the ring holds."""
        with contextlib.suppress(BlockingIOError, InterruptedError):
            self.socket.send(b"", socket.MSG_DONTWAIT)

    def dropped(self) -> int:
        """Packets that the kernel had no room for since the last call."""
        return int(struct.unpack("II", self.socket.getsockopt(_SOL_PACKET, _STATISTICS, 8))[1])

    def close(self) -> None:
        self.socket.close()
