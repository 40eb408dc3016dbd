"""Domains: how quickly they start, how many there can be, what they cost, and how they move.

    python bench/domains.py [--json] [--many N]

Beside ours stand fork and exec of /bin/true, measured in the same run, and what was published for ClickOS (Martins et al.,
NSDI 2014) and LightVM (Manco et al., SOSP 2017) on their machines.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from penstock.isolation import choose
from penstock.toolstack import Domain, DomainSpec, Toolstack, VifSpec
from penstock.toolstack.migrate import receive, send
from penstock.toolstack.pool import MachinePool
from table import show

MIRROR = "FromDevice(0) -> c :: Counter -> EtherMirror -> ToDevice(0)"
OTHER = "FromDevice(1) -> c :: Counter -> EtherMirror -> ToDevice(1)"
NAT = ("FromDevice(0) -> Strip(14) -> CheckIPHeader -> rw :: IPRewriter(pattern 1.0.0.1 1024-65535# - - 0 1) -> Unstrip(14)"
       " -> q :: Queue(2000) -> ToDevice(1); rw[1] -> Unstrip(14) -> ToDevice(0)")
RESPONDER = """FromDevice(0) -> cl :: Classifier(12/0806 20/0001, 12/0800, -);
cl[0] -> ARPResponder(10.9.0.2 02:00:00:00:00:09) -> out :: ToDevice(0);
cl[1] -> Strip(14) -> CheckIPHeader -> ICMPPingResponder -> Unstrip(14) -> EtherMirror -> out; cl[2] -> Discard;"""
CHAIN = ("MemSource(LENGTH 64, FLOWS 1000, LIMIT -1) -> Strip(14) -> CheckIPHeader -> IPFilter({}) -> DecIPTTL -> c :: Counter -> Discard"
         .format(", ".join(f"deny src host 9.0.0.{i}" for i in range(10)) + ", allow all"))
FRAME = bytes(range(12)) + b"\x08\x00" + b"x" * 46
POOL_BYTES = 24 << 20


def spec(name: str, vifs: int = 1, **values: object) -> DomainSpec:
    return DomainSpec(name, vif=(VifSpec(),) * vifs, **values)  # type: ignore[arg-type]


def median_ms(measure: Callable[[], float], times: int = 41) -> float:
    return statistics.median(measure() for _ in range(times)) * 1e3


def spawn() -> float:
    started = time.perf_counter()
    os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    return time.perf_counter() - started


def bounce(domain: Domain) -> None:
    if not domain.ports[0].send(FRAME) or domain.ports[0].receive(5) is None:
        raise RuntimeError(f"{domain.name} does not answer")


class Starts:
    """Creating, installing, cloning: each measured on domains that are destroyed again."""

    def __init__(self, toolstack: Toolstack, click: str):
        self.toolstack, self.click, self.n = toolstack, click, 0

    def _timed(self, make: Callable[[str], Domain], settle_s: float = 0.0) -> float:
        self.n += 1
        time.sleep(settle_s)
        started = time.perf_counter()
        domain = make(f"d{self.n}")
        bounce(domain)
        passed = time.perf_counter() - started
        self.toolstack.destroy(domain.id)
        return passed

    def create(self) -> float:
        return self._timed(lambda name: self.toolstack.create(spec(name, click=self.click)))

    def from_pool(self) -> float:
        return self._timed(lambda name: self.toolstack.create(spec(name, click=self.click)), 0.06)

    def clone(self) -> float:
        return self._timed(lambda name: self.toolstack.clone("base", name), 0.06)

    def clone_alone(self) -> float:
        self.n += 1
        time.sleep(0.06)
        started = time.perf_counter()
        domain = self.toolstack.clone("base", f"d{self.n}")
        passed = time.perf_counter() - started
        bounce(domain)
        self.toolstack.destroy(domain.id)
        return passed

    def install(self, domain: Domain) -> float:
        started = time.perf_counter()
        number = self.toolstack.start(domain.id, OTHER)
        passed = time.perf_counter() - started
        self.toolstack.remove(domain.id, number)
        return passed


def starts(click: str) -> list[list[object]]:
    fork = median_ms(spawn)
    with Toolstack() as toolstack:
        plain = Starts(toolstack, click)
        plain.create()
        create = median_ms(plain.create)
    with Toolstack(pool=MachinePool(choose()[0], size=4, data_bytes=POOL_BYTES)) as toolstack:
        pooled = Starts(toolstack, click)
        base = toolstack.create(spec("base", click=click))
        two = toolstack.create(spec("two", vifs=2, click=click))
        pooled.install(two)
        from_pool, alone, clone = median_ms(pooled.from_pool), median_ms(pooled.clone_alone), median_ms(pooled.clone)
        install = median_ms(lambda: pooled.install(two))
        base.read("c.count")
        reads, writes = [], []
        for _ in range(2000):
            started = time.perf_counter()
            base.read("c.count")
            reads.append(time.perf_counter() - started)
            started = time.perf_counter()
            base.write("c.reset", "")
            writes.append(time.perf_counter() - started)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "s"

            def save() -> float:
                started = time.perf_counter()
                toolstack.snapshot("base", path)
                return time.perf_counter() - started

            def restore() -> float:
                started = time.perf_counter()
                made = toolstack.restore(path, name="again")
                passed = time.perf_counter() - started
                toolstack.destroy(made.id)
                time.sleep(0.03)
                return passed

            snapshot, restored = median_ms(save, 11), median_ms(restore, 11)
    return [
        ["fork and exec of /bin/true", fork, None, None, None],
        ["create to the first packet", create, create / fork, 1.2, 28.8],
        ["create to the first packet, from the pool", from_pool, from_pool / fork, 1.2, 28.8],
        ["install a configuration in a running domain", install, install / fork, 1.0, None],
        ["clone, from the pool", alone, alone / fork, 1.0, None],
        ["clone to the first packet, from the pool", clone, clone / fork, None, None],
        ["read a handler", statistics.median(reads) * 1e3, None, 0.02, 9.4],
        ["write a handler", statistics.median(writes) * 1e3, None, 0.02, 0.1],
        ["snapshot of a small domain", snapshot, None, 20.0, None],
        ["restore of it", restored, None, 20.0, None],
    ]


def speed() -> list[list[object]]:
    """CPU nanoseconds a packet in each kind of machine, of the same image, in turns."""
    kinds = [k for k in ("inline", "process", "kvm") if k != "kvm" or choose()[0] == "kvm"]
    seen: dict[str, list[float]] = {k: [] for k in kinds}
    for _ in range(5):
        for kind in kinds:
            with Toolstack() as toolstack:
                domain = toolstack.create(spec("s", isolation=kind, memory=16))
                toolstack.start("s", CHAIN)
                time.sleep(0.1)
                count, cpu = int(domain.read("c.count")), domain.cpu_s
                time.sleep(0.4)
                seen[kind].append((domain.cpu_s - cpu) * 1e9 / (int(domain.read("c.count")) - count))
    base = statistics.median(seen["inline"])
    return [[kind, statistics.median(seen[kind]), base / statistics.median(seen[kind])] for kind in kinds]


def moving() -> list[list[object]]:
    """A NAT with 10,000 mappings to another toolstack, five times to and fro."""
    silences, sizes = [], []
    here, there = Toolstack(), Toolstack()
    with here, there:
        domain = here.create(spec("nat", vifs=2, memory=48))
        here.start("nat", NAT)
        for k in range(10_000):
            while not domain.ports[0].send(_frame(k)):
                pass
            while domain.ports[1].receive() is not None:
                pass
        while domain.ports[1].receive(0.1) is not None:
            pass
        for _ in range(6):
            a, b = socket.socketpair()
            box: list[Domain] = []
            with a, b, a.makefile("rb") as ra, a.makefile("wb") as wa, b.makefile("rb") as rb, b.makefile("wb") as wb:
                thread = threading.Thread(target=lambda t=there, r=rb, w=wb, box=box: box.append(receive(t, r, w)))  # type: ignore[misc]
                thread.start()
                report = send(here, domain, ra, wa)
                thread.join()
            silences.append(report.silence_ms)
            sizes.append(report.bytes_sent / 1e6)
            domain, (here, there) = box[0], (there, here)
        mappings = int(domain.read("rw.nmappings"))
        saved, restored, paused = _state_at_rest(here, domain)
    return [["silence, ms", statistics.median(silences), 10.0], ["mappings kept of 10,000", mappings, 10_000],
            ["megabytes sent", statistics.median(sizes), None], ["snapshot to a file, ms", saved, 20.0], ["restore, ms", restored, 20.0],
            ["pause of a hot swap, ms", paused, 1.0]]


def _state_at_rest(toolstack: Toolstack, domain: Domain) -> tuple[float, float, float]:
    """Milliseconds for a snapshot of the domain, for its restoring, and that it stands still in a hot swap."""
    machine = domain.machine
    standing, pauses = machine._standing_still, []

    @contextlib.contextmanager
    def timed() -> Iterator[None]:
        started = time.perf_counter()
        with standing():
            yield
        pauses.append((time.perf_counter() - started) * 1e3)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nat"
        saved = median_ms(lambda: _timed(lambda: toolstack.snapshot(domain.name, path)), 11)

        def restore() -> float:
            started = time.perf_counter()
            made = toolstack.restore(path, name="again")
            passed = time.perf_counter() - started
            toolstack.destroy(made.id)
            return passed

        restored = median_ms(restore, 11)
    machine._standing_still = timed  # type: ignore[method-assign]
    for _ in range(11):
        domain.swap(0, NAT)
    return saved, restored, statistics.median(pauses)


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _frame(k: int) -> bytes:
    head = bytearray(struct.pack(">BBHHHBBH4B4B", 0x45, 0, 29, 0, 0, 64, 17, 0, 10, 0, k >> 8, k & 255, 8, 8, 8, 8))
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    head[10:12] = ((total & 0xFFFF) + (total >> 16) ^ 0xFFFF).to_bytes(2, "big")
    return b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\x00" + bytes(head) + struct.pack(">HHHH", 1024 + k, 53, 9, 0) + b"x"


def many(n: int, click: str) -> list[list[object]]:
    """``n`` domains one after the other, all alive, each answering; then all of them idle."""
    times: list[float] = []
    with Toolstack() as toolstack:
        before = _available_kib()
        for i in range(n):
            started = time.perf_counter()
            bounce(toolstack.create(spec(f"m{i}", memory=4, click=click)))
            times.append((time.perf_counter() - started) * 1e3)
        used = (before - _available_kib()) / n
        for domain in toolstack.domains.values():
            bounce(domain)
        time.sleep(1)
        cpu, at = time.process_time(), time.monotonic()
        time.sleep(4)
        share = 100 * (time.process_time() - cpu) / (time.monotonic() - at)
        tenth = max(1, n // 10)
        first, last = statistics.median(times[:tenth]), statistics.median(times[-tenth:])
    return [["alive at once, each answering", n, None], ["median of the first tenth, ms", first, None],
            ["median of the last tenth, ms", last, None], ["last / first", last / first, 2.0],
            ["memory of a domain, rings and kernel included, KiB", used, 1024 + 1064], ["all idle: % of one core", share, 2.0]]


def sharing() -> list[list[object]]:
    """Twelve domains, as in the ClickOS paper's experiment: one answers frames, eleven are idle, or use the processor or memory."""
    rows: list[list[object]] = []
    loads = {"idle": "Idle -> Discard", "CPU-bound": "InfiniteSource(LENGTH 60, BURST 32) -> Discard",
             "memory-bound": "MemSource(LENGTH 1500, LIMIT -1, COPY true) -> Queue(500) -> Unqueue -> Discard"}
    for load, text in loads.items():
        for weight in (256, 2560):
            if load == "idle" and weight != 256:
                continue
            with Toolstack() as toolstack:
                domain = toolstack.create(spec("ping", weight=weight))
                toolstack.start("ping", MIRROR)
                for i in range(11):
                    toolstack.create(spec(f"load{i}", memory=8))
                    toolstack.start(f"load{i}", text)
                time.sleep(0.8)
                seen: list[float] = []
                for _ in range(300):
                    time.sleep(0.003)
                    started = time.perf_counter()
                    bounce(domain)
                    seen.append((time.perf_counter() - started) * 1e6)
            seen.sort()
            rows.append([f"{load}, weight {weight}", seen[len(seen) // 2], seen[len(seen) * 9 // 10]])
    return rows


def _available_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1])
    raise RuntimeError("no MemAvailable")


def ping() -> list[list[object]]:
    """The kernel's ping through a bridge, a TAP interface and a domain; in a network namespace of its own."""
    out: dict[str, float] = {}
    for kind in ("inline", "kvm"):
        done = subprocess.run(["unshare", "--net", sys.executable, __file__, "--ping", kind], capture_output=True, text=True)
        if done.returncode:
            return [["not measured", done.stderr.strip().rpartition("\n")[2] or "no rights", None]]
        out[kind] = float(done.stdout)
    return [["the same elements without a domain, us", out["inline"], None], ["in a virtual machine, us", out["kvm"], None],
            ["ratio (ClickOS: 45 us against 41)", out["kvm"] / out["inline"], 1.3]]


def ping_inside(kind: str) -> float:
    for words in ("link set lo up", "link add br0 type bridge", "addr add 10.9.0.1/24 dev br0", "link set br0 up"):
        subprocess.run(["ip", *words.split()], check=True)
    with Toolstack() as toolstack, tempfile.NamedTemporaryFile("w", suffix=".click") as file:
        file.write(RESPONDER)
        file.flush()
        toolstack.create(DomainSpec("r", vif=(VifSpec("02:00:00:00:00:09", "br0"),), click=file.name, isolation=kind))
        time.sleep(0.5)
        text = subprocess.run(["ping", "-c", "1500", "-i", "0.002", "10.9.0.2"], capture_output=True, text=True, check=True).stdout
    times = [float(line.rpartition("time=")[2].split()[0]) for line in text.splitlines() if "time=" in line]
    # The first ones find the virtual CPU still at home.
    return statistics.median(times[400:]) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--many", type=int, default=1000)
    parser.add_argument("--ping", choices=["inline", "kvm"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ping:
        print(ping_inside(options.ping))
        return
    with tempfile.NamedTemporaryFile("w", suffix=".click") as file:
        file.write(MIRROR)
        file.flush()
        show(f"starting domains ({choose()[0]}), milliseconds", ["what", "ms", "x fork+exec", "promised", "ClickOS"], starts(file.name))
        show("the same image in each kind of machine", ["machine", "ns a packet", "of inline"], speed())
        show("moving a NAT with 10,000 mappings", ["what", "measured", "promised"], moving())
        show("many domains", ["what", "measured", "promised"], many(options.many, file.name))
    show("round trip to one of twelve domains, the others loaded, microseconds", ["the others", "median", "9 of 10"], sharing())
    show("ping through a domain", ["path", "measured", "promised"], ping())


if __name__ == "__main__":
    main()
