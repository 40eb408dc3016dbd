"""Finding element classes by name: in the folders here, in files named on the command line, in entry points."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import sys
from pathlib import Path

from penstock.elements.element import Element
from penstock.lang.ports import PortRules

__all__ = ["class_names", "find", "is_known", "load_file", "port_rules", "summary_of"]

_HERE = Path(__file__).parent
_CLASS = re.compile(r"^class ([A-Z]\w*)\([\w., ]*\):", re.MULTILINE)
_EXPORTS = re.compile(r"^__all__ = \[(.*?)\]", re.MULTILINE | re.DOTALL)
_loaded: dict[str, type[Element]] = {}


@functools.cache
def _index() -> dict[str, str]:
    """Class name -> module, read off the files without importing them: the classes that these export."""
    found: dict[str, str] = {}
    for path in sorted(_HERE.glob("*/*.py")):
        if path.stem.startswith("_"):
            continue
        text = path.read_text("utf-8")
        exported = _EXPORTS.search(text)
        for name in _CLASS.findall(text):
            if exported and f'"{name}"' in exported[1]:
                found[name] = f"penstock.elements.{path.parent.name}.{path.stem}"
    return found


@functools.cache
def _entry_points() -> dict[str, str]:
    from importlib.metadata import entry_points

    return {e.name: e.value for e in entry_points(group="penstock.elements")}


def class_names() -> list[str]:
    """Every element class that a configuration may name."""
    return sorted({*_index(), *_loaded, *_entry_points()})


@functools.cache
def _shortcut(name: str) -> str | None:
    """The usual place, looked at before everything is read: a file of the class's name."""
    for path in _HERE.glob(f"*/{name.lower()}.py"):
        if re.search(rf"^class {name}\(", path.read_text("utf-8"), re.MULTILINE):
            return f"penstock.elements.{path.parent.name}.{path.stem}"
    return None


#: what a name means inside a domain, where there are no devices but the domain's interfaces
_IN_DOMAIN = {"FromDevice": "FromRing", "ToDevice": "ToRing"}


def find(name: str, *, in_domain: bool = False) -> type[Element] | None:
    """The class of that name, or None."""
    if in_domain:
        name = _IN_DOMAIN.get(name, name)
    if name in _loaded:
        return _loaded[name]
    if not name.isidentifier():
        return None
    module = _shortcut(name) or _index().get(name)
    if module is None:
        value = _entry_points().get(name)
        if value is None:
            return None
        module, _, attribute = value.partition(":")
        cls = getattr(importlib.import_module(module), attribute or name)
    else:
        cls = getattr(importlib.import_module(module), name)
    if not (isinstance(cls, type) and issubclass(cls, Element)):
        return None
    _loaded[name] = cls
    return cls


def is_known(name: str) -> bool:
    return find(name) is not None


def port_rules(name: str, *, in_domain: bool = False) -> PortRules:
    cls = find(name, in_domain=in_domain)
    return PortRules(cls.ports, cls.processing, cls.flow) if cls else PortRules("-/-")


def summary_of(cls: type[Element]) -> str:
    """The first line of the class's documentation."""
    return (cls.__doc__ or "").strip().split("\n")[0]


def load_file(path: str) -> list[str]:
    """Make the element classes of a Python file known; gives their names."""
    name = f"penstock_user_{abs(hash(str(Path(path).resolve()))):x}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    found = [
        cls.__name__ for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Element) and cls.__module__ == name
    ]
    for class_name in found:
        _loaded[class_name] = getattr(module, class_name)
    return found
