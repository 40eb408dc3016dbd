"""From assembly text to machine code, and from an object file to one position-independent block of bytes."""

from __future__ import annotations

import functools
import struct
from typing import Any

from penstock.datapath.llvm.elf import Section, sections_of
from penstock.datapath.llvm.emit import LARGE_TEXT_BYTES
from penstock.datapath.llvm.lines import line_at
from penstock.datapath.llvm.parts import emit_parts

__all__ = ["CompileError", "compile_text", "line_in", "link"]


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


def compile_text(text: str) -> tuple[bytes, ...]:
    """ELF object files from LLVM assembly: one, or two parts of a large one, each made by a process of its own where that can be."""
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
    return emit_parts(machine, module, text) if is_large else (bytes(machine.emit_object(module)),)


_PC32, _PLT32 = 2, 4


def _lay_out(objects: tuple[bytes, ...], sections: list[list[Section]]) -> tuple[bytearray, dict[tuple[int, int], int]]:
    """The code and constants of all objects, one behind the other, and where each section (object, number) begins."""
    block = bytearray()
    place: dict[tuple[int, int], int] = {}
    for k, object_file in enumerate(objects):
        for i, section in enumerate(sections[k]):
            if section.kind == 1 and section.flags & 2 and section.size and not section.name.startswith(".eh_frame"):
                if section.flags & 1:
                    raise CompileError(f"unexpected writable section {section.name}")
                block += b"\0" * (-len(block) % max(section.alignment, 1))
                place[k, i] = len(block)
                block += object_file[section.offset : section.offset + section.size]
    return block, place


def _symbols(object_file: bytes, sections: list[Section]) -> list[tuple[str, int, int]]:
    """Name, section and value of each."""
    symbols: list[tuple[str, int, int]] = []
    for section in sections:
        if section.kind == 2:
            text_at = sections[section.link].offset
            for at in range(section.offset, section.offset + section.size, 24):
                name, _, _, index, value, _ = struct.unpack_from("<IBBHQQ", object_file, at)
                start = text_at + name
                symbols.append((object_file[start : object_file.index(b"\0", start)].decode(), index, value))
    return symbols


def link(objects: tuple[bytes, ...], exports: list[str]) -> tuple[bytes, dict[str, int]]:
    """Lay code and constants out in one block; gives the block and the offset of each export.

    Only relocations relative to the code itself are accepted, so the block runs wherever it is put.
    """
    sections = [sections_of(object_file) for object_file in objects]
    block, place = _lay_out(objects, sections)
    symbols = [_symbols(object_file, sections[k]) for k, object_file in enumerate(objects)]
    named = {name: place[k, index] + value
             for k, found in enumerate(symbols) for name, index, value in found if name and (k, index) in place}
    for k, object_file in enumerate(objects):
        for section in sections[k]:
            if section.kind != 4 or (k, section.info) not in place:
                continue
            for at in range(section.offset, section.offset + section.size, 24):
                where, info, addend = struct.unpack_from("<QQq", object_file, at)
                name, index, value = symbols[k][info >> 32]
                target = place[k, index] + value if (k, index) in place else named.get(name) if index == 0 else None
                if info & 0xFFFFFFFF not in (_PC32, _PLT32) or target is None:
                    raise CompileError(f"unexpected relocation type {info & 0xFFFFFFFF} against '{name}'")
                position = place[k, section.info] + where
                struct.pack_into("<i", block, position, target + addend - position)
    missing = set(exports) - set(named)
    if missing:
        raise CompileError(f"missing entry points {sorted(missing)}")
    return bytes(block), {name: named[name] for name in exports}


def line_in(objects: tuple[bytes, ...], address: int) -> int:
    """The line number that the objects' tables give for an address in what ``link`` makes of them; 0 where they give none."""
    sections = [sections_of(object_file) for object_file in objects]
    _, place = _lay_out(objects, sections)
    for (k, i), start in place.items():
        if sections[k][i].name == ".text" and start <= address < start + sections[k][i].size:
            return line_at(objects[k], address - start)
    return 0
