"""Running configurations in tests: packets in at Feed, packets out at Sink, in either engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.datapath.sched import NEVER
from penstock.elements import catalog
from penstock.elements.element import Element
from penstock.runtime.router import Router

__all__ = ["Outcome", "run_packets", "run_until_quiet", "running", "use_port_elements"]

START_NS = 1_000_000_000_000_000_000
#: handlers whose values are not the packets' doing
VOLATILE = {"handlers", "config", "ports", "name", "class", "random", "first", "now"}


def use_port_elements() -> None:
    """Make Feed and Sink known, once."""
    if catalog.find("Feed") is None:
        catalog.load_file(str(Path(__file__).parent / "port_elements.py"))


@dataclass
class Outcome:
    """What came out, and what is remembered."""

    packets: list[tuple[str, int, bytes, bytes, tuple[int | None, ...], int, int]] = field(default_factory=list)
    handlers: dict[str, str] = field(default_factory=dict)
    state: dict[str, bytes] = field(default_factory=dict)
    free: int = 0

    def out(self, sink: str = "s", port: int = 0) -> list[bytes]:
        return [data for name, tag, data, *_ in self.packets if name == sink and tag == port]


def _state_of(router: Router) -> dict[str, bytes]:
    """The bytes of every declared field of every element (not of the pool, whose free slots may differ in content)."""
    assert router.memory is not None
    names = {e.name for e in router.elements}
    return {
        entry.path: bytes(router.memory.view[entry.offset : entry.offset + entry.size_bytes])
        for entry in router.layout.entries
        if any(entry.path.startswith(f"{n}.") for n in names) and entry.size_bytes < 1 << 16 and entry.type != "PacketSlot"
    }


def run_packets(text: str, packets: Iterable[Any] = (), *, engine: str = "compiled", rounds: int = 60,
                between: Callable[[Router], None] | None = None, feed: str = "feed", write: Iterable[tuple[str, str]] = ()) -> Outcome:
    """Run until nothing moves any more. Time is simulated and chance seeded, so that two engines can be compared."""
    use_port_elements()
    with Router.from_text(text, engine=engine, simulated_start_ns=START_NS, seed=4711) as router:
        for handler, value in write:
            router.write(handler, value)
        if packets:
            source: Any = router.by_name[feed]
            for packet in packets:
                source.send(packet)
        run_until_quiet(router, rounds, slice_steps=32)
        router.drain_host()
        outcome = Outcome(free=router.pool.free)
        for element in router.elements:
            for tag, p in getattr(element, "received", []):
                outcome.packets.append((element.name, tag, p.data, p.annotations, (p.mac, p.network, p.transport), p.timestamp_ns,
                                        p.extra_length))
        outcome.handlers = read_all(router, router.elements)
        outcome.state = _state_of(router)
        if between is not None:
            between(router)
        return outcome


@contextmanager
def running(text: str) -> Iterator[Router]:
    """A router that runs in a thread of its own, as real peers need it."""
    router = Router.from_text(text)
    done = threading.Event()
    thread = threading.Thread(target=lambda: router.run(until=done.is_set))
    thread.start()
    try:
        yield router
    finally:
        done.set()
        thread.join(10)
        router.close()


def run_until_quiet(router: Router, rounds: int = 60, *, slice_steps: int = 16) -> None:
    """Run until nothing is runnable and nothing is due, or for that many slices; the same steps in either engine."""
    turns = 0

    def enough() -> bool:
        nonlocal turns
        turns += 1
        idle = not router.driver.runnable and router.driver.next_expiry == NEVER and router.calls.next_ns == NEVER
        return turns > rounds or (turns > 1 and idle)

    router.run(until=enough, slice_steps=slice_steps)


def read_all(router: Router, elements: Iterable[Element]) -> dict[str, str]:
    values: dict[str, str] = {}
    for element in elements:
        if element.class_name == "Script":
            continue
        for name, handler in element.handlers.items():
            if handler.read is not None and name not in VOLATILE and not handler.takes_parameter:
                values[f"{element.name}.{name}"] = router.read(f"{element.name}.{name}")
    return values
