"""The key of an image: everything that the compiled code depends on, in one digest."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import sys
import types
from collections.abc import Set
from pathlib import Path
from typing import Any

from penstock.datapath.memory import Array, Stateful, Struct
from penstock.datapath.source import NAMES_BY_MODULE, DatapathFunction
from penstock.packet.integers import IntType

__all__ = ["fingerprint"]

_PACKAGE = Path(__file__).parent.parent
_COMPILED_FROM = ("datapath", "elements", "packet", "runtime", "switch")


@functools.cache
def _package_digest() -> str:
    """Names, sizes and times of this package's sources: they are the compiler and the elements."""
    digest = hashlib.sha256()
    for room in _COMPILED_FROM:
        for path in sorted((_PACKAGE / room).rglob("*.py")):
            status = path.stat()
            digest.update(f"{path.relative_to(_PACKAGE)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


@functools.cache
def _cpu_digest() -> str:
    """Model and features: code for one processor is not given to another."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
    lines = [line for line in text.split("\n\n")[0].splitlines() if line.startswith(("model", "flags", "vendor"))]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


@functools.cache
def _source_digest(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""


def _canonical(value: Any, out: list[str], names: Set[str], depth: int = 0) -> None:
    """Append a text that is equal for equal constants; of what objects hold, those that packet code mentions (``names``)."""
    if depth > 60:
        out.append("deep")
    elif value is None or isinstance(value, (bool, int, float, str, bytes)):
        out.append(f"{type(value).__name__}{value!r}")
    elif isinstance(value, (tuple, list)):
        out.append("(")
        for item in value:
            _canonical(item, out, names, depth + 1)
        out.append(")")
    elif isinstance(value, (set, frozenset)):
        _canonical(sorted(value, key=repr), out, names, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            _canonical(key, out, names, depth + 1)
            _canonical(item, out, names, depth + 1)
    elif isinstance(value, Array):
        out.append(f"array{value.offset},{value.length},{value.stride}")
        _canonical(value.kind, out, names, depth + 1)
    elif isinstance(value, IntType):
        out.append(str(value))
    elif isinstance(value, type) and issubclass(value, Struct):
        out.append(f"struct{value.SIZE}")
        _canonical(value.FIELDS, out, names, depth + 1)
    elif isinstance(value, type):
        out.append(f"type{value.__module__}.{value.__qualname__}")
    elif isinstance(value, Stateful):
        offsets = sorted(value._offsets.items())
        out.append(f"state{type(value).__qualname__}{getattr(value, 'index', '')}{offsets}")
        if not value.is_root:
            for name, item in vars(value).items():
                if not name.startswith("_") and name in names:
                    out.append(name)
                    _canonical(item, out, names, depth + 1)
    elif dataclasses.is_dataclass(value):
        out.append(type(value).__qualname__)
        for field in dataclasses.fields(value):
            _canonical(getattr(value, field.name), out, names, depth + 1)
    elif isinstance(value, (types.FunctionType, types.MethodType, DatapathFunction)):
        out.append(f"function{getattr(value, '__qualname__', '')}")
    else:
        out.append(f"opaque{type(value).__qualname__}")


@functools.cache
def _modules_behind(module: str) -> frozenset[str]:
    """The module, and those whose packet code it uses."""
    found = {module}
    for value in vars(sys.modules[module]).values():
        if isinstance(value, DatapathFunction) and value.function.__module__ not in found:
            found |= _modules_behind(value.function.__module__)
    return frozenset(found)


def _names_in_packet_code(roots: list[tuple[str, Stateful]]) -> set[str]:
    """Every attribute that the packet code of these objects can mention; nothing else that happens to be loaded counts."""
    classes: set[type] = set()

    def look(item: Stateful) -> None:
        classes.update(type(item).__mro__)
        for _, inner in item.state_objects():
            if isinstance(inner, Stateful):
                look(inner)

    for _, root in roots:
        look(root)
    modules = {m for cls in classes if cls.__module__ in NAMES_BY_MODULE for m in _modules_behind(cls.__module__)}
    return set().union(*(NAMES_BY_MODULE[m] for m in modules if m in NAMES_BY_MODULE))


#: attributes that say how the code is put together
_GRAPH = {"index", "class_name", "ninputs", "noutputs", "input_peers", "output_peers", "input_codes", "output_codes"}
#: attributes that the router set and that say nothing the graph does not say
_PLUMBING = {"router", "handlers", "at", "program", "_memory", "_initial", "_offsets", "name"}


def fingerprint(roots: list[tuple[str, Stateful]], memory_bytes: int, options: str) -> str:
    """The digest of a laid-out configuration."""
    out: list[str] = [_package_digest(), _cpu_digest(), str(memory_bytes), options]
    names = _names_in_packet_code(roots)
    for _, root in roots:
        cls = type(root)
        out.append(f"{cls.__module__}.{cls.__qualname__}")
        if not cls.__module__.startswith("penstock."):
            out.append(_source_digest(cls.__module__))
        out.append(str(sorted(root._offsets.items())))
        for name, value in sorted(vars(root).items()):
            # What no packet code mentions, such as a file's name, makes no difference to the image.
            if name not in _PLUMBING and (name in names or name in _GRAPH):
                out.append(name)
                _canonical(value, out, names)
    return hashlib.sha256("\n".join(out).encode("utf-8", "surrogateescape")).hexdigest()
