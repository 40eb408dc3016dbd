"""Open vSwitch with DPDK (Debian's openvswitch-switch-dpdk and librte-net-null23) as the switch to compare with.

Frames come from a null device and go to another one: no process at either end, no copy anywhere, one core that polls. What is
measured is the switch's own work, with its exact-match cache, at its best.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DAEMON = Path("/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
DRIVER = "librte_net_null.so.23"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
PAGES = Path("/proc/sys/vm/nr_hugepages")
PAGES_NEEDED = 400


def is_there() -> bool:
    return os.geteuid() == 0 and DAEMON.exists() and any(Path("/usr/lib").glob(f"*/{DRIVER}"))


@contextlib.contextmanager
def _huge_pages() -> Iterator[None]:
    before = PAGES.read_text()
    PAGES.write_text(str(max(int(before), PAGES_NEEDED)))
    try:
        yield
    finally:
        PAGES.write_text(before)


def _run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout


@contextlib.contextmanager
def _switch(size: int) -> Iterator[str]:
    """A bridge with two null devices, every frame of one going to the other; gives where it is asked."""
    with tempfile.TemporaryDirectory() as home, _huge_pages():
        os.environ.update(dict.fromkeys(("OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR", "OVS_SYSCONFDIR"), home))
        database = f"unix:{home}/db.sock"
        try:
            _run("ovsdb-tool", "create", f"{home}/conf.db", SCHEMA)
            _run("ovsdb-server", f"{home}/conf.db", f"--remote=p{database}", f"--pidfile={home}/db.pid", "--detach",
                 f"--log-file={home}/db.log")
            settings = ["dpdk-init=true", f'dpdk-extra="--no-pci -d {DRIVER}"', "dpdk-socket-mem=512", "pmd-cpu-mask=0x2",
                        "dpdk-lcore-mask=0x1"]
            _run("ovs-vsctl", f"--db={database}", "--no-wait", "init", "--", "set", "Open_vSwitch", ".",
                 *(f"other_config:{s}" for s in settings), "--", "add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev",
                 "--", "add-port", "br0", "n0", "--", "set", "Interface", "n0", "type=dpdk", f"options:dpdk-devargs=net_null0,size={size}",
                 "--", "add-port", "br0", "n1", "--", "set", "Interface", "n1", "type=dpdk", "options:dpdk-devargs=net_null1,no-rx=1")
            _run(str(DAEMON), database, f"--pidfile={home}/switch.pid", "--detach", f"--log-file={home}/switch.log")
            bridge = f"unix:{home}/br0.mgmt"
            _run("ovs-ofctl", "del-flows", bridge)
            _run("ovs-ofctl", "add-flow", bridge, "in_port=1,actions=output:2")
            yield bridge
        finally:
            for name in ("switch", "db"):
                with contextlib.suppress(OSError, ValueError):
                    os.kill(int(Path(home, f"{name}.pid").read_text()), signal.SIGTERM)
            time.sleep(0.5)


def rate(size: int, rounds: int = 5, seconds: float = 1.0) -> float:
    """Million frames a second."""
    with _switch(size) as bridge:

        def sent() -> int:
            found = re.search(r"port\s+2:.*?tx pkts=(\d+)", _run("ovs-ofctl", "dump-ports", bridge), re.DOTALL)
            return int(found[1]) if found else 0

        time.sleep(1)
        rates = []
        for _ in range(rounds):
            before, start = sent(), time.perf_counter()
            time.sleep(seconds)
            rates.append((sent() - before) / (time.perf_counter() - start) / 1e6)
        return statistics.median(rates)


if __name__ == "__main__":
    print(rate(60), rate(1514))
