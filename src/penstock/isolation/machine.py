"""What all machines have in common: installing configurations, pausing, reading and writing their memory, events."""

from __future__ import annotations

import contextlib
import ctypes
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from penstock.datapath.clock import ns_per_cycle_32
from penstock.datapath.futex import futex_wait, futex_wake
from penstock.datapath.memory import Memory
from penstock.isolation.errors import MachineError
from penstock.isolation.events import events
from penstock.isolation.hostside import HostSide, has_host_side
from penstock.isolation.layout import MAX_INSTANCES, Context, Control, Entry, Event, Request, State
from penstock.isolation.loops import CONTEXT_WORD, CONTROL_WORD, HOOK_WORD, loops
from penstock.isolation.region import CONTROL, THREAD_STACK, THREAD_STACK_BYTES, Region
from penstock.isolation.template import Pages, Template
from penstock.ring.port import SharedPort
from penstock.runtime.hotswap import take_state, touch_state
from penstock.runtime.image import Image, LoadedImage
from penstock.runtime.once import once
from penstock.runtime.router import Router
from penstock.runtime.threads import join_thread, start_thread

__all__ = ["Instance", "Machine", "MachineError"]

#: tasks in one turn: short enough that a pause is answered at once, long enough that a turn costs nothing
_TURN_TASKS = 64
#: FUTEX2_SIZE_U32
_WORD_SIZE_FLAG = 2
_WAIT = struct.Struct("<QQII")


@once
def host_loops() -> LoadedImage:
    """The loops in executable memory of this process."""
    return LoadedImage(loops())


@once
def _helpers() -> tuple[Callable[..., int], Callable[..., int]]:
    image = host_loops()
    exchange = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64, ctypes.c_uint64)
    claim = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_uint64)
    return exchange(image.address + image.image.entries["exchange"]), claim(image.address + image.image.entries["claim"])


@dataclass(eq=False)
class Instance:
    """One configuration installed in a machine. ``router`` gives its elements and handlers, made when first asked for."""

    number: int
    template: Template
    machine: Machine
    code_at: int
    data_at: int
    memory: Memory
    _router: Router | None = field(default=None, repr=False)
    host_side: HostSide | None = field(default=None, repr=False)

    @property
    def router(self) -> Router:
        if self._router is None:
            with self.machine.lock:
                if self._router is None:
                    self._router = self.template.router(self.memory)
        return self._router

    def close(self) -> None:
        """End what was done for it in Python. Its memory stays as it is."""
        if self.host_side is not None:
            self.host_side.close()
        if self._router is not None:
            self._router.close()

    def read(self, handler: str, parameter: str = "") -> str:
        """A handler's value, read from memory while the domain runs."""
        return self.router.handlers.read(handler, parameter)

    def write(self, handler: str, value: str = "") -> None:
        """Write a handler, while the domain stands still between two turns."""
        router = self.router
        driver = router.driver
        with self.machine.held():
            expiry = driver.next_expiry
            try:
                router.handlers.write(handler, value)
            finally:
                # Most handlers set a value: a domain that sleeps need not wake up for that.
                woken = driver.runnable or driver.next_expiry < expiry or driver.runcount <= 0
        if woken:
            self.machine.kick()


class Machine:
    """Runs installed configurations apart from its maker. A context manager: at its end the machine is gone.

    ``data_bytes`` is the memory for instances, rings included.
    """

    isolation = "inline"
    #: whether a domain that does not come back can be stopped
    can_interrupt = False

    def __init__(self, *, data_bytes: int = 4 << 20, name: str = ""):
        self.name = name
        self.lock = threading.RLock()
        self.instances: dict[int, Instance] = {}
        self.ports: list[SharedPort] = []
        self.on_event: Callable[[Machine, Event], None] | None = None
        #: told of a configuration whose driver has stopped (a source's STOP, a script); it is still installed
        self.on_finished: Callable[[Instance], None] | None = None
        self.crash_reason = ""
        self._paused = False
        self._started = False
        self._closed = False
        self._thread = 0
        self._loaded: list[LoadedImage] = []
        self.region = Region(data_bytes, shared=self.isolation == "process")
        self.context, self.control = self.region.context, self.region.control
        exchange, claim = _helpers()
        self._exchange, self._claim = exchange, claim
        context, control = self.context, self.control
        context.store(Context.CONTROL, 8, control.address)
        context.store(Context.EVENTFD, 8, events().descriptor)
        context.store(Context.ONE, 8, 1)
        context.store(Context.RATE, 8, ns_per_cycle_32())
        control.store(Control.LIMIT, 8, _TURN_TASKS)
        self.allow_cpus(os.sched_getaffinity(0))
        self._set_waits()
        events().add(self)

    # What kinds of machines differ in

    def _address(self, offset: int) -> int:
        """An offset of the region as the isolated side sees it."""
        return self.region.address + offset

    def _place_code(self, code: bytes) -> int:
        """Make code executable for the isolated side; gives its offset in the region, or an address below 0 as ~address."""
        loaded = LoadedImage(Image(code, {}))
        self._loaded.append(loaded)
        return ~loaded.address

    def _hooks(self) -> tuple[int, int, int]:
        """For upcalls: the function, the hook it calls, and the hook's argument."""
        entries = loops().entries
        base = host_loops().address
        return base + entries["upcall"], base + entries["attend"], self.context.address

    def _loop(self) -> str:
        return "thread"

    def _run(self) -> None:
        """Start running, in a thread of its own."""
        image = host_loops()
        loop = image.address + image.image.entries[self._loop()]
        try:
            self._thread = start_thread(loop, self.context.address, here=self.isolation == "kvm",
                                        stack=(self.region.address + THREAD_STACK, THREAD_STACK_BYTES))
        except OSError as error:
            raise MachineError(f"no thread for the domain: {error.strerror} (see 'ulimit -u', /proc/sys/kernel/threads-max)") from None

    def _stopped(self) -> None:
        """The loop has ended: wait for what ran it."""
        if self._thread:
            join_thread(self._thread)
            self._thread = 0

    def _interrupt(self) -> None:
        """Make a domain that does not come back come back."""

    # Configurations

    def install(self, template: Template, ports: Mapping[str, SharedPort] | None = None, *, number: int | None = None,
                seed: int | None = None, content: Pages | None = None) -> Instance:
        """Put a configuration into the machine; it runs from the next turn on.

        ``content`` is the memory of another instance with the same layout, whose ports hold what they held there.
        """
        with self.lock:
            if number is None:
                number = next((n for n in range(MAX_INSTANCES) if n not in self.instances), MAX_INSTANCES)
            if number >= MAX_INSTANCES or number in self.instances:
                raise MachineError(f"{self.name}: configuration {number} is in use (a domain holds {MAX_INSTANCES})")
            needed = self._needed_ports(template, ports or {})
            data_at = self.region.allocate("data", template.size_bytes, without=template.port_places)
            memory = self.region.memory(data_at, template.size_bytes)
            template.fill(memory, seed=seed, content=content)
            with self._standing_still():
                for _, at, port in needed:
                    port.map_into(memory, at, keep=content is not None)
                    self.ports.append(port)
                code_at = self._place_code(template.image.code)
                instance = Instance(number, template, self, code_at, data_at, memory)
                self._enter(instance)
                self.instances[number] = instance
                if template.needs_host:
                    _ = instance.router
                if needed:
                    self._set_waits()
            self._begin_host_side(instance)
            return instance

    def _needed_ports(self, template: Template, ports: Mapping[str, SharedPort], *, instead_of: Instance | None = None
                      ) -> list[tuple[str, int, SharedPort]]:
        """(interface, its place in an instance, port); MachineError where one is not there, or another instance has it."""
        needed: list[tuple[str, int, SharedPort]] = []
        for name, at in template.ports.items():
            port = ports.get(name)
            if port is None:
                raise MachineError(f"{self.name}: interface '{name}' is not there")
            if port in self.ports and (instead_of is None or port.mapped_by is not instead_of.memory):
                raise MachineError(f"{self.name}: interface '{name}' is in use by another configuration of this domain")
            needed.append((name, at, port))
        return needed

    def _begin_host_side(self, instance: Instance) -> None:
        if instance.template.needs_host and has_host_side(instance.router):
            instance.host_side = HostSide(instance, self._finished)

    def _finished(self, instance: Instance) -> None:
        if self.on_finished is not None and not self._closed:
            self.on_finished(instance)

    def lock_is_mine(self) -> bool:
        """Whether the calling thread holds the machine's lock."""
        return self.lock._is_owned()  # type: ignore[attr-defined, no-any-return]

    def _enter(self, instance: Instance) -> None:
        """Write the table that the loop goes through."""
        template, memory = instance.template, instance.memory
        upcall, hook, context = self._hooks()
        memory.store(CONTROL_WORD, 8, self._address(CONTROL))
        memory.store(HOOK_WORD, 8, hook)
        memory.store(CONTEXT_WORD, 8, context)
        memory.store(template.upcall_offset, 8, upcall)
        at = Control.ENTRIES + Entry.SIZE * instance.number
        control = self.control
        control.store(at + Entry.MEMORY, 8, self._address(instance.data_at))
        control.store(at + Entry.CLOCK_OFFSET, 8, template.clock_offset)
        control.store(at + Entry.EXPIRY_OFFSET, 8, template.expiry_offset)
        control.store(at + Entry.TURN, 8, self._code_address(instance.code_at) + template.image.entries[template.entry])
        control.store(Control.COUNT, 8, max(control.load(Control.COUNT, 8), instance.number + 1))

    def reenter(self, instance: Instance) -> None:
        """The instance's memory was written as a whole: put in what belongs to this machine."""
        with self.held(changes=True):
            self._enter(instance)

    def _code_address(self, code_at: int) -> int:
        return ~code_at if code_at < 0 else self._address(code_at)

    def content(self, instance: Instance) -> list[tuple[int, bytes]]:
        """An instance's memory without its ports; the domain must stand still."""
        template = instance.template
        return self.region.pages(instance.data_at, template.size_bytes, template.port_places)

    def swap(self, instance: Instance, template: Template, ports: Mapping[str, SharedPort]) -> Instance:
        """Put another configuration in an instance's place. Elements of the same name keep their state, rings what they hold.

        Everything that takes time is done before and after the domain stands still.
        """
        with self.lock:
            needed = self._needed_ports(template, ports, instead_of=instance)
            data_at = self.region.allocate("data", template.size_bytes)
            memory = self.region.memory(data_at, template.size_bytes)
            template.fill(memory)
            new = Instance(instance.number, template, self, 0, data_at, memory)
            before, after = instance.router, new.router
            new.code_at = self._place_code(template.image.code)
            touch_state(after, before, every=True)
            with self._standing_still():
                take_state(after, before, every=True)
                for name, at, port in needed:
                    kept = name in before.ports
                    port.map_into(memory, at, keep=kept)
                    if kept:
                        old, now = before.ports[name], after.ports[name]
                        now.head, now.tail, now.broken = old.head, old.tail, old.broken
                    if port not in self.ports:
                        self.ports.append(port)
                self._enter(new)
                self.instances[new.number] = new
                self._let_go(instance)
            after.console = before.console
            instance.close()
            self._begin_host_side(new)
            self._give_up(instance)
            return new

    def _let_go(self, instance: Instance) -> None:
        """Ports that are mapped into this instance's memory are the machine's no more."""
        for port in [p for p in self.ports if p.mapped_by is instance.memory]:
            self.ports.remove(port)
            port.unmapped()
        self._set_waits()

    def _give_up(self, instance: Instance) -> None:
        self.region.release("data", instance.data_at, instance.template.size_bytes)
        if instance.code_at >= 0:
            self.region.release("code", instance.code_at, len(instance.template.image.code))

    def remove(self, instance: Instance) -> None:
        """Take a configuration out. What its queues hold is lost."""
        with self.lock, self._standing_still():
            self.control.store(Control.ENTRIES + Entry.SIZE * instance.number, 8, 0)
            del self.instances[instance.number]
            instance.close()
            self._let_go(instance)
            self._give_up(instance)

    def _set_waits(self) -> None:
        """What the host's loop sleeps on: its own word, and one of each port."""
        context = self.context
        context.view[Context.WAITS : Context.WAITS + _WAIT.size] = _WAIT.pack(0, context.address + Context.KICK, _WORD_SIZE_FLAG, 0)
        for i, port in enumerate(self.ports):
            context.store(Context.PORTS + 8 * i, 8, port.domain_address)
            at = Context.WAITS + _WAIT.size * (i + 1)
            context.view[at : at + _WAIT.size] = _WAIT.pack(1, port.domain_address, _WORD_SIZE_FLAG, 0)
        context.store(Context.N_PORTS, 8, len(self.ports))

    # Life

    @property
    def state(self) -> State:
        return State(self.context.load(Context.STATE, 4))

    def start(self) -> None:
        with self.lock:
            if not self._started:
                self._started = True
                # Not IDLE: the thread that is about to run asks nobody.
                self.context.store(Context.STATE, 4, State.RUNNING)
                if self._paused:
                    self._ask(Request.PAUSE)
                self._run()
                if self._paused:
                    self._wait_for_state(State.PARKED, State.CRASHED, State.ENDED)

    def kick(self) -> None:
        """Wake the domain, to look again at what there is to do."""
        self.context.store(Context.KICK, 4, 1)
        futex_wake(self.context.address + Context.KICK)

    def pause(self) -> None:
        """Stand still until ``resume``."""
        with self.lock:
            if not self._paused:
                self._paused = True
                if self._started:
                    self._park()

    def resume(self) -> None:
        with self.lock:
            if self._paused:
                self._paused = False
                if self._started:
                    self._unpark()

    def throttle(self, on: bool) -> None:
        """Stand still for a while, or go on: as pausing, but nobody is told. What holds or pauses it meanwhile comes first."""
        with self.lock:
            if self._paused or not self._started or self.state in (State.CRASHED, State.ENDED):
                return
            if on and self.state != State.PARKED:
                self._park()
            elif not on and self.state == State.PARKED:
                self._unpark()

    def allow_cpus(self, cpus: set[int]) -> None:
        """The CPUs that the domain may use."""
        mask = sum(1 << cpu for cpu in cpus if cpu < 1024).to_bytes(128, "little")
        self.context.view[Context.AFFINITY : Context.AFFINITY + 128] = mask
        if self.thread_id:
            os.sched_setaffinity(self.thread_id, cpus)

    def share(self, *, weight: int, cap: int) -> bool:
        """Have the kernel keep a weight (256 is usual) and a cap (percent of a processor); false where it does not."""
        return False

    @property
    def is_paused(self) -> bool:
        return self._paused

    def _ask(self, request: Request) -> None:
        """What the loop is to do when it looks next; packet code comes back for anything but running on."""
        self.context.store(Context.REQUEST, 8, request)
        self.control.store(Control.STOP, 8, request != Request.RUN)

    def _park(self) -> None:
        self._ask(Request.PAUSE)
        self.kick()
        self._wait_for_state(State.PARKED, State.CRASHED, State.ENDED)

    def _wait_for_state(self, *wanted: State, timeout_s: float = 2.0) -> None:
        end = time.monotonic() + timeout_s
        while (state := self.state) not in wanted:
            if time.monotonic() > end:
                raise MachineError(f"{self.name}: the domain does not come back from its packet code; destroy it")
            futex_wait(self.context.address + Context.STATE, state)

    def _unpark(self) -> None:
        self._ask(Request.RUN)
        self.kick()

    @contextlib.contextmanager
    def held(self, *, changes: bool = False) -> Iterator[None]:
        """The domain stands still meanwhile. ``changes``: it must look afterwards whether there is something to do."""
        with self.lock:
            if not self._started or self._paused or self.state in (State.CRASHED, State.ENDED):
                yield
                return
            if self._claim(self.context.address) == State.IDLE:
                try:
                    yield
                finally:
                    self.context.store(Context.STATE, 4, State.IDLE)
                    futex_wake(self.context.address + Context.STATE)
                    if changes:
                        self.kick()
                return
            self._park()
            try:
                yield
            finally:
                self._unpark()

    def _standing_still(self) -> contextlib.AbstractContextManager[None]:
        return self.held(changes=True)

    # Events

    def take_events(self, more: Event | int = 0) -> None:
        """See to what the domain wants; called by the events thread."""
        found = Event(self._exchange(self.context.address + Context.EVENTS, 0)) | more
        if not found or self._closed:
            return
        finished: list[Instance] = []
        with self.lock:
            if self._closed:
                return
            if found & Event.CRASHED:
                self.crash_reason = self.crash_reason or self._explain_crash()
            if found & (Event.HOST | Event.STOPPED | Event.UPCALL):
                self._exchange(self.control.address + Control.MUTE, 0)
                for instance in list(self.instances.values()):
                    if instance._router is not None or instance.template.needs_host:
                        instance.router.drain_host()
                    if instance.host_side is not None:
                        instance.host_side.wake()
                    elif found & Event.STOPPED and instance.router.driver.runcount <= 0:
                        finished.append(instance)
            if found & Event.UPCALL:
                self.context.store(Context.ACK, 4, 1)
                futex_wake(self.context.address + Context.ACK)
        for instance in finished:
            self._finished(instance)
        if self.on_event is not None:
            self.on_event(self, found)

    def break_off(self, reason: str) -> None:
        """Stop a domain that does not come back; it counts as crashed. Not possible where it is in this process."""
        raise MachineError(f"{self.name}: a domain that runs inline cannot be broken off")

    @property
    def turns(self) -> int:
        return self.control.load(Control.TURNS, 8)

    @property
    def thread_id(self) -> int:
        """The thread that runs the domain, for its priority, CPUs and time; 0 where it is not known."""
        return self.context.load(Context.THREAD, 8)

    def where(self, address: int) -> str:
        """What packet code stands at an address of the isolated side, in words; empty where none does."""
        for instance in self.instances.values():
            offset = address - self._code_address(instance.code_at)
            if 0 <= offset < len(instance.template.image.code):
                place = instance.router.locate(offset)
                if place is None:
                    return f" at {address:#x}, in configuration {instance.number}"
                file = "/".join(Path(place.file).parts[-3:])
                return f", in the packet code of '{place.element}' ({file}:{place.line})"
        return f" at {address:#x}" if address else ""

    def _explain_crash(self) -> str:
        return "it broke down"

    # The end

    def close(self) -> None:
        """End the machine and give everything back. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        events().remove(self)
        if self._started:
            self._ask(Request.END)
            self.kick()
            self.context.store(Context.ACK, 4, 1)
            futex_wake(self.context.address + Context.ACK)
            futex_wake(self.context.address + Context.STATE)
            try:
                self._wait_for_state(State.ENDED, State.CRASHED, timeout_s=0.5)
            except MachineError:
                self._interrupt()
            self._stopped()
        for instance in self.instances.values():
            instance.close()
        for port in self.ports:
            port.unmapped()
        self._release()

    def _release(self) -> None:
        for loaded in self._loaded:
            loaded.close()
        self.region.close()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
