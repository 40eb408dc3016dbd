"""Interfaces on the switch, beside the Linux bridge: frames from one network namespace to another, million a second.

    python bench/interfaces.py [--json]

pkt-gen sends on a veth interface in one namespace, the other end of a second pair counts in another one; between them, in a
namespace of this program's own, is either. Needs root.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

from penstock.device import METHODS
from penstock.switch.host import SwitchHost
from table import show

INSIDE = "PENSTOCK_BENCH_INSIDE"
ROUNDS, SECONDS = 3, 2.0
GENERATOR = "import sys; from penstock.cli import pkt_gen; sys.exit(pkt_gen.main())"


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def received(namespace: str) -> int:
    out = subprocess.run(["ip", "-n", namespace, "-s", "-j", "link", "show", "b1"], capture_output=True, text=True, check=True).stdout
    return int(json.loads(out)[0]["stats64"]["rx"]["packets"])


def rate(left: str, right: str, size: int) -> float:
    command = ["ip", "netns", "exec", left, sys.executable, "-c", GENERATOR, "-i", "netmap:a1", "-f", "tx", "-w", "0", "-l", str(size)]
    sender = subprocess.Popen([*command, "-D", "02:00:00:00:00:99"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(1.5)
        before, started = received(right), time.monotonic()
        time.sleep(SECONDS)
        return (received(right) - before) / (time.monotonic() - started) / 1e6
    finally:
        sender.terminate()
        sender.wait()


def measure(left: str, right: str) -> list[list[object]]:
    rows: list[list[object]] = []
    sizes = (60, 1514)
    found: dict[tuple[str, int], list[float]] = {(who, size): [] for who in ("bridge", *METHODS) for size in sizes}
    for _ in range(ROUNDS):
        ip("link add br0 type bridge")
        ip("link set br0 up")
        for end in ("a0", "b0"):
            ip(f"link set {end} master br0")
        time.sleep(0.5)
        for size in sizes:
            found["bridge", size].append(rate(left, right, size))
        ip("link del br0")
        for method in METHODS:
            with SwitchHost() as host:
                for end in ("a0", "b0"):
                    host.attach_interface(f"vale0:{end}", slots=1024, method=method)
                for size in sizes:
                    found[method, size].append(rate(left, right, size))
    for size in sizes:
        bridge, xdp, packet = (statistics.median(found[who, size]) for who in ("bridge", *METHODS))
        rows.append([f"{size} bytes", xdp, packet, bridge, xdp / bridge, 1.2])
    return rows


def main() -> None:
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("ip"):
        raise SystemExit("this benchmark needs root, unshare and ip")
    if INSIDE not in os.environ:
        done = subprocess.run(["unshare", "--net", "--mount", sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, check=False)
        raise SystemExit(done.returncode)
    left, right = f"psl{os.getpid()}", f"psr{os.getpid()}"
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PENSTOCK_RUN"] = folder
        try:
            for end, namespace in (("a", left), ("b", right)):
                ip(f"netns add {namespace}")
                ip(f"link add {end}0 type veth peer name {end}1 netns {namespace}")
                ip(f"link set {end}0 up")
                ip(f"-n {namespace} link set {end}1 up")
            show("between two veth interfaces, million frames a second",
                 ["frames", "AF_XDP", "packet socket", "Linux bridge", "ratio", "promised"], measure(left, right))
        finally:
            for namespace in (left, right):
                subprocess.run(["ip", "netns", "del", namespace], check=False)


if __name__ == "__main__":
    main()
