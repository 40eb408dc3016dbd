"""A TAP interface at the other end of a port; it may join a Linux bridge."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct

from penstock.device.pumped import DeviceError, Pumped
from penstock.ring import PortMemory, SharedPort

__all__ = ["TapPort"]

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 2, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRADDIF, _IFF_UP = 0x8913, 0x8914, 0x89A2, 1
_MAX_NAME = 15


class TapPort(Pumped):
    """A TAP interface whose frames go to a port and come from it, by two threads that have no Python in them."""

    def __init__(self, port: SharedPort | PortMemory, name: str, *, bridge: str = "", is_owner: bool = True):
        if not 0 < len(name) <= _MAX_NAME or "/" in name or any(c.isspace() for c in name):
            raise DeviceError(f"'{name}' is no name for an interface (1 to {_MAX_NAME} characters, no spaces)")
        self.name, self.bridge = name, bridge
        descriptor = self._open()
        try:
            self._bring_up()
        except BaseException:
            os.close(descriptor)
            raise
        super().__init__(port, descriptor, is_owner=is_owner)

    def _open(self) -> int:
        try:
            descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(f"{self.name}: /dev/net/tun: {error.strerror} (modprobe tun)") from None
        try:
            fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", self.name.encode(), _IFF_TAP | _IFF_NO_PI))
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EPERM:
                raise DeviceError(f"{self.name}: a TAP interface needs the right CAP_NET_ADMIN (run it as root)") from None
            if error.errno == errno.EBUSY:
                raise DeviceError(f"{self.name}: an interface of that name is there already (see vifname in the domain file)") from None
            raise DeviceError(f"{self.name}: {error.strerror}") from None
        return descriptor

    def _bring_up(self) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            if self.bridge:
                index = struct.pack("16si20x", self.bridge.encode()[:_MAX_NAME], socket.if_nametoindex(self.name))
                try:
                    fcntl.ioctl(control, _SIOCBRADDIF, index)
                except OSError as error:
                    if error.errno in (errno.ENODEV, errno.EOPNOTSUPP):
                        raise DeviceError(f"{self.bridge}: no such bridge (ip link add {self.bridge} type bridge; "
                                          f"ip link set {self.bridge} up)") from None
                    raise DeviceError(f"{self.bridge}: {error.strerror}") from None
            request = bytearray(struct.pack("16sH22x", self.name.encode(), 0))
            fcntl.ioctl(control, _SIOCGIFFLAGS, request)
            (flags,) = struct.unpack_from("H", request, 16)
            fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", self.name.encode(), flags | _IFF_UP))
