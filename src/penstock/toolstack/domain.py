"""A domain: a machine with interfaces, configurations, a console and a state."""

from __future__ import annotations

import contextlib
import enum
import functools
import math
import os
import random
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from penstock.device import InterfacePort, TapPort, is_plain_interface
from penstock.elements.element import HandlerError, HandlerLookupError
from penstock.isolation import choose, machine_class
from penstock.isolation.layout import Event, State
from penstock.isolation.machine import Instance, Machine
from penstock.isolation.template import Pages, Template
from penstock.lang.source import ConfigurationError
from penstock.ring import SharedPort
from penstock.runtime.image import ImageCache
from penstock.switch import SwitchError
from penstock.switch.host import SwitchHost, is_switch
from penstock.toolstack.console import Console
from penstock.toolstack.domainfile import DomainSpec, VifSpec, cpu_set
from penstock.toolstack.errors import DomainError

__all__ = ["Configuration", "Domain", "DomainState", "template_for"]

_TEMPLATES_KEPT = 256
_PORT_ROOM = 2 << 20


class DomainState(enum.StrEnum):
    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    CRASHED = "crashed"
    SHUTDOWN = "shutdown"


@functools.lru_cache(_TEMPLATES_KEPT)
def template_for(text: str, interfaces: tuple[str, ...], file: str = "config") -> Template:
    """A configuration made ready once for all domains of this process. Raises ConfigurationError."""
    folder = Path(file).parent
    return Template.from_text(text, interfaces=interfaces, file=file, library_path=(folder,), cache=ImageCache())


@dataclass
class Configuration:
    """One Click configuration of a domain. ``status`` is Running, Halted or Error."""

    number: int
    name: str
    text: str
    status: str
    instance: Instance | None = None


class Domain:
    """One isolated middlebox. Methods may be called from any thread."""

    def __init__(self, number: int, spec: DomainSpec, *, machine: Machine | None = None):
        self.id, self.name = number, spec.name
        self.uuid = spec.uuid or str(uuid.uuid4())
        self.created_s = time.time()
        self.console = Console()
        #: what took how long, in seconds: of its making, and of the last configuration that was installed
        self.phases: dict[str, float] = {}
        started = time.perf_counter()
        self.configurations: dict[int, Configuration] = {}
        chosen, why = choose()
        self.isolation = spec.isolation or chosen
        #: what a person should know about how the domain is kept apart
        self.remarks = [] if spec.isolation or not why else [f"a locked-down process, not a virtual machine: {why}"]
        self.spec = spec.changed(vif=tuple(_with_mac(v, self.uuid, i) for i, v in enumerate(spec.vif)))
        self.machine = machine or machine_class(self.isolation)(data_bytes=memory_for(spec), name=spec.name)
        self.machine.name = spec.name
        self.phases["machine taken from the pool" if machine else "machine made"] = time.perf_counter() - started
        self.ports = [SharedPort(str(i)) for i in range(len(spec.vif))]
        self.taps: list[TapPort] = []
        self.devices: list[InterfacePort] = []
        self.on_switches: list[tuple[SwitchHost, str]] = []
        self.crashed = False
        self.ended = False
        #: the kernel keeps weight and cap
        self.is_capped = False
        self._started = False

    @property
    def interfaces(self) -> tuple[str, ...]:
        return tuple(str(i) for i in range(len(self.ports)))

    @property
    def state(self) -> DomainState:
        if self.ended:
            return DomainState.SHUTDOWN
        if self.crashed or self.machine.state == State.CRASHED:
            return DomainState.CRASHED
        if self.machine.is_paused:
            return DomainState.PAUSED
        return DomainState.RUNNING if self._started else DomainState.CREATED

    def connect(self, switches: SwitchHost) -> None:
        """Give every interface its other side: a port of a switch (``vale…``), an interface of this machine, or a TAP on a bridge."""
        started = time.perf_counter()
        for i, vif in enumerate(self.spec.vif):
            if is_switch(vif.bridge):
                name = f"{vif.bridge}:{vif.vifname or f'vif{self.id}.{i}'}"
                switches.attach(name, self.ports[i], kind="domain")
                self.on_switches.append((switches, name))
            elif is_plain_interface(vif.bridge):
                self.devices.append(InterfacePort(self.ports[i], vif.bridge))
            elif vif.bridge:
                self.taps.append(TapPort(self.ports[i], vif.vifname or f"vif{self.id}.{i}", bridge=vif.bridge))
        self.phases["interfaces connected"] = time.perf_counter() - started

    # Life

    def start(self, *, paused: bool = False) -> None:
        started = time.perf_counter()
        if paused:
            self.machine.pause()
        self.machine.start()
        self.phases["machine started"] = time.perf_counter() - started
        self._started = True
        if missing := getattr(self.machine, "missing", []):
            self.remarks.append(f"not applied to its process: {', '.join(missing)}")
        for remark in self.remarks:
            self.console.say(remark)
        self._apply_share()

    def _apply_share(self) -> None:
        """Weight, kept by the kernel for a process, else as the priority of the thread; and the CPUs that it may use."""
        thread = self.machine.thread_id
        end = time.monotonic() + 1
        self.is_capped = self.machine.share(weight=self.spec.weight, cap=self.spec.cap)
        if self.spec.weight == 256 and not self.spec.cpus:
            return
        while not thread and time.monotonic() < end:
            time.sleep(0.0005)
            thread = self.machine.thread_id
        try:
            if self.spec.weight != 256 and not self.is_capped:
                # One step of nice is a factor of 1.25 in the kernel's weights, as 256 is the middle of xl's.
                nice = round(-math.log(self.spec.weight / 256) / math.log(1.25))
                os.setpriority(os.PRIO_PROCESS, thread, max(-20, min(19, nice)))
            if self.spec.cpus and (cpus := cpu_set(self.spec.cpus)):
                self.machine.allow_cpus(cpus)
        except OSError as error:
            self.console.say(f"weight and CPUs are not applied: {error.strerror}")

    def pause(self) -> None:
        self._need(DomainState.RUNNING, "pause")
        self.machine.pause()

    def unpause(self) -> None:
        self._need(DomainState.PAUSED, "unpause")
        self.machine.resume()

    def _need(self, state: DomainState, verb: str) -> None:
        if self.state != state:
            raise DomainError(f"{self.name} is {self.state}: only a {state} domain can be {verb}d")

    def close(self) -> None:
        """The end: everything is given back."""
        self.ended = True
        for device in (*self.taps, *self.devices):
            device.close()
        for switches, name in self.on_switches:
            # The fabric may have taken it off already, where the domain broke the rules.
            with contextlib.suppress(SwitchError):
                switches.detach(name)
        self.machine.close()
        for configuration in self.configurations.values():
            configuration.status = "Halted"
        for port in self.ports:
            port.close()

    # Configurations

    def install(self, text: str, *, name: str = "script", file: str = "config", number: int | None = None) -> Configuration:
        """Install and run a configuration. One that cannot be is kept with status Error; raises DomainError."""
        with self.machine.lock:
            if number is None:
                number = next(n for n in range(len(self.configurations) + 1) if n not in self.configurations)
            before = self.configurations.get(number)
            if before is not None and before.status == "Running":
                raise DomainError(f"{self.name}: configuration {number} is there already; stop it first, or swap it")
            made = self.configurations[number] = Configuration(number, name, text, "Error")
        started = time.perf_counter()
        try:
            template = template_for(text, self.interfaces, file)
            built = time.perf_counter()
            self._run(made, template)
            self.phases["image ready"], self.phases["configuration installed"] = built - started, time.perf_counter() - built
        except ConfigurationError as error:
            problem = "\n".join(error.diagnostics.click_lines())
            self.console.write(problem + "\n")
            raise DomainError(f"{self.name}: {problem}") from None
        except Exception as error:
            self.console.say(f"configuration {number}: {error}")
            raise
        made.status = "Running"
        return made

    def adopt(self, configuration: Configuration, layout_digest: str, content: Pages) -> Instance:
        """Run a configuration with the state that it had elsewhere; DomainError where that does not fit here."""
        try:
            template = template_for(configuration.text, self.interfaces)
        except ConfigurationError as error:
            raise DomainError(f"{self.name}: {error}") from None
        what = f"{self.name}: configuration {configuration.number}"
        if template.layout_digest != layout_digest:
            raise DomainError(f"{what} has another layout here (another version of its elements?)")
        if any(at < 0 or at + len(page) > template.size_bytes for at, page in content):
            raise DomainError(f"{self.name}: the state of configuration {configuration.number} is larger than its memory")
        self.configurations[configuration.number] = configuration
        return self._run(configuration, template, content)

    def _run(self, configuration: Configuration, template: Template, content: Pages | None = None) -> Instance:
        instance = self.machine.install(template, self._ports_by_name, number=configuration.number, content=content)
        configuration.instance = instance
        self._listen_to(instance)
        return instance

    @property
    def _ports_by_name(self) -> dict[str, SharedPort]:
        return dict(zip(self.interfaces, self.ports))

    def _listen_to(self, instance: Instance) -> None:
        if instance.template.needs_host:
            instance.router.console = self.console

    def swap(self, number: int, text: str, *, file: str = "config") -> None:
        """Hot swap: another configuration in the place of a running one, with the state of what is in both."""
        configuration = self._configuration(number)
        if configuration.instance is None:
            raise DomainError(f"{self.name}: configuration {number} is not running")
        try:
            template = template_for(text, self.interfaces, file)
        except ConfigurationError as error:
            raise DomainError(f"{self.name}: " + "\n".join(error.diagnostics.click_lines())) from None
        configuration.instance = self.machine.swap(configuration.instance, template, self._ports_by_name)
        configuration.text = text
        self._listen_to(configuration.instance)

    def remove(self, number: int) -> None:
        """Take a configuration out and forget it."""
        configuration = self._configuration(number)
        if configuration.instance is not None:
            self.machine.remove(configuration.instance)
        del self.configurations[number]

    def halt(self, number: int) -> None:
        """Take a configuration out; its text stays, with status Halted."""
        configuration = self._configuration(number)
        if configuration.instance is None:
            raise DomainError(f"{self.name}: configuration {number} is not running")
        self.machine.remove(configuration.instance)
        configuration.instance, configuration.status = None, "Halted"

    def finish(self, instance: Instance) -> bool:
        """Halt the configuration that this instance runs; false where it is gone already."""
        for configuration in list(self.configurations.values()):
            if configuration.instance is instance and not self.ended:
                self.console.say(f"configuration {configuration.number} has stopped")
                self.halt(configuration.number)
                return True
        return False

    def _configuration(self, number: int) -> Configuration:
        try:
            return self.configurations[number]
        except KeyError:
            there = ", ".join(str(n) for n in sorted(self.configurations)) or "none"
            raise DomainError(f"{self.name}: there is no configuration {number} (there are {there})") from None

    def instance(self, number: int | None = None) -> Instance:
        """The running configuration of that number, or the only one."""
        if number is None:
            running = [c for c in self.configurations.values() if c.instance is not None]
            if len(running) != 1:
                raise DomainError(f"{self.name} has {len(running)} configurations running; say which one is meant")
            number = running[0].number
        instance = self._configuration(number).instance
        if instance is None:
            raise DomainError(f"{self.name}: configuration {number} is not running")
        return instance

    # Handlers

    def read(self, handler: str, *, number: int | None = None) -> str:
        with self._handler_errors():
            return self.instance(number).read(handler)

    def write(self, handler: str, value: str = "", *, number: int | None = None) -> None:
        with self._handler_errors():
            self.instance(number).write(handler, value)

    def handlers(self, *, number: int | None = None) -> list[str]:
        return [f"{e.name}.{h.name}" for e in self.instance(number).router.elements for h in e.handlers.values() if h.visible]

    @contextlib.contextmanager
    def _handler_errors(self) -> Iterator[None]:
        try:
            yield
        except (HandlerLookupError, HandlerError, ValueError) as error:
            raise DomainError(f"{self.name}: {error}") from None

    # Looking at it

    @property
    def cpu_s(self) -> float:
        """CPU time used, in seconds."""
        thread = self.machine.thread_id
        try:
            # The clock of one thread or process, by its number (include/linux/posix-timers.h); /proc is brought up to date at ticks alone.
            return time.clock_gettime((~thread << 3) | (2 if self.isolation == "process" else 6)) if thread else 0.0
        except OSError:
            return 0.0

    def explain(self, event: Event) -> None:
        """Say on the console what happened."""
        if event & Event.CRASHED:
            self.crashed = True
            self.console.say(f"{self.name} crashed: {self.machine.crash_reason}")


def memory_for(spec: DomainSpec) -> int:
    """Bytes for instances: what the file says and the rings."""
    return (spec.memory << 20) + len(spec.vif) * _PORT_ROOM


def _with_mac(vif: VifSpec, identity: str, number: int) -> VifSpec:
    """An address that stays the same for this domain: Xen's prefix, and 24 bits from its unique id."""
    if vif.mac:
        return vif
    r = random.Random(f"{identity}/{number}")
    return VifSpec(f"00:16:3e:{r.randrange(128):02x}:{r.randrange(256):02x}:{r.randrange(256):02x}", vif.bridge, vif.script, vif.vifname)
