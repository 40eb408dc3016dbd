"""Random concrete packets of a symbolic one, and whether what the data plane did with them is among the verifier's answers."""

from __future__ import annotations

import ctypes
import random

from penstock.datapath.sched import BUSY
from penstock.ring import SharedPort
from penstock.runtime.image import LoadedImage
from penstock.runtime.router import Router
from penstock.verify.box import Ending
from penstock.verify.example import bytes_of, holds
from penstock.verify.packet import SymbolicPacket
from penstock.verify.terms import Value, Var, evaluate, variables

__all__ = ["Dataplane", "concrete", "contains", "frame_sum", "unexplained"]


class Dataplane:
    """Compiled code with interfaces ``0``, ``1`` …, run here step by step: what comes out belongs to what went in."""

    def __init__(self, text: str, ports: int = 2):
        names = [str(i) for i in range(ports)]
        self.router = router = Router.from_text(text, interfaces=names, seed=4711)
        assert router.memory is not None
        self.ports = [SharedPort(n) for n in names]
        for name, port in zip(names, self.ports):
            if name in router.ports:
                port.map_into(router.memory, router.ports[name].words.offset)
        self._loaded = LoadedImage(router.build())
        self._upcall = ctypes.CFUNCTYPE(None)(lambda: None)
        router.driver.upcall = ctypes.cast(self._upcall, ctypes.c_void_p).value or 0
        self._turn = self._loaded.function("turn", ctypes.c_uint64, returns=ctypes.c_uint64)

    def send(self, port: int, frame: bytes) -> list[tuple[str, bytes]]:
        """(interface, frame) of everything that comes out; who is asked for by ARP answers."""
        out = self._send(port, frame)
        asked = [(int(i), f) for i, f in out if f[12:14] == b"\x08\x06" and f[20:22] == b"\0\1"]
        for interface, f in asked:
            out += self._send(interface, f[6:12] + b"\2" + f[37:42] + f[12:20] + b"\0\2\2" + f[37:42] + f[38:42] + f[22:32])
        return out

    def _send(self, port: int, frame: bytes) -> list[tuple[str, bytes]]:
        assert self.router.memory is not None
        assert self.ports[port].send(frame)
        self.router.clock.synchronise()
        while self._turn(self.router.memory.address, 64) & BUSY:
            pass
        out = []
        for i, there in enumerate(self.ports):
            while (sent := there.receive()) is not None:
                out.append((str(i), sent))
        return out

    def __enter__(self) -> Dataplane:
        return self

    def __exit__(self, *exc: object) -> None:
        self.router.close()
        self._loaded.close()
        for port in self.ports:
            port.close()


def frame_sum(data: bytes) -> int:
    data += bytes(len(data) % 2)
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def concrete(packet: SymbolicPacket, chance: random.Random, interesting: dict[str, list[int]] | None = None) -> tuple[bytes, dict[Var, int]]:
    """A frame, and the numbers of the variables that it came from."""
    found: set[Var] = set()
    values: list[Value] = [*packet.cells.values(), *packet.meta.values()]
    for value in values:
        found |= variables(value)
    known: dict[Var, int] = {}
    for variable in sorted(found, key=lambda v: v.name):
        choices = [n for n in (interesting or {}).get(variable.name, []) if variable.low <= n <= variable.high]
        if choices and chance.random() < 0.7:
            known[variable] = chance.choice(choices)
        elif variable.name == "packet_type":
            # What rings give; a device may give others.
            known[variable] = 0
        elif variable.name.endswith("payload length"):
            known[variable] = chance.choice([0, 1, 2, 7, 40, 301])
        else:
            known[variable] = chance.randint(variable.low, variable.high)
    size = next((n for v, n in known.items() if v.name.endswith("payload length")), 0)
    payload = chance.randbytes(size)
    for variable in found:
        if variable.name.startswith("sum("):
            known[variable] = frame_sum(payload)
    for k, byte in enumerate(payload):
        known[Var(f"payload[{k}]", 8)] = byte
    return bytes_of(packet, known, payload), known


def contains(ending: Ending, known: dict[Var, int], frame: bytes) -> bool:
    """Whether the frame is one that this ending allows: unknown numbers (a random port) may be anything."""
    free = {v for v in _packet_variables(ending.packet) if v not in known and v.kind != "packet"}
    if evaluate(ending.packet.meta["length"], known) != len(frame):
        return False
    start = ending.packet.meta["data"]
    assert isinstance(start, int)
    for i, byte in enumerate(frame):
        cell = ending.packet.load(start + i, 1)
        there = set() if isinstance(cell, int) else variables(cell)
        if there & free:
            continue
        if evaluate(cell, known) != byte:
            return False
    return True


def _packet_variables(packet: SymbolicPacket) -> set[Var]:
    found: set[Var] = set()
    for value in packet.cells.values():
        found |= set() if isinstance(value, int) else variables(value)
    return found


def unexplained(endings: list[Ending], known: dict[Var, int], out: list[tuple[str, bytes]]) -> str:
    """Why the answer is wrong about this packet; empty where it is right."""
    possible = [e for e in endings if holds(e.path, known)]
    if not possible:
        return "no ending allows this packet"
    if any(e.kind == "undecided" for e in possible):
        return "undecided: " + next(e.reason for e in possible if e.kind == "undecided")
    for interface, frame in out:
        if not any(e.kind == "exit" and e.interface == interface and contains(e, known, frame) for e in possible):
            return f"it left through {interface} as {frame.hex()}, which no ending allows: {[(e.kind, e.interface) for e in possible]}"
    if not out and all(e.kind == "exit" for e in possible):
        return f"nothing came out, but it should through {[e.interface for e in possible]}"
    return ""


