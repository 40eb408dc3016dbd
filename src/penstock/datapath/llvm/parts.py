"""Machine code for a large module in two parts, each by a process of its own: with two processors in half the time.

Both processes have the whole module; of the functions that the other one emits, each knows the bodies, but makes no code
(``available_externally``). The parts are the same whether two processes make them or one, so that the code is.
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import warnings
from typing import Any

__all__ = ["emit_parts"]

_DEFINITION = re.compile(r"^define [^\n]*?@([\w.]+)\(", re.MULTILINE)


def _halves(text: str) -> tuple[set[str], set[str]]:
    """The names of the functions, in two sets of about as many lines."""
    found = [(m[1], text.count("\n", m.start(), text.find("\n}", m.start()))) for m in _DEFINITION.finditer(text)]
    total, before = sum(lines for _, lines in found), 0
    first: set[str] = set()
    for name, lines in found:
        if 2 * before < total:
            first.add(name)
        before += lines
    return first, {name for name, _ in found} - first


def _emit(machine: Any, module: Any, others: set[str]) -> bytes:
    """The object of a module without the code of those functions."""
    for function in module.functions:
        if not function.is_declaration:
            function.linkage = "available_externally" if function.name in others else "external"
            # Hidden: reached relative to the code itself, not through a table.
            function.visibility = "hidden"
    return bytes(machine.emit_object(module))


def emit_parts(machine: Any, module: Any, text: str) -> tuple[bytes, bytes]:
    """Two objects: what ``module``, which was read from ``text``, defines."""
    first, second = _halves(text)
    # A fork in a process with threads may find locks that nobody will ever open.
    if len(os.sched_getaffinity(0)) < 2 or threading.active_count() > 1:
        # Making code changes the module.
        return _emit(machine, module.clone(), second), _emit(machine, module, first)
    reader, writer = os.pipe()
    with warnings.catch_warnings():
        # Threads of libraries (numpy's) are none of Python's, and the child calls the code generator alone.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        # The other processor's half. Whatever happens, nothing of the parent's may run here.
        status = 1
        try:
            os.close(reader)
            with os.fdopen(writer, "wb") as out:
                out.write(_emit(machine, module, first))
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    try:
        mine = _emit(machine, module, second)
        with os.fdopen(reader, "rb") as made:
            theirs = made.read()
    finally:
        with contextlib.suppress(ChildProcessError):
            _, status = os.waitpid(child, 0)
    if status != 0:
        # There was no memory for it, for example.
        theirs = _emit(machine, module, first)
    return mine, theirs
