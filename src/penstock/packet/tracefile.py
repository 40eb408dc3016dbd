"""Files of packets, whatever their format: plain or gzip, read as they come, each with the place where it stands."""

from __future__ import annotations

import gzip
import io
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Self

__all__ = ["CaptureError", "CapturePacket", "TraceFile"]

_GZIP_MAGIC = b"\x1f\x8b"


class CaptureError(ValueError):
    """The file is not a capture, or breaks off; the message says where."""


@dataclass(slots=True)
class CapturePacket:
    """One packet of a capture. ``length`` is its length on the wire, at least that of ``data``."""

    data: bytes
    timestamp_ns: int
    length: int
    link_type: int


class TraceFile:
    """An open file of packets; ``-`` is standard input. A subclass iterates over its packets."""

    #: link type of the file; None where it has none yet, or several
    link_type: int | None = None

    def __init__(self, name: str):
        self.name = name
        raw: BinaryIO = sys.stdin.buffer if name == "-" else open(name, "rb")  # noqa: SIM115
        self._raw = raw
        buffered = raw if isinstance(raw, io.BufferedReader) else io.BufferedReader(raw)  # type: ignore[type-var]
        head = buffered.peek(4)[:4]
        self._file: BinaryIO = gzip.GzipFile(fileobj=buffered) if head[:2] == _GZIP_MAGIC else buffered  # type: ignore[assignment]
        self.position = 0

    def __iter__(self) -> Iterator[CapturePacket]:
        raise NotImplementedError

    def _read_some(self, count: int) -> bytes:
        try:
            data = self._file.read(count)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise CaptureError(f"{self.name}: bad gzip data after byte {self.position} ({error})") from None
        self.position += len(data)
        return data

    def _read(self, count: int) -> bytes:
        data = self._read_some(count)
        if len(data) < count:
            raise CaptureError(f"{self.name}: breaks off at byte {self.position}")
        return data

    def skip_to(self, position: int) -> None:
        """Go on at that byte of the (unpacked) file, which must be where a packet starts. Raises CaptureError."""
        if position < self.position:
            raise CaptureError(f"{self.name}: packets start at byte {self.position}")
        while self.position < position:
            self._read(min(position - self.position, 1 << 20))

    def _at_end(self, count: int = 4) -> bytes | None:
        """The next bytes, or None at the end of the file."""
        data = self._read_some(count)
        if not data:
            return None
        if len(data) < count:
            raise CaptureError(f"{self.name}: breaks off at byte {self.position}")
        return data

    def close(self) -> None:
        if self._raw is not sys.stdin.buffer:
            self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
