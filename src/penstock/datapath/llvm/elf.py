"""What an ELF object file (64 bits, little-endian) consists of."""

from __future__ import annotations

import struct
from dataclasses import dataclass

__all__ = ["Section", "sections_of"]


@dataclass(frozen=True)
class Section:
    """A section's header; ``offset`` is in the file, ``kind`` is what ELF calls its type."""

    name: str
    kind: int
    flags: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int


def sections_of(object_file: bytes) -> list[Section]:
    (at,) = struct.unpack_from("<Q", object_file, 40)
    entry_size, count, names_index = struct.unpack_from("<HHH", object_file, 58)
    rows = [struct.unpack_from("<IIQQQQIIQQ", object_file, at + i * entry_size) for i in range(count)]

    def name(start: int) -> str:
        start += rows[names_index][4]
        return object_file[start : object_file.index(b"\0", start)].decode()

    return [Section(name(n), kind, flags, offset, size, link, info, align)
            for n, kind, flags, _, offset, size, link, info, align, _ in rows]
