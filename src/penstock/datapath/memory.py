"""Declared state and the one block of memory it lives in.

Everything that an installed configuration remembers is a field of a :class:`Stateful` object: scalars and
structs declared by annotation, arrays and other Stateful objects as attributes. ``lay_out`` gives each field
an offset; from then on Python reads and writes the very bytes that compiled code works on.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeAlias, TypeVar

from penstock.packet.integers import IntType

__all__ = ["Array", "Layout", "LayoutEntry", "Memory", "PacketSlot", "Stateful", "Struct", "StructView", "lay_out", "map_at", "packer"]

T = TypeVar("T")
CACHE_LINE_BYTES = 64
_MAP_FIXED, MAP_NORESERVE, _MAP_FIXED_NOREPLACE = 0x10, 0x4000, 0x100000
_HUGE_PAGE_BYTES = 2 << 20
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p


if TYPE_CHECKING:
    from penstock.datapath.packet import Packet

    PacketSlot: TypeAlias = Packet | None
else:

    class PacketSlot:
        """A place in state that owns one packet or none: a number that is the packet's offset, 0 for none."""

        SIZE = 8


def size_and_alignment(kind: Any) -> tuple[int, int]:
    if isinstance(kind, IntType):
        size = max(1, 1 << (kind.size_bytes - 1).bit_length())
        return size, min(size, 8)
    if kind is PacketSlot:
        return 8, 8
    return kind.SIZE, kind.ALIGNMENT


def _align(offset: int, alignment: int) -> int:
    return (offset + alignment - 1) & ~(alignment - 1)


def _declared(cls: type) -> dict[str, Any]:
    """The state that a class declares by annotation, evaluated, in order."""
    fields: dict[str, Any] = {}
    namespace = {**vars(sys.modules[cls.__module__]), **vars(cls)}
    for name, annotation in cls.__dict__.get("__annotations__", {}).items():
        kind = annotation
        if isinstance(annotation, str):
            if annotation.startswith(("ClassVar", "Callable", "list", "dict")):
                continue
            try:
                kind = eval(annotation, namespace)
            except (NameError, TypeError, AttributeError):
                continue
        if isinstance(kind, IntType) or kind is PacketSlot or (isinstance(kind, type) and issubclass(kind, Struct)):
            fields[name] = kind
    return fields


class Struct:
    """A record in state: fields by annotation, naturally aligned."""

    #: fields that are the index of another entry of the same table, which belongs to this one
    LINKS: ClassVar[tuple[str, ...]] = ()
    FIELDS: ClassVar[dict[str, tuple[Any, int]]] = {}
    SIZE: ClassVar[int] = 0
    ALIGNMENT: ClassVar[int] = 1

    def __init_subclass__(cls) -> None:
        fields = dict(cls.FIELDS)
        offset = cls.SIZE
        alignment = cls.ALIGNMENT
        for name, kind in _declared(cls).items():
            size, align = size_and_alignment(kind)
            offset = _align(offset, align)
            fields[name] = (kind, offset)
            offset += size
            alignment = max(alignment, align)
        cls.FIELDS, cls.ALIGNMENT = fields, alignment
        cls.SIZE = _align(offset, alignment)


def make_struct(name: str, fields: dict[str, Any], *, size: int | None = None) -> type[Struct]:
    """A Struct class from a dictionary; ``size`` pads it."""
    made: type[Struct] = type(name, (Struct,), {"__annotations__": {}, "__module__": __name__})
    offset, alignment = 0, 1
    placed: dict[str, tuple[Any, int]] = {}
    for field, kind in fields.items():
        bytes_, align = size_and_alignment(kind)
        offset = _align(offset, align)
        placed[field] = (kind, offset)
        offset += bytes_
        alignment = max(alignment, align)
    made.FIELDS, made.ALIGNMENT = placed, alignment
    made.SIZE = max(_align(offset, alignment), size or 0)
    return made


def map_at(address: int, size: int, flags: int, descriptor: int = -1, offset: int = 0, *, free: bool = False) -> None:
    """Map readable and writable memory at an address, in the place of what is there; FileExistsError where it must be ``free``."""
    done = _libc.mmap(
        ctypes.c_void_p(address), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_WRITE,
        flags | (_MAP_FIXED_NOREPLACE if free else _MAP_FIXED), ctypes.c_int(descriptor), ctypes.c_long(offset),
    )
    if done != address:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Memory:
    """One block of instance memory, private to this process unless it is a file's."""

    #: the file that it is a mapping of
    descriptor = -1

    def __init__(self, size: int, *, huge_pages: bool = True, reserve: bool = True, descriptor: int = -1):
        """``reserve=False``: mostly room for what is mapped there later, more than the machine may have.

        With a ``descriptor`` it is that file's memory, which others may share; the file stays its owner's.
        """
        self.size = _align(max(size, 1), mmap.PAGESIZE)
        self.descriptor = descriptor
        kind = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS if descriptor < 0 else mmap.MAP_SHARED
        self._map = mmap.mmap(descriptor, self.size, flags=kind | (0 if reserve else MAP_NORESERVE))
        if huge_pages and self.size >= _HUGE_PAGE_BYTES:
            # Large tables are read at random: with small pages most of the time goes into page walks. Best effort.
            with contextlib.suppress(OSError):
                self._map.madvise(mmap.MADV_HUGEPAGE)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._anchor)
        self.view = memoryview(self._map)

    @classmethod
    def within(cls, block: Any, offset: int, size: int) -> Memory:
        """A part of a larger mapping, which stays its owner's."""
        part = cls.__new__(cls)
        part.size, part._map = size, block
        part._anchor = ctypes.c_char.from_buffer(block, offset)
        part.address = ctypes.addressof(part._anchor)
        part.view = memoryview(block).cast("B")[offset : offset + size]
        return part

    def load(self, offset: int, size: int) -> int:
        return int.from_bytes(self.view[offset : offset + size], "little")

    def store(self, offset: int, size: int, value: int) -> None:
        self.view[offset : offset + size] = (value & ((1 << (8 * size)) - 1)).to_bytes(size, "little")

    def map_at(self, offset: int, size: int, descriptor: int, *, at: int = 0) -> None:
        """Put ``size`` bytes of a descriptor's memory from ``at`` in the place of those at ``offset`` (both page-aligned)."""
        place = self.address + offset
        try:
            map_at(place, size, mmap.MAP_SHARED, descriptor, at, free=True)
        except FileExistsError:
            map_at(place, size, mmap.MAP_SHARED, descriptor, at)

    def unmap_at(self, offset: int, size: int) -> None:
        """Fresh memory in the place of what was mapped there: zero, for all who share it."""
        if self.descriptor < 0:
            self.make_private(offset, size)
            return
        map_at(self.address + offset, size, mmap.MAP_SHARED | MAP_NORESERVE, self.descriptor, offset)
        self._map.madvise(mmap.MADV_REMOVE, offset, size)

    def make_private(self, offset: int, size: int) -> None:
        """Memory that nobody else sees, zero."""
        map_at(self.address + offset, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE)

    def close(self) -> None:
        """Give the memory back; nothing that runs compiled code on it may be left."""
        self.view.release()
        del self._anchor
        self._map.close()


def _load(memory: Memory, offset: int, kind: Any) -> Any:
    if isinstance(kind, IntType):
        size, _ = size_and_alignment(kind)
        return kind(memory.load(offset, size))
    if kind is PacketSlot:
        return memory.load(offset, 8)
    return StructView(memory, offset, kind)


def _store(memory: Memory, offset: int, kind: Any, value: Any) -> None:
    """``value`` is a number, or for a struct a dictionary of its fields."""
    if isinstance(value, dict):
        for name, item in value.items():
            field, place = kind.FIELDS[name]
            _store(memory, offset + place, field, item)
        return
    size, _ = size_and_alignment(kind)
    memory.store(offset, size, int(value))


def packer(kind: type[Struct], names: Sequence[str]) -> Callable[..., bytes]:
    """What packs numbers of at most 64 bits, one for each of ``names`` (``a.b`` within a struct), to a record; the rest is zero."""
    places = []
    for n, name in enumerate(names):
        field: Any = kind
        offset = 0
        for part in name.split("."):
            field, at = field.FIELDS[part]
            offset += at
        places.append((offset, size_and_alignment(field)[0], n))
    places.sort()
    form, end = "<", 0
    for offset, size, _ in places:
        form += f"{offset - end}x" + {1: "B", 2: "H", 4: "I", 8: "Q"}[size]
        end = offset + size
    form += f"{kind.SIZE - end}x"
    packing = struct.Struct(form).pack
    order = [n for _, _, n in places]
    if order == sorted(order):
        return packing
    return lambda *values: packing(*(values[n] for n in order))


class StructView:
    """A Struct in memory, seen from Python."""

    __slots__ = ("_kind", "_memory", "_offset")

    def __init__(self, memory: Memory, offset: int, kind: type[Struct]):
        object.__setattr__(self, "_memory", memory)
        object.__setattr__(self, "_offset", offset)
        object.__setattr__(self, "_kind", kind)

    def __getattr__(self, name: str) -> Any:
        try:
            kind, offset = self._kind.FIELDS[name]
        except KeyError:
            raise AttributeError(name) from None
        return _load(self._memory, self._offset + offset, kind)

    def __setattr__(self, name: str, value: int) -> None:
        kind, offset = self._kind.FIELDS[name]
        _store(self._memory, self._offset + offset, kind, value)

    def __repr__(self) -> str:
        return f"{self._kind.__name__}({', '.join(f'{n}={getattr(self, n)}' for n in self._kind.FIELDS)})"


class Array(Generic[T]):
    """``length`` values of one type, in state. Values set before the layout are its initial content.

    Initial content is numbers, dictionaries of a struct's fields, or bytes that start at an index.
    """

    def __init__(self, kind: type[T], length: int, initial: Sequence[Any] | None = None, *,
                 alignment: int = 0):
        self.kind: Any = kind
        self.length = length
        self.offset = -1
        self.memory: Memory | None = None
        self.initial: dict[int, Any] = {}
        if initial:
            self.initial = {0: initial} if isinstance(initial, bytes) else dict(enumerate(initial))
        self.stride, natural = size_and_alignment(kind)
        self.alignment = max(alignment, natural)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> T:
        if not 0 <= index < self.length:
            raise IndexError(index)
        if self.memory is None:
            return self.initial.get(index, 0)  # type: ignore[no-any-return]
        value: T = _load(self.memory, self.offset + index * self.stride, self.kind)
        return value

    def __setitem__(self, index: int, value: T) -> None:
        if not 0 <= index < self.length:
            raise IndexError(index)
        if self.memory is None:
            self.initial[index] = value
        else:
            _store(self.memory, self.offset + index * self.stride, self.kind, value)

    def __iter__(self) -> Iterator[T]:
        return (self[i] for i in range(self.length))

    @property
    def size_bytes(self) -> int:
        return self.stride * self.length

    def view(self) -> memoryview:
        """The array's bytes."""
        assert self.memory is not None
        return self.memory.view[self.offset : self.offset + self.size_bytes]


class _Field:
    """Descriptor of one declared scalar or struct."""

    def __init__(self, name: str, kind: Any):
        self.name, self.kind = name, kind

    def __get__(self, owner: Stateful | None, cls: type) -> Any:
        if owner is None:
            return self
        if owner._memory is None:
            return owner._initial.get(self.name, 0)
        return _load(owner._memory, owner._offsets[self.name], self.kind)

    def __set__(self, owner: Stateful, value: int) -> None:
        if owner._memory is None:
            owner._initial[self.name] = value
        else:
            _store(owner._memory, owner._offsets[self.name], self.kind, value)


class Stateful:
    """An object with declared state. ``is_root`` objects are laid out by the router, not by who refers to them."""

    is_root: ClassVar[bool] = False
    #: bytes; what needs more than words has its memory to itself up to the next multiple
    ALIGNMENT: ClassVar[int] = 8
    STATE: ClassVar[dict[str, Any]] = {}

    _memory: Memory | None
    _initial: dict[str, int]
    _offsets: dict[str, int]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        declared = _declared(cls)
        inherited: dict[str, Any] = {}
        for base in cls.__bases__:
            inherited |= getattr(base, "STATE", {})
        cls.STATE = {**inherited, **declared}
        for name, kind in declared.items():
            setattr(cls, name, _Field(name, kind))

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__new__(cls)
        made._memory = None
        made._initial = {}
        made._offsets = {}
        return made

    def state_objects(self) -> Iterator[tuple[str, Array[Any] | Stateful]]:
        """Arrays and nested Stateful objects among the attributes, in the order they were set."""
        for name, value in vars(self).items():
            if type(value) not in _PLAIN:
                for suffix, item in _members(value):
                    yield name + suffix, item


#: the types of most attributes, which own no state
_PLAIN = frozenset({int, bool, str, float, bytes, type(None), dict})


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Array) or (isinstance(value, Stateful) and not value.is_root):
        yield "", value
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            # Long lists are of these, and looked through often.
            if type(item) in _PLAIN:
                continue
            for suffix, inner in _members(item):
                yield f"[{i}]{suffix}", inner


@dataclass(frozen=True, slots=True)
class LayoutEntry:
    """One field of instance memory: ``path`` such as ``c.count``, its type, offset and number of values."""

    path: str
    type: str
    offset: int
    count: int
    size_bytes: int


@dataclass
class Layout:
    entries: list[LayoutEntry]
    size: int


def _type_name(kind: Any) -> str:
    return str(kind) if isinstance(kind, IntType) else str(kind.__name__)


def lay_out(roots: list[tuple[str, Stateful]], start: int = 0) -> Layout:
    """Give every field of ``roots`` and what they own an offset; the same objects give the same layout."""
    layout = Layout([], start)
    placed: set[int] = set()

    def place(path: str, item: Array[Any] | Stateful) -> None:
        if id(item) in placed:
            return
        placed.add(id(item))
        if isinstance(item, Array):
            alignment = max(CACHE_LINE_BYTES if item.size_bytes >= CACHE_LINE_BYTES else 1, item.alignment)
            layout.size = _align(layout.size, alignment)
            item.offset = layout.size
            layout.entries.append(
                LayoutEntry(path, _type_name(item.kind), item.offset, item.length, item.size_bytes)
            )
            layout.size += item.size_bytes
            return
        layout.size = _align(layout.size, item.ALIGNMENT)
        for name, kind in item.STATE.items():
            size, alignment = size_and_alignment(kind)
            layout.size = _align(layout.size, alignment)
            item._offsets[name] = layout.size
            layout.entries.append(LayoutEntry(f"{path}.{name}", _type_name(kind), layout.size, 1, size))
            layout.size += size
        for name, inner in item.state_objects():
            place(f"{path}.{name}", inner)
        if item.ALIGNMENT > CACHE_LINE_BYTES:
            layout.size = _align(layout.size, item.ALIGNMENT)

    for path, root in roots:
        layout.size = _align(layout.size, CACHE_LINE_BYTES)
        place(path, root)
    return layout


def attach(roots: list[tuple[str, Stateful]], memory: Memory, *, write: bool = True) -> None:
    """Point every field at ``memory``, and (with ``write``) put the initial values there."""
    done: set[int] = set()

    def bind(item: Array[Any] | Stateful) -> None:
        if id(item) in done:
            return
        done.add(id(item))
        if isinstance(item, Array):
            item.memory = memory
            for index, value in item.initial.items() if write else ():
                at = item.offset + index * item.stride
                if isinstance(value, bytes | memoryview):
                    memory.view[at : at + len(value)] = value
                else:
                    _store(memory, at, item.kind, value)
            return
        item._memory = memory
        for name, value in item._initial.items() if write else ():
            _store(memory, item._offsets[name], item.STATE[name], value)
        for _, inner in item.state_objects():
            bind(inner)

    for _, root in roots:
        bind(root)


