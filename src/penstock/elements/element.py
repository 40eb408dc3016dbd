"""The base of all elements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from penstock.datapath.clock import Clock, Random
from penstock.datapath.host import HostPacket, HostRing
from penstock.datapath.memory import Stateful
from penstock.datapath.packet import Packet
from penstock.datapath.pool import PacketPool
from penstock.datapath.sched import Driver, Notifier
from penstock.datapath.source import datapath
from penstock.lang.source import Landmark
from penstock.packet.integers import u32, u64
from penstock.packet.layout import DEFAULT_HEADROOM

if TYPE_CHECKING:
    from penstock.runtime.router import Router

E = TypeVar("E", bound="Element")

__all__ = ["ConfigureError", "Element", "Handler", "HandlerError", "HandlerLookupError", "text_of"]


class ConfigureError(ValueError):
    """An element cannot be configured or initialised; the message is shown under the element's name."""


class HandlerError(ValueError):
    """A handler refuses what it was given."""


class HandlerLookupError(LookupError):
    """No such element or handler, or not readable or writable. ``kind``: element, handler, read, write."""

    def __init__(self, kind: str, message: str):
        self.kind = kind
        super().__init__(message)


def text_of(value: Any) -> str:
    """A handler's value as Click prints it."""
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)


@dataclass(slots=True)
class Handler:
    """One handler. ``read`` takes the parameter string; flags are Click's: b button, c checkbox, . calm, % raw."""

    name: str
    read: Callable[[str], object] | None = None
    write: Callable[[str], None] | None = None
    flags: str = ""
    visible: bool = True
    takes_parameter: bool = False

    @property
    def mode(self) -> str:
        return ("r" if self.read else "") + ("w" if self.write else "") + self.flags


class _OutputPort:
    """``self.output(i)`` in packet code."""

    def push(self, packet: Packet) -> None:
        raise RuntimeError("packet code only")


class _InputPort:
    """``self.input(i)`` in packet code."""

    def pull(self) -> Packet | None:
        raise RuntimeError("packet code only")


class Element(Stateful):
    """One step of packet processing.

    A subclass says in three strings how it sits in a graph (Click's grammar), takes its configuration in
    ``configure``, and handles packets in ``simple_action``, ``push``, ``pull``, ``run_task`` or ``run_timer``,
    each marked ``@datapath``. Attributes are constants of the compiled code; annotated fields are state.
    """

    is_root = True

    ports: ClassVar[str] = "1/1"
    processing: ClassVar[str] = "a/a"
    flow: ClassVar[str] = "x/x"
    #: Click's order of configuration: information elements first
    configure_phase: ClassVar[int] = 100
    can_live_reconfigure: ClassVar[bool] = False
    #: whether packets may begin here though nothing is connected upstream (for notifier search)
    may_generate: ClassVar[bool] = False
    #: whether a hot swap moves this element's state to its successor of the same name: Click's list says True; None is no
    #: for ``click``, and yes in a domain; False is never
    takes_state: ClassVar[bool | None] = None

    faults: u64

    # Set by the router before configure()
    name: str
    class_name: str
    index: int
    ninputs: int
    noutputs: int
    at: Landmark
    arguments: str
    router: Router
    clock: Clock
    random: Random
    driver: Driver
    host: HostRing
    pool: PacketPool
    input_peers: list[list[tuple[int, int]]]
    output_peers: list[list[tuple[int, int]]]
    input_codes: list[str]
    output_codes: list[str]
    handlers: dict[str, Handler]
    program: Any

    #: how many packets this element may hold at once, and the largest it makes or reads
    packets_held: int = 1
    buffer_bytes: int = 0

    def __str__(self) -> str:
        return f"{self.name} :: {self.class_name}"

    # Life

    def configure(self) -> None:
        """Take the configuration. The signature says what it is (lang/arguments.py)."""

    def configure_plainly(self, arguments: str) -> bool:
        """Take a very long configuration, as it is written, and give True; False: ``configure`` takes it, or says what is wrong."""
        return False

    def initialize(self) -> None:
        """All elements are configured: find others, open what must be open. May raise ConfigureError."""

    def started(self) -> None:
        """Memory is laid out and the image is about to run."""

    def reconfigured(self) -> None:
        """A running element was configured anew, and its new state is laid out."""

    def cleanup(self) -> None:
        """The router goes away: flush and close."""

    def add_handlers(self) -> None:
        """Declare handlers with ``add_read``, ``add_write`` and ``add_data``."""

    def host_packet(self, packet: HostPacket) -> None:
        """A copy of a packet that packet code handed over with ``to_host``."""

    # Handlers

    def add_read(self, name: str, read: Callable[..., object], *, flags: str = "",
                 parameter: bool = False) -> None:
        reader: Any = read
        self._handler(name).read = reader if parameter else lambda _text: reader()
        self._handler(name).takes_parameter = parameter
        self._handler(name).flags += flags

    def add_write(self, name: str, write: Callable[[str], None], *, flags: str = "") -> None:
        self._handler(name).write = write
        self._handler(name).flags += flags

    def add_data(self, name: str, attribute: str, parse: Callable[[str], int] | None = None,
                 show: Callable[[Any], object] | None = None) -> None:
        """A handler that reads an attribute (as ``show`` writes it), and with ``parse`` writes it too."""
        self.add_read(name, (lambda: show(getattr(self, attribute))) if show else (lambda: getattr(self, attribute)))
        if parse is not None:
            self.add_write(name, lambda text: setattr(self, attribute, parse(text)))

    def _handler(self, name: str) -> Handler:
        # The newest first, as Click lists them.
        return self.handlers.setdefault(name, Handler(name))

    # In packet code

    def output(self, port: int) -> _OutputPort:
        raise RuntimeError("packet code only")

    def input(self, port: int) -> _InputPort:
        raise RuntimeError("packet code only")

    @datapath
    def push(self, port: int, p: Packet) -> None:
        q = self.simple_action(p)
        if q is not None:
            self.output(0).push(q)

    @datapath
    def pull(self, port: int) -> Packet | None:
        p = self.input(0).pull()
        if p is None:
            return None
        return self.simple_action(p)

    @datapath
    def simple_action(self, p: Packet) -> Packet | None:
        return p

    @datapath
    def checked_output_push(self, port: int, p: Packet) -> None:
        """Push to ``port`` where it exists and is connected; else kill."""
        if port < self.noutputs:
            self.output(port).push(p)
        else:
            p.kill()

    @datapath
    def make_packet(self, length: u32, headroom: u32 = DEFAULT_HEADROOM) -> Packet | None:
        """A packet of ``length`` zero bytes, or None where the pool is empty."""
        return self.pool.allocate_zeroed(length, headroom)

    @datapath
    def to_host(self, p: Packet, tag: u64 = 0, limit: u32 = 0xFFFFFF) -> None:
        """Hand a copy of ``p`` to :meth:`host_packet`."""
        self.host.send(u32(self.index), p, u64(tag), u32(limit))

    @datapath
    def stop_driver(self) -> None:
        self.driver.runcount -= 1
        self.driver.attention = 1

    # The graph

    def named(self, name: str, kind: type[E], *, keyword: str = "", noun: str = "") -> E:
        """Another element, by the name that this one's configuration has for it; ConfigureError where it is none of ``kind``."""
        found = self.router.find(name, self.name)
        if not isinstance(found, kind):
            raise ConfigureError((f"{keyword}: " if keyword else "") + f"'{name}' is no {noun or kind.__name__}")
        return found

    def downstream(self, port: int) -> Iterator[tuple[Element, int]]:
        for index, peer_port in self.output_peers[port]:
            yield self.router.elements[index], peer_port

    def upstream(self, port: int) -> Iterator[tuple[Element, int]]:
        for index, peer_port in self.input_peers[port]:
            yield self.router.elements[index], peer_port

    def empty_notifier(self, port: int) -> Notifier | None:
        """The signal that output ``port`` has packets to pull; None where this element has none of its own."""
        return None

    def held_notifier(self, port: int) -> Notifier | None:
        """As ``empty_notifier``, of an element that keeps packets back: who pulls is woken too by those in front of it."""
        return None

    def full_notifier(self, port: int) -> Notifier | None:
        """The signal that input ``port`` has room for packets."""
        return None
