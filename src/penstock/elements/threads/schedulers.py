"""StaticThreadSched, BalancedThreadSched and SortedTaskSched: which thread runs which task (runtime/spread.py)."""

from penstock.elements import ConfigureError, Element
from penstock.lang.arguments import ArgumentError, Raw, parse_int
from penstock.lang.text import split_words, unquote

__all__ = ["BalancedThreadSched", "SortedTaskSched", "StaticThreadSched"]


class StaticThreadSched(Element):
    """Bind elements to threads (``click -j N``, ``penstock run --threads N``).

    Elements between which packets or calls go without a queue run in one thread: what binds one of them binds all, and of two that
    are bound to different threads the second one is told so in a warning. A queue is pushed to by one thread and may be pulled
    from by another one. What is not bound is spread evenly. With fewer threads than that, thread N is thread N modulo their number.

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
    """Spread tasks over threads. Here they are spread when the configuration is installed, evenly, with or without this element.

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
