"""One configuration as a box of a network: what becomes of a packet that comes in at an interface."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from penstock.datapath.containers import tables_in
from penstock.elements import Element, catalog
from penstock.lang.configuration import Configuration
from penstock.lang.load import flatten
from penstock.lang.source import Diagnostics
from penstock.runtime.router import Router
from penstock.runtime.uncollected import uncollected
from penstock.verify.errors import NotDecided
from penstock.verify.executor import Event, Executor, Run
from penstock.verify.packet import SymbolicPacket
from penstock.verify.path import Fact, Path, Place
from penstock.verify.program import SymbolicProgram
from penstock.verify.state import BoxState
from penstock.verify.substitution import variables
from penstock.verify.terms import Term, Value, Var

__all__ = ["Box", "Ending", "Step"]

#: elements that read or write what is outside of a configuration, by what takes their place: an interface of their name
_SOURCES = ("FromDump", "FromDAGDump", "FromIPSummaryDump", "FromNLANRDump", "FromTcpdump")
_SINKS = ("ToDump", "ToIPSummaryDump")
_LEFT_OUT = ("ChatterSocket", "ControlSocket")
_MAX_STEPS = 100_000
_MAX_VISITS = 16
_MAX_KNOWN = 20_000
#: ways with more facts come from long lists of rules, and are not alike
_MAX_MERGED = 64


class _Any(Sequence[str]):
    """Every interface that a configuration names is there."""

    def __contains__(self, name: object) -> bool:
        return True

    def __getitem__(self, index: Any) -> Any:
        raise IndexError(index)

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, slots=True)
class Step:
    """One element on a packet's way, and what was decided there."""

    element: str
    class_name: str
    arguments: str
    at: str
    facts: tuple[Fact, ...]


#: for each function on the way: its number, and which of its runs it was
Origin = tuple[tuple[int, int], ...]


@dataclass(slots=True)
class Ending:
    """Where one way ends. ``kind``: exit (through ``interface``), dropped, fault, held (in a queue), loop, undecided.

    ``path`` is what was known and ``facts``. ``own``: there are variables of the box itself in them or in the packet, whose
    names begin with ``@``.
    """

    kind: str
    packet: SymbolicPacket
    path: Path
    facts: tuple[Fact, ...]
    state: BoxState
    steps: tuple[Step, ...]
    place: Place
    interface: str = ""
    reason: str = ""
    own: bool = False
    origin: Origin = ()

    def comes_with(self, other: Ending) -> bool:
        """Whether both are of one run: copies of a packet that go different ways, not ways that exclude each other."""
        for (explored, run), (other_explored, other_run) in zip(self.origin, other.origin):
            if explored != other_explored:
                return True
            if run != other_run:
                return False
        return False


@dataclass(slots=True)
class _Item:
    function: str
    packet: SymbolicPacket | None
    path: Path
    state: BoxState
    steps: tuple[Step, ...]
    origin: Origin = ()


class Box:
    """A configuration, ready for symbolic packets. Raises ConfigurationError where it has errors.

    Its interfaces are those that its FromDevice and ToDevice name. FromDump, ToDump and their like are interfaces too: ``in`` and
    ``out``, or with the elements' names where there are several. Nothing is opened and nothing runs. ``unknown`` names state
    (``element.field``) that may have any value: the answers then say which. LookupError where there is none of that name.
    With ``opaque`` an element of a class that is not known is no error: it may do anything with packets.
    """

    def __init__(self, text: str, *, name: str = "", file: str = "config", unknown: Sequence[str] = (),
                 library_path: tuple[FilePath, ...] = (), opaque: bool = False):
        self.name = name
        self._text, self._file, self._library_path, self._takes_unknown = text, file, library_path, opaque
        #: elements of classes that are not known, by their names
        self.opaque: dict[str, str] = {}
        self.router = Router(self.flat(), interfaces=_Any(), seed=1)
        self.program = SymbolicProgram(self.router)
        self._known: dict[Any, list[Ending]] = {}
        for text in unknown:
            self.program.leave_open(text)
        self.inputs: dict[str, int] = {}
        self.outputs: dict[int, str] = {}
        for element in self.router.elements:
            port = getattr(element, "port", None)
            if type(element).__name__ == "FromRing":
                self.inputs[port.port_name] = element.index  # type: ignore[union-attr]
            elif type(element).__name__ == "ToRing":
                self.outputs[element.index] = port.port_name  # type: ignore[union-attr]

    def load_tables(self, tables: Mapping[str, Sequence[tuple[int, Sequence[int], Mapping[str, int]]]]) -> None:
        """Put into tables (``element.table``) what was in those of a running configuration: (index, key, value) of each entry.

        LookupError where there is none of that name, or no room.
        """
        known = {f"{element.name}.{path}": table for element in self.router.elements for path, table in tables_in(element)}
        for name, entries in tables.items():
            table = known.get(name)
            if table is None or len(entries) > table.capacity:
                raise LookupError(f"there is no table '{name}' for {len(entries)} entries")
            places = {index: place for place, (index, _, _) in enumerate(entries)}
            links: tuple[str, ...] = table.value_kind.LINKS
            linked = [{link: places.get(value[link], value[link]) for link in links} for _, _, value in entries]
            table.load({tuple(key): {**value, **other} for (_, key, value), other in zip(entries, linked)})

    def flat(self) -> Configuration:
        """The configuration, with interfaces in the place of files. Raises ConfigurationError."""
        diagnostics = Diagnostics()
        flat = flatten(self._text, file=self._file, known_classes=self._is_class, class_names=catalog.class_names,
                       library_path=self._library_path, diagnostics=diagnostics)
        diagnostics.raise_if_errors()
        self._declared = {use.name: (use.class_name, use.arguments) for use in flat.elements}
        for use in flat.elements:
            if not catalog.is_known(use.class_name):
                self.opaque[use.name] = use.class_name
                # Something with any ports: it is never run.
                use.class_name, use.arguments = "Idle", ""
        sources = [use for use in flat.elements if use.class_name in _SOURCES and not flat.ports(use.index)[0]]
        sinks = [use for use in flat.elements if use.class_name in _SINKS]
        for use in sources:
            use.class_name, use.arguments = "FromRing", "in" if len(sources) == 1 else use.name
        for use in sinks:
            goes_on = bool(flat.ports(use.index)[1])
            use.class_name, use.arguments = ("Null", "") if goes_on else ("ToRing", "out" if len(sinks) == 1 else use.name)
        for use in flat.elements:
            if use.class_name in _LEFT_OUT:
                use.class_name, use.arguments = "AddressInfo", ""
        return flat

    def _is_class(self, name: str) -> bool:
        """Classes have names with a capital letter; a lower-case name that is not known is an element that is not declared."""
        return catalog.is_known(name) or (self._takes_unknown and name[:1].isupper())

    @property
    def interfaces(self) -> list[str]:
        return sorted({*self.inputs, *self.outputs.values()})

    def run(self, interface: str, packet: SymbolicPacket, path: Path | None = None, state: BoxState | None = None) -> list[Ending]:
        """Every way that a packet can take which comes in at an interface. What was asked before is known.

        The packet, the path and the state are not changed, and the endings must not be.
        """
        if interface not in self.inputs:
            raise NotDecided(f"{self.name or 'the configuration'} does not read from an interface '{interface}'")
        path, state = path or Path(), state or BoxState()
        key = (interface, packet.signature, path.signature, state.signature)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            found = self._known[key] = self._run(interface, packet, path, state)
        return found

    def _run(self, interface: str, packet: SymbolicPacket, path: Path, state: BoxState) -> list[Ending]:
        entry = self.program.deliver(self.inputs[interface])
        first = packet.copy()
        first.meta.update(mac=first.meta["data"], network=0, transport=0)
        first.annotations = {}
        with uncollected():
            return [_relevant(ending, path) for ending in self._walk(_Item(entry.name, first, path, state, ()))]

    def _step(self, element: Element, facts: Sequence[Fact] = ()) -> Step:
        return Step(element.name, *self._declared[element.name], str(element.at), tuple(facts))

    def _walk(self, first: _Item) -> Iterator[Ending]:
        executor = Executor(self.program)
        work, done = [first], 0
        # A packet that comes to each element this often goes round.
        most = _MAX_VISITS * len(self.router.elements)
        while work:
            item = work.pop()
            done += 1
            if done > _MAX_STEPS:
                raise NotDecided(f"more than {_MAX_STEPS} steps in {self.name}")
            element = self.router.elements[_number(item.function)]
            if len(item.steps) > most and item.packet is not None:
                place = Place("", element.name, text="inside the configuration")
                yield Ending("loop", item.packet, item.path, (), item.state, item.steps, place, reason="it goes round", origin=item.origin)
                continue
            runs = executor.explore(self.program.entry(item.function), item.packet, item.path, item.state)
            for number, run in enumerate(distinct(runs, item.path) if len(runs) > 1 else runs):
                steps = (*item.steps, self._step(element, run.path.facts[len(item.path.facts):]))
                origin = (*item.origin, (done, number))
                if run.not_decided:
                    packet = item.packet or SymbolicPacket.empty()
                    yield Ending("undecided", packet, run.path, (), run.state, steps, run.place, reason=run.not_decided, origin=origin)
                    continue
                yield from self._events(run, steps, work, executor, origin)

    def _events(self, run: Run, steps: tuple[Step, ...], work: list[_Item], executor: Executor, origin: Origin,
                waited: frozenset[str] = frozenset()) -> Iterator[Ending]:
        moved = [e for e in run.events if e.kind != "store"]
        for copy, event in enumerate(moved):
            here = (*origin, (-1 - copy, 0)) if len(moved) > 1 else origin
            path, state = (run.path, run.state) if len(moved) == 1 else (run.path.copy(), run.state.copy())
            if event.kind == "push":
                yield from self._pushed(event, path, state, steps, work, here)
            else:
                kind = "fault" if event.kind == "fault" else "dropped"
                yield Ending(kind, event.packet, path, (), state, steps, event.place, reason=event.reason, origin=here)
        kept = [e for e in run.events if e.kind == "store" and any(e.packet is p for p in run.state.packets.values())]
        if kept and kept[-1].place.element not in waited:
            # Where it waited already, it only goes on to wait: some time it is due.
            yield from self._released(kept[-1], run, steps, work, executor, origin, waited)

    def _pushed(self, event: Event, path: Path, state: BoxState, steps: tuple[Step, ...], work: list[_Item], origin: Origin,
                ) -> Iterator[Ending]:
        index = _number(event.target)
        if index in self.outputs:
            steps = (*steps, self._step(self.router.elements[index]))
            yield Ending("exit", event.packet, path, (), state, steps, event.place, interface=self.outputs[index], origin=origin)
        elif self.router.elements[index].name in self.opaque:
            yield from self._anything(self.router.elements[index], event.packet, path, state, steps, work, origin)
        else:
            work.append(_Item(event.target, event.packet, path, state, steps, origin))

    def _anything(self, element: Element, packet: SymbolicPacket, path: Path, state: BoxState, steps: tuple[Step, ...],
                  work: list[_Item], origin: Origin) -> Iterator[Ending]:
        """What an element that is not known may do: drop a packet, or send another one out of any of its outputs."""
        steps, place = (*steps, self._step(element)), Place("", element.name, text="an unknown element may do anything")
        yield Ending("dropped", packet, path.copy(), (), state, steps, place, reason="it may drop it", origin=(*origin, (-2, 0)))
        for port, peers in enumerate(element.output_peers):
            for index, to in peers:
                after = state.copy()
                after.unknowns += 1
                made = packet.with_other_content(f"@{element.name}#{after.unknowns}")
                here = (*origin, (-2, 1 + port))
                yield from self._pushed(Event("push", made, place, f"e{index}_push{to}"), path.copy(), after, steps, work, here)

    def _released(self, event: Event, run: Run, steps: tuple[Step, ...], work: list[_Item], executor: Executor, origin: Origin,
                  waited: frozenset[str]) -> Iterator[Ending]:
        """The packet waits in an element: whoever takes it out next does so."""
        holder = self.router.by_name[event.place.element]
        before = len(work)
        for target in self._takers(holder):
            index = _number(target)
            taker = self.router.elements[index]
            pulls = index in self.outputs
            name = self.program.pull_target(taker, 0) if pulls else target
            found = False
            for number, taken in enumerate(distinct(executor.explore(self.program.entry(name), None, run.path, run.state), run.path)):
                if taken.not_decided:
                    continue
                here = (*origin, (-1, 0), (index, number))
                further = (*steps, self._step(taker, taken.path.facts[len(run.path.facts):]))
                if pulls and isinstance(taken.result, SymbolicPacket):
                    found = True
                    yield Ending("exit", taken.result, taken.path, (), taken.state, further, event.place,
                                 interface=self.outputs[index], origin=here)
                elif not pulls and taken.events:
                    found = True
                    yield from self._events(taken, further, work, executor, here, waited | {event.place.element})
            if found:
                return
        if len(work) == before:
            yield Ending("held", event.packet, run.path, (), run.state, steps, event.place, origin=origin)

    def _takers(self, holder: Any) -> Iterator[str]:
        """Entry points that may take a packet out of an element: its own task or timer, then those of whoever pulls from it."""
        for method in ("run_task", "run_timer"):
            if hasattr(type(holder), method):
                yield f"e{holder.index}_{method}"
        seen, work = {holder.index}, [holder]
        while work:
            here = work.pop(0)
            for port, code in enumerate(here.output_codes):
                if code != "l":
                    continue
                for index, _ in here.output_peers[port]:
                    if index in seen:
                        continue
                    seen.add(index)
                    peer = self.router.elements[index]
                    if index in self.outputs:
                        yield f"e{index}_pull"
                    elif hasattr(type(peer), "run_task"):
                        yield f"e{index}_run_task"
                    else:
                        work.append(peer)


def _number(entry: str) -> int:
    """The element of an entry point."""
    return int(entry[1:].partition("_")[0])


def _relevant(ending: Ending, base: Path) -> Ending:
    """Without the facts about counters and the time: they are of no use to anybody else."""
    there = ending.packet.variables
    new = ending.path.facts[len(base.facts):]
    ending.facts = tuple(f for f in new if _matters(f.condition, there))
    if not ending.facts:
        ending.path = base
    elif len(ending.facts) < len(new):
        ending.path = base.joined(ending.facts) or ending.path
    rest = ending.packet.rest
    all_there = there.union(*(variables(fact.condition) for fact in ending.facts))
    ending.own = (rest is not None and rest.name.startswith("@")) or any(v.name.startswith("@") for v in all_there)
    return ending


def distinct(runs: list[Run], base: Path) -> list[Run]:
    """Without ways that differ only in counters and the time, or in an answer that changed nothing that is seen later."""
    groups: dict[Any, dict[frozenset[tuple[Term, bool]], Run]] = {}
    for run in runs:
        mentioned = _mentioned(run)
        facts = frozenset((f.condition, f.truth) for f in run.path.facts[len(base.facts):] if _matters(f.condition, mentioned))
        what = tuple((e.kind, e.target, e.packet.signature, e.place.line if e.kind != "push" else 0) for e in run.events)
        result = run.result.signature if isinstance(run.result, SymbolicPacket) else None
        key = (what, result, tuple(sorted(run.state.entries.items(), key=str)), run.not_decided)
        groups.setdefault(key, {}).setdefault(facts, run)
    return [run for group in groups.values() for run in _merged(group, base)]


def _merged(group: dict[frozenset[tuple[Term, bool]], Run], base: Path) -> list[Run]:
    """Two ways with the same facts but one, which is so on the one and not so on the other, are one way without it."""
    work = list(group)
    while work:
        facts = work.pop()
        run = group.get(facts)
        if run is None or len(facts) > _MAX_MERGED:
            continue
        for condition, truth in facts:
            other = group.get(facts - {(condition, truth)} | {(condition, not truth)})
            if other is None:
                continue
            left = facts - {(condition, truth)}
            del group[facts], group[left | {(condition, not truth)}]
            if left not in group:
                others = [f for f in run.path.facts[len(base.facts):] if f.condition is not condition]
                # Fewer facts cannot contradict each other, but for what only shows in another order: then no packet comes here.
                if (path := base.joined(others)) is not None:
                    group[left] = Run(path, _either(run.state, other.state), run.events, run.result, run.not_decided, run.place)
                    work.append(left)
            break
    return list(group.values())


def _either(a: BoxState, b: BoxState) -> BoxState:
    """What is remembered on both ways; what differs is unknown."""
    made = a.copy()
    made.packets = a.packets
    made.unknowns = max(a.unknowns, b.unknowns)
    for key in {*a.values, *b.values}:
        mine, other = a.values.get(key), b.values.get(key)
        if mine is not other and mine != other:
            made.unknowns += 1
            known = mine if mine is not None else other
            bits = known.bits if isinstance(known, Term) else 64
            made.values[key] = Var(f"@state {key}#{made.unknowns}", bits, kind="state")
    return made


def _mentioned(run: Run) -> frozenset[Var]:
    """Variables in what leaves and what is remembered."""
    packets = [e.packet for e in run.events] + ([run.result] if isinstance(run.result, SymbolicPacket) else [])
    keys = [value for entries in run.state.entries.values() for entry in entries for value in entry.key]
    return frozenset().union(*(variables(value) for value in keys), *(p.variables for p in packets))


def _matters(condition: Value, mentioned: frozenset[Var]) -> bool:
    there = variables(condition)
    return not there or _is_shared(there) or not there.isdisjoint(mentioned)


@functools.lru_cache(maxsize=4096)
def _is_shared(there: frozenset[Var]) -> bool:
    """Whether a condition is about what others see too."""
    return any(v.is_shared for v in there)


