"""Detections: one file a question that a path is asked. Each file has ``run``; its name and docstring are the detection's.

A file that is put here is found by itself: ``penstock trace --test NAME``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import cast

from penstock.tracebox.detections.verdict import Subject, Verdict

__all__ = ["Subject", "Verdict", "detections", "run"]


def detections() -> dict[str, str]:
    """Name -> what it tells, in one line."""
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if module.name != "verdict":
            text = importlib.import_module(f"{__name__}.{module.name}").__doc__ or ""
            found[module.name.replace("_", "-")] = text.strip().splitlines()[0]
    return found


def run(name: str, subject: Subject) -> Verdict:
    """Ask a path one question. Raises NetworkError, and KeyError for a question that nobody knows."""
    if name not in detections():
        raise KeyError(name)
    module = importlib.import_module(f"{__name__}.{name.replace('-', '_')}")
    question = cast(Callable[[Subject], Verdict], module.run)
    verdict = question(subject)
    verdict.name = name
    return verdict
