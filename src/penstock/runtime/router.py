"""A router: elements put together from a flat configuration, their memory and their image."""

from __future__ import annotations

import ctypes
import functools
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from penstock.datapath.clock import SIMULATED_START_NS
from penstock.datapath.containers import Table
from penstock.datapath.memory import Array, Layout, Memory, Stateful, attach, lay_out
from penstock.datapath.pool import LanePool, PacketPool, share
from penstock.datapath.ports import RingPort
from penstock.datapath.program import Program
from penstock.datapath.sched import RemoteTask, Task
from penstock.datapath.source import DatapathError
from penstock.elements import catalog
from penstock.elements.element import ConfigureError, Element, HandlerError
from penstock.lang.arguments import ArgumentContext, ArgumentError, assign_arguments
from penstock.lang.configuration import Configuration, ElementUse
from penstock.lang.load import flatten
from penstock.lang.ports import resolve_ports
from penstock.lang.source import Diagnostics, Landmark, quote
from penstock.packet.layout import ANNOTATIONS, DEFAULT_HEADROOM
from penstock.runtime.addresses import NamedAddresses
from penstock.runtime.chatter import Chatter
from penstock.runtime.driver import HostCalls, drive
from penstock.runtime.fingerprint import fingerprint
from penstock.runtime.handlers import Handlers
from penstock.runtime.hotswap import take_state
from penstock.runtime.image import Image, ImageCache, LoadedImage
from penstock.runtime.lane import Lane
from penstock.runtime.spread import spread
from penstock.runtime.uncollected import uncollected

if TYPE_CHECKING:
    from penstock.datapath.llvm.lines import Lines, Place

__all__ = ["Router"]

_PACKETS_IN_FLIGHT = 256
_DEFAULT_BUFFER_BYTES = 2048 - 128 + DEFAULT_HEADROOM
#: room for tables that a live reconfiguration makes; untouched pages cost nothing
_RECONFIGURE_BYTES = 4 << 20
_ENGINES = ("compiled", "interpreter")


class _Holder(Stateful):
    """Something to attach a lone array by."""

    def __init__(self, array: Array[Any]):
        self.array = array


def _poll(port: RingPort) -> bool:
    before = port.reader is not None and port.reader.is_scheduled
    port.poll()
    return not before and port.reader is not None and port.reader.is_scheduled


def _publish(port: RingPort) -> None:
    if port.unpublished:
        port.publish()


class Router:
    """One installed configuration.

    ``engine`` is ``compiled`` (machine code) or ``interpreter`` (the same typed form, step by step).
    ``simulated_start_ns`` replaces the clock by simulated time; ``check_only`` stops after the elements' arguments were
    checked. ``interfaces`` names the interfaces of the domain that the router is for: it is then run by the machines of
    penstock.isolation, not by ``run``. ``threads``: how many run it, where its elements fall into parts with queues between them, or
    with nothing (a StaticThreadSched says which thread runs which). Errors raise ConfigurationError.
    """

    def __init__(
        self,
        configuration: Configuration,
        *,
        diagnostics: Diagnostics | None = None,
        engine: str = "compiled",
        simulated_start_ns: int | None = None,
        cache: ImageCache | None = None,
        seed: int | None = None,
        control: Sequence[tuple[str, str]] = (),
        allow_hotconfig: bool = False,
        predecessor: Router | None = None,
        check_only: bool = False,
        interfaces: Sequence[str] | None = None,
        threads: int = 1,
    ):
        if engine not in _ENGINES:
            raise ValueError(f"engine must be one of {', '.join(_ENGINES)}")
        self.configuration = configuration
        self.diagnostics = diagnostics if diagnostics is not None else Diagnostics()
        self.engine = engine
        self.cache = cache
        if threads < 1:
            raise ValueError("a router has one thread at least")
        # Simulated time is one for all, and a domain has one processor.
        self.threads = threads if simulated_start_ns is None and interfaces is None else 1
        self.lanes = [Lane(k, is_shared=self.threads > 1) for k in range(self.threads)]
        first = self.lanes[0]
        self.clock, self.random, self.driver, self.host = first.clock, first.random, first.driver, first.host
        self.context = ArgumentContext(NamedAddresses(), dict(ANNOTATIONS))
        self.elements: list[Element] = []
        self.by_name: dict[str, Element] = {}
        self.memory: Memory | None = None
        self.layout = Layout([], 0)
        self.interfaces = interfaces
        self.ports: dict[str, RingPort] = {}
        self.console: io.TextIOBase | None = None
        #: who is told what the elements say
        self.chatter: list[Callable[[str], bool]] = []
        self.image_from_cache = False
        self._simulated_start_ns = simulated_start_ns
        self._seed = seed
        self._initialized: list[Element] = []
        self.failed_initialize = False
        self.calls = HostCalls()
        self.source_text = ""
        self.interrupted = 0
        self.allow_hotconfig = allow_hotconfig
        self.predecessor = predecessor
        self.successor: Router | None = None
        self._control = control
        self._retired: list[LoadedImage | None] = []
        self._library_path: tuple[Path, ...] = ()
        self._add_control(control)
        self._check_only = check_only
        self._make()

    @classmethod
    def from_text(cls, text: str, *, file: str = "config", variables: Mapping[str, str] | None = None,
                  library_path: tuple[Path, ...] = (), **options: Any) -> Router:
        """Parse, flatten and install configuration text."""
        diagnostics = options.pop("diagnostics", None) or Diagnostics()
        flat = flatten(text, file=file, known_classes=catalog.is_known, class_names=catalog.class_names,
                       variables=variables, library_path=library_path, diagnostics=diagnostics)
        diagnostics.raise_if_errors()
        return cls(flat, diagnostics=diagnostics, **options)

    def _add_control(self, control: Sequence[tuple[str, str]]) -> None:
        """The elements that command line options ask for, such as ``-p``."""
        for i, (class_name, arguments) in enumerate(control):
            name = "click_driver@@" + class_name + (f"@{i + 1}" if i else "")
            self.configuration.elements.append(
                ElementUse(name, class_name, arguments, Landmark("<click driver>"), len(self.configuration.elements))
            )

    # Making it

    def _make(self) -> None:
        try:
            with uncollected():
                self._create()
                self._configure()
            if self._check_only:
                return
            self._initialize()
        except Exception:
            self.failed_initialize = True
            self._cleanup_elements()
            raise
        self._install()

    def _create(self) -> None:
        in_domain = self.interfaces is not None
        rules = functools.partial(catalog.port_rules, in_domain=in_domain)
        ports = resolve_ports(self.configuration, rules, self.diagnostics)
        self.failed_initialize = bool(self.diagnostics.errors)
        self.diagnostics.raise_if_errors()
        uses = self.configuration.elements
        find = functools.partial(catalog.find, in_domain=in_domain)
        self.spread = spread(uses, ports, lambda use: find(use.class_name), self.threads, self.diagnostics.warning)
        for i, use in enumerate(uses):
            cls = catalog.find(use.class_name, in_domain=in_domain)
            assert cls is not None
            lane = self.lanes[self.spread.pushed[i]]
            between = self.spread.pushed[i] != self.spread.pulled[i]
            element: Element = cls.__new__(cls)
            element.name, element.class_name, element.arguments = use.name, use.class_name, use.arguments
            element.index, element.at, element.router = i, use.at, self
            element.clock, element.random, element.driver, element.host = lane.clock, lane.random, lane.driver, lane.host
            element.ninputs, element.noutputs = len(ports.inputs[i]), len(ports.outputs[i])
            element.input_codes, element.output_codes = ports.inputs[i], ports.outputs[i]
            element.input_peers, element.output_peers = ports.input_peers[i], ports.output_peers[i]
            element.handlers = {}
            if between:
                element.is_shared = True  # type: ignore[attr-defined]
            self.elements.append(element)
            self.by_name[use.name] = element
        for element in self.elements:
            element.__init__()  # type: ignore[misc]

    def _configure(self) -> None:
        for element in sorted(self.elements, key=lambda e: e.configure_phase):
            with self.diagnostics.within(f"While configuring {quote(str(element))}:", element.at):
                self.configure_element(element, element.arguments)
        self.failed_initialize = bool(self.diagnostics.errors)
        self.diagnostics.raise_if_errors()

    def configure_element(self, element: Element, arguments: str) -> None:
        """Give ``arguments`` to the element; problems become diagnostics."""
        if element.configure_plainly(arguments):
            return
        positional, keywords, errors = assign_arguments(type(element).configure, arguments, self.context)
        for message in errors:
            self.diagnostics.error(message, code="E060")
        if errors:
            return
        try:
            element.configure(*positional, **keywords)
        except (ConfigureError, ArgumentError) as error:
            for line in str(error).split("\n"):
                self.diagnostics.error(line, code="E061")

    def _initialize(self) -> None:
        for element in self.elements:
            with self.diagnostics.within(f"While initializing {quote(str(element))}:", element.at):
                self._initialized.append(element)
                try:
                    element.initialize()
                except ConfigureError as error:
                    for line in str(error).split("\n"):
                        self.diagnostics.error(line, code="E062")
                except OSError as error:
                    self.diagnostics.error(f"{error.filename or ''}: {error.strerror}".lstrip(": "), code="E063")
        self.diagnostics.raise_if_errors()

    def _install(self) -> None:
        capacity = _PACKETS_IN_FLIGHT + sum(e.packets_held for e in self.elements)
        buffer_bytes = max([_DEFAULT_BUFFER_BYTES, *(e.buffer_bytes + 2 * DEFAULT_HEADROOM for e in self.elements)])
        for lane in self.lanes:
            lane.pool = (LanePool if self.threads > 1 else PacketPool)(capacity, buffer_bytes)
            lane.driver.finish()
        share([lane.pool for lane in self.lanes if isinstance(lane.pool, LanePool)])
        self.pool = self.lanes[0].pool
        self._make_programs()
        self._share_queues()
        self.roots: list[tuple[str, Stateful]] = [
            ("driver", self.driver), ("clock", self.clock), ("random", self.random), ("host", self.host),
            *((f"{name} {lane.number}", item) for lane in self.lanes[1:]
              for name, item in (("driver", lane.driver), ("clock", lane.clock), ("random", lane.random), ("host", lane.host))),
            *((e.name, e) for e in self.elements), *((f"port {name}", port) for name, port in self.ports.items()),
            ("pool", self.pool), *((f"pool {lane.number}", lane.pool) for lane in self.lanes[1:]),
        ]
        self.driver.ports = tuple(self.ports.values())
        if self.is_isolated:
            self.driver.host = self.host
        for element in self.elements:
            element.pool = self._lane_of(element).pool
        for port in self.ports.values():
            port.pool = self.pool
        self._give_programs()
        # Offset 0 stays free: it means "no packet".
        self.layout = lay_out(self.roots, start=64)
        self._spare = self.layout.size
        self.memory = Memory(self.layout.size + (0 if self.is_isolated else _RECONFIGURE_BYTES), huge_pages=not self.is_isolated)
        attach(self.roots, self.memory)
        for lane in self.lanes:
            lane.pool.fill()
        if self._simulated_start_ns is not None:
            self.clock.simulated = True
            self.clock.time = self._simulated_start_ns or SIMULATED_START_NS
        for lane in self.lanes:
            lane.random.state = (self._seed or int.from_bytes(os.urandom(8), "little") | 1) + 2 * lane.number
        for _, root in self.roots:
            self._seed_tables(root)
        for lane in self.lanes:
            lane.clock.synchronise()
        for element in self.elements:
            element.add_handlers()
        self.handlers = Handlers(self)
        for lane in self.lanes:
            lane.driver.begin()
        for element in self.elements:
            element.started()

    # Threads

    def _lane_of(self, element: Element) -> Lane:
        """The thread that runs an element (that pushes to it, where it is a queue between two)."""
        return self.lanes[self.spread.pushed[element.index]]

    def _make_programs(self) -> None:
        for lane in self.lanes:
            lane.program = Program(lane.pool, lane.driver, lane.clock, self.elements)
            lane.program.upcall = functools.partial(self.drain_lane, lane)
        self.program = self.lanes[0].program

    def _share_queues(self) -> None:
        """Queues between two threads: who listens to them is another thread's, from where they are told."""
        for index in self.spread.queues:
            queue: Any = self.elements[index]
            for number in (self.spread.pushed[index], self.spread.pulled[index]):
                self.lanes[number].driver.queues += (queue,)
            for notifier in {id(n): n for n in (queue.empty_notifier(0), queue.full_notifier(0)) if n is not None}.values():
                notifier.listeners = [RemoteTask(task) if isinstance(task, Task) else task for task in notifier.listeners]

    def _give_programs(self) -> None:
        lane_of = {id(element): self._lane_of(element) for element in self.elements}
        for lane in self.lanes:
            lane_of |= {id(item): lane for item in (lane.driver, lane.clock, lane.random, lane.host, lane.pool)}
        for _, root in self.roots:
            self._give_program(root, lane_of.get(id(root), self.lanes[0]).program)

    def move_to(self, memory: Memory) -> None:
        """Work on another block with the same layout and its content, which a machine runs; nothing is written there."""
        attach(self.roots, memory, write=False)
        self.memory = memory

    @property
    def is_isolated(self) -> bool:
        return self.interfaces is not None

    @property
    def root(self) -> str:
        """The entry point of the image."""
        return Program.TURN if self.is_isolated else Program.RUN

    def port(self, name: str, *, reader: Task | None = None, writer: Task | None = None) -> RingPort:
        """The port behind an interface's name, for the one element that reads it and the one that writes it.

        Outside a domain the port is made here; its peer is whoever maps it.
        """
        if self.interfaces is not None and name not in self.interfaces:
            there = ", ".join(self.interfaces) or "none"
            raise ConfigureError(f"no interface '{name}' in this domain (it has {there}); add a vif to the domain file")
        if name not in self.ports:
            self.ports[name] = RingPort(name, self.driver)
            if self.interfaces is None:
                self.calls.feeders.append(functools.partial(_poll, self.ports[name]))
                self.calls.after_run.append(functools.partial(_publish, self.ports[name]))
        port = self.ports[name]
        for role, task in (("reader", reader), ("writer", writer)):
            if task is not None:
                if getattr(port, role) is not None:
                    raise ConfigureError(f"interface '{name}' has a {role} already: one element reads it, and one writes it")
                setattr(port, role, task)
        return port

    def _seed_tables(self, root: Stateful) -> None:
        for _, inner in root.state_objects():
            if isinstance(inner, Table) and inner.seed == 0:
                inner.seed = self._seed or int.from_bytes(os.urandom(8), "little")
            elif isinstance(inner, Stateful):
                self._seed_tables(inner)

    def _give_program(self, root: Stateful, program: Program) -> None:
        root.program = program  # type: ignore[attr-defined]
        for _, inner in root.state_objects():
            # What another root has (a pool's peer, a task of another thread) gets its own.
            if isinstance(inner, Stateful) and not getattr(inner, "is_root", False):
                self._give_program(inner, program)

    # The image

    @property
    def image(self) -> Image | None:
        """The image of the first thread, once it was made."""
        return self.lanes[0].image

    def build(self, lane: Lane | None = None) -> Image:
        """The image of this configuration, from the cache where it has it: of the first thread, or of ``lane``."""
        lane = lane or self.lanes[0]
        if lane.image is not None:
            return lane.image
        assert self.memory is not None
        key = fingerprint(self.roots, self.layout.size, f"{self.root} {lane.number}" if lane.number else self.root)
        if self.cache is not None and (cached := self.cache.load(key)) is not None:
            lane.image, self.image_from_cache = cached, True
            return cached
        from penstock.datapath.llvm.compile import compile_text, link

        with uncollected():
            text = self.assembly(lane=lane)
        code, entries = link(compile_text(text), [self.root])
        lane.image = Image(code, entries)
        if self.cache is not None:
            self.cache.store(key, lane.image)
        return lane.image

    def assembly(self, lines: Lines | None = None, *, lane: Lane | None = None) -> str:
        """LLVM assembly of everything the driver can reach."""
        from penstock.datapath.llvm.emit import emit_module

        lane = lane or self.lanes[0]
        functions = lane.program.build(self.root)
        return emit_module(
            functions, {self.root}, release=lane.program.release().name,
            depth_offset=lane.driver._offsets["depth"], upcall_offset=lane.driver._offsets["upcall"],
            lines=lines,
        )

    def locate(self, code_offset: int) -> Place | None:
        """The element and the line of source behind an address in the image; None where that cannot be said."""
        from penstock.datapath.llvm.compile import compile_text, line_in, link
        from penstock.datapath.llvm.lines import Lines

        owners = self._owners()
        lines = Lines(lambda owner: owners.get(id(owner), ""))
        built = self.build()
        made = compile_text(self.assembly(lines))
        code, _ = link(made, [self.root])
        if code != built.code:
            return None
        number = line_in(made, code_offset)
        return lines.places[number - 1] if 0 < number <= len(lines.places) else None

    def _owners(self) -> dict[int, str]:
        """The name of the element (or root) behind every object with state."""
        found: dict[int, str] = {}

        def look(item: Stateful, name: str) -> None:
            found[id(item)] = name
            for _, inner in item.state_objects():
                if isinstance(inner, Stateful):
                    look(inner, name)

        for name, root in self.roots:
            look(root, name)
        return found

    def load(self) -> None:
        """Make the image ready to run."""
        if self.engine != "compiled":
            return
        for lane in self.lanes:
            if lane.run is None:
                lane.loaded = LoadedImage(self.build(lane))
                lane.run = lane.loaded.function(Program.RUN, ctypes.c_uint64, returns=ctypes.c_uint64)
                lane.upcall = ctypes.CFUNCTYPE(None)(functools.partial(self.drain_lane, lane))
                lane.driver.upcall = ctypes.cast(lane.upcall, ctypes.c_void_p).value or 0

    def step(self, limit: int, lane: Lane | None = None) -> int:
        """Run at most ``limit`` tasks of the first thread, or of ``lane``; gives how many ran."""
        assert self.memory is not None
        lane = lane or self.lanes[0]
        lane.clock.synchronise()
        if self.engine == "interpreter":
            return lane.program.run_interpreted(lane.program.entry(Program.RUN), [limit]) or 0
        if lane.run is None:
            self.load()
        assert lane.run is not None
        return lane.run(self.memory.address, limit)

    def run(self, *, until: Callable[[], bool] | None = None, slice_steps: int | None = None) -> None:
        """Run until something stops the router: a source's STOP, a Script, ``stop()`` or ``until``."""
        drive(self, until=until, slice_steps=slice_steps)

    def stop(self) -> None:
        """Ask the driver to stop (the driver managers may have other ideas, once)."""
        self.driver.runcount -= 1
        self.driver.attention = 1

    def hotswap(self, text: str) -> None:
        """Replace this configuration by another one, which takes the state of elements of the same name.

        The old one keeps running if the new one cannot be made (ConfigurationError tells why).
        """
        new = Router.from_text(
            text, engine=self.engine, cache=self.cache, control=self._control, allow_hotconfig=self.allow_hotconfig,
            predecessor=self, library_path=self._library_path,
            simulated_start_ns=self.clock.time if self.clock.simulated else None, threads=self.threads,
        )
        new.source_text = text
        take_state(new, self)
        new.predecessor = None
        self.successor = new
        self.driver.attention = 1

    def reconfigure(self, element: Element, text: str) -> None:
        """Give a running element a new configuration; state stays, the image is made anew."""
        assert self.memory is not None
        mine = Diagnostics()
        outer, self.diagnostics = self.diagnostics, mine
        before = dict(vars(element))
        try:
            self.configure_element(element, text)
        finally:
            self.diagnostics = outer
        if mine.errors:
            vars(element).clear()
            vars(element).update(before)
            raise HandlerError("\n".join(e.message for e in mine.errors))
        element.arguments = text
        self._place_new_state(element)
        self._forget_image()

    def _place_new_state(self, element: Element) -> None:
        """State that a live reconfiguration made goes into the room kept for that."""
        assert self.memory is not None
        new: list[tuple[str, Stateful]] = []
        for name, item in element.state_objects():
            if isinstance(item, Array) and item.memory is None:
                new.append((name, _Holder(item)))
            elif isinstance(item, Stateful) and item._memory is None:
                new.append((name, item))
        placed = lay_out(new, start=self._spare)
        if placed.size > self.memory.size:
            raise HandlerError("no memory left for this configuration; restart with it")
        attach(new, self.memory)
        self._spare = placed.size
        self._seed_tables(element)
        element.reconfigured()

    def _forget_image(self) -> None:
        """Constants changed: the code is made anew at the next step."""
        self._make_programs()
        self._give_programs()
        for lane in self.lanes:
            self._retired.append(lane.loaded)
            lane.forget()

    def drain_host(self) -> None:
        """Give packets that the datapath handed over to their elements."""
        for lane in self.lanes:
            self.drain_lane(lane)

    def drain_lane(self, lane: Lane) -> None:
        for index, packet in lane.host.drain():
            self.elements[index].host_packet(packet)

    # Handlers

    def read(self, handler: str, parameter: str = "") -> str:
        """The text of a read handler such as ``c.count``."""
        return self.handlers.read(handler, parameter)

    def write(self, handler: str, value: str = "") -> None:
        """Write to a handler such as ``c.reset``."""
        self.handlers.write(handler, value)

    def call_handler(self, text: str, element: Element) -> None:
        """Write ``handler value`` for an element; a problem is reported on standard error, not raised."""
        name, _, value = text.strip().partition(" ")
        try:
            self.handlers.write(name, value.strip(), element.name)
        except (LookupError, ValueError) as error:
            self.complain(f"While calling '{text}':\n  {error}", element)

    def complain(self, message: str, element: Element | None = None) -> None:
        """Report a problem of a running router on standard error, in Click's layout."""
        prefix = f"{element.at}: " if element is not None else ""
        for line in message.split("\n"):
            print(prefix + line, file=self.stderr, flush=True)

    @property
    def stdout(self) -> TextIO | io.TextIOBase:
        """Where elements print: the domain's console, or this process's standard output."""
        return self.console or sys.stdout

    @property
    def stderr(self) -> TextIO | io.TextIOBase:
        return Chatter(self.console, self.chatter) if self.chatter else self.console or sys.stderr

    # Looking at it

    def find(self, name: str, context: str = "") -> Element | None:
        """An element by name, looked up first beside ``context`` (an element's full name), then outwards."""
        prefix = context
        while "/" in prefix:
            prefix = prefix.rsplit("/", 1)[0]
            if (found := self.by_name.get(f"{prefix}/{name}")) is not None:
                return found
        return self.by_name.get(name)

    @property
    def memory_bytes(self) -> int:
        return self.layout.size

    # The end

    def _cleanup_elements(self) -> None:
        for element in reversed(self._initialized):
            element.cleanup()
        self._initialized = []

    def close(self) -> None:
        """Flush and close everything. Safe to call twice."""
        if self.memory is not None:
            self.drain_host()
        self._cleanup_elements()
        for lane in self.lanes:
            lane.unload()
        # Elements keep reading their fields after the end (handlers of a stopped router): memory stays mapped
        # until the last of them is gone.

    def __enter__(self) -> Router:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


__all__ += ["DatapathError"]
