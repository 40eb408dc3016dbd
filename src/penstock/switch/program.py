"""A fabric and its module as one image."""

from __future__ import annotations

from typing import Any

from penstock.datapath import ir
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

__all__ = ["FabricProgram"]

_U32, _U64 = IntType(32), IntType(64)
#: entry points and the types of their arguments
_ENTRIES: dict[str, list[Any]] = {"turn": [_U32], "settle": [], "rouse": []}


class FabricProgram(Program):
    """The packet code of a fabric with one module, on memory whose layout ``extend`` can keep for another module."""

    def __init__(self, fabric: Fabric, module: Module):
        super().__init__(None, None, None, [])  # type: ignore[arg-type]
        self.fabric, self.module = fabric, module
        self.roots: list[tuple[str, Stateful]] = [("fabric", fabric), ("module", module)]
        self.layout = lay_out(self.roots)

    def attach(self, memory: Memory, *, fresh: bool) -> None:
        """Work on ``memory``; where it is not ``fresh``, only the module's state starts anew."""
        attach([self.roots[0]], memory, write=fresh)
        if not fresh:
            start = min(e.offset for e in self.layout.entries if e.path.startswith("module.") or e.path == "module")
            memory.unmap_at(-(-start // 4096) * 4096, memory.size - -(-start // 4096) * 4096)
            memory.view[start : -(-start // 4096) * 4096] = bytes(-start % 4096)
        attach([self.roots[1]], memory)
        self.fabric.program = self.module.program = self  # type: ignore[attr-defined]
        self.memory = memory

    def _make(self, name: str) -> ir.Function:
        function: Any = getattr(type(self.fabric), name)
        worker = Translator(self, name, function, self.fabric, self.fabric)
        return worker.translate(function, self.fabric, list(_ENTRIES[name]), returns=_U64)

    def release(self) -> ir.Function:
        release: Any = type(self.fabric).release
        return self.function(self.fabric, release, [_U64], self.fabric)

    def functions(self) -> list[ir.Function]:
        found: dict[str, ir.Function] = {}
        for name in _ENTRIES:
            found |= {f.name: f for f in self.build(name)}
        return [found[name] for name in sorted(found)]

    def image(self, cache: ImageCache | None = None) -> Image:
        """From the cache where it has it."""
        cache = cache or ImageCache()
        key = fingerprint(self.roots, self.layout.size, "fabric")
        if (cached := cache.load(key)) is not None:
            return cached
        from penstock.datapath.llvm.compile import compile_text, link
        from penstock.datapath.llvm.emit import emit_module

        text = emit_module(self.functions(), set(_ENTRIES), release=self.release().name, depth_offset=0, upcall_offset=0)
        code, entries = link(compile_text(text), list(_ENTRIES))
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
