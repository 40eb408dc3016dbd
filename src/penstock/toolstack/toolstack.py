"""The toolstack: all domains of this process, and the verbs for them."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.device import DeviceError
from penstock.isolation import choose
from penstock.isolation.errors import MachineError
from penstock.isolation.layout import Event
from penstock.isolation.machine import Instance, Machine
from penstock.switch import SwitchError
from penstock.switch.host import SwitchHost
from penstock.toolstack.capper import Capper
from penstock.toolstack.domain import Domain, DomainState, memory_for
from penstock.toolstack.domainfile import DomainSpec
from penstock.toolstack.errors import DomainError
from penstock.toolstack.flows import Match, move_flows
from penstock.toolstack.pool import MachinePool
from penstock.toolstack.snapshot import Frozen, freeze, load, renamed, save, thaw
from penstock.toolstack.watcher import Watcher

__all__ = ["DomainInfo", "Toolstack"]

_CHANGES_KEPT = 10_000


@dataclass(frozen=True)
class DomainInfo:
    """One line of ``list``."""

    id: int
    name: str
    uuid: str
    state: str
    isolation: str
    memory_mib: int
    vcpus: int
    cpu_s: float
    uptime_s: float
    vifs: list[dict[str, str]]
    configurations: list[dict[str, Any]]


class Toolstack:
    """Domains by id and by name. A context manager: at its end all of them are destroyed."""

    def __init__(self, *, pool: MachinePool | None = None) -> None:
        self.pool = pool
        #: the switches that domains' interfaces and programs hang on
        self.switches = SwitchHost()
        self.domains: dict[int, Domain] = {}
        self._by_name: dict[str, Domain] = {}
        self._ids = itertools.count(1)
        self._lock = threading.RLock()
        self._watcher = Watcher(lambda: list(self.domains.values()))
        self._capper = Capper()
        self._log: list[str] = []
        self._changes: list[tuple[str, int, str]] = []
        self._n_changes = 0
        self._changed = threading.Condition()
        #: called after domains, configurations or states have changed: (what, domain)
        self.listeners: list[Callable[[str, Domain], None]] = []

    # Finding

    def find(self, name: str | int) -> Domain:
        """By id or name."""
        text = str(name)
        domain = self._by_name.get(text) or (self.domains.get(int(text)) if text.isdecimal() and len(text) < 19 else None)
        if domain is not None:
            return domain
        there = ", ".join(sorted(d.name for d in self.domains.values())) or "none"
        raise DomainError(f"there is no domain '{text}' (there are {there})")

    def infos(self) -> list[DomainInfo]:
        return [self.info(d) for d in list(self.domains.values())]

    def info(self, domain: Domain) -> DomainInfo:
        return DomainInfo(
            domain.id, domain.name, domain.uuid, str(domain.state), domain.isolation, domain.spec.memory, domain.spec.vcpus,
            domain.cpu_s, time.time() - domain.created_s,
            [{"mac": v.mac, "bridge": v.bridge, "name": v.vifname} for v in domain.spec.vif],
            [{"number": c.number, "name": c.name, "status": c.status, "text": c.text} for _, c in sorted(domain.configurations.items())],
        )

    # Verbs

    def create(self, spec: DomainSpec, *, paused: bool = False, machine: Machine | None = None) -> Domain:
        """Make and start a domain; one with ``click`` runs that. Nothing is left where it cannot be made."""
        with self._lock:
            if spec.name in self._by_name:
                raise DomainError(f"the name '{spec.name}' is in use by domain {self._by_name[spec.name].id}")
            text = _read_click(spec.click) if spec.click else ""
            number = next(self._ids)
            try:
                if machine is None and self.pool is not None:
                    machine = self.pool.take(spec.isolation or choose()[0], memory_for(spec))
                domain = Domain(number, spec, machine=machine)
            except MachineError as error:
                raise DomainError(f"{spec.name}: {error}") from None
            self.domains[number] = self._by_name[spec.name] = domain
        try:
            domain.machine.on_event = lambda _machine, event: self._event(domain, event)
            domain.machine.on_finished = lambda instance: self._finished(domain, instance)
            self._tell("created", domain)
            domain.connect(self.switches)
            if text:
                domain.install(text, file=spec.click)
            domain.start(paused=paused)
        except BaseException as error:
            self._forget(domain)
            if isinstance(error, MachineError | DeviceError | SwitchError):
                raise DomainError(f"{spec.name}: {error}") from None
            raise
        self._watcher.begin()
        if self.pool is not None:
            self.pool.refill()
        if spec.cap and not domain.is_capped:
            self._capper.add(domain)
        self._tell("started", domain)
        return domain

    def start(self, name: str | int, text: str, *, config_name: str = "script", file: str = "config",
              number: int | None = None) -> int:
        """Install a configuration in a running domain; gives its number."""
        domain = self.find(name)
        try:
            made = domain.install(text, name=config_name, file=file, number=number)
        except MachineError as error:
            raise DomainError(str(error)) from None
        finally:
            self._tell("configured", domain)
        return made.number

    def stop(self, name: str | int, number: int) -> None:
        """Halt a configuration."""
        domain = self.find(name)
        domain.halt(number)
        self._tell("configured", domain)

    def remove(self, name: str | int, number: int) -> None:
        """Take a configuration out of its domain."""
        domain = self.find(name)
        domain.remove(number)
        self._tell("configured", domain)

    def destroy(self, name: str | int) -> None:
        self._forget(self.find(name))

    def pause(self, name: str | int) -> None:
        domain = self.find(name)
        domain.pause()
        self._tell("paused", domain)

    def unpause(self, name: str | int) -> None:
        domain = self.find(name)
        domain.unpause()
        self._tell("unpaused", domain)

    def rename(self, name: str | int, new_name: str) -> None:
        domain = self.find(name)
        with self._lock:
            if new_name in self._by_name:
                raise DomainError(f"the name '{new_name}' is in use")
            if not new_name or new_name.isdigit():
                raise DomainError(f"'{new_name}' is no name for a domain")
            del self._by_name[domain.name]
            self._by_name[new_name] = domain
            domain.name = domain.machine.name = new_name
            domain.spec = domain.spec.changed(name=new_name)
        self._tell("renamed", domain)

    def swap(self, name: str | int, text: str, *, number: int = 0, file: str = "config") -> None:
        """Replace a running configuration, keeping the state of elements that exist in both."""
        domain = self.find(name)
        try:
            domain.swap(number, text, file=file)
        except MachineError as error:
            raise DomainError(str(error)) from None
        self._tell("configured", domain)

    # State that moves

    def move_flows(self, source: str | int, target: str | int, element: str, match: Match, *, table: str = "table",
                   number: int | None = None) -> int:
        """Move entries of a table from one domain's element to that of the same name in another; gives how many."""
        here, there = self.find(source), self.find(target)
        if here is there:
            raise DomainError(f"{here.name}: flows move to another domain")
        return move_flows(here.instance(number), there.instance(number), element, match, table=table)

    def snapshot(self, name: str | int, path: str | Path) -> int:
        """Write the domain's state to a file while it goes on; gives the size."""
        domain = self.find(name)
        size = save(freeze(domain), path)
        self._tell(f"snapshot in {path}", domain)
        return size

    def restore(self, path: str | Path, *, name: str = "", paused: bool = False) -> Domain:
        """A domain from a snapshot, under its old name or another."""
        frozen = load(path)
        return self.thaw(renamed(frozen, name) if name else frozen, paused=paused)

    def clone(self, name: str | int, new_name: str, *, paused: bool = False) -> Domain:
        """A second domain with the state of a running one, and addresses of its own."""
        return self.thaw(renamed(freeze(self.find(name)), new_name), paused=paused)

    def thaw(self, frozen: Frozen, *, paused: bool = False) -> Domain:
        # One configuration starts as a whole; several must not start one by one.
        hold = paused or len(frozen.running) > 1
        domain = self.create(frozen.spec.changed(click="", isolation=frozen.spec.isolation or frozen.isolation), paused=hold)
        try:
            thaw(domain, frozen)
        except MachineError as error:
            self._forget(domain)
            raise DomainError(f"{domain.name}: {error}") from None
        except DomainError:
            self._forget(domain)
            raise
        self._tell("restored", domain)
        if hold and not paused:
            domain.unpause()
        return domain

    def shutdown(self, name: str | int, how: str = "poweroff") -> None:
        """What the domain's file says for ``poweroff`` (or ``halt``) and ``reboot``."""
        domain = self.find(name)
        if how not in ("poweroff", "halt", "reboot"):
            raise DomainError(f"'{how}' is none of poweroff, halt, reboot")
        action = domain.spec.on_reboot if how == "reboot" else domain.spec.on_poweroff
        if action == "preserve":
            domain.machine.pause()
            self._tell("shut down", domain)
        else:
            self._end(domain, restart=action == "restart", why=how)

    def changes(self, since: int, wait_s: float = 0.0) -> tuple[int, list[tuple[str, int, str]]]:
        """What happened from number ``since`` on: the next number, and (what, id, name). Waits for something to happen."""
        with self._changed:
            if wait_s:
                self._changed.wait_for(lambda: self._n_changes > since, wait_s)
            first = max(since, self._n_changes - len(self._changes))
            return self._n_changes, self._changes[len(self._changes) - (self._n_changes - first) :] if first < self._n_changes else []

    def log(self) -> list[str]:
        """What happened to all domains, as ``dmesg`` of the toolstack."""
        return list(self._log)

    # Events

    def _tell(self, what: str, domain: Domain) -> None:
        self._log.append(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {domain.name} ({domain.id}): {what}")
        del self._log[:-1000]
        with self._changed:
            self._changes.append((what, domain.id, domain.name))
            del self._changes[:-_CHANGES_KEPT]
            self._n_changes += 1
            self._changed.notify_all()
        for listener in self.listeners:
            listener(what, domain)

    def _event(self, domain: Domain, event: Event) -> None:
        domain.explain(event)
        if event & Event.CRASHED and domain.id in self.domains:
            self._tell(f"crashed: {domain.machine.crash_reason}", domain)
            # Not in the thread that hears events: the machine's own end needs it.
            threading.Thread(target=self._after_crash, args=(domain,), daemon=True).start()

    def _finished(self, domain: Domain, instance: Instance) -> None:
        """A configuration has come to its end. Its threads tell this: somebody else takes it out."""
        def halt() -> None:
            with contextlib.suppress(DomainError, MachineError):
                if domain.finish(instance):
                    self._tell("configured", domain)

        threading.Thread(target=halt, daemon=True).start()

    def _after_crash(self, domain: Domain) -> None:
        action = domain.spec.on_crash
        if action == "preserve" or domain.id not in self.domains:
            return
        self._end(domain, restart=action == "restart", why="a crash")

    def _end(self, domain: Domain, *, restart: bool, why: str) -> None:
        """End a domain, and perhaps make it again with the configurations that it ran."""
        spec, texts = domain.spec, [(c.number, c.name, c.text) for c in domain.configurations.values() if c.status == "Running"]
        self._forget(domain)
        if restart:
            with contextlib.suppress(DomainError):
                again = self.create(spec.changed(click=""))
                again.console.write("".join(line + "\n" for _, _, line in domain.console.lines()))
                for number, name, text in texts:
                    again.install(text, name=name, number=number)
                self._tell(f"restarted after {why}", again)

    def _forget(self, domain: Domain) -> None:
        with self._lock:
            if self.domains.pop(domain.id, None) is None:
                return
            del self._by_name[domain.name]
        self._capper.remove(domain)
        domain.close()
        self._tell("destroyed", domain)

    # The end

    def close(self) -> None:
        self._watcher.close()
        self._capper.close()
        for domain in list(self.domains.values()):
            self._forget(domain)
        self.switches.close()
        if self.pool is not None:
            self.pool.close()

    def __enter__(self) -> Toolstack:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextlib.contextmanager
    def domain(self, spec: DomainSpec) -> Iterator[Domain]:
        """A domain for the length of a ``with`` block."""
        made = self.create(spec)
        try:
            yield made
        finally:
            if made.state != DomainState.SHUTDOWN:
                self._forget(made)


def _read_click(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise DomainError(f"{path}: {error.strerror}") from None
