"""A network of routers as a whole: addresses that every one of them treats alike are a class, and each class has one way from anywhere.

For networks that decide by the destination address alone. What boxes decide comes from executing them, as everywhere here; then all
addresses are split at once where any box makes a difference, as in VeriFlow (NSDI 2013) and AP Verifier (ICNP 2013).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from penstock.datapath.manyprefixes import distinct, runs
from penstock.runtime.uncollected import uncollected
from penstock.verify.box import Box, Ending
from penstock.verify.hosts import make_packet
from penstock.verify.intervals import Intervals
from penstock.verify.manyintervals import Labelled
from penstock.verify.network import Network
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Path, Place
from penstock.verify.substitution import variables
from penstock.verify.terms import Term

__all__ = ["Classes", "End", "Loop", "NotPlain", "forwarding_classes"]

#: numbers of several boxes are packed into one as long as they fit
_PACKED = 1 << 62


class NotPlain(Exception):
    """A box does not decide by the destination alone; the message says which, and what it does."""


@dataclass(frozen=True, slots=True)
class End:
    """Where a way ends. ``kind``: delivered (at the host ``node``), left (an interface without a link), dropped."""

    kind: str
    node: str
    text: str = ""

    def __str__(self) -> str:
        place = f"{self.node}:{self.text}" if self.kind == "left" else f"{self.node}, {self.text}" if self.text else self.node
        return {"delivered": "arrive at ", "left": "leave at ", "dropped": "are dropped at "}[self.kind] + place


@dataclass(frozen=True, slots=True)
class Loop:
    """Boxes that send packets to these addresses round; a host whose packets get there."""

    addresses: Intervals
    boxes: tuple[str, ...]
    source: str


@dataclass
class Classes:
    """``labels``: which class each elementary interval of addresses is of; ``then``: for each place that packets come in at (a row)
    and each class the next place, or -1 and less for the ends."""

    labels: Labelled
    places: list[str]
    then: NDArray[np.int64]
    ends: list[End]
    #: where a host's packets come in first
    first: dict[str, int] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return int(self.then.shape[1])

    @cached_property
    def _last(self) -> NDArray[np.int64]:
        """For each host (a row) and class the end, or where the packet is after as many steps as there are places: in a loop."""
        here = np.repeat(np.array(list(self.first.values()), np.int64)[:, None], self.count, axis=1)
        columns = np.broadcast_to(np.arange(self.count), here.shape)
        for _ in range(len(self.places) + 1):
            going = here >= 0
            if not going.any():
                break
            here[going] = self.then[here[going], columns[going]]
        return here

    def ends_from(self, host: str) -> dict[End, Intervals]:
        """What becomes of a host's packets, by their addresses; those that go round are not in it."""
        row = self._last[list(self.first).index(host)]
        by_end = Labelled(self.labels.starts, row[self.labels.labels]).within(Intervals.full(32))
        return {self.ends[-1 - number]: numbers for number, numbers in by_end.items() if number < 0}

    def _united(self, numbers: NDArray[np.int64]) -> Intervals:
        chosen = np.zeros(self.count, np.int64)
        chosen[numbers] = 1
        return Labelled(self.labels.starts, chosen[self.labels.labels]).within(Intervals.full(32)).get(1, Intervals(()))

    @cached_property
    def loops(self) -> list[Loop]:
        """Every loop that packets of a host get into."""
        found: dict[tuple[str, ...], tuple[str, set[int]]] = {}
        for row, host in enumerate(self.first):
            for number in np.flatnonzero(self._last[row] >= 0).tolist():
                round_: list[int] = []
                here = int(self._last[row, number])
                while here not in round_:
                    round_.append(here)
                    here = int(self.then[here, number])
                start = round_.index(min(round_))
                names = tuple(self.places[i] for i in round_[start:] + round_[:start])
                found.setdefault(names, (host, set()))[1].add(number)
        return [Loop(self._united(np.array(sorted(numbers))), names, host) for names, (host, numbers) in found.items()]


def forwarding_classes(network: Network) -> Classes:
    """The classes of a network. Raises NotPlain where a box decides by something else than the destination."""
    packet, path = make_packet(""), Path()
    path.confine(packet.field("ip", "ttl"), Intervals(((2, 255),)), Place(text="the TTL does not end"))
    work = _Work(network, packet, path)
    with uncollected():
        for (node, _), (peer, interface) in network.links.items():
            entered = work.enter(peer, interface) if peer in network.boxes else None
            if node in network.hosts and entered is not None:
                work.first[node] = entered
        return work.classes()


class _Work:
    def __init__(self, network: Network, packet: SymbolicPacket, path: Path):
        self.network, self.packet, self.path = network, packet, path
        self.first: dict[str, int] = {}
        self._numbers: dict[tuple[str, object], int] = {}
        self._open: list[tuple[Box, str]] = []
        self._names: list[str] = []
        self._ends: dict[End, int] = {}
        address = packet.field("ip", "dst")
        assert isinstance(address, Term)
        self._address = address
        start = packet.meta["data"]
        assert isinstance(start, int)
        self._sum = packet.checksum(start + 14, 20, 0, path.range)

    def enter(self, node: str, interface: str) -> int:
        """The number of the place at which packets come in; interfaces behind which everything is the same are one."""
        box = self.network.boxes[node]
        if interface not in box.inputs:
            return self._end(End("dropped", node, f"nothing reads from interface '{interface}'"))
        element = box.router.elements[box.inputs[interface]]
        key = node, str(element.output_peers)
        if key not in self._numbers:
            self._numbers[key] = len(self._names)
            self._names.append(node)
            self._open.append((box, interface))
        return self._numbers[key]

    def _end(self, end: End) -> int:
        return self._ends.setdefault(end, -1 - len(self._ends))

    def classes(self) -> Classes:
        """Everything, once all first places are entered."""
        outcomes: list[list[tuple[Intervals, int]]] = []
        for node, (box, interface) in zip(self._names, self._open):
            endings = box.run(interface, self.packet, self.path)
            outcomes.append([(self._domain(node, ending), self._after(node, ending)) for ending in endings])
            if sum(numbers.size for numbers, _ in outcomes[-1]) != 1 << 32:
                raise NotPlain(f"{node}: packets to the same address go different ways")
        firsts = [numbers.ends[0] for outcome in outcomes for numbers, _ in outcome if numbers]
        starts = distinct(np.sort(np.concatenate([np.zeros(1, np.int64), *firsts])))
        columns = np.empty((len(outcomes), len(starts)), np.int64)
        for column, outcome in zip(columns, outcomes):
            for numbers, after in outcome:
                low, high = numbers.ends
                begin = np.searchsorted(starts, low)
                column[runs(begin, np.searchsorted(starts, high, "right") - begin)] = after
        labels, which = _distinct_columns(columns, len(starts))
        return Classes(Labelled(starts, labels), self._names, columns[:, which], list(self._ends), self.first)

    def _after(self, node: str, ending: Ending) -> int:
        if ending.kind == "dropped":
            element = ending.place.element
            return self._end(End("dropped", node, element + (f" ({ending.reason})" if ending.reason else "")))
        if ending.kind != "exit":
            raise NotPlain(f"{node}: packets end otherwise than dropped or forwarded ({ending.kind} at {ending.place})")
        peer = self.network.links.get((node, ending.interface))
        if peer is None:
            return self._end(End("left", node, ending.interface))
        return self._end(End("delivered", peer[0])) if peer[0] in self.network.hosts else self.enter(*peer)

    def _domain(self, node: str, ending: Ending) -> Intervals:
        for fact in ending.facts:
            if variables(fact.condition) - {self._address}:
                raise NotPlain(f"{node}: it decides by more than the destination: {fact} at {fact.place}")
        if ending.kind == "exit" and not self._is_kept(ending.packet):
            raise NotPlain(f"{node}: it changes more of packets than their TTL")
        return ending.path.of(self._address)

    def _is_kept(self, packet: SymbolicPacket) -> bool:
        """Whether a packet is as it was, but for the Ethernet header and the TTL, its checksum right."""
        before, start = self.packet, packet.meta["data"]
        if not isinstance(start, int) or start != before.meta["data"] or packet.rest != before.rest:
            return False
        ip = start + 14
        changing = {*range(start, ip), ip + 8, ip + 10, ip + 11}
        return packet.checksum(ip, 20, 0, self.path.range) == self._sum and packet.meta["length"] == before.meta["length"] and \
            all(packet.cells.get(at) == cell for at, cell in before.cells.items() if at not in changing)


def _distinct_columns(columns: NDArray[np.int64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of the distinct columns each one is, and where each of those is first."""
    packed, size = np.zeros(count, np.int64), 1
    for row in columns:
        low, high = int(row.min()), int(row.max())
        if size * (high - low + 1) >= _PACKED:
            _, packed = np.unique(packed, return_inverse=True)
            size = int(packed.max()) + 1
        packed = packed * (high - low + 1) + (row - low)
        size *= high - low + 1
    _, which, labels = np.unique(packed, return_index=True, return_inverse=True)
    return labels.astype(np.int64), which.astype(np.int64)
