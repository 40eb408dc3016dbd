"""The switch's fabric: million frames a second, beside the same algorithm by hand in C without a check, and mSwitch's bitmaps.

    python bench/switch.py [--json] [--quick]

One core, source ring always full, receivers that take everything at once, medians of five rounds in which the cases take turns.
"between two processes" is the real thing: a program on one core, the switch of another process on the other one.
What was published for mSwitch (Honda et al., SOSR 2015) was measured on its authors' machine.
"""

from __future__ import annotations

import ctypes
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import ovs_dpdk
from penstock.datapath.memory import Memory
from penstock.datapath.ports import BUFFER_BYTES, HEAD, LENGTHS, MORE, TAIL, PortLayout
from penstock.ring import OpenPort
from penstock.runtime.image import LoadedImage
from penstock.switch.catalog import make_module
from penstock.switch.crew import Crew
from penstock.switch.fabric import Fabric, port_state
from penstock.switch.joined import Forwarder
from penstock.switch.module import Module
from penstock.switch.program import FabricProgram
from table import show

HERE = Path(__file__).parent
ROUNDS = 2 if "--quick" in sys.argv else 5
FRAMES = 2_000_000 if "--quick" in sys.argv else 10_000_000
STATIONS = 250


def by_hand() -> ctypes.CDLL | None:
    """The C code, where there is a compiler."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "switch.so"
        try:
            subprocess.run(["gcc", "-O3", "-march=native", "-shared", "-fPIC", "-pthread", "-o", library, HERE / "switch.c"], check=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        code = ctypes.CDLL(str(library))
    for name in ("drive", "ring_copy", "round_trips", "stream"):
        getattr(code, name).restype = ctypes.c_uint64
    return code


class Case:
    """A fabric in memory of its own; port 0 sends ``frames`` again and again to the ports behind it."""

    def __init__(self, code: ctypes.CDLL, module: Module, frames: Sequence[bytes], receivers: int, *, slots: int = 256, ports: int = 0,
                 hand: Sequence[str] = ()):
        self.code, self.layout, self.receivers, self.slots = code, PortLayout(slots), receivers, slots
        total = max(ports, receivers + 1)
        self.fabric = Fabric(self.layout.port_bytes * total, module)
        module.fabric = self.fabric
        program = FabricProgram(self.fabric, module)
        self.memory = Memory(program.layout.size, reserve=False)
        program.attach(self.memory)
        self.image = LoadedImage(program.image())
        view = self.fabric.memory.view()
        self.words = view.cast("I")
        self.base = self.memory.address + self.fabric.memory.offset
        for i in range(total):
            self.fabric.ports[i] = port_state(self.layout, self.layout.port_bytes * i, owner=i)
            self.fabric.members[i] = self.fabric.own.sources[i] = i  # type: ignore[assignment]
        self.fabric.n_members = self.fabric.own.n_sources = total
        ring = self.layout.tx
        self.bytes_sent = 0
        slot = 0
        for k in range(slots):
            frame = frames[k % len(frames)]
            parts = [frame[i : i + BUFFER_BYTES] for i in range(0, len(frame), BUFFER_BYTES)]
            if slot + len(parts) > slots:
                break
            for j, part in enumerate(parts):
                place = 4 * ring + self.layout.ring_header_bytes + slot * BUFFER_BYTES
                view[place : place + len(part)] = part
                self.words[ring + LENGTHS + slot] = len(part) | (MORE if j + 1 < len(parts) else 0)
                slot += 1
        self.batch = min(slot, 256)
        view.release()
        self.hand = tuple(hand)
        self.rates: dict[str, list[float]] = {name: [] for name in ("ours", *hand)}

    def _ring(self, port: int, towards: bool) -> int:
        return self.base + self.layout.port_bytes * port + 4 * (self.layout.rx if towards else self.layout.tx)

    def measure(self) -> None:
        for name in self.rates:
            for i in range(int(self.fabric.n_members)):
                state = self.fabric.ports[i]
                for ring in (int(state.source), int(state.target)):
                    self.words[ring + HEAD] = self.words[ring + TAIL] = 0
                state.head = self.fabric.outlets[i].tail = 0
            if name != "ours":
                self.code.reset()
                for i in range(self.receivers + 1):
                    s = self.fabric.ports[i]
                    self.code.setup(i, ctypes.c_void_p(self.base), *(ctypes.c_uint64(v) for v in (
                        4 * s.source, s.source_buffers, 4 * s.target, s.target_buffers)), self.slots)
            turn = getattr(self.code, name) if name != "ours" else ctypes.c_void_p(self.image.address + self.image.image.entries["turn"])
            sources = (ctypes.c_void_p * 1)(self._ring(0, False))
            targets = (ctypes.c_void_p * self.receivers)(*(self._ring(i + 1, True) for i in range(self.receivers)))
            started = time.process_time()
            moved = self.code.drive(turn, ctypes.c_void_p(self.memory.address), 1, sources, self.receivers, targets, self.batch,
                                    ctypes.c_uint64(FRAMES))
            self.rates[name].append(moved / (time.process_time() - started) / 1e6)

    def median(self, name: str) -> float:
        return statistics.median(self.rates[name])


def ethernet(dst: int, length: int, *, host: int = 1, src: int = 0, kind: bytes = b"\x08\x00") -> bytes:
    """To station ``dst``; IPv4 to 10.0.0.``host``, UDP."""
    head = bytes([2, 0, 0, 0, dst >> 8, dst & 255, 2, 0, 0, 0, 1, src]) + kind
    ip = bytearray(b"\x45\0\0\x2e\0\0\0\0\x40\x11\0\0\x0a\0\0\xfe\x0a\0\0" + bytes([host]))
    total = sum(int.from_bytes(ip[i : i + 2], "big") for i in range(0, 20, 2))
    ip[10:12] = ((total & 0xFFFF) + (total >> 16) ^ 0xFFFF).to_bytes(2, "big")
    udp = b"\x04\0\x00\x35\0\x1a\0\0"
    return (head + bytes(ip) + udp + bytes(max(length, 60)))[:length]


def learning_case(code: ctypes.CDLL, receivers: int) -> Case:
    """Every station has been heard at its port."""
    module = make_module("learning 0")
    made = Case(code, module, [ethernet(1 + k % receivers, 60) for k in range(256)], receivers)
    for port in range(1, receivers + 1):
        station = ethernet(0, 60)
        address = ethernet(port, 60)[:6]
        ring = made.fabric.ports[port]
        view = made.fabric.memory.view()
        view[int(ring.source_buffers) : int(ring.source_buffers) + 60] = station[:6] + address + station[12:]
        view.release()
        made.words[int(ring.source) + LENGTHS] = 60
        made.words[int(ring.source) + TAIL] = 1
    turn = made.image.function("turn", ctypes.c_uint32, returns=ctypes.c_uint64)
    for _ in range(1000):
        turn(made.memory.address, 1)
    return made


def flow_case(code: ctypes.CDLL) -> Case:
    module = make_module("flow-table")
    made = Case(code, module, [ethernet(1, 60, host=k % 250) for k in range(256)], 1)
    module.port_attached(1, "p1")
    for k in range(10_000):
        module.command(["add-flow", f"priority={10 + k % 2},ip,nw_dst=10.{k >> 8 & 255}.{k & 255}.0/24,actions=output:1" if k else
                        "priority=10,ip,nw_dst=10.0.0.0/24,actions=output:1"])
    return made


def tuple_case(code: ctypes.CDLL) -> Case:
    module = make_module("three-tuple host=h")
    made = Case(code, module, [ethernet(1, 60)] * 256, 1)
    for number, name in enumerate(("h", "app")):
        module.port_attached(number, name)
    module.command(["claim", "10.0.0.1", "udp", "53", "app"])
    return made


def one_core(code: ctypes.CDLL) -> list[list[object]]:
    r = random.Random(5)
    scattered = {n: [ethernet(1, 60, host=1 + r.randrange(n)) for _ in range(256)] for n in (60, 250)}
    broadcast = make_module("static default=broadcast")
    broadcast.default = 4096  # type: ignore[attr-defined]
    cases: dict[str, tuple[Case, float, float | None, str]] = {
        "dummy, 60 bytes": (Case(code, make_module("dummy 1"), [ethernet(1, 60)], 1, hand=["list_dummy", "bitmap_dummy"]), 100, 25.8, ""),
        "dummy, 508 bytes": (Case(code, make_module("dummy 1"), [ethernet(1, 508)], 1, hand=["list_dummy"]), 0, None, ""),
        "dummy, 1,514 bytes": (Case(code, make_module("dummy 1"), [ethernet(1, 1514)], 1, hand=["list_dummy"]), 220 / 1.514 / 8, None, ""),
        "dummy, 64 KiB frames (slots)": (Case(code, make_module("dummy 1"), [ethernet(1, 65536)], 1, hand=[]), 250 / 2.114 / 8, None, ""),
        "dummy, 60 bytes, 4,096 ports": (Case(code, make_module("dummy 1"), [ethernet(1, 60)], 1, ports=4096, hand=[]), 0, None, ""),
        "my_lookup, 60 random destinations": (
            Case(code, make_module("my_lookup"), scattered[60], 60, hand=["list_lookup", "bitmap_lookup"]), 80, None, ""),
        "my_lookup, 250 random destinations": (
            Case(code, make_module("my_lookup"), scattered[250], 250, hand=["list_lookup", "bitmap_lookup"]), 70, None, ""),
        "broadcast to 8 ports (frames delivered)": (Case(code, broadcast, [ethernet(1, 60)], 8, hand=[]), 150 / 8, None, "x8"),
        "learning, one destination": (learning_case(code, 1), 0, None, ""),
        "learning, 250 destinations": (learning_case(code, 250), 0, None, ""),
        "three-tuple": (tuple_case(code), 0, None, ""),
        "flow table, 10,000 flows": (flow_case(code), 30, None, ""),
    }
    for _ in range(ROUNDS):
        for case, *_ in cases.values():
            case.measure()
    rows: list[list[object]] = []
    for name, (case, promised, published, times) in cases.items():
        factor = 8 if times else 1
        ours = case.median("ours") * factor
        hand = {kind: next((case.median(h) for h in case.hand if h.startswith(kind)), None) for kind in ("list", "bitmap")}
        ratio = ours / hand["list"] if hand["list"] else None
        rows.append([name, ours, promised * factor or None, hand["list"], ratio, hand["bitmap"], published])
    return rows


class Senders:
    """``count`` senders, each with a worker of its own, to one receiver; ``lock``: they copy with its lock held, without leases."""

    def __init__(self, code: ctypes.CDLL, count: int, size: int, *, lock: bool = False):
        self.code, layout = code, PortLayout(1024)
        module = make_module("dummy 0")
        self.fabric = Fabric(layout.port_bytes * (count + 1), module, is_parallel=count > 1)
        if lock:
            self.fabric.short_lines = 1 << 30
        module.fabric = self.fabric
        program = FabricProgram(self.fabric, module)
        self.crew = Crew(self.fabric, program.layout.size, count)
        program.attach(self.crew.memory)
        self.image = LoadedImage(program.image())
        frame = ethernet(1, size)
        view = self.fabric.memory.view()
        words = view.cast("I")
        for i in range(count + 1):
            self.fabric.ports[i] = port_state(layout, layout.port_bytes * i, owner=i)
            self.fabric.members[i] = i  # type: ignore[assignment]
            ring = layout.port_bytes * i // 4 + layout.tx
            for slot in range(layout.slots):
                at = 4 * ring + layout.ring_header_bytes + slot * BUFFER_BYTES
                view[at : at + len(frame)] = frame
                words[ring + LENGTHS + slot] = len(frame)
        words.release()
        view.release()
        self.fabric.n_members = count + 1
        for i, worker in enumerate(self.crew.views):
            worker.read_from([i + 1], [layout.port_bytes * (i + 1)])
        self.base, self.layout = self.fabric.memory.offset, layout

    def run(self, batch: int, seconds: float) -> float:
        """Million frames a second that reach the receiver."""
        turn = ctypes.c_void_p(self.image.address + self.image.image.entries["turn"])
        before, threads = int(self.fabric.outlets[0].packets_out), []
        for i, worker in enumerate(self.crew.views):
            ports = worker.memory.address + self.base
            source = ctypes.c_void_p(ports + self.layout.port_bytes * (i + 1) + 4 * self.layout.tx)
            take = ctypes.c_void_p(ports + 4 * self.layout.rx) if i == 0 else None
            threads.append(threading.Thread(target=self.code.drive_for, args=(
                turn, ctypes.c_void_p(worker.memory.address), source, take, batch, ctypes.c_uint64(int(seconds * 1e9)))))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return (int(self.fabric.outlets[0].packets_out) - before) / seconds / 1e6


def senders(code: ctypes.CDLL) -> list[list[object]]:
    rows: list[list[object]] = []
    for size, batch in ((60, 32), (60, 256), (1514, 32), (1514, 256)):
        cases = {"one": Senders(code, 1, size), "two": Senders(code, 2, size), "lock": Senders(code, 2, size, lock=True)}
        rates: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(ROUNDS):
            for name, case in cases.items():
                rates[name].append(case.run(batch, 0.1 if "--quick" in sys.argv else 0.4))
        one, two, lock = (statistics.median(rates[n]) for n in ("one", "two", "lock"))
        rows.append([f"{size} bytes, batches of {batch}", one, two, two / one, 1.7 if size == 1514 else None, lock, two / lock, 0.9])
    return rows


def filled(port: OpenPort, frame: bytes) -> None:
    """The frame in every slot that the port sends from."""
    for slot in range(port.memory.layout.slots):
        at = port._tx_buffers + slot * BUFFER_BYTES
        port._bytes[at : at + len(frame)] = frame
        port._words[port._tx + LENGTHS + slot] = len(frame)


def learnt(a: OpenPort, b: OpenPort, size: int) -> None:
    """Both ports are known to the switch, and full of frames for one another."""
    there, back = ethernet(2, size, src=1), ethernet(2, size, src=1)
    back = ethernet(1, size)[:6] + there[:6] + back[12:]
    there = there[:6] + back[:6] + there[12:]
    for port, frame in ((a, there), (b, back), (a, there)):
        port.send(frame)
        time.sleep(0.05)
    for port, frame in ((a, there), (b, back)):
        filled(port, frame)
        port._words[port._rx + HEAD] = port._words[port._rx + TAIL]


def address(port: OpenPort, word: int = 0) -> ctypes.c_void_p:
    return ctypes.c_void_p(port.memory.address + 4 * word)


def two_processes(code: ctypes.CDLL) -> list[list[object]]:
    """A program that sends and receives, on one core, through the switch of another process, on the other."""
    from penstock.toolstack.client import Client
    from penstock.toolstack.openport import RemotePort

    rows: list[list[object]] = []
    ovs = {size: ovs_dpdk.rate(size) for size in (60, 1514)} if ovs_dpdk.is_there() else {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["PENSTOCK_RUN"] = folder
        with Client(until_empty=False) as client:
            client.switch_make(switch="vale1", module="learning 0", trusting=True)
        for switch, size, promised in (("vale0", 60, 50.0), ("vale0", 1514, 18.0), ("vale1", 60, None), ("vale1", 1514, None)):
            with RemotePort(f"{switch}:a") as a, RemotePort(f"{switch}:b") as b:
                learnt(a, b, size)
                rates = []
                for _ in range(ROUNDS + 1):
                    started = time.monotonic()
                    got = code.stream(address(a), address(a, a._tx), address(b, b._rx), a.memory.layout.slots,
                                      *forwarding(a), ctypes.c_uint64(FRAMES))
                    rates.append(got / (time.monotonic() - started) / 1e6)
            how = "forwarded by the sender" if switch == "vale1" else "by the switch"
            ours = statistics.median(rates[1:])
            theirs = ovs.get(size)
            rows.append([f"learning, {size} bytes, {how}", ours, promised, theirs, ours / theirs if theirs else None])
        with Client() as client:
            client.shutdown()
    return rows


def round_trip(code: ctypes.CDLL) -> list[list[object]]:
    """From a port to another one and back, both polled; the worker polls too."""
    from penstock.switch import Switch

    with Switch("vale0", "learning 0") as switch:
        a, b = switch.open("a"), switch.open("b")
        learnt(a, b, 60)
        words = [w for p in (a, b) for w in (address(p), address(p, p._tx), address(p, p._rx))]
        times = []
        for _ in range(2000):
            started = time.perf_counter_ns()
            code.round_trips(*words, ctypes.c_uint64(100))
            times.append((time.perf_counter_ns() - started) / 100 / 1e3)
    times.sort()
    asleep = [row for how in ("worker", "trusting", "bare") for cores in (1, 2)
              for row in sleeping_round_trip(code, cores, how)]
    return [*asleep, ["polling, median of 100 each, us", times[len(times) // 2], 1.0],
            ["polling, 99 of 100, us", times[len(times) * 99 // 100], None]]


def forwarding(*ports: OpenPort) -> list[object]:
    """How programs forward themselves, for C: the function, and its argument for each port."""
    found = [p.memory.forward.function if isinstance(p.memory.forward, Forwarder) else (0, 0) for p in ports]
    return [ctypes.c_void_p(found[0][0]), *(ctypes.c_uint64(argument) for _, argument in found)]


def sleeping_round_trip(code: ctypes.CDLL, cores: int, how: str) -> list[list[object]]:
    """The same where both ends and the switch sleep in between, all on one core or free to move.

    ``how``: the switch's worker forwards, the senders do, or (bare) nobody: what two futex calls cost.
    """
    from penstock.switch import Switch

    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(sorted(allowed)[:cores]))
    try:
        with Switch("vale0", "learning 0", trusting=how == "trusting") as switch:
            a, b = switch.open("a"), switch.open("b")
            learnt(a, b, 60)
            words = [w for p in (a, b) for w in (address(p), address(p, p._tx), address(p, p._rx))]
            given = forwarding(a, b)
            other_sides = [(ctypes.c_void_p * 2)(address(p), address(p, p._rx)) for p in (b, a)]
            if how == "bare":
                given = [code.bare, *(ctypes.c_uint64(ctypes.addressof(side)) for side in other_sides)]
            took = (ctypes.c_uint64 * 3000)()
            code.calls(*words, *given, ctypes.c_uint64(len(took)), took)
    finally:
        os.sched_setaffinity(0, allowed)
    times = sorted(took)
    where = ("one core" if cores == 1 else f"{cores} cores") + f", {how}"
    return [[f"all asleep, {where}: median, us", times[len(times) // 2] / 1e3, 8.0 if cores == 1 and how == "trusting" else None],
            [f"all asleep, {where}: 99 of 100, us", times[len(times) * 99 // 100] / 1e3, None]]


def main() -> None:
    code = by_hand()
    if code is None:
        raise SystemExit("this benchmark needs gcc")
    show("the fabric on one core, million frames a second",
         ["case", "ours", "promised", "C, lists", "ours/C", "C, bitmaps", "mSwitch"], one_core(code))
    show("two senders, each on a core, to one receiver, million frames a second",
         ["frames", "one sender", "two", "two/one", "promised", "plain lock", "two/lock", "promised"], senders(code))
    show("between two processes, million frames a second; OVS-DPDK between two null devices, without processes and without a copy",
         ["case", "ours", "promised", "OVS-DPDK", "ours/OVS"], two_processes(code))
    show("request and response through the switch", ["how", "measured", "promised"], round_trip(code))


if __name__ == "__main__":
    main()
