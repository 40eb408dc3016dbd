"""The whole state of a domain, frozen: for snapshots on disk, clones, and migration.

Packets and pointers in instance memory are offsets, so memory can be taken as it is, to any machine. Code is not part of
a snapshot: it is built again from the configuration, and the layout of the state must come out the same.
"""

from __future__ import annotations

import dataclasses
import json
import os
import struct
import tempfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from penstock.datapath.ports import PORT_BYTES
from penstock.isolation.template import Pages
from penstock.toolstack.domain import Configuration, Domain
from penstock.toolstack.domainfile import DomainFileError, DomainSpec, VifSpec, from_saved, saved
from penstock.toolstack.errors import DomainError

__all__ = ["Frozen", "FrozenConfiguration", "decode", "encode", "freeze", "load", "renamed", "save", "thaw"]

_MAGIC = b"PNSTKSNP"
_VERSION = 1
_HEAD = struct.Struct("<8sIIQ")
_MAX_BYTES = 2 << 30


@dataclass(frozen=True)
class FrozenConfiguration:
    number: int
    name: str
    text: str
    layout_digest: str
    pages: Pages


@dataclass(frozen=True)
class Frozen:
    """What ``thaw`` makes a domain from. ``halted`` are configurations without state."""

    spec: DomainSpec
    isolation: str
    running: tuple[FrozenConfiguration, ...]
    halted: tuple[tuple[int, str, str, str], ...]
    ports: tuple[Pages, ...]


def freeze(domain: Domain) -> Frozen:
    """A domain's state at one moment; it stands still meanwhile, and goes on."""
    machine = domain.machine
    with machine.held(changes=True):
        running = tuple(
            FrozenConfiguration(c.number, c.name, c.text, c.instance.template.layout_digest, machine.content(c.instance))
            for c in domain.configurations.values() if c.instance is not None
        )
        halted = tuple((c.number, c.name, c.text, c.status) for c in domain.configurations.values() if c.instance is None)
        ports = tuple(port.content() for port in domain.ports)
    return Frozen(domain.spec.changed(uuid=domain.uuid), domain.isolation, running, halted, ports)


def thaw(domain: Domain, frozen: Frozen) -> None:
    """Give a new domain that state; raises DomainError where it does not fit."""
    for port, content in zip(domain.ports, frozen.ports):
        port.restore(content)
    for number, name, text, status in frozen.halted:
        domain.configurations[number] = Configuration(number, name, text, status)
    for c in frozen.running:
        domain.adopt(Configuration(c.number, c.name, c.text, "Running"), c.layout_digest, c.pages)


# As bytes

def encode(frozen: Frozen) -> bytes:
    """The file format: magic, version, checksum, length; then a header in JSON, and the pages one after the other."""
    return b"".join(_parts(frozen))


def _parts(frozen: Frozen) -> list[bytes | memoryview]:
    blobs: list[bytes | memoryview] = []

    def index(pages: Pages) -> list[tuple[int, int]]:
        blobs.extend(page for _, page in pages)
        return [(at, len(page)) for at, page in pages]

    header = {
        **saved(frozen.spec),
        "isolation": frozen.isolation,
        "running": [{"number": c.number, "name": c.name, "text": c.text, "layout": c.layout_digest, "pages": index(c.pages)}
                    for c in frozen.running],
        "halted": frozen.halted,
        "ports": [index(p) for p in frozen.ports],
    }
    text = json.dumps(header).encode()
    parts = [len(text).to_bytes(4, "little"), text, *blobs]
    checksum = length = 0
    for part in parts:
        checksum, length = zlib.crc32(part, checksum), length + len(part)
    return [_HEAD.pack(_MAGIC, _VERSION, checksum, length), *parts]


def decode(data: bytes, *, what: str = "snapshot") -> Frozen:
    """The opposite of ``encode``. Raises DomainError where anything about it is wrong."""
    if not data.startswith(_MAGIC[: len(data)]) or len(data) < _HEAD.size:
        raise DomainError(f"{what}: not a snapshot of a domain")
    _, version, checksum, length = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise DomainError(f"{what}: a snapshot of format {version}; this program knows format {_VERSION}")
    body = memoryview(data)[_HEAD.size :]
    if len(body) != length:
        raise DomainError(f"{what}: the snapshot is cut off ({len(body)} of {length} bytes)")
    if zlib.crc32(body) != checksum:
        raise DomainError(f"{what}: the snapshot is damaged (its checksum is wrong)")
    size = int.from_bytes(body[:4], "little")
    try:
        header = json.loads(bytes(body[4 : 4 + size]))
        return _from_header(header, body[4 + size :], what)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DomainError(f"{what}: the snapshot's header makes no sense ({error})") from None


def _from_header(header: dict[str, Any], blobs: memoryview, what: str) -> Frozen:
    at = 0

    def take(index: Sequence[Sequence[int]], limit: int) -> list[tuple[int, bytes | memoryview]]:
        nonlocal at
        pages: list[tuple[int, bytes | memoryview]] = []
        for offset, length in index:
            if not (isinstance(offset, int) and isinstance(length, int)) or min(offset, length) < 0 or offset + length > limit:
                raise ValueError("a page outside of the memory")
            if at + length > len(blobs):
                raise ValueError("pages are missing")
            pages.append((offset, blobs[at : at + length]))
            at += length
        return pages

    try:
        spec = from_saved(header, what)
    except DomainFileError as error:
        raise DomainError(str(error)) from None
    running = tuple(
        FrozenConfiguration(int(c["number"]), str(c["name"]), str(c["text"]), str(c["layout"]), take(c["pages"], _MAX_BYTES))
        for c in header["running"]
    )
    halted = tuple((int(n), str(a), str(b), str(s)) for n, a, b, s in header["halted"])
    ports = tuple(take(p, PORT_BYTES) for p in header["ports"])
    if len(ports) != len(spec.vif):
        raise ValueError("a port is missing")
    return Frozen(spec, str(header["isolation"]), running, halted, ports)


def save(frozen: Frozen, path: str | Path) -> int:
    """Write a whole new file in place; gives its size. Nothing is left where that fails."""
    path = Path(path)
    parts = _parts(frozen)
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(parts)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise DomainError(f"{path}: {error.strerror}") from None
    return sum(map(len, parts))


def load(path: str | Path) -> Frozen:
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise DomainError(f"{path}: too large for a snapshot of a domain")
        data = path.read_bytes()
    except OSError as error:
        raise DomainError(f"{path}: {error.strerror}") from None
    return decode(data, what=str(path))


def renamed(frozen: Frozen, name: str) -> Frozen:
    """For a clone: another name, and with it another unique id and other addresses."""
    vifs = tuple(VifSpec("", v.bridge, v.script) for v in frozen.spec.vif)
    return dataclasses.replace(frozen, spec=frozen.spec.changed(name=name, uuid="", vif=vifs))
