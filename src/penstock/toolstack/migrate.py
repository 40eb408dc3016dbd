"""Live migration over a stream of bytes, such as the two ends of an ssh connection.

The memory goes over while the domain runs, and again what has changed meanwhile; then the domain stands still for the rest
and its packets, and the other side goes on. Until the other side has all of it and is told to go, this side has the only
copy that may run; from then on the other side has. At no time do both run.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from penstock.datapath.memory import Memory
from penstock.datapath.ports import PORT_BYTES
from penstock.isolation.errors import MachineError
from penstock.isolation.machine import Instance
from penstock.isolation.template import outside
from penstock.toolstack.domain import Configuration, Domain, DomainState
from penstock.toolstack.domainfile import DomainFileError, from_saved, saved
from penstock.toolstack.errors import DomainError
from penstock.toolstack.toolstack import Toolstack

__all__ = ["MigrationDoubt", "MigrationReport", "receive", "send"]

_VERSION = 1
_HEAD = struct.Struct("<cI")
_CHUNK = struct.Struct("<IQ")
_MAX_FRAME = 1 << 20
_CHUNK_BYTES = 1 << 16
_MAX_ROUNDS = 8
_SMALL_BYTES = 256 << 10
# Kinds of frames: hello, chunk of an instance, content of a port, all there, go, a late packet, end; ready, complete, started, error.
_HELLO, _MEMORY, _PORT, _COMPLETE, _GO, _LATE, _END = b"H", b"M", b"P", b"C", b"G", b"L", b"E"
_READY, _HAVE_ALL, _STARTED, _ERROR = b"r", b"c", b"s", b"e"
_libc = ctypes.CDLL(None)


class MigrationDoubt(DomainError):
    """The other side was told to go, and never said that it did. This side stays paused."""


@dataclass(frozen=True)
class MigrationReport:
    """``silence_ms``: from the last turn here to the first there. ``bytes_sent`` in all, ``last_bytes`` while it stood still."""

    silence_ms: float
    bytes_sent: int
    last_bytes: int
    rounds: int


class _Channel:
    """Frames on two files: a letter, a length, bytes."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO):
        self.reader, self.writer, self.sent = reader, writer, 0

    def put(self, kind: bytes, *parts: bytes | memoryview) -> None:
        size = sum(map(len, parts))
        self.writer.write(_HEAD.pack(kind, size))
        for part in parts:
            self.writer.write(part)
        self.sent += size + _HEAD.size

    def flush(self) -> None:
        self.writer.flush()

    def get(self, *wanted: bytes) -> tuple[bytes, bytes]:
        head = self.reader.read(_HEAD.size)
        if len(head) < _HEAD.size:
            raise EOFError
        kind, size = _HEAD.unpack(head)
        if size > _MAX_FRAME:
            raise DomainError("the other side sends what is no migration")
        body = self.reader.read(size)
        if len(body) < size:
            raise EOFError
        if kind == _ERROR:
            raise DomainError(f"the other side: {body.decode('utf-8', 'replace')}")
        if kind not in wanted:
            raise DomainError(f"the other side sends {kind!r} where {wanted!r} was due")
        return kind, body


# Sending

def send(toolstack: Toolstack, domain: Domain, reader: BinaryIO, writer: BinaryIO) -> MigrationReport:
    """Move a domain to who listens there. On DomainError it runs here as before; on MigrationDoubt it is paused."""
    channel = _Channel(reader, writer)
    if domain.state not in (DomainState.RUNNING, DomainState.PAUSED):
        raise DomainError(f"{domain.name} is {domain.state}: only a running or paused domain can be moved")
    was_paused = domain.state == DomainState.PAUSED
    told = False
    try:
        _say_hello(channel, domain)
        channel.get(_READY)
        instances = [c.instance for c in domain.configurations.values() if c.instance is not None]
        shadows = [Memory(i.template.size_bytes, huge_pages=False) for i in instances]
        rounds = _copy_while_running(channel, instances, shadows)
        started = time.perf_counter()
        before_stop = channel.sent
        if not was_paused:
            domain.machine.pause()
        tails = _copy_rest(channel, domain, instances, shadows)
        channel.get(_HAVE_ALL)
        told = True
        channel.put(_GO, b"paused" if was_paused else b"run")
        channel.flush()
        channel.get(_STARTED)
        silence_ms = (time.perf_counter() - started) * 1e3
    except (EOFError, OSError) as error:
        if told:
            raise MigrationDoubt(f"{domain.name}: the connection ended just as the other side was told to go on; it is paused here. "
                                 "Look there: if it does not run, unpause it here, else destroy it here") from None
        _go_on(domain, was_paused)
        why = "the other side ended the connection" if isinstance(error, EOFError) else error.strerror
        raise DomainError(f"{domain.name}: not moved, and goes on here: {why}") from None
    except DomainError as error:
        _go_on(domain, was_paused)
        raise DomainError(f"{domain.name}: not moved, and goes on here: {error}") from None
    last = channel.sent - before_stop
    with contextlib.suppress(OSError, EOFError):
        _send_late(channel, domain, tails)
    toolstack.destroy(domain.id)
    return MigrationReport(silence_ms, channel.sent, last, rounds)


def _go_on(domain: Domain, was_paused: bool) -> None:
    if not was_paused and domain.machine.is_paused:
        domain.machine.resume()


def _say_hello(channel: _Channel, domain: Domain) -> None:
    hello = {
        "version": _VERSION,
        **saved(domain.spec.changed(uuid=domain.uuid, click="")),
        "configurations": [
            {"number": c.number, "name": c.name, "text": c.text, "status": c.status,
             "layout": c.instance.template.layout_digest if c.instance is not None else ""}
            for c in domain.configurations.values()
        ],
    }
    channel.put(_HELLO, json.dumps(hello).encode())
    channel.flush()


def _changed(instance: Instance, shadow: Memory) -> Iterator[tuple[int, int]]:
    """Chunks (start, end) that are not what the other side has; the shadow is brought up to date."""
    region, memory = instance.machine.region, instance.memory
    ports = instance.template.port_places
    for first, last in region.runs(instance.data_at, instance.template.size_bytes):
        for start in range(first, last, _CHUNK_BYTES):
            end = min(start + _CHUNK_BYTES, last)
            for a, b in outside(start, end, ports):
                if _libc.memcmp(ctypes.c_void_p(memory.address + a), ctypes.c_void_p(shadow.address + a), ctypes.c_size_t(b - a)):
                    shadow.view[a:b] = memory.view[a:b]
                    yield a, b


def _copy(channel: _Channel, instances: list[Instance], shadows: list[Memory]) -> int:
    sent = 0
    for i, (instance, shadow) in enumerate(zip(instances, shadows)):
        for a, b in _changed(instance, shadow):
            # From the shadow: what was compared is what is sent, while the domain writes on.
            channel.put(_MEMORY, _CHUNK.pack(i, a), shadow.view[a:b])
            sent += b - a
    channel.flush()
    return sent


def _copy_while_running(channel: _Channel, instances: list[Instance], shadows: list[Memory]) -> int:
    """Until little is left, or as much changes as goes over; gives the number of rounds."""
    before = 1 << 62
    for n in range(1, _MAX_ROUNDS + 1):
        sent = _copy(channel, instances, shadows)
        if sent <= _SMALL_BYTES or sent > before // 2:
            return n
        before = sent
    return _MAX_ROUNDS


def _copy_rest(channel: _Channel, domain: Domain, instances: list[Instance], shadows: list[Memory]) -> list[int]:
    """The domain stands still. Gives where the frames from its peers end that went over with the rings."""
    _copy(channel, instances, shadows)
    tails: list[int] = []
    for i, port in enumerate(domain.ports):
        tails.append(port.inward_tail)
        for at, part in port.content():
            for start in range(0, len(part), _CHUNK_BYTES):
                channel.put(_PORT, _CHUNK.pack(i, at + start), part[start : start + _CHUNK_BYTES])
    channel.put(_COMPLETE)
    channel.flush()
    return tails


def _send_late(channel: _Channel, domain: Domain, tails: list[int]) -> None:
    """Frames that reached this side's ports after they were copied."""
    for i, (port, tail) in enumerate(zip(domain.ports, tails)):
        for frame in port.frames_behind(tail):
            channel.put(_LATE, _CHUNK.pack(i, 0), frame)
    channel.put(_END)
    channel.flush()


# Receiving

def receive(toolstack: Toolstack, reader: BinaryIO, writer: BinaryIO) -> Domain:
    """Take a domain over from who sends. Nothing is left here where that does not come to its end."""
    channel = _Channel(reader, writer)
    domain: Domain | None = None
    running = False
    try:
        _, body = channel.get(_HELLO)
        domain, instances = _prepare(toolstack, _parse_hello(body))
        channel.put(_READY)
        channel.flush()
        _take_memory(channel, domain, instances)
        for instance in instances:
            domain.machine.reenter(instance)
        for port in domain.ports:
            port.resume()
        channel.put(_HAVE_ALL)
        channel.flush()
        _, how = channel.get(_GO)
        running = True
        if how == b"run":
            domain.unpause()
        channel.put(_STARTED)
        channel.flush()
        with contextlib.suppress(EOFError, OSError):
            while (frame := channel.get(_LATE, _END))[0] == _LATE:
                number, _ = _CHUNK.unpack_from(frame[1])
                if number < len(domain.ports):
                    domain.ports[number].send(frame[1][_CHUNK.size :])
        return domain
    except (DomainError, MachineError, ValueError, KeyError, TypeError, struct.error) as error:
        with contextlib.suppress(OSError):
            channel.put(_ERROR, str(error).encode("utf-8", "surrogateescape")[:_MAX_FRAME])
            channel.flush()
        raise DomainError(f"nothing was taken over: {error}") from None
    except (EOFError, OSError):
        raise DomainError("nothing was taken over: the other side ended the connection") from None
    finally:
        if domain is not None and not running:
            toolstack.destroy(domain.id)


def _parse_hello(body: bytes) -> dict[str, Any]:
    hello: dict[str, Any] = json.loads(body)
    if hello["version"] != _VERSION:
        raise DomainError(f"this side speaks version {_VERSION} of the protocol, not {hello['version']}")
    return hello


def _prepare(toolstack: Toolstack, hello: dict[str, Any]) -> tuple[Domain, list[Instance]]:
    """Everything that takes time: the machine, and the images of the configurations."""
    try:
        spec = from_saved(hello, "the domain")
    except DomainFileError as error:
        raise DomainError(str(error)) from None
    domain = toolstack.create(spec, paused=True)
    try:
        instances: list[Instance] = []
        for c in hello["configurations"]:
            made = Configuration(int(c["number"]), str(c["name"]), str(c["text"]), str(c["status"]))
            if c["layout"]:
                instances.append(domain.adopt(made, str(c["layout"]), ()))
            else:
                domain.configurations[made.number] = made
        return domain, instances
    except BaseException:
        toolstack.destroy(domain.id)
        raise


def _take_memory(channel: _Channel, domain: Domain, instances: list[Instance]) -> None:
    while True:
        kind, body = channel.get(_MEMORY, _PORT, _COMPLETE)
        if kind == _COMPLETE:
            return
        number, at = _CHUNK.unpack_from(body)
        data = memoryview(body)[_CHUNK.size :]
        if kind == _MEMORY:
            if number >= len(instances) or at + len(data) > instances[number].memory.size:
                raise DomainError("a chunk lies outside of the memory")
            instances[number].memory.view[at : at + len(data)] = data
        else:
            if number >= len(domain.ports) or at + len(data) > PORT_BYTES:
                raise DomainError("a chunk lies outside of the port")
            domain.ports[number].restore([(at, data)])
