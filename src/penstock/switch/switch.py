"""A switch instance: ports that come and go, a module that can be replaced, and the thread that forwards."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from penstock.datapath.clock import ns_per_cycle_32, read_cycles
from penstock.datapath.ports import BUFFER_BYTES, HEAD, MAX_RINGS, TAIL, PortLayout
from penstock.ring import OpenPort, PortMemory, SharedPort
from penstock.runtime.image import LoadedImage
from penstock.switch.catalog import make_module
from penstock.switch.crew import MAX_WORKERS, Crew
from penstock.switch.fabric import MAX_ALLOWED, Fabric, Outlet, Policy, Reason, port_state
from penstock.switch.joined import Joining
from penstock.switch.module import MAX_PORTS, Module
from penstock.switch.program import FabricProgram
from penstock.switch.static import ethernet_address, format_ethernet

__all__ = ["PortCounters", "Switch", "SwitchError"]

#: room for ports, of which only what is mapped costs anything
_MEMORY_BYTES = 96 << 30
#: room for the state of modules
_MODULE_BYTES = 256 << 20
_NAME = re.compile(r"[0-9a-zA-Z_.-]+")
_TICK_S = 0.5


class SwitchError(Exception):
    """What was asked of a switch cannot be done; the message says why."""


@dataclass(frozen=True)
class PortCounters:
    """Frames and bytes from the port (in) and to it (out), and frames lost by reason."""

    number: int
    name: str
    packets_in: int
    bytes_in: int
    packets_out: int
    bytes_out: int
    #: the module dropped them; it named a port that is not there; the ring to this port was full; too large for this port
    dropped: int
    nowhere: int
    full: int
    too_large: int
    #: frames from addresses that the port may not send from
    refused: int


@dataclass(frozen=True)
class _Rings:
    """One pair of rings: what the fabric calls a port. The first one's number is its port's."""

    number: int
    place: int


@dataclass
class _Port:
    name: str
    layout: PortLayout
    rings: list[_Rings]
    #: the port that this one sees the frames of
    tap_of: str = ""

    @property
    def number(self) -> int:
        return self.rings[0].number


@dataclass
class _Follower:
    """What the port of a domain tells its switch."""

    switch: Switch
    name: str

    def held(self) -> contextlib.AbstractContextManager[None]:
        return self.switch.held()

    def resume(self) -> None:
        """Where the domain's rings were set anew: the fabric goes on at what they say."""
        port = self.switch.ports.get(self.name)
        if port is not None:
            self.switch.read_indices(port)


class Switch:
    """One switch, in this process. ``module`` is a name with arguments (``learning 60``) or a Module.

    ``trusting``: programs that open ports forward what they send themselves, in memory that all of them share (JoinedPort).
    """

    def __init__(self, name: str = "vale0", module: str | Module = "learning", *, workers: int = 1, trusting: bool = False):
        if not 1 <= workers <= MAX_WORKERS:
            raise SwitchError(f"{workers} workers: a switch has 1 to {MAX_WORKERS}")
        if not _NAME.fullmatch(name):
            raise SwitchError(f"'{name}' is no name for a switch (letters, digits and _.-)")
        self.name = name
        self.ports: dict[str, _Port] = {}
        self.limits: dict[str, int] = {}
        self.lost: list[tuple[str, str]] = []
        self.lock = threading.RLock()
        self._free: dict[int, list[int]] = {}
        self._end = 0
        self.module = make_module(module) if isinstance(module, str) else module
        self.fabric = Fabric(_MEMORY_BYTES, self.module, is_parallel=workers > 1 or trusting)
        program = self._program(self.module)
        self.crew = Crew(self.fabric, program.layout.size + _MODULE_BYTES, workers, is_open=trusting)
        self.memory = self.crew.memory
        program.attach(self.memory)
        self.fabric.now_s = int(time.monotonic())
        self._loaded = LoadedImage(program.image())
        self.crew.load(self._loaded)
        self._set_members()
        self.crew.start()
        self._closing = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True, name=f"switch {name}")
        self._ticker.start()

    def _program(self, module: Module) -> FabricProgram:
        module.fabric = self.fabric
        return FabricProgram(self.fabric, module)

    # The workers

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Nothing is forwarded inside; frames wait in the rings."""
        with self.lock, self.crew.held():
            yield

    def _tick(self) -> None:
        while not self._closing.wait(_TICK_S):
            self.fabric.now_s = int(time.monotonic())
            self.look_for_broken()

    def look_for_broken(self) -> list[tuple[str, str]]:
        """Detach the ports that broke the rules; gives them, with the reason."""
        with self.lock:
            broken = [(p.name, Reason.TEXT[why]) for p in self.ports.values()
                      if (why := max(int(self.fabric.ports[r.number].broken) for r in p.rings))]
            self.lost += broken
            for name, _ in broken:
                self.detach(name)
        return broken

    # Ports

    def open(self, name: str, *, slots: int = 256, patient: bool = False, tap_of: str = "") -> OpenPort:
        """A virtual port, as a program sees it. ``patient``: senders wait while its ring is full, frames are not lost.

        ``tap_of``: it receives copies of all that this other port sends and is sent, and sends nothing.
        """
        if self.is_trusting:
            joining = self.join(name, slots=slots, patient=patient, tap_of=tap_of)
            return OpenPort(joining.memory(os.dup(self.crew.descriptor)), name)
        memory = PortMemory(slots)
        try:
            self.attach(name, memory, patient=patient, tap_of=tap_of)
        except BaseException:
            memory.close()
            raise
        return OpenPort(memory, name)

    @property
    def is_trusting(self) -> bool:
        return self.crew.is_open

    def join(self, name: str, *, slots: int = 256, patient: bool = False, tap_of: str = "") -> Joining:
        """A port for a program that forwards itself; what it must know for that."""
        with self.lock:
            offset = self.fabric.memory.offset
            with PortMemory(slots) as sized:
                layout = sized.layout
            place = self._room(layout.port_bytes)
            with PortMemory.placed(self.crew.descriptor, offset + place, layout) as memory:
                memory.bytes[:] = bytes(layout.port_bytes)
                try:
                    number = self.attach(name, memory, patient=patient, tap_of=tap_of, place=place)
                except BaseException:
                    self._free.setdefault(layout.port_bytes, []).append(place)
                    raise
        return Joining(self.crew.plan, number, slots, offset + place)

    def open_rings(self, name: str, count: int, *, slots: int = 256, patient: bool = False) -> list[OpenPort]:
        """A port with several pairs of rings, for a program that works on several cores: one OpenPort for each."""
        memories = [PortMemory(slots) for _ in range(count)]
        try:
            self.attach(name, memories[0], further=memories[1:], patient=patient)
        except BaseException:
            for memory in memories:
                memory.close()
            raise
        return [OpenPort(memory, name) for memory in memories]

    def attach(self, name: str, memory: PortMemory | SharedPort, *, further: Sequence[PortMemory] = (), patient: bool = False,
               tap_of: str = "", chains: bool = True, place: int | None = None) -> int:
        """Attach the rings of a port; gives its number, the lowest one that is free. Traffic of other ports goes on.

        Without ``chains`` it is not given frames larger than a slot; domains never are. ``further`` pairs of rings, of the same
        size, are read by other workers; what comes from one ring of a port goes into the same ring of another, in order.
        ``place``: in a trusting switch, where in its memory the rings are.
        """
        if self.is_trusting and place is None:
            raise SwitchError(f"{self.name} is a trusting switch: its ports are those of programs that forward themselves")
        chains = chains and isinstance(memory, PortMemory)
        layout = memory.layout
        with self.lock:
            if not _NAME.fullmatch(name):
                raise SwitchError(f"'{name}' is no name for a port (letters, digits and _.-)")
            if name in self.ports:
                raise SwitchError(f"{self.name}:{name} is there already")
            if tap_of:
                self._port(tap_of)
                if any(tap_of in (p.name, p.tap_of) and p.tap_of for p in self.ports.values()):
                    raise SwitchError(f"{self.name}:{tap_of} is tapped already, or a tap itself")
            if len(further) >= MAX_RINGS:
                raise SwitchError(f"{self.name}:{name}: a port has at most {MAX_RINGS} pairs of rings")
            numbers = self._numbers(1 + len(further))
            rings = [_Rings(n, self._room(layout.port_bytes) if place is None else place) for n in numbers]
            number = rings[0].number
            with self.held():
                port = self.ports[name] = _Port(name, layout, rings, tap_of)
                self.limits.pop(name, None)
                for k, (ring, part) in enumerate(zip(rings, (memory, *further))):
                    if place is None:
                        self.crew.map_at(self.fabric.memory.offset + ring.place, layout.port_bytes, part.descriptor, part.offset)
                    self._enter(ring, layout, owner=number, ring=k, chains=chains, patient=patient)
                self._set_rings(port)
                self.read_indices(port)
                if place is not None:
                    self.crew.join(number)
                self._set_members()
                if not tap_of:
                    self.module.port_attached(number, name)
            if isinstance(memory, SharedPort):
                memory.follower = _Follower(self, name)
            return number

    def _numbers(self, count: int) -> list[int]:
        """The lowest number that is free, and for further rings the highest ones."""
        taken = {ring.number for p in self.ports.values() for ring in p.rings}
        if len(taken) + count > MAX_PORTS:
            raise SwitchError(f"{self.name} has {MAX_PORTS} ports; there is no room for more")
        number = next(n for n in range(MAX_PORTS) if n not in taken)
        highest = (n for n in range(MAX_PORTS - 1, number, -1) if n not in taken)
        return [number, *(next(highest) for _ in range(count - 1))]

    def _enter(self, rings: _Rings, layout: PortLayout, **values: Any) -> None:
        fabric = self.fabric
        fabric.policies[rings.number] = dict.fromkeys(Policy.FIELDS, 0)
        fabric.ports[rings.number] = port_state(layout, rings.place, **values)
        fabric.outlets[rings.number] = dict.fromkeys(Outlet.FIELDS, 0)

    def _set_rings(self, port: _Port) -> None:
        """Further rings are nobody's destination: the fabric chooses among a port's rings."""
        fabric = self.fabric
        if len(port.rings) > 1:
            fabric.ports[port.number].rings = len(port.rings)
            for k, ring in enumerate(port.rings):
                fabric.ring_numbers[port.number * MAX_RINGS + k] = cast(Any, ring.number)
                fabric.ports[ring.number].attached = 2 if k else 1

    def read_indices(self, port: _Port) -> None:
        """Rings go on where they say that we were; the fabric stands still, or leaves them alone."""
        layout = port.layout
        for ring in port.rings:
            at = self.fabric.memory.offset + ring.place
            self.fabric.ports[ring.number].head = self.memory.load(at + 4 * (layout.tx + HEAD), 4)
            outlet = self.fabric.outlets[ring.number]
            outlet.tail = outlet.shown = self.memory.load(at + 4 * (layout.rx + TAIL), 4)
            outlet.first_lease = outlet.next_lease = 0

    def _set_members(self) -> None:
        """Tell the fabric which ports there are; it stands still."""
        fabric = self.fabric
        members = [p for p in self.ports.values() if not p.tap_of]
        for i, port in enumerate(members):
            fabric.members[i] = port.number
            for ring in port.rings:
                fabric.ports[ring.number].hot = fabric.ports[ring.number].tap = 0
        for port in self.ports.values():
            if port.tap_of:
                fabric.ports[port.number].attached = 2
                for ring in self.ports[port.tap_of].rings:
                    fabric.ports[ring.number].tap = port.number + 1
        fabric.n_ringed = sum(len(p.rings) > 1 for p in self.ports.values())
        fabric.n_taps = len(self.ports) - len(members)
        self._count_policed()
        fabric.n_patient = sum(bool(fabric.ports[p.number].patient) for p in self.ports.values())
        fabric.n_members = len(members)
        workers = self.crew.views
        for w, view in enumerate(workers):
            mine = [ring for p in members for k, ring in enumerate(p.rings)
                    if (p.number + k) % len(workers) == w and not self.is_trusting]
            view.read_from([ring.number for ring in mine], [ring.place for ring in mine])

    def _room(self, size: int) -> int:
        if self._free.get(size):
            return self._free[size].pop()
        if self._end + size > _MEMORY_BYTES:
            raise SwitchError(f"{self.name} has no room for the rings of another port")
        self._end += size
        return self._end - size

    def detach(self, name: str) -> None:
        """Take a port off; what is in its rings stays there."""
        with self.lock:
            port = self._port(name)
            for tap in [p.name for p in self.ports.values() if p.tap_of == name]:
                self.detach(tap)
            with self.held():
                del self.ports[name]
                self.crew.leave(port.number)
                for ring in port.rings:
                    self.fabric.ports[ring.number].attached = 0
                self._set_members()
                if not port.tap_of:
                    self.module.port_detached(port.number)
                for ring in port.rings:
                    self.crew.unmap_at(self.fabric.memory.offset + ring.place, port.layout.port_bytes)
            self._free.setdefault(port.layout.port_bytes, []).extend(ring.place for ring in port.rings)

    def _port(self, name: str) -> _Port:
        try:
            return self.ports[name]
        except KeyError:
            raise SwitchError(f"{self.name} has no port '{name}' (it has {', '.join(self.ports) or 'none'})") from None

    def counters(self) -> list[PortCounters]:
        """Of all ports, by number."""
        with self.lock:
            return [self._counters(p) for p in sorted(self.ports.values(), key=lambda p: p.number)]

    def _counters(self, port: _Port) -> PortCounters:
        fabric, numbers = self.fabric, [ring.number for ring in port.rings]
        places = ((fabric.policies, ("refused",)), (fabric.ports, ("packets_in", "bytes_in", "dropped", "nowhere")),
                  (fabric.outlets, ("packets_out", "bytes_out", "full", "too_large")))
        sums = {field: sum(int(getattr(states[n], field)) for n in numbers) for states, fields in places for field in fields}
        return PortCounters(port.number, port.name, **sums)

    def limit(self, name: str, bytes_per_s: int, *, burst_bytes: int = 0) -> None:
        """What a port may send, over time (0: as much as it likes): what comes quicker waits in its ring."""
        with self.lock:
            rings = self._port(name).rings
            if bytes_per_s < 0 or burst_bytes < 0:
                raise SwitchError("a rate is not negative")
            share = -(-bytes_per_s // len(rings))
            with self.held():
                for ring in rings:
                    policy = self.fabric.policies[ring.number]
                    policy.rate = (share * ns_per_cycle_32() + 999_999_999) // 1_000_000_000
                    policy.burst = policy.tokens = burst_bytes // len(rings) or max(share // 100, 32 * BUFFER_BYTES)
                    policy.since_cycles = read_cycles()
                    self._police(ring.number)
                self.limits[name] = bytes_per_s

    def allow(self, name: str, addresses: Sequence[str]) -> None:
        """The Ethernet addresses that a port may send from; none: any. Frames from others are dropped and counted."""
        values = [ethernet_address(a) for a in addresses]
        with self.lock:
            rings = self._port(name).rings
            if len(values) > MAX_ALLOWED:
                raise SwitchError(f"a port can be held to {MAX_ALLOWED} addresses, not {len(values)}")
            with self.held():
                for ring in rings:
                    for k, value in enumerate(values):
                        self.fabric.allowed[ring.number * MAX_ALLOWED + k] = cast(Any, value)
                    self.fabric.policies[ring.number].n_allowed = len(values)
                    self._police(ring.number)

    def _police(self, number: int) -> None:
        policies = self.fabric.policies
        policies[number].is_set = int(bool(policies[number].rate or policies[number].n_allowed))
        self._count_policed()

    def _count_policed(self) -> None:
        self.fabric.n_policed = sum(bool(self.fabric.policies[r.number].is_set) for p in self.ports.values() for r in p.rings)

    def limit_of(self, name: str) -> tuple[int, list[str]]:
        """(bytes a second, addresses) as they were set."""
        number = self._port(name).number
        count = int(self.fabric.policies[number].n_allowed)
        return self.limits.get(name, 0), [format_ethernet(int(self.fabric.allowed[number * MAX_ALLOWED + k])) for k in range(count)]

    # The module

    def set_module(self, module: str | Module) -> None:
        """Another module in the place of the one there is, while traffic flows: no frame is lost."""
        new = make_module(module) if isinstance(module, str) else module
        with self.lock:
            program = self._program(new)
            if program.layout.size > self.memory.size:
                raise SwitchError(f"the state of module {new.name} is larger than {_MODULE_BYTES >> 20} MiB")
            self.fabric.module = new
            image = LoadedImage(program.image())
            with self.held():
                program.replace(self.memory)
                old, self._loaded, self.module = self._loaded, image, new
                self.crew.load(image)
                for port in self.ports.values():
                    if not port.tap_of:
                        new.port_attached(port.number, port.name)
            old.close()

    def command(self, words: Sequence[str]) -> list[tuple[str, ...]]:
        """A command for the module, between two batches; raises ModuleError."""
        with self.held():
            return self.module.command(words)

    # The end

    def close(self) -> None:
        """End the thread and give the memory back; ports keep their rings."""
        with self.lock:
            if self._closing.is_set():
                return
            self._closing.set()
            self.crew.close()
            self.ports.clear()
        self._ticker.join()
        self._loaded.close()

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
