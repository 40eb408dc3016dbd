"""From assembly text to machine code, and from an object file to one position-independent block of bytes."""

from __future__ import annotations

import functools
import struct
from typing import Any

from penstock.datapath.llvm.emit import LARGE_TEXT_BYTES

__all__ = ["CompileError", "compile_text", "link"]


class CompileError(Exception):
    """The compiler refused its own output: a bug of Penstock, never of a configuration."""


@functools.cache
def _target_machine(level: int) -> Any:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=level, reloc="pic",
        codemodel="small",
    )


def compile_text(text: str) -> bytes:
    """An ELF object file from LLVM assembly."""
    import llvmlite.binding as llvm

    is_large = len(text) > LARGE_TEXT_BYTES
    machine = _target_machine(1 if is_large else 2)
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise CompileError(str(error)) from None
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    # The time that the passes take grows faster than the text: of 2.8 MB (1,000 elements) 16 s, for code that is no quicker than
    # what the code generator alone makes of it.
    options = llvm.create_pipeline_tuning_options(speed_level=0 if is_large else 3)
    # Packets are short: vector code and unrolled loops would only be longer, and take longer to make.
    options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = options.loop_interleaving = False
    builder = llvm.create_pass_builder(machine, options)
    manager = builder.getModulePassManager()
    manager.run(module, builder)
    return bytes(machine.emit_object(module))


_PC32, _PLT32 = 2, 4


def link(object_file: bytes, exports: list[str]) -> tuple[bytes, dict[str, int]]:
    """Lay the code and its constants out in one block; gives the block and the offset of each export.

    Only relocations relative to the code itself are accepted, so the block runs wherever it is put.
    """
    (section_offset,) = struct.unpack_from("<Q", object_file, 40)
    entry_size, count, names_index = struct.unpack_from("<HHH", object_file, 58)
    sections = [
        struct.unpack_from("<IIQQQQIIQQ", object_file, section_offset + i * entry_size) for i in range(count)
    ]
    names_at = sections[names_index][4]

    def section_name(i: int) -> str:
        start = names_at + sections[i][0]
        return object_file[start : object_file.index(b"\0", start)].decode()

    block = bytearray()
    place: dict[int, int] = {}
    for i, (_, kind, flags, _, offset, size, _, _, align, _) in enumerate(sections):
        if kind == 1 and flags & 2 and size and not section_name(i).startswith(".eh_frame"):
            if flags & 1:
                raise CompileError(f"unexpected writable section {section_name(i)}")
            block += b"\0" * (-len(block) % max(align, 1))
            place[i] = len(block)
            block += object_file[offset : offset + size]
    symbols: list[tuple[str, int, int]] = []
    for _, kind, _, _, offset, size, strings, _, _, _ in sections:
        if kind == 2:
            text_at = sections[strings][4]
            for at in range(offset, offset + size, 24):
                name, _, _, index, value, _ = struct.unpack_from("<IBBHQQ", object_file, at)
                start = text_at + name
                symbols.append((object_file[start : object_file.index(b"\0", start)].decode(), index, value))
    for _, kind, _, _, offset, size, _, target, _, _ in sections:
        if kind != 4 or target not in place:
            continue
        for at in range(offset, offset + size, 24):
            where, info, addend = struct.unpack_from("<QQq", object_file, at)
            name, index, value = symbols[info >> 32]
            if info & 0xFFFFFFFF not in (_PC32, _PLT32) or index not in place:
                raise CompileError(f"unexpected relocation type {info & 0xFFFFFFFF} against '{name}'")
            position = place[target] + where
            struct.pack_into("<i", block, position, place[index] + value + addend - position)
    entries = {name: place[index] + value for name, index, value in symbols if name in exports and index in place}
    missing = set(exports) - set(entries)
    if missing:
        raise CompileError(f"missing entry points {sorted(missing)}")
    return bytes(block), entries
