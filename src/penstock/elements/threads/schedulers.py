"""StaticThreadSched, BalancedThreadSched and SortedTaskSched: which thread runs which task.

One image runs in one thread, so every task is that thread's. Configurations for several threads are checked and run as they are.
"""

from penstock.elements import ConfigureError, Element
from penstock.lang.arguments import ArgumentError, Raw, parse_int
from penstock.lang.text import split_words, unquote

__all__ = ["BalancedThreadSched", "SortedTaskSched", "StaticThreadSched"]


class StaticThreadSched(Element):
    """Bind elements to threads. There is one thread, 0: elements that are given to another one run there too.

    Arguments:
        ELEMENT THREAD, ...: names of elements (or of compound elements), and thread numbers; -1 is any.

    Handlers:
        assignments (read): element and thread, as given.

    Example:
        StaticThreadSched(u 0); InfiniteSource(LIMIT 1) -> Queue -> u :: Unqueue -> Discard;
    """

    ports = "0/0"

    def configure(self, *assignments: Raw) -> None:
        self.assigned: list[tuple[str, int]] = []
        for text in assignments:
            words = [unquote(w) for w in split_words(text)]
            if len(words) != 2:
                raise ConfigureError(f"'{text}': expected ELEMENT THREAD")
            try:
                self.assigned.append((words[0], parse_int(words[1], -1, 255)))
            except ArgumentError as error:
                raise ConfigureError(f"THREAD: {error}") from None

    def initialize(self) -> None:
        for name, _ in self.assigned:
            inside = any(e.name.startswith(name + "/") for e in self.router.elements)
            if self.router.find(name, self.name) is None and not inside:
                raise ConfigureError(f"no element named '{name}'")

    def add_handlers(self) -> None:
        self.add_read("assignments", lambda: "".join(f"{name} {thread}\n" for name, thread in self.assigned))


class BalancedThreadSched(Element):
    """Spread tasks over threads by their cost. With one thread there is nothing to spread.

    Arguments:
        INTERVAL: milliseconds between looks at the tasks.
        INCREASING: from the cheapest task to the dearest.

    Example:
        BalancedThreadSched(1000); InfiniteSource(LIMIT 1, STOP true) -> Discard;
    """

    ports = "0/0"

    def configure(self, interval: int = 1000, increasing: bool = True) -> None:
        if interval < 0:
            raise ConfigureError("INTERVAL: must be >= 0")
        self.interval_ms, self.increasing = interval, increasing


class SortedTaskSched(BalancedThreadSched):
    """BalancedThreadSched by its older name.

    Arguments:
        INTERVAL: milliseconds between looks at the tasks.
        INCREASING: from the cheapest task to the dearest.

    Example:
        SortedTaskSched(1000); InfiniteSource(LIMIT 1, STOP true) -> Discard;
    """
