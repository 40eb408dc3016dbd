"""Which thread runs which elements: what can be reached from one another without a queue between runs in one thread.

Two threads never run the same element, but for queues, which one thread pushes to and another one pulls from. So no element has to
know that there are threads.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from penstock.lang.arguments import ArgumentError, parse_int
from penstock.lang.configuration import ElementUse
from penstock.lang.ports import ResolvedPorts
from penstock.lang.text import split_arguments, split_words, unquote

__all__ = ["Spread", "spread"]

_NAME = re.compile(r"[\w@/]+")
SCHEDULER = "StaticThreadSched"


class Spread:
    """For each element the thread that pushes to it, and the one that pulls from it: the same, but for queues between threads."""

    def __init__(self, threads: int, pushed: Sequence[int], pulled: Sequence[int]):
        self.threads, self.pushed, self.pulled = threads, pushed, pulled

    @property
    def queues(self) -> list[int]:
        """Elements between two threads."""
        return [i for i, (a, b) in enumerate(zip(self.pushed, self.pulled)) if a != b]


class _Groups:
    def __init__(self, size: int):
        self.parent = list(range(size))

    def find(self, i: int) -> int:
        while self.parent[i] != i:
            self.parent[i] = self.parent[self.parent[i]]
            i = self.parent[i]
        return i

    def join(self, a: int, b: int) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)


def spread(uses: Sequence[ElementUse], ports: ResolvedPorts, class_of: Callable[[ElementUse], Any], threads: int,
           warn: Callable[[str], None] = lambda text: None) -> Spread:
    """Groups of elements over ``threads``: those that a StaticThreadSched binds where it says, the others evenly.

    An element stands as number i, and what is pulled from a queue as i plus the number of elements.
    """
    n = len(uses)
    if threads == 1:
        return Spread(1, [0] * n, [0] * n)
    groups = _Groups(2 * n)
    splits = [bool(getattr(class_of(use), "between_threads", False)) for use in uses]
    for i in range(n):
        if not splits[i]:
            groups.join(i, n + i)
        for port, peers in enumerate(ports.output_peers[i]):
            # Output 0 of a queue is pulled; output 1, for what finds no room, is pushed.
            source = n + i if splits[i] and port == 0 else i
            for j, _ in peers:
                groups.join(source, j)
    _join_named(uses, groups)
    bound = _bound(uses, groups, n, threads, warn)
    members: dict[int, list[int]] = {}
    for k in range(2 * n):
        members.setdefault(groups.find(k), []).append(k)
    load = [0] * threads
    for group, thread in bound.items():
        load[thread] += len(members[group])
    thread_of = dict(bound)
    for group, inside in sorted(members.items(), key=lambda item: (-len(item[1]), item[0])):
        if group not in thread_of:
            # What has no ports has no packets: it stays with the first thread.
            has_packets = any(ports.input_peers[k % n] or ports.output_peers[k % n] for k in inside)
            thread_of[group] = min(range(threads), key=lambda t: load[t]) if has_packets else 0
            load[thread_of[group]] += len(inside) if has_packets else 0
    return Spread(threads, [thread_of[groups.find(i)] for i in range(n)], [thread_of[groups.find(n + i)] for i in range(n)])


def _join_named(uses: Sequence[ElementUse], groups: _Groups) -> None:
    """An element that names another one in its arguments may call it."""
    numbers = {use.name: i for i, use in enumerate(uses)}
    for i, use in enumerate(uses):
        if use.class_name == SCHEDULER:
            continue
        for word in set(_NAME.findall(use.arguments)):
            prefix = use.name
            while True:
                prefix = prefix.rpartition("/")[0]
                found = numbers.get(f"{prefix}/{word}" if prefix else word)
                if found is not None or not prefix:
                    break
            # A handler's name has a dot behind the element's: handlers are called while all threads stand still.
            if found is not None and not re.search(rf"(?<![\w@/]){re.escape(word)}\.", use.arguments):
                groups.join(i, found)
                groups.join(len(uses) + i, found)
                groups.join(i, len(uses) + found)


def _bound(uses: Sequence[ElementUse], groups: _Groups, n: int, threads: int, warn: Callable[[str], None]) -> dict[int, int]:
    bound: dict[int, int] = {}
    by: dict[int, str] = {}
    for use in uses:
        if use.class_name != SCHEDULER:
            continue
        prefix = use.name.rpartition("/")[0]
        for text in split_arguments(use.arguments):
            words = [unquote(w) for w in split_words(text)]
            try:
                name, thread = words[0], parse_int(words[1], -1, 255)
            except (ArgumentError, IndexError):
                continue
            whole = f"{prefix}/{name}" if prefix else name
            if thread < 0:
                continue
            for i, other in enumerate(uses):
                if other.name == whole or other.name.startswith(whole + "/"):
                    # A queue is run by who pushes to it and by who pulls: it binds neither.
                    group = groups.find(i)
                    if groups.find(n + i) != group:
                        continue
                    if bound.setdefault(group, thread % threads) != thread % threads:
                        warn(f"'{name}' runs in thread {bound[group]}, as '{by[group]}' does: there is no queue between them")
                    by.setdefault(group, name)
    return bound
