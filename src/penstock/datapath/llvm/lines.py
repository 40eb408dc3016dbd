"""From an address in an image back to the element and the line of its source.

An image carries no such table. When one is needed (a domain has crashed), the same code is made once more with debug
information; the "line numbers" in it are indices of a list of places, so that the line table alone (DWARF 4, section
6.2) says all there is to say.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from penstock.datapath.llvm.elf import sections_of

__all__ = ["Lines", "Place", "line_at"]

_DEFINITION = re.compile(r"^(define [^\n]*@(\w+)\([^\n]*\) #\d) \{$", re.MULTILINE)
_HEADER = struct.Struct("<IHIBBBbBB")


@dataclass(frozen=True)
class Place:
    """A line of packet code, and the element that it worked for."""

    element: str
    file: str
    line: int


class Lines:
    """Collects places while a module is emitted, and the metadata that says them to LLVM."""

    def __init__(self, element_of: Callable[[Any], str]):
        self.places: list[Place] = []
        self._element_of = element_of
        self._index: dict[Place, int] = {}
        self._programs: dict[str, int] = {}
        self._nodes: dict[tuple[int, int], int] = {}

    def attachment(self, function: Any, line: Any) -> str:
        """What an instruction of ``function`` that comes from ``line`` gets behind it."""
        place = Place(self._element_of(function.owner), str(getattr(line, "file", function.file)), int(line))
        index = self._index.setdefault(place, len(self.places))
        if index == len(self.places):
            self.places.append(place)
        program = self._programs.setdefault(function.name, len(self._programs))
        node = self._nodes.setdefault((program, index), len(self._nodes))
        return f", !dbg !{{N{node}}}"

    def finish(self, text: str, first_free: int) -> str:
        """The module with its debug information; metadata numbers start at ``first_free``."""
        unit, file, empty, kind, flags = range(first_free, first_free + 5)
        programs = first_free + 6
        nodes = programs + len(self._programs)
        text = re.sub(r"!\{N(\d+)\}", lambda m: f"!{nodes + int(m[1])}", text)
        text = _DEFINITION.sub(
            lambda m: f"{m[1]} !dbg !{programs + self._programs[m[2]]} {{" if m[2] in self._programs else m[0], text)
        lines = [
            f"!llvm.dbg.cu = !{{!{unit}}}", f"!llvm.module.flags = !{{!{flags}, !{flags + 1}}}",
            f'!{flags} = !{{i32 2, !"Dwarf Version", i32 4}}', f'!{flags + 1} = !{{i32 2, !"Debug Info Version", i32 3}}',
            f'!{file} = !DIFile(filename: "image", directory: "")', f"!{empty} = !{{}}",
            f"!{kind} = !DISubroutineType(types: !{empty})",
            f"!{unit} = distinct !DICompileUnit(language: DW_LANG_C, file: !{file}, isOptimized: true, emissionKind: LineTablesOnly)",
        ]
        lines += [
            f'!{programs + n} = distinct !DISubprogram(name: "{name}", file: !{file}, line: 1, type: !{kind}, unit: !{unit}, '
            "spFlags: DISPFlagDefinition)" for name, n in self._programs.items()
        ]
        lines += [f"!{nodes + n} = !DILocation(line: {index + 1}, scope: !{programs + program})"
                  for (program, index), n in self._nodes.items()]
        return text + "\n".join(lines) + "\n"


def line_at(object_file: bytes, address: int) -> int:
    """The line number that an object's line table gives for an address in its code; 0 where it gives none."""
    table = next((object_file[s.offset : s.offset + s.size] for s in sections_of(object_file) if s.name == ".debug_line"), b"")
    best = 0
    for start, line in _rows(table):
        if start > address:
            break
        best = line or best
    return best


def _leb(data: bytes, at: int, *, signed: bool = False) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return (value - (1 << shift) if signed and byte & 0x40 else value), at


def _rows(table: bytes) -> list[tuple[int, int]]:
    """(address, line) of every row of the line number program, in order of addresses."""
    if not table:
        return []
    length, version, header_length, least, _, _, line_base, line_range, opcode_base = _HEADER.unpack_from(table)
    if version != 4:
        return []
    arguments = table[_HEADER.size : _HEADER.size + opcode_base - 1]
    at, end = 10 + header_length, 4 + length
    rows: list[tuple[int, int]] = []
    address, line = 0, 1
    while at < end:
        opcode = table[at]
        at += 1
        if opcode >= opcode_base:
            step = opcode - opcode_base
            address += least * (step // line_range)
            line += line_base + step % line_range
            rows.append((address, line))
        elif opcode == 0:
            size, at = _leb(table, at)
            if table[at] == 1:
                address, line = 0, 1
            elif table[at] == 2:
                # Relative to the section, whose relocation nobody has applied: its addend is in the relocation table, and 0.
                (address,) = struct.unpack_from("<Q", table, at + 1)
            at += size
        elif opcode == 1:
            rows.append((address, line))
        elif opcode == 2:
            step, at = _leb(table, at)
            address += least * step
        elif opcode == 3:
            step, at = _leb(table, at, signed=True)
            line += step
        elif opcode == 8:
            address += least * ((255 - opcode_base) // line_range)
        elif opcode == 9:
            address += struct.unpack_from("<H", table, at)[0]
            at += 2
        else:
            for _ in range(arguments[opcode - 1]):
                _, at = _leb(table, at)
    return sorted(rows, key=lambda row: row[0])
