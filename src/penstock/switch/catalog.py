"""Modules by name: those in the folder ``modules``, and files of one's own."""

from __future__ import annotations

import importlib.util
import pkgutil
import shlex
import sys
from pathlib import Path

from penstock.runtime.once import once
from penstock.switch import modules
from penstock.switch.module import Module, ModuleError

__all__ = ["make_module", "module_classes"]


@once
def module_classes() -> dict[str, type[Module]]:
    """The modules that come with the switch, by name."""
    for found in pkgutil.iter_modules(modules.__path__):
        importlib.import_module(f"{modules.__name__}.{found.name}")
    return {cls.name: cls for cls in sorted(_all(Module), key=lambda c: c.name)
            if cls.name and cls.__module__.startswith(f"{modules.__name__}.")}


def _all(cls: type[Module]) -> list[type[Module]]:
    return [sub for direct in cls.__subclasses__() for sub in (direct, *_all(direct))]


def make_module(text: str) -> Module:
    """A module from ``NAME [ARGUMENT...]``; NAME may be a Python file with one Module class in it."""
    try:
        name, *arguments = shlex.split(text)
    except ValueError:
        raise ModuleError(f"'{text}' names no module") from None
    cls: type[Module] | None = _from_file(name) if name.endswith(".py") else module_classes().get(name)
    if cls is None:
        raise ModuleError(f"there is no module '{name}' (there are {', '.join(module_classes())}; or give a .py file)")
    made: Module = cls()
    made.configure(arguments)
    return made


def _from_file(path: str) -> type[Module]:
    file = Path(path).resolve()
    name = f"penstock_switch_module_{abs(hash(str(file)))}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, file)
        if spec is None or spec.loader is None or not file.exists():
            raise ModuleError(f"{path}: no such file")
        loaded = importlib.util.module_from_spec(spec)
        sys.modules[name] = loaded
        try:
            spec.loader.exec_module(loaded)
        except Exception as error:
            del sys.modules[name]
            raise ModuleError(f"{path}: {type(error).__name__}: {error}") from None
    found = [value for value in vars(sys.modules[name]).values()
             if isinstance(value, type) and issubclass(value, Module) and value.__module__ == name]
    if len(found) != 1:
        raise ModuleError(f"{path}: a file with one class that is a Module, not {len(found)}")
    found[0].name = found[0].name or file.stem
    return found[0]
