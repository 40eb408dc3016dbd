"""Packet code of the switch that is no router: a fabric with its module, a generator of frames."""

from __future__ import annotations

import mmap
import os
from typing import Any

from penstock.datapath import ir
from penstock.datapath.containers import Table
from penstock.datapath.frontend import Translator
from penstock.datapath.interpreter import Interpreter
from penstock.datapath.memory import Memory, Stateful, attach, lay_out
from penstock.datapath.program import Program
from penstock.datapath.source import DatapathFunction
from penstock.packet.integers import IntType
from penstock.runtime.fingerprint import fingerprint
from penstock.runtime.image import Image, ImageCache
from penstock.switch.fabric import Fabric
from penstock.switch.module import Module

__all__ = ["CodeProgram", "FabricProgram"]

_U32, _U64 = IntType(32), IntType(64)


class CodeProgram(Program):
    """Entry points of one object, ``roots[0]``, and what it refers to. They take u32 and give u64."""

    def __init__(self, roots: list[tuple[str, Stateful]], entries: dict[str, int]):
        """``entries``: the methods that are called from outside, and how many arguments they take."""
        super().__init__(None, None, None, [])  # type: ignore[arg-type]
        self.roots, self.outside = roots, entries
        self.main: Any = roots[0][1]
        self.layout = lay_out(roots)

    def attach(self, memory: Memory) -> None:
        """Work on ``memory``, which is as new."""
        self.use(memory, self.roots)

    def use(self, memory: Memory, fresh: list[tuple[str, Stateful]]) -> None:
        attach(self.roots, memory, write=False)
        attach(fresh, memory)
        for _, root in self.roots:
            root.program = self  # type: ignore[attr-defined]
        self.memory = memory

    def _make(self, name: str) -> ir.Function:
        function: Any = getattr(type(self.main), name)
        worker = Translator(self, name, function, self.main, self.main)
        return worker.translate(function, self.main, [_U32] * self.outside[name], returns=_U64)

    def release(self) -> ir.Function:
        release: Any = type(self.main).release
        return self.function(self.main, release, [_U64], self.main)

    def functions(self) -> list[ir.Function]:
        found: dict[str, ir.Function] = {}
        for name in self.outside:
            found |= {f.name: f for f in self.build(name)}
        return [found[name] for name in sorted(found)]

    def image(self, cache: ImageCache | None = None) -> Image:
        """From the cache where it has it."""
        cache = cache or ImageCache()
        key = fingerprint(self.roots, self.layout.size, ",".join(self.outside))
        if (cached := cache.load(key)) is not None:
            return cached
        from penstock.datapath.llvm.compile import compile_text, link
        from penstock.datapath.llvm.emit import emit_module

        text = emit_module(self.functions(), set(self.outside), release=self.release().name, depth_offset=0, upcall_offset=0)
        code, entries = link(compile_text(text), list(self.outside))
        image = Image(code, entries)
        cache.store(key, image)
        return image

    def run_interpreted(self, target: ir.Function, values: list[int]) -> int | None:
        return self.interpreter_for(self.memory).run(target, values)

    def interpreter_for(self, memory: Memory) -> Interpreter:
        if self.interpreter is None:
            self.interpreter = Interpreter(memory, self.entry, self.release, cycles=lambda: 0, upcall=lambda: None)
        return self.interpreter

    def interpret(self, owner: Any, function: DatapathFunction[Any, Any], args: tuple[Any, ...]) -> Any:
        signature = [_U64 if arg >> 32 else _U32 for arg in args]
        return self.run_interpreted(self.function(owner, function, signature, owner), list(args))


class FabricProgram(CodeProgram):
    """A fabric with one module; another module can take its place on the same memory."""

    def __init__(self, fabric: Fabric, module: Module):
        entries = {"turn": 1, "settle": 0, "rouse": 0, **({"push": 1} if fabric.is_parallel else {})}
        super().__init__([("fabric", fabric), ("module", module)], entries)
        self.module = module

    def attach(self, memory: Memory) -> None:
        super().attach(memory)
        self._seed()

    def replace(self, memory: Memory) -> None:
        """On memory that another module worked on: the fabric's state stays, the module's is new."""
        start = min(e.offset for e in self.layout.entries if e.path.startswith("module."))
        page = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
        memory.view[start:page] = bytes(page - start)
        memory.unmap_at(page, memory.size - page)
        self.use(memory, self.roots[1:])
        self._seed()

    def _seed(self) -> None:
        """A secret for each table: nobody can send addresses that all fall together."""
        for _, inner in self.module.state_objects():
            if isinstance(inner, Table):
                inner.seed = int.from_bytes(os.urandom(8), "little")
