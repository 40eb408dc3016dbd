"""A TAP interface at the other end of a domain's port; it may join a Linux bridge."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import socket
import struct

from penstock.datapath.futex import futex_wake
from penstock.datapath.memory import Memory
from penstock.datapath.ports import PEER_WAITING
from penstock.device.pump import CONTEXT_BYTES, PumpContext, pumps
from penstock.ring import SharedPort
from penstock.runtime.image import LoadedImage
from penstock.runtime.once import once
from penstock.runtime.threads import join_thread, start_thread

__all__ = ["DeviceError", "TapPort"]

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 2, 0x1000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCBRADDIF, _IFF_UP = 0x8913, 0x8914, 0x89A2, 1
_MAX_NAME = 15


class DeviceError(Exception):
    """A device cannot be made or joined; the message says why and what to do."""


@once
def _loaded() -> LoadedImage:
    return LoadedImage(pumps())


class TapPort:
    """A TAP interface whose frames go to a port and come from it, by two threads that have no Python in them."""

    def __init__(self, port: SharedPort, name: str, *, bridge: str = ""):
        if not 0 < len(name) <= _MAX_NAME or "/" in name or any(c.isspace() for c in name):
            raise DeviceError(f"'{name}' is no name for an interface (1 to {_MAX_NAME} characters, no spaces)")
        self.port, self.name, self.bridge = port, name, bridge
        self._threads: list[int] = []
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        try:
            self._descriptor = self._open()
            try:
                self._bring_up()
            except BaseException:
                os.close(self._descriptor)
                raise
        except BaseException:
            os.close(self._stop)
            raise
        self._block = mmap.mmap(-1, 2 * CONTEXT_BYTES)
        self._contexts = [Memory.within(self._block, i * CONTEXT_BYTES, CONTEXT_BYTES) for i in range(2)]
        image = _loaded()
        for context, loop in zip(self._contexts, ("inward", "outward")):
            context.store(PumpContext.DEVICE, 8, self._descriptor)
            context.store(PumpContext.PORT, 8, port.address)
            context.store(PumpContext.STOP_DESCRIPTOR, 8, self._stop)
            self._threads.append(start_thread(image.address + image.image.entries[loop], context.address))

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

    def _both(self, offset: PumpContext) -> tuple[int, int]:
        return self._contexts[0].load(offset, 8), self._contexts[1].load(offset, 8)

    @property
    def counts(self) -> tuple[int, int]:
        """Frames moved to the domain, and from it."""
        return self._both(PumpContext.COUNT)

    @property
    def drops(self) -> tuple[int, int]:
        return self._both(PumpContext.DROPS)

    @property
    def is_broken(self) -> bool:
        """The domain broke the rules of its ring; nothing is moved any more."""
        return any(self._both(PumpContext.BROKEN))

    def close(self) -> None:
        """End the threads; the interface goes."""
        if not self._threads:
            return
        for context in self._contexts:
            context.store(PumpContext.STOP, 8, 1)
        os.eventfd_write(self._stop, 1)
        waiting = self.port.address + 4 * PEER_WAITING
        self.port.clear_peer_waiting()
        futex_wake(waiting)
        for thread in self._threads:
            join_thread(thread)
        self._threads.clear()
        with contextlib.suppress(OSError):
            os.close(self._descriptor)
        os.close(self._stop)

    def __enter__(self) -> TapPort:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
