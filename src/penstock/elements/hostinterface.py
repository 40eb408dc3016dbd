"""Interfaces of this host that elements make: TUN and TAP, with an address."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct

from penstock.elements.element import ConfigureError

__all__ = ["HostInterface"]

_TUNSETIFF, _TUN, _TAP, _NO_PI = 0x400454CA, 1, 2, 0x1000
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1
_SET_ADDRESS, _SET_MASK, _SET_MTU, _SET_ETHER, _ETHER_KIND = 0x8916, 0x891C, 0x8922, 0x8924, 1
_ADD_ROUTE, _ROUTE_BY_GATEWAY = 0x890B, 1 | 2
_MAX_NAME = 15


class HostInterface:
    """A TUN (IP packets) or TAP (Ethernet frames) interface, up; users of one name share it, and the last one takes it away."""

    _open: dict[str, HostInterface] = {}

    def __init__(self, name: str, *, frames: bool):
        if len(name) > _MAX_NAME or "/" in name or any(c.isspace() for c in name):
            raise ConfigureError(f"'{name}' is no name for an interface (at most {_MAX_NAME} characters)")
        self.users, self.frames = 0, frames
        try:
            self.descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise ConfigureError(f"/dev/net/tun: {error.strerror} (modprobe tun)") from None
        try:
            request = struct.pack("16sH22x", name.encode(), (_TAP if frames else _TUN) | _NO_PI)
            answer = fcntl.ioctl(self.descriptor, _TUNSETIFF, request)
        except OSError as error:
            os.close(self.descriptor)
            why = "this needs the right CAP_NET_ADMIN (run it as root)" if error.errno == errno.EPERM else error.strerror
            raise ConfigureError(f"{name or 'interface'}: {why}") from None
        self.name = answer[:16].rstrip(b"\0").decode()

    @classmethod
    def get(cls, name: str, *, frames: bool) -> HostInterface:
        made = cls._open.get(name) if name else None
        if made is None:
            made = cls(name, frames=frames)
        elif made.frames != frames:
            raise ConfigureError(f"{name} is there already, of the other kind")
        cls._open[made.name] = made
        made.users += 1
        return made

    def set_up(self, *, address: int = 0, mask: int = 0, mtu: int = 0, ether: int | None = None) -> None:
        """Give it what is not 0, and bring it up."""
        name = self.name.encode()
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                if ether is not None:
                    fcntl.ioctl(control, _SET_ETHER, struct.pack("16sH6s16x", name, _ETHER_KIND, ether.to_bytes(6, "big")))
                if address:
                    for request, value in ((_SET_ADDRESS, address), (_SET_MASK, mask)):
                        fcntl.ioctl(control, request, struct.pack("16sHH4s16x", name, socket.AF_INET, 0, value.to_bytes(4, "big")))
                if mtu:
                    fcntl.ioctl(control, _SET_MTU, struct.pack("16si20x", name, mtu))
                flags = struct.unpack_from("H", fcntl.ioctl(control, _GET_FLAGS, struct.pack("16s24x", name)), 16)[0]
                fcntl.ioctl(control, _SET_FLAGS, struct.pack("16sH22x", name, flags | _UP))
        except OSError as error:
            raise ConfigureError(f"{self.name}: {error.strerror}") from None

    def add_default_route(self, gateway: int) -> None:
        """Have the host send what no other route fits to ``gateway``, by this interface; the route goes when the interface does."""
        def address(value: int) -> bytes:
            return struct.pack("=HH4s8x", socket.AF_INET, 0, value.to_bytes(4, "big"))

        name = ctypes.create_string_buffer(self.name.encode())
        # struct rtentry of <linux/route.h>: destination, gateway, mask, flags, metric, name of the interface.
        request = struct.pack("@Q16s16s16sHhQQhPLLH6x", 0, address(0), address(gateway), address(0), _ROUTE_BY_GATEWAY, 0, 0, 0, 0,
                              ctypes.addressof(name), 0, 0, 0)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
                fcntl.ioctl(control, _ADD_ROUTE, request)
        except OSError as error:
            raise ConfigureError(f"GATEWAY: {self.name}: {error.strerror}") from None

    def read(self) -> bytes | None:
        """What the kernel sends next; None where there is nothing now."""
        try:
            return os.read(self.descriptor, 65536)
        except OSError:
            return None

    def write(self, data: bytes) -> bool:
        try:
            os.write(self.descriptor, data)
        except OSError:
            return False
        return True

    def release(self) -> None:
        self.users -= 1
        if self.users == 0:
            os.close(self.descriptor)
            self._open.pop(self.name, None)
