"""A few instructions of our own around the routers: loops that wait, wake and call the kernel, written with llvmlite.

Packet code is never written like this: it comes from elements. What is here runs where Python cannot (in a guest, in a locked-down
process) or where it would be too slow (between a device and a ring).
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.datapath.futex import FUTEX, WAIT, WAKE, WAKE_ALL
from penstock.runtime.image import Image, ImageCache

__all__ = ["Code", "assemble"]


def assemble(name: str, functions: Mapping[str, tuple[int, Callable[[Code], None]]], sources: Sequence[str]) -> Image:
    """The functions (how many arguments, what writes them), from the image cache where it has those of these files.

    ``sources`` are all files that say what is written: the code, and the layouts of what it touches.
    """
    cache = ImageCache()
    digest = hashlib.sha256(name.encode())
    for source in (*sources, __file__):
        digest.update(Path(source).read_bytes())
    key = digest.hexdigest()
    image = cache.load(key)
    if image is None or set(image.entries) != set(functions):
        from penstock.datapath.llvm.compile import compile_text, link

        code, entries = link(compile_text(_module_text(name, functions)), list(functions))
        image = Image(code, entries)
        cache.store(key, image)
    return image


def _module_text(name: str, functions: Mapping[str, tuple[int, Callable[[Code], None]]]) -> str:
    from llvmlite import ir

    module = ir.Module(name)
    made: dict[str, Any] = {}
    for function, (arguments, _) in functions.items():
        made[function] = ir.Function(module, ir.FunctionType(ir.IntType(64), [ir.IntType(64)] * arguments), function)
    for function, (_, write) in functions.items():
        write(Code(ir, made[function], made))
    # Hidden: reached relative to the code itself, not through a table.
    return str(module).replace("define i64", "define hidden i64")


class Code:
    """A function being written: 64-bit values, memory by address."""

    def __init__(self, ir: Any, function: Any, functions: dict[str, Any]):
        self.ir, self.function, self.functions = ir, function, functions
        self.b: Any = ir.IRBuilder(function.append_basic_block("entry"))
        self.args = function.args
        self.i64, self.i32 = ir.IntType(64), ir.IntType(32)

    def const(self, value: int) -> Any:
        return self.i64(value - (1 << 64) if value >> 63 else value)

    def num(self, value: Any) -> Any:
        return self.const(int(value)) if isinstance(value, int) else value

    def _pointer(self, base: Any, offset: Any, bits: int) -> Any:
        address = self.b.add(base, self.num(offset))
        return self.b.inttoptr(address, self.ir.IntType(bits).as_pointer())

    def load(self, base: Any, offset: Any, bits: int = 64) -> Any:
        """Others change what is there: each load is made, once."""
        value = self.b.load_atomic(self._pointer(base, offset, bits), "acquire", bits // 8)
        return value if bits == 64 else self.b.zext(value, self.i64)

    def store(self, base: Any, offset: Any, value: Any, bits: int = 64) -> None:
        value = self.num(value)
        if bits != 64:
            value = self.b.trunc(value, self.ir.IntType(bits))
        self.b.store_atomic(value, self._pointer(base, offset, bits), "release", bits // 8)

    def swap_if(self, base: Any, offset: Any, old: int, new: int) -> Any:
        """Compare and exchange of a 32-bit word; the value found."""
        pair = self.b.cmpxchg(self._pointer(base, offset, 32), self.i32(old), self.i32(new), "seq_cst", "seq_cst")
        return self.b.zext(self.b.extract_value(pair, 0), self.i64)

    def clear(self, base: Any, offset: Any) -> None:
        """Set a 32-bit word to 0, before anything behind this is read: an exchange, which is a full fence.

        With a plain store, what is read next could be read first, and a call that comes in between would be wiped out.
        """
        self.b.atomic_rmw("xchg", self._pointer(base, offset, 32), self.i32(0), "seq_cst")

    def set_bits(self, base: Any, offset: Any, bits: Any) -> None:
        self.b.atomic_rmw("or", self._pointer(base, offset, 64), self.num(bits), "seq_cst")

    def variable(self, value: Any) -> Any:
        with self.b.goto_entry_block():
            place = self.b.alloca(self.i64)
        self.b.store(self.num(value), place)
        return place

    def get(self, variable: Any) -> Any:
        return self.b.load(variable)

    def set(self, variable: Any, value: Any) -> None:
        self.b.store(self.num(value), variable)

    def test(self, op: str, a: Any, b: Any) -> Any:
        return self.b.icmp_unsigned(op, self.num(a), self.num(b))

    def has(self, value: Any, bits: int) -> Any:
        return self.test("!=", self.b.and_(value, self.num(bits)), 0)

    def when(self, condition: Any) -> Any:
        return self.b.if_then(condition)

    @contextlib.contextmanager
    def each(self, count: Any) -> Iterator[Any]:
        """A loop with an index."""
        index = self.variable(0)
        top, body, done = (self.function.append_basic_block() for _ in range(3))
        self.b.branch(top)
        self.b.position_at_end(top)
        self.b.cbranch(self.test("<", self.get(index), count), body, done)
        self.b.position_at_end(body)
        yield self.get(index)
        self.set(index, self.b.add(self.get(index), self.const(1)))
        self.b.branch(top)
        self.b.position_at_end(done)

    @contextlib.contextmanager
    def forever(self) -> Iterator[tuple[Any, Any]]:
        """A loop; gives the blocks to go on and to leave."""
        top, done = self.function.append_basic_block(), self.function.append_basic_block()
        self.b.branch(top)
        self.b.position_at_end(top)
        yield top, done
        if not self.b.block.is_terminated:
            self.b.branch(top)
        self.b.position_at_end(done)

    def call(self, name: str, *arguments: Any) -> Any:
        return self.b.call(self.functions[name], [self.num(a) for a in arguments])

    def call_at(self, address: Any, *arguments: Any) -> Any:
        kind = self.ir.FunctionType(self.i64, [self.i64] * len(arguments))
        return self.b.call(self.b.inttoptr(address, kind.as_pointer()), [self.num(a) for a in arguments])

    def syscall(self, number: int, *arguments: Any) -> Any:
        """The kernel's answer: negative errors, no errno."""
        values = [self.num(a) for a in (*arguments, *([0] * (6 - len(arguments))))]
        kind = self.ir.FunctionType(self.i64, [self.i64] * 7)
        registers = "={rax},{rax},{rdi},{rsi},{rdx},{r10},{r8},{r9},~{rcx},~{r11},~{memory}"
        return self.b.asm(kind, "syscall", registers, [self.const(number), *values], True)

    def address_of(self, variable: Any) -> Any:
        return self.b.ptrtoint(variable, self.i64)

    def futex_wait(self, base: Any, offset: int, expected: int) -> None:
        self.syscall(FUTEX, self.b.add(base, self.num(offset)), WAIT, expected, 0)

    def futex_wake(self, address: Any) -> None:
        self.syscall(FUTEX, address, WAKE, WAKE_ALL)

    def ret(self, value: Any) -> None:
        self.b.ret(self.num(value))

    def fence(self) -> None:
        """A store before it is seen before a load after it is made."""
        self.b.fence("seq_cst")
