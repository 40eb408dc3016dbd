"""All switches of a process: made with their first port, gone with their last one, unless they are to stay."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.datapath.ports import MAX_RINGS
from penstock.device import DeviceError, Pumped, TapPort, open_interface
from penstock.ring import PortMemory, SharedPort
from penstock.switch.joined import Joining
from penstock.switch.switch import PortCounters, Switch, SwitchError

__all__ = ["PortInfo", "SwitchHost", "SwitchInfo", "split"]


def split(name: str) -> tuple[str, str]:
    """``vale0:p1`` as (switch, port)."""
    switch, colon, port = name.partition(":")
    if not colon or not switch or not port:
        raise SwitchError(f"'{name}' is no port of a switch (as in vale0:p1)")
    if not is_switch(switch):
        raise SwitchError(f"'{switch}' is no name for a switch: it begins with 'vale'")
    return switch, port


def is_switch(name: str) -> bool:
    return name.startswith("vale")


@dataclass(frozen=True)
class PortInfo:
    """One line of a list."""

    switch: str
    switch_number: int
    kind: str
    slots: int
    rings: int
    #: bytes a second that it may send (0: any number), and from which addresses (none: any)
    limit_bytes_per_s: int
    allowed: list[str]
    counters: PortCounters


@dataclass(frozen=True)
class SwitchInfo:
    name: str
    number: int
    module: str
    persistent: bool
    ports: list[PortInfo]
    #: ports that were detached because they broke the rules, and how
    lost: list[tuple[str, str]]
    workers: int
    trusting: bool


@dataclass
class _Attached:
    kind: str
    memories: list[PortMemory]
    devices: Sequence[Pumped]


@dataclass(frozen=True)
class Opened:
    """A descriptor of the memory of each pair of rings, or of a trusting switch's memory; they are the caller's to close."""

    descriptors: list[int]
    joining: Joining | None = None


class SwitchHost:
    """Switches by name, and what hangs on their ports. Methods may be called from any thread."""

    def __init__(self) -> None:
        self.switches: dict[str, Switch] = {}
        self._numbers: dict[str, int] = {}
        self._persistent: set[str] = set()
        self._attached: dict[tuple[str, str], _Attached] = {}
        #: TAP interfaces that stay when no switch has them (``vale-ctl -n``), with their rings
        self._interfaces: dict[str, tuple[PortMemory, TapPort]] = {}
        self._lock = threading.RLock()

    # Switches

    @property
    def is_empty(self) -> bool:
        return not self.switches and not self._interfaces

    def find(self, name: str) -> Switch:
        with self._lock:
            if name not in self.switches:
                raise SwitchError(f"there is no switch '{name}' (there are {', '.join(self.switches) or 'none'})")
            return self.switches[name]

    def make(self, name: str, *, module: str = "learning", persistent: bool = False, workers: int = 0, trusting: bool = False) -> Switch:
        """The switch of that name, made where it is not there (with one worker, where no number is asked for)."""
        with self._lock:
            if name in self.switches and trusting and not self.switches[name].is_trusting:
                raise SwitchError(f"{name} is there, and is no trusting switch: destroy it first")
            if name in self.switches and workers not in (0, len(self.switches[name].crew.views)):
                raise SwitchError(f"{name} is there, with {len(self.switches[name].crew.views)} workers: destroy it first")
            if name not in self.switches:
                if not is_switch(name):
                    raise SwitchError(f"'{name}' is no name for a switch: it begins with 'vale'")
                number = next(n for n in range(len(self._numbers) + 1) if n not in self._numbers.values())
                self.switches[name] = Switch(name, module, workers=workers or 1, trusting=trusting)
                self._numbers[name] = number
            if persistent:
                self._persistent.add(name)
            return self.switches[name]

    def destroy(self, name: str) -> None:
        """Detach all ports; the switch goes."""
        with self._lock:
            switch = self.find(name)
            self._persistent.discard(name)
            for port in list(switch.ports):
                self.detach(f"{name}:{port}")
            self._drop_empty(name)

    def _drop_empty(self, name: str) -> None:
        switch = self.switches.get(name)
        if switch is not None and not switch.ports and name not in self._persistent:
            switch.close()
            del self.switches[name], self._numbers[name]

    # Ports

    def attach(self, name: str, memory: PortMemory | SharedPort, *, further: Sequence[PortMemory] = (), kind: str = "virtual",
               patient: bool = False, devices: Sequence[Pumped] = (), own: bool = False, tap_of: str = "") -> int:
        """Attach rings that are there; with ``own`` the memory is closed when the port goes. Gives the port's number."""
        switch_name, port = split(name)
        is_device = bool(devices) or kind == "persistent"
        with self._lock:
            switch = self.make(switch_name)
            try:
                number = switch.attach(port, memory, further=further, patient=patient, tap_of=tap_of, chains=not is_device)
            except BaseException:
                self._drop_empty(switch_name)
                raise
            owned = [m for m in (memory, *further) if own and isinstance(m, PortMemory)]
            self._attached[switch_name, port] = _Attached(kind, owned, devices)
            return number

    def open(self, name: str, *, slots: int = 256, rings: int = 1, patient: bool = False, tap_of: str = "") -> Opened:
        """A virtual port for a program."""
        if not 1 <= rings <= MAX_RINGS:
            raise SwitchError(f"{name}: {rings} pairs of rings; a port has 1 to {MAX_RINGS}")
        switch = self.switches.get(split(name)[0])
        kind = "tap of " + tap_of if tap_of else "virtual"
        if switch is not None and switch.is_trusting:
            if rings > 1:
                raise SwitchError(f"{name}: the programs at a trusting switch have one pair of rings each")
            joining = switch.join(split(name)[1], slots=slots, patient=patient, tap_of=tap_of)
            self._attached[split(name)[0], split(name)[1]] = _Attached(kind, [], ())
            return Opened([os.dup(switch.crew.descriptor)], joining)
        first, *further = memories = [PortMemory(slots) for _ in range(rings)]
        try:
            if tap_of:
                self.find(split(name)[0])
            self.attach(name, first, further=further, kind=kind, patient=patient, own=True, tap_of=tap_of)
        except BaseException:
            for memory in memories:
                memory.close()
            raise
        return Opened([os.dup(memory.descriptor) for memory in memories])

    def attach_interface(self, name: str, *, host: bool = False, slots: int = 256, method: str = "") -> int:
        """``vale0:eth0``: an interface of this machine (``method``: see open_interface), or one made with ``make_interface``.

        ``host``: the host's own stack gets a port too, ``eth0^``, as a TAP interface named ``eth0-host``.
        """
        switch, interface = split(name)
        with self._lock:
            if interface in self._interfaces:
                return self.attach(name, self._interfaces[interface][0], kind="persistent")
            number = self._attach_device(name, "interface", lambda ring: open_interface(interface, ring, method=method), slots)
            if host:
                tap = f"{interface[:10]}-host"
                try:
                    self._attach_device(f"{switch}:{interface}.host", "tap", lambda ring: [TapPort(ring(), tap)], slots)
                except BaseException:
                    self.detach(name)
                    raise
            return number

    def attach_tap(self, name: str, *, slots: int = 256) -> int:
        """``vale0:tap3``: a TAP interface of that name, made for the port and gone with it."""
        interface = split(name)[1]
        return self._attach_device(name, "tap", lambda ring: [TapPort(ring(), interface)], slots)

    def _attach_device(self, name: str, kind: str, make: Callable[[Callable[[], PortMemory]], Sequence[Pumped]], slots: int) -> int:
        """A port with rings of its own and the devices that ``make`` puts at their other ends; nothing is left where that fails."""
        made: list[PortMemory] = []
        with self._lock, contextlib.ExitStack() as undo:

            def ring() -> PortMemory:
                made.append(undo.enter_context(PortMemory(slots)))
                return made[-1]

            devices = make(ring)
            for device in devices:
                undo.callback(device.close)
            memories = [device.port for device in devices]
            for memory in made:
                if memory not in memories:
                    memory.close()
            number = self.attach(name, memories[0], further=[m for m in memories[1:] if isinstance(m, PortMemory)], kind=kind,
                                 devices=devices, own=True)
            undo.pop_all()
            return number

    def detach(self, name: str) -> None:
        switch_name, port = split(name)
        with self._lock:
            switch = self.find(switch_name)
            switch.detach(port)
            self._end(switch_name, port)
            self._drop_empty(switch_name)

    def _end(self, switch: str, port: str) -> None:
        attached = self._attached.pop((switch, port), None)
        if attached is not None:
            for device in attached.devices:
                device.close()
            for memory in attached.memories:
                memory.close()

    def forget_broken(self) -> None:
        """Let go of what hung on ports that the fabric detached."""
        with self._lock:
            for switch, port in list(self._attached):
                if port not in self.switches[switch].ports:
                    self._end(switch, port)
                    self._drop_empty(switch)

    # Interfaces that stay

    def make_interface(self, name: str, *, slots: int = 256) -> None:
        """``vale-ctl -n``: an interface of the host's stack that can be attached to a switch and taken off again."""
        with self._lock:
            memory = PortMemory(slots)
            try:
                self._interfaces[name] = memory, TapPort(memory, name)
            except BaseException:
                memory.close()
                raise

    def destroy_interface(self, name: str) -> None:
        with self._lock:
            if name not in self._interfaces:
                raise SwitchError(f"'{name}' was not made here (there are {', '.join(self._interfaces) or 'none'})")
            for switch in self.switches.values():
                if name in switch.ports:
                    raise SwitchError(f"{switch.name}:{name} is attached: detach it first")
            memory, tap = self._interfaces.pop(name)
            tap.close()
            memory.close()

    # Looking

    def infos(self, name: str = "") -> list[SwitchInfo]:
        with self._lock:
            self.forget_broken()
            chosen = [self.find(name)] if name else sorted(self.switches.values(), key=lambda s: self._numbers[s.name])
            return [self._info(s) for s in chosen]

    def _info(self, switch: Switch) -> SwitchInfo:
        number = self._numbers[switch.name]
        ports = [
            PortInfo(switch.name, number, self._kind(switch.name, c.name), switch.ports[c.name].layout.slots,
                     len(switch.ports[c.name].rings), *switch.limit_of(c.name), c)
            for c in switch.counters()
        ]
        return SwitchInfo(switch.name, number, switch.module.name, switch.name in self._persistent, ports, list(switch.lost),
                          len(switch.crew.views), switch.is_trusting)

    def _kind(self, switch: str, port: str) -> str:
        attached = self._attached.get((switch, port))
        return attached.kind if attached else "virtual"

    def load_module(self, name: str, module: str) -> None:
        self.find(name).set_module(module)

    def close(self) -> None:
        with self._lock:
            for name in list(self.switches):
                with contextlib.suppress(SwitchError):
                    self.destroy(name)
            for name in list(self._interfaces):
                with contextlib.suppress(SwitchError, DeviceError):
                    self.destroy_interface(name)

    def __enter__(self) -> SwitchHost:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
