"""A host of the kernel's at the other end of a veth pair, in a namespace of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

__all__ = ["host_on_link", "ip"]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextlib.contextmanager
def host_on_link(name: str, device: str, *, address: str = "") -> Iterator[list[str]]:
    """``device`` here, ``e0`` in the namespace ``name``; gives what a Python program that runs there begins with."""
    try:
        ip("netns", "add", name)
        ip("link", "add", device, "type", "veth", "peer", "name", "e0", "netns", name)
        ip("link", "set", device, "up")
        ip("-n", name, "link", "set", "e0", "up")
        if address:
            ip("-n", name, "addr", "add", address, "dev", "e0")
        yield ["ip", "netns", "exec", name, sys.executable, "-c"]
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
