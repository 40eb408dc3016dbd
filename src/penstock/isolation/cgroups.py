"""Limits that the kernel keeps for a process: memory, and its part of the processors.

A group for each machine below this process's own, in whichever hierarchy has the controller: version 2 where it is there, else
version 1 (some machines have them split). In version 2 a group with processes in it gives its children no controllers, so
there the groups stand below the root of the hierarchy. Sources: the kernel's cgroup-v1/ and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Group", "hierarchies"]

_PARENT = "penstock"
_PERIOD_US = 100_000
_USUAL_WEIGHT = 256
_CONTROLLERS = ("memory", "cpu")
_REMOVAL_S = 1.0
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Hierarchy:
    """Where groups for a controller are made."""

    controller: str
    base: Path
    version: int


def hierarchies(mounts: Path = Path("/proc/self/mounts"), own: Path = Path("/proc/self/cgroup")) -> list[Hierarchy]:
    """The hierarchies of this machine for memory and processors; those that are not there are left out."""
    found: dict[str, Hierarchy] = {}
    paths = dict(_own_paths(own))
    for line in _lines(mounts):
        _, point, kind, options, *_ = line.split()
        top = Path(point.encode().decode("unicode_escape"))
        if kind == "cgroup2":
            with contextlib.suppress(OSError):
                for name in (top / "cgroup.controllers").read_text().split():
                    found[name] = Hierarchy(name, top / _PARENT, 2)
        elif kind == "cgroup":
            for name in options.split(","):
                if name in _CONTROLLERS:
                    found.setdefault(name, Hierarchy(name, top / paths.get(name, "") / _PARENT, 1))
    return [found[name] for name in _CONTROLLERS if name in found]


def _own_paths(own: Path) -> list[tuple[str, str]]:
    lines = (line.split(":", 2) for line in _lines(own))
    return [(name, path.lstrip("/")) for _, names, path in lines for name in names.split(",")]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


class Group:
    """One process's group in each hierarchy that there is. ``missing`` names the limits that could not be had."""

    def __init__(self, memory_bytes: int, *, within: list[Hierarchy] | None = None):
        self._folders: dict[str, tuple[Path, int]] = {}
        name = f"{os.getpid()}-{next(_numbers)}"
        for hierarchy in hierarchies() if within is None else within:
            if folder := _make(hierarchy, name):
                self._folders[hierarchy.controller] = folder, hierarchy.version
        self._limit("memory", {1: ("memory.limit_in_bytes", str(memory_bytes)), 2: ("memory.max", str(memory_bytes))})
        self.share()

    def share(self, *, weight: int = _USUAL_WEIGHT, cap: int = 0) -> bool:
        """A weight (256 is usual) and a cap in percent of one processor, 0 for none; false where they are not kept."""
        quota = cap * _PERIOD_US // 100
        return (self._limit("cpu", {1: ("cpu.shares", str(max(2, weight * 1024 // _USUAL_WEIGHT))),
                                    2: ("cpu.weight", str(min(10_000, max(1, weight * 100 // _USUAL_WEIGHT))))})
                and self._limit("cpu", {1: ("cpu.cfs_quota_us", str(quota or -1)), 2: ("cpu.max", f"{quota or 'max'} {_PERIOD_US}")}))

    def _limit(self, controller: str, values: dict[int, tuple[str, str]]) -> bool:
        if controller not in self._folders:
            return False
        folder, version = self._folders[controller]
        file, value = values[version]
        try:
            (folder / file).write_text(value)
        except OSError:
            del self._folders[controller]
            _remove(folder)
            return False
        return True

    @property
    def missing(self) -> list[str]:
        return [f"{name} limit (cgroup)" for name in _CONTROLLERS if name not in self._folders]

    def enter(self) -> None:
        """Move the calling process in, and with it what it will fork."""
        for folder, _ in self._folders.values():
            with contextlib.suppress(OSError):
                (folder / "cgroup.procs").write_text("0")

    def close(self) -> None:
        """Remove the group; its processes are about to end."""
        for folder, _ in self._folders.values():
            _remove(folder)
        self._folders = {}


def _make(hierarchy: Hierarchy, name: str) -> Path | None:
    # The folder of all groups may go with its last group while this one is made.
    for _ in range(3):
        try:
            _prepare(hierarchy)
            (hierarchy.base / name).mkdir()
            return hierarchy.base / name
        except FileNotFoundError:
            continue
        except OSError:
            break
    return None


def _prepare(hierarchy: Hierarchy) -> None:
    """The folder of all groups, which hands its controllers on; without what processes that were killed left behind."""
    base = hierarchy.base
    base.mkdir(exist_ok=True)
    if hierarchy.version == 2:
        for folder in (base.parent, base):
            (folder / "cgroup.subtree_control").write_text(f"+{hierarchy.controller}")
    for old in base.glob("*-*"):
        if not Path("/proc", old.name.partition("-")[0]).exists():
            with contextlib.suppress(OSError):
                old.rmdir()


def _remove(folder: Path) -> None:
    end = time.monotonic() + _REMOVAL_S
    while folder.is_dir():
        with contextlib.suppress(OSError):
            folder.rmdir()
            break
        if time.monotonic() > end:
            return
        time.sleep(0.002)
    # The last one out takes the folder of all groups away.
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
