"""Addresses by name: what AddressInfo says, and else those of this machine's interfaces (``eth0:ip``, ``eth0:eth``)."""

from __future__ import annotations

import fcntl
import socket
import struct
from pathlib import Path
from typing import Any

__all__ = ["NamedAddresses"]

_SIOCGIFADDR, _SIOCGIFNETMASK = 0x8915, 0x891B


def _ioctl_address(device: str, request: int) -> int | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            answer = fcntl.ioctl(sock, request, struct.pack("256s", device.encode()[:15]))
        except OSError:
            return None
    return int.from_bytes(answer[20:24], "big")


def _of_interface(device: str) -> dict[str, Any] | None:
    """The addresses of a network interface, by kind; None where there is no such interface."""
    if "/" in device or not device or not Path("/sys/class/net", device).exists():
        return None
    found: dict[str, Any] = {}
    try:
        text = Path("/sys/class/net", device, "address").read_text().strip()
    except OSError:
        text = ""
    if len(text) == 17:
        found["eth"] = int(text.replace(":", ""), 16)
    address, mask = _ioctl_address(device, _SIOCGIFADDR), _ioctl_address(device, _SIOCGIFNETMASK)
    if address is not None:
        found["ip"] = address
        if mask is not None:
            found["ipnet"] = (address & mask, mask)
    return found


class NamedAddresses(dict[str, dict[str, Any]]):
    """Names and their addresses by kind (``ip``, ``ip6``, ``ipnet``, ``eth``). What AddressInfo says comes first."""

    def get(self, name: str, default: Any = None) -> Any:
        if name in self:
            return self[name]
        found = _of_interface(name)
        return default if found is None else found
