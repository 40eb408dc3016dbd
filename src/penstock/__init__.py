"""Penstock: middleboxes written as Click configurations, compiled to machine code."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from penstock.lang.load import flatten
    from penstock.lang.source import ConfigurationError, Diagnostics
    from penstock.runtime.router import Router

__all__ = ["ConfigurationError", "Diagnostics", "Router", "__version__", "flatten"]

_WHERE = {
    "ConfigurationError": "penstock.lang.source", "Diagnostics": "penstock.lang.source",
    "Router": "penstock.runtime.router", "flatten": "penstock.lang.load",
}


def __getattr__(name: str) -> Any:
    # Importing penstock stays quick: what a program does not use is not loaded.
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'penstock' has no attribute {name!r}")
