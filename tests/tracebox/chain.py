"""Paths to trace: a client, Linux routers and a server, each in a network namespace of its own, with boxes in the wires."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import pytest

from tests.conftest import needs_root

__all__ = ["Chain", "needs_namespaces"]

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL = 0x8946
#: transmit checksums, TSO, GSO, GRO: what stands in a capture must be what the other side gets
_OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)
_libc = ctypes.CDLL(None, use_errno=True)


def needs_namespaces(function):  # type: ignore[no-untyped-def]
    there = all(map(shutil.which, ("unshare", "nsenter", "ip", "nft")))
    return needs_root()(pytest.mark.skipif(not there, reason="needs unshare, nsenter, ip and nft")(function))


class Chain:
    """client - r1 - … - rN - server. Link k (from 0) has 10.9.k.1 and fd09:k::1 on its left, .2 and ::2 on its right.

    ``boxes`` gives for a link the Click configuration that stands in its wire, between devices ``left`` and ``right``.
    """

    def __init__(self, routers: int = 3, *, boxes: dict[int, str] | None = None, limits: bool = False):
        self.routers = routers
        self.names = ["client", *(f"r{i}" for i in range(1, routers + 1)), "server"]
        self._boxes = boxes or {}
        self._limits = limits
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def server(self) -> str:
        return f"10.9.{self.routers}.2"

    @property
    def server6(self) -> str:
        return f"fd09:{self.routers}::2"

    def router(self, number: int, *, wide: bool = False) -> str:
        """The address that router ``number`` answers from."""
        return str(ipaddress.ip_address(f"fd09:{number - 1}::2")) if wide else f"10.9.{number - 1}.2"

    def _namespace(self, name: str) -> None:
        holder = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo up; exec sleep 3600"], stdout=subprocess.PIPE)
        self._holders[name] = holder
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.stdout.close()
        # Without duplicate address detection, which takes two seconds.
        self._set(name, {"ipv6/conf/default/accept_dad": 0, "ipv6/conf/all/accept_dad": 0})

    def _set(self, name: str, settings: dict[str, int]) -> None:
        with self.inside(name):
            for key, value in settings.items():
                with suppress(OSError), open(f"/proc/sys/net/{key}", "w") as file:
                    file.write(str(value))

    def pid(self, name: str) -> int:
        return self._holders[name].pid

    def run(self, name: str, command: Sequence[str] | str, *, check: bool = True, feed: str | None = None) -> str:
        """Run a command in a node."""
        words = command.split() if isinstance(command, str) else list(command)
        done = subprocess.run(["nsenter", "-t", str(self.pid(name)), "-n", *words], capture_output=True, text=True, input=feed)
        assert not check or done.returncode == 0, f"{name}: {words}: {done.stderr}"
        return done.stdout

    def start(self, name: str, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in a node; it ends with the chain."""
        process = subprocess.Popen(["nsenter", "-t", str(self.pid(name)), "-n", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self._running.append(process)
        return process

    def nft(self, name: str, hook: str, *rules: str, family: str = "ip") -> None:
        """Put nftables rules into a node: ``hook`` is like 'filter hook forward priority 0'."""
        self._tables = getattr(self, "_tables", 0) + 1
        text = f"table {family} t{self._tables} {{\nchain c {{\ntype {hook};\n" + "\n".join(rules) + "\n}\n}\n"
        self.run(name, ["nft", "-f", "-"], feed=text)

    @contextmanager
    def inside(self, name: str) -> Iterator[None]:
        """This thread in a node's network."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            self._enter(f"/proc/{self.pid(name)}/ns/net")
            try:
                yield
            finally:
                assert _libc.setns(own, _CLONE_NEWNET) == 0
        finally:
            os.close(own)

    @staticmethod
    def _enter(path: str) -> None:
        there = os.open(path, os.O_RDONLY)
        try:
            if _libc.setns(there, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(there)

    def _quiet(self, node: str, device: str) -> None:
        with self.inside(node), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for command in _OFFLOADS:
                value = ctypes.create_string_buffer(struct.pack("II", command, 0))
                request = struct.pack("16sP", device.encode(), ctypes.addressof(value))
                with suppress(OSError):
                    fcntl.ioctl(control, _SIOCETHTOOL, request)

    def _veth(self, left: str, left_device: str, right: str, right_device: str) -> None:
        subprocess.run(["ip", "link", "add", left_device, "netns", str(self.pid(left)), "type", "veth", "peer", "name", right_device,
                        "netns", str(self.pid(right))], check=True)
        for node, device in ((left, left_device), (right, right_device)):
            self.run(node, f"ip link set {device} up")
            self._quiet(node, device)

    def __enter__(self) -> Chain:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def _build(self) -> None:
        for name in self.names:
            self._namespace(name)
        for k in range(self.routers + 1):
            left, right = self.names[k], self.names[k + 1]
            if k in self._boxes:
                self._namespace(f"box{k}")
                self._veth(left, "out", f"box{k}", "left")
                self._veth(f"box{k}", "right", right, "in")
            else:
                self._veth(left, "out", right, "in")
        for i, name in enumerate(self.names):
            commands = ["link set lo up"]
            if i < len(self.names) - 1:
                commands += [f"addr add 10.9.{i}.1/24 dev out", f"addr add fd09:{i}::1/64 dev out nodad"]
            if i > 0:
                commands += [f"addr add 10.9.{i - 1}.2/24 dev in", f"addr add fd09:{i - 1}::2/64 dev in nodad"]
            if i < len(self.names) - 1:
                commands += [f"route add 10.9.0.0/16 via 10.9.{i}.2", f"route add fd09::/16 via fd09:{i}::2"]
            for k in range(i - 1):
                commands += [f"route add 10.9.{k}.0/24 via 10.9.{i - 1}.1", f"route add fd09:{k}::/64 via fd09:{i - 1}::1"]
            self.run(name, ["ip", "-batch", "-"], feed="\n".join(commands) + "\n")
            settings = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1, "ipv4/icmp_msgs_per_sec": 100000, "ipv4/icmp_msgs_burst": 1000}
            if not self._limits:
                settings |= {"ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0}
            self._set(name, settings)
        for k, text in self._boxes.items():
            process = self.start(f"box{k}", [sys.executable, "-m", "penstock.cli.main", "run", "-e", text])
            self._await_box(k, process)

    def _await_box(self, k: int, process: subprocess.Popen[bytes]) -> None:
        """Until a neighbour on the other side of the box answers."""
        left, address = self.names[k], f"10.9.{k}.2"
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            if process.poll() is not None:
                assert process.stderr is not None
                raise AssertionError(f"the box ended: {process.stderr.read().decode()}")
            if " 0% packet loss" in self.run(left, f"ping -c 1 -W 1 {address}", check=False):
                return
            time.sleep(0.05)
        raise AssertionError("the box lets nothing through")

    def close(self) -> None:
        for process in [*self._running, *self._holders.values()]:
            process.kill()
            process.wait()
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()
        self._running.clear()
        self._holders.clear()

    def __exit__(self, *exc: object) -> None:
        self.close()
