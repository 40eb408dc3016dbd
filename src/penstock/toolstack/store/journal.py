"""The store on disk: a file to which every change is appended before it is acknowledged.

A crash of the program loses nothing that it has acknowledged. The file's last record may be cut off; it was never
acknowledged then, and is dropped.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from penstock.toolstack.store.tree import Store, StoreError

__all__ = ["Journal", "open_store"]

_MAGIC = b"PNSTKST1"
_HEAD = struct.Struct("<II")
_REWRITE_BYTES = 4 << 20
Records = Sequence[tuple[str, bytes | None, tuple[str, ...]]]


class Journal:
    """Records of changes, each with its length and checksum."""

    def __init__(self, path: Path):
        self.path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_APPEND, 0o600)
        self.size = 0

    def append(self, records: Records) -> None:
        """Durable against the end of this process. Raises StoreError where the disk is full; then nothing is changed."""
        body = _encode(records)
        data = _HEAD.pack(len(body), zlib.crc32(body)) + body
        try:
            written = os.write(self._file, data)
        except OSError:
            written = 0
        if written != len(data):
            os.ftruncate(self._file, self.size)
            raise StoreError("ENOSPC")
        self.size += written

    def read(self) -> list[tuple[str, bytes | None, tuple[str, ...]]]:
        """All whole records; what follows the last of them is cut off."""
        data = self.path.read_bytes()
        found: list[tuple[str, bytes | None, tuple[str, ...]]] = []
        at = len(_MAGIC)
        if not data:
            os.write(self._file, _MAGIC)
        elif not data.startswith(_MAGIC):
            raise ValueError(f"{self.path}: not the journal of a store")
        while at + _HEAD.size <= len(data):
            length, checksum = _HEAD.unpack_from(data, at)
            body = data[at + _HEAD.size : at + _HEAD.size + length]
            if len(body) != length or zlib.crc32(body) != checksum:
                break
            found += _decode(body)
            at += _HEAD.size + length
        os.ftruncate(self._file, at)
        self.size = at
        return found

    def rewrite(self, store: Store) -> None:
        """One record for each node, in a new file that takes the old one's place."""
        temporary = self.path.with_suffix(".new")
        temporary.unlink(missing_ok=True)
        fresh = Journal(temporary)
        os.write(fresh._file, _MAGIC)
        fresh.size = len(_MAGIC)
        for item in store.items():
            if item[0] != "/":
                fresh.append([item])
        os.replace(temporary, self.path)
        os.close(self._file)
        self._file, self.size = fresh._file, fresh.size

    def close(self) -> None:
        os.close(self._file)


def open_store(path: Path) -> tuple[Store, Journal]:
    """The store that a journal holds; further changes go there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    journal = Journal(path)
    records = journal.read()
    store = Store(journal=journal.append)
    store.load(records)
    if journal.size > _REWRITE_BYTES:
        journal.rewrite(store)
    return store, journal


def _encode(records: Records) -> bytes:
    parts: list[bytes] = []
    for path, value, permissions in records:
        for text in (path.encode(), b"-" if value is None else b"+" + value, " ".join(permissions).encode()):
            parts += [len(text).to_bytes(4, "little"), text]
    return b"".join(parts)


def _decode(body: bytes) -> list[tuple[str, bytes | None, tuple[str, ...]]]:
    texts: list[bytes] = []
    at = 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "little")
        texts.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return [
        (path.decode(), None if value == b"-" else value[1:], tuple(permissions.decode().split()))
        for path, value, permissions in zip(texts[::3], texts[1::3], texts[2::3])
    ]
