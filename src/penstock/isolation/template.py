"""A configuration made ready once, so that an instance of it is a copy of some pages."""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.datapath.containers import Table
from penstock.datapath.memory import Memory, Stateful
from penstock.elements.element import Element
from penstock.runtime.image import Image, ImageCache
from penstock.runtime.router import Router

__all__ = ["Template", "pages_of"]

_PAGE = mmap.PAGESIZE
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
    file: str = "config"
    library_path: tuple[Path, ...] = ()

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
        return cls(
            text, tuple(router.interfaces), router.build(), router.root, router.memory.size, tuple(pages_of(router.memory)),
            tuple(_seeds(router)), offsets["base_ns"], driver["next_expiry"], driver["upcall"],
            {name: port.words.offset for name, port in router.ports.items()}, _needs_host(router), file, library_path,
        )

    def router(self, memory: Memory) -> Router:
        """The elements, their handlers and their layout, on the memory of an instance."""
        router = _router(self.text, self.interfaces, self.file, self.library_path, None)
        router.source_text = self.text
        router.move_to(memory)
        return router

    def fill(self, memory: Memory, *, seed: int | None = None) -> None:
        """Make zeroed memory an instance that has not run yet."""
        view = memory.view
        for offset, content in self.pages:
            view[offset : offset + len(content)] = content
        numbers = os.urandom(8 * len(self.seeds)) if seed is None else _WORD.pack(seed) * len(self.seeds)
        for i, offset in enumerate(self.seeds):
            view[offset : offset + 8] = numbers[8 * i : 8 * i + 8]


def _router(text: str, interfaces: Sequence[str], file: str, library_path: tuple[Path, ...], cache: ImageCache | None) -> Router:
    return Router.from_text(text, interfaces=tuple(interfaces), file=file, library_path=library_path, cache=cache)


def pages_of(memory: Memory) -> list[tuple[int, bytes]]:
    """Runs of pages that are not zero. What was never touched is not read: it would become memory."""
    zero = bytes(_PAGE)
    found: list[tuple[int, bytes]] = []
    start = memory.address // _PAGE
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:
        pagemap.seek(start * 8)
        present = pagemap.read(memory.size // _PAGE * 8)
    for i in range(memory.size // _PAGE):
        # Bit 63: in memory, 62: swapped out.
        if not present[8 * i + 7] & 0xC0:
            continue
        page = bytes(memory.view[i * _PAGE : (i + 1) * _PAGE])
        if page == zero:
            continue
        if found and found[-1][0] + len(found[-1][1]) == i * _PAGE:
            found[-1] = (found[-1][0], found[-1][1] + page)
        else:
            found.append((i * _PAGE, page))
    return found


def _seeds(router: Router) -> list[int]:
    found = [router.random._offsets["state"]]

    def look(item: Stateful) -> None:
        for _, inner in item.state_objects():
            if isinstance(inner, Table):
                found.append(inner._offsets["seed"])
            elif isinstance(inner, Stateful):
                look(inner)

    for _, root in router.roots:
        look(root)
    return found


def _needs_host(router: Router) -> bool:
    calls = router.calls
    if calls.readers or calls.feeders or calls.after_run or calls.stop_managers or calls.next_ns < 1 << 63:
        return True
    plain: Any = Element.host_packet
    return any(type(e).host_packet is not plain for e in router.elements)
