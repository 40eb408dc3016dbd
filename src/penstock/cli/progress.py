"""How far a long command is, on a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["progress_bar", "watched"]

T = TypeVar("T")
#: what takes less is done before anybody looks
_DELAY_S = 1.0


def progress_bar() -> Progress:
    """A bar on standard error. What is printed meanwhile stands above it."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    return Progress(*columns, console=Console(stderr=True), redirect_stdout=sys.stdout.isatty(), transient=True)


def watched(items: Iterable[T], total: int) -> Iterator[T]:
    """The items, with a bar that appears where they take long and somebody is there to see it."""
    if not sys.stderr.isatty():
        yield from items
        return
    done = 0
    bar: Progress | None = None
    ended = threading.Event()

    def appear() -> None:
        nonlocal bar
        if not ended.wait(_DELAY_S):
            made = progress_bar()
            made.add_task("", total=total, completed=done)
            made.start()
            bar = made

    watcher = threading.Thread(target=appear, daemon=True)
    watcher.start()
    try:
        for item in items:
            yield item
            done += 1
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)
    finally:
        ended.set()
        watcher.join()
        if bar is not None:
            bar.stop()
