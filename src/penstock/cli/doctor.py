"""``penstock doctor``: what this machine lacks, and what to do about it."""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

__all__ = ["Finding", "add_arguments", "examine", "main"]

_WANTED_DESCRIPTORS = 20_000
_WANTED_MAPS = 65_530


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. ``remedy`` is a command, or empty where nothing is wrong."""

    what: str
    good: bool
    found: str
    remedy: str = ""


def add_arguments(name: str, parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")


def examine() -> Iterator[Finding]:
    """Everything that domains, devices and the compiler need."""
    yield _processor()
    yield from _kvm()
    yield _kernel()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    enough = hard == resource.RLIM_INFINITY or hard >= _WANTED_DESCRIPTORS
    yield Finding("file descriptors", enough, f"{soft} (at most {hard}): {hard // 2} virtual machines",
                  "" if enough else f"ulimit -Hn {_WANTED_DESCRIPTORS}   (for good: LimitNOFILE= or /etc/security/limits.conf)")
    maps = int(Path("/proc/sys/vm/max_map_count").read_text())
    remedy = "" if maps >= _WANTED_MAPS else f"sysctl vm.max_map_count={_WANTED_MAPS}"
    yield Finding("memory mappings", maps >= _WANTED_MAPS, str(maps), remedy)
    raw = os.geteuid() == 0
    yield Finding("rights for devices", raw, "root" if raw else "not root: no packet sockets, TAP interfaces or bridges",
                  "" if raw else "run as root, or: setcap cap_net_raw,cap_net_admin+ep $(readlink -f $(command -v python3))")
    tun = os.access("/dev/net/tun", os.R_OK | os.W_OK)
    yield Finding("TAP interfaces", tun, "/dev/net/tun" if tun else "/dev/net/tun is not there or not ours", "" if tun else "modprobe tun")
    namespaces = Path("/proc/sys/user/max_user_namespaces")
    allowed = namespaces.exists() and namespaces.read_text().strip() != "0"
    yield Finding("user namespaces", allowed, "allowed" if allowed else "not allowed: process isolation is weaker",
                  "" if allowed else "sysctl user.max_user_namespaces=15000")
    yield _groups()
    modules = _read("/sys/kernel/security/lsm")
    landlock = "landlock" in modules or not modules
    yield Finding("Landlock", landlock, "on" if landlock else "off (seccomp confines processes all the same)",
                  "" if landlock else f"boot with lsm=landlock,{modules}")
    dot = shutil.which("dot")
    yield Finding("drawings as PNG or PDF", True, dot or "no 'dot' (SVG drawings need none)")


def _groups() -> Finding:
    from penstock.isolation.cgroups import hierarchies

    found = hierarchies()
    names = ", ".join(f"{h.controller} (version {h.version})" for h in found)
    whole = len(found) == 2
    return Finding("cgroups", whole, names or "neither memory nor cpu", "" if whole else
                   "boot with cgroup_enable=memory cgroup_memory=1, and mount /sys/fs/cgroup")


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def _processor() -> Finding:
    machine = os.uname().machine
    remedy = "" if machine == "x86_64" else "domains need an x86-64 machine"
    return Finding("processor", machine == "x86_64", machine, remedy)


def _kernel() -> Finding:
    release = os.uname().release
    numbers = tuple(int(n) for n in release.split("-")[0].split(".")[:2])
    good = numbers >= (5, 16)
    return Finding("kernel", good, release, "" if good else "a kernel of at least 5.16 (futex_waitv)")


def _kvm() -> Iterator[Finding]:
    from penstock.isolation.kvm import why_not

    reason = why_not()
    remedy = ""
    if reason:
        vendor = "amd" if "AuthenticAMD" in _read("/proc/cpuinfo") else "intel"
        remedy = f"modprobe kvm_{vendor}" if not Path("/dev/kvm").exists() else "usermod -aG kvm $USER   (and log in again)"
    yield Finding("virtual machines", not reason, reason or "/dev/kvm opens", remedy)


def main(name: str, options: argparse.Namespace) -> int:
    findings = list(examine())
    if options.json:
        print(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        width = max(len(f.what) for f in findings)
        for finding in findings:
            print(f"{'ok  ' if finding.good else 'LACK'} {finding.what:<{width}}  {finding.found}")
            if finding.remedy:
                print(f"     {'':<{width}}  {finding.remedy}")
    sys.stdout.flush()
    return 0 if all(f.good for f in findings) else 1
