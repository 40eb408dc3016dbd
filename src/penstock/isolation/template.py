"""A configuration made ready once, so that an instance of it is a copy of some pages."""

from __future__ import annotations

import hashlib
import mmap
import os
import re
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.datapath.containers import Table
from penstock.datapath.memory import Memory, Stateful
from penstock.datapath.ports import PORT_BYTES
from penstock.elements.element import Element
from penstock.isolation.hostside import has_host_side
from penstock.runtime.image import Image, ImageCache
from penstock.runtime.router import Router

__all__ = ["Pages", "Template", "cut", "outside", "present_runs"]

_PAGE = mmap.PAGESIZE
_SOMETHING = re.compile(rb"[^\0]")
#: by the highest byte of a page's entry: bit 63 in memory, 62 swapped out
_PRESENT = bytes(1 if n & 0xC0 else 0 for n in range(256))
#: runs of pages: offset and bytes
Pages = Sequence[tuple[int, bytes | memoryview]]
_WORD = struct.Struct("<Q")


@dataclass(frozen=True)
class Template:
    """What every instance of a configuration has in common. ``pages`` are the runs of its memory that are not zero."""

    text: str
    interfaces: tuple[str, ...]
    image: Image
    entry: str
    size_bytes: int
    pages: tuple[tuple[int, bytes], ...]
    #: where each instance has random numbers of its own
    seeds: tuple[int, ...]
    clock_offset: int
    expiry_offset: int
    upcall_offset: int
    #: interface -> offset of its port
    ports: Mapping[str, int]
    #: elements that work in Python too (printing, files, scripts), which must be there while the instance runs
    needs_host: bool
    #: of names, types and places of all state: two with the same can exchange memory
    layout_digest: str
    file: str = "config"
    library_path: tuple[Path, ...] = ()

    @property
    def port_places(self) -> list[tuple[int, int]]:
        """Where (start, end) in an instance's memory its ports are: shared with their peers, not the instance's own."""
        return _places(self.ports)

    @classmethod
    def from_text(cls, text: str, *, interfaces: Sequence[str] = (), file: str = "config",
                  library_path: tuple[Path, ...] = (), cache: ImageCache | None = None) -> Template:
        """Parse, check and compile. Raises ConfigurationError."""
        router = _router(text, interfaces, file, library_path, cache)
        try:
            return cls.from_router(router, text, file, library_path)
        finally:
            router.close()

    @classmethod
    def from_router(cls, router: Router, text: str, file: str, library_path: tuple[Path, ...]) -> Template:
        assert router.memory is not None and router.interfaces is not None
        router.source_text = text
        offsets, driver = router.clock._offsets, router.driver._offsets
        ports = {name: port.words.offset for name, port in router.ports.items()}
        pages = cut(router.memory.view, present_runs(router.memory), _places(ports))
        return cls(
            text, tuple(router.interfaces), router.build(), router.root, router.memory.size, tuple(pages),
            tuple(_seeds(router)), offsets["base_ns"], driver["next_expiry"], driver["upcall"],
            ports, _needs_host(router), _digest(router), file, library_path,
        )

    def router(self, memory: Memory) -> Router:
        """The elements, their handlers and their layout, on the memory of an instance."""
        router = _router(self.text, self.interfaces, self.file, self.library_path, None)
        router.source_text = self.text
        router.move_to(memory)
        return router

    def fill(self, memory: Memory, *, seed: int | None = None, content: Pages | None = None) -> None:
        """Make zeroed memory an instance that has not run yet, or one with the ``content`` of another."""
        view = memory.view
        if content is not None:
            for offset, part in content:
                view[offset : offset + len(part)] = part
            return
        for offset, part in self.pages:
            view[offset : offset + len(part)] = part
        numbers = os.urandom(8 * len(self.seeds)) if seed is None else _WORD.pack(seed) * len(self.seeds)
        for i, offset in enumerate(self.seeds):
            view[offset : offset + 8] = numbers[8 * i : 8 * i + 8]


def _places(ports: Mapping[str, int]) -> list[tuple[int, int]]:
    return sorted((at, at + PORT_BYTES) for at in ports.values())


def _router(text: str, interfaces: Sequence[str], file: str, library_path: tuple[Path, ...], cache: ImageCache | None) -> Router:
    return Router.from_text(text, interfaces=tuple(interfaces), file=file, library_path=library_path, cache=cache)


def present_runs(memory: Memory) -> Iterator[tuple[int, int]]:
    """Runs (start, end) of private memory that was ever touched. The rest is not read: it would become memory."""
    start = memory.address // _PAGE
    try:
        with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
            pagemap.seek(start * 8)
            present = pagemap.read(memory.size // _PAGE * 8)[7::8].translate(_PRESENT)
    except PermissionError:
        # A process that changed its user, for instance: then all of it is looked at.
        return iter([(0, memory.size)])
    return ((m.start() * _PAGE, m.end() * _PAGE) for m in re.finditer(b"\1+", present))


def cut(view: memoryview, runs: Iterable[tuple[int, int]], without: Sequence[tuple[int, int]] = ()) -> list[tuple[int, bytes]]:
    """The bytes of runs (start, end), except for the parts (start, end), in order, to leave out and what is all zero."""
    parts = ((a, bytes(view[a:b])) for start, end in runs for a, b in outside(start, end, without))
    return [(at, part) for at, part in parts if _SOMETHING.search(part)]


def outside(start: int, end: int, holes: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of a run without the holes (start, end), which are in order."""
    for a, b in holes:
        if start < min(a, end):
            yield start, min(a, end)
        start = max(start, min(b, end))
    if start < end:
        yield start, end


def _digest(router: Router) -> str:
    lines = [f"{e.path} {e.type} {e.offset} {e.count}" for e in router.layout.entries]
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def _seeds(router: Router) -> list[int]:
    found = [router.random._offsets["state"]]

    def look(item: Stateful) -> None:
        for _, inner in item.state_objects():
            if isinstance(inner, Table):
                # What is in a table already lies where this seed put it.
                if not inner.entries:
                    found.append(inner._offsets["seed"])
            elif isinstance(inner, Stateful):
                look(inner)

    for _, root in router.roots:
        look(root)
    return found


def _needs_host(router: Router) -> bool:
    plain: Any = Element.host_packet
    return has_host_side(router) or any(type(e).host_packet is not plain for e in router.elements)
