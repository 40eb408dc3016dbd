"""Rules that keep the host's own stack from answering, and that vanish with this process, however it ends.

The table belongs to an interactive nft (nftables' ``flags owner``), which ends when its input does: when we close it, or when
the kernel does so for us after a kill.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from contextlib import suppress

from penstock.tracebox.layers import TCP, UDP
from penstock.tracebox.packet import Packet
from penstock.tracebox.settings import NetworkError

__all__ = ["DropRule"]

_PATIENCE_S = 3.0


class DropRule:
    """Drops what comes in from a packet's destination port to its source port, before any socket sees it."""

    def __init__(self, packet: Packet):
        transport = packet.transport
        if not isinstance(transport, (TCP, UDP)):
            raise ValueError("only answers to TCP and UDP can be kept from the host's stack")
        protocol = transport.LABEL.lower()
        self._start(f"{protocol} sport {transport['dst']} {protocol} dport {transport['src']} drop")

    @classmethod
    def of(cls, rule: str) -> DropRule:
        """A rule in nftables' own words."""
        made = cls.__new__(cls)
        made._start(rule)
        return made

    def _start(self, rule: str) -> None:
        if shutil.which("nft") is None:
            raise NetworkError("nft is missing: install nftables (Debian: apt install nftables)")
        name = f"tracebox-{os.getpid()}-{id(self):x}"
        self._name = name
        self._nft = subprocess.Popen(["nft", "-i"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        stdin = self._nft.stdin
        assert stdin is not None
        stdin.write((f"add table inet {name} {{ flags owner; }}\n"
                     f"add chain inet {name} input {{ type filter hook prerouting priority -350; }}\n"
                     f"add rule inet {name} input {rule}\n").encode())
        stdin.flush()
        deadline = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline:
            listed = subprocess.run(["nft", "list", "chain", "inet", name, "input"], capture_output=True, text=True)
            if listed.returncode == 0 and "drop" in listed.stdout:
                return
            if self._nft.poll() is not None:
                break
            time.sleep(0.005)
        said = self._end()
        raise NetworkError(f"the firewall rule '{rule}' was not taken: {said or 'nft says nothing'}")

    def _end(self) -> str:
        stdin, stdout = self._nft.stdin, self._nft.stdout
        assert stdin is not None and stdout is not None
        with suppress(OSError):
            stdin.close()
        said = stdout.read(4096).decode("utf-8", "replace").strip()
        stdout.close()
        self._nft.wait()
        return said.splitlines()[-1] if said else ""

    def close(self) -> None:
        if self._nft.stdin is not None and not self._nft.stdin.closed:
            self._end()

    def __enter__(self) -> DropRule:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
