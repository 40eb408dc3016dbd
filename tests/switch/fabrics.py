"""A fabric without a thread, for tests that look at every step, in either engine."""

from __future__ import annotations

import ctypes
from typing import Any

from penstock.datapath.memory import Memory
from penstock.datapath.ports import BUFFER_BYTES, HEAD, LENGTHS, MORE, TAIL, PortLayout
from penstock.runtime.image import LoadedImage
from penstock.switch.fabric import Fabric, port_state
from penstock.switch.module import Module
from penstock.switch.program import FabricProgram

__all__ = ["Still"]


class Still:
    """``ports`` ports with rings of ``slots`` slots; frames are put and taken without any check, as a peer would."""

    def __init__(self, module: Module, ports: int, *, engine: str = "compiled", slots: int = 16, patient: frozenset[int] = frozenset(),
                 without_chains: frozenset[int] = frozenset(), is_parallel: bool = False):
        self.engine, self.slots, self.layout = engine, slots, PortLayout(slots)
        size = self.layout.port_bytes
        self.fabric = Fabric(size * ports, module, is_parallel=is_parallel)
        module.fabric = self.fabric
        self.program = FabricProgram(self.fabric, module)
        self.memory = Memory(self.program.layout.size)
        self.program.attach(self.memory)
        self.bytes = self.fabric.memory.view()
        self.words = self.bytes.cast("I")
        for i in range(ports):
            self.fabric.ports[i] = port_state(self.layout, i * size, owner=i, chains=i not in without_chains, patient=i in patient)
            self.fabric.members[i] = self.fabric.own.sources[i] = i  # type: ignore[assignment]
        self.fabric.n_members = self.fabric.own.n_sources = ports
        self.fabric.n_patient = len(patient)
        self._loaded: LoadedImage | None = None
        if engine == "compiled":
            self._loaded = LoadedImage(self.program.image())
            self._turn = self._loaded.function("turn", ctypes.c_uint32, returns=ctypes.c_uint64)

    def ring(self, port: int, towards: bool) -> int:
        """The first word of a ring."""
        return port * self.layout.port_bytes // 4 + (self.layout.rx if towards else self.layout.tx)

    def _buffer(self, ring: int, slot: int) -> int:
        return 4 * ring + self.layout.ring_header_bytes + slot % self.slots * BUFFER_BYTES

    def put(self, port: int, frame: bytes, *, segment_bytes: int = BUFFER_BYTES) -> bool:
        ring = self.ring(port, False)
        parts = [frame[i : i + segment_bytes] for i in range(0, len(frame), segment_bytes)] or [b""]
        tail = self.words[ring + TAIL]
        if (tail - self.words[ring + HEAD]) % (1 << 32) + len(parts) > self.slots:
            return False
        for i, part in enumerate(parts):
            at = self._buffer(ring, tail + i)
            self.bytes[at : at + len(part)] = part
            self.words[ring + LENGTHS + (tail + i) % self.slots] = len(part) | (MORE if i + 1 < len(parts) else 0)
        self.words[ring + TAIL] = (tail + len(parts)) % (1 << 32)
        return True

    def turn(self, rounds: int = 50) -> int:
        moved = 0
        for _ in range(rounds):
            if self.engine == "compiled":
                moved += self._turn(self.memory.address, 1)
            else:
                moved += self.program.run_interpreted(self.program.entry("turn"), [1]) or 0
            self.fabric.own.n_wake = 0
        return moved

    def take(self, port: int) -> list[bytes]:
        """Every frame that came to a port."""
        ring, found, parts = self.ring(port, True), [], b""
        head = self.words[ring + HEAD]
        while head != self.words[ring + TAIL]:
            word = self.words[ring + LENGTHS + head % self.slots]
            at = self._buffer(ring, head)
            parts += bytes(self.bytes[at : at + (word & 0xFFFF)])
            head = (head + 1) % (1 << 32)
            if not word & MORE:
                found.append(parts)
                parts = b""
        assert not parts, "half a frame was published"
        self.words[ring + HEAD] = head
        return found

    def state(self) -> dict[str, Any]:
        """Everything declared, but for the rings."""
        return {e.path: bytes(self.memory.view[e.offset : e.offset + e.size_bytes]) for e in self.program.layout.entries
                if e.path != "fabric.memory"}

    def close(self) -> None:
        self.words.release()
        self.bytes.release()

    def __enter__(self) -> Still:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
