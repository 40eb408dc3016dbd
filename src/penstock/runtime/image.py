"""Images: machine code in executable memory, and the cache of them on disk.

A cache entry is trusted only where it belongs to this user, nobody else can write it, and its digest and key
are right; anything else is built again.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Image", "ImageCache", "LoadedImage"]

_MAGIC = b"PNSTKIM1"
_DIGEST_BYTES = 32
_MAX_IMAGE_BYTES = 1 << 28


@dataclass(frozen=True)
class Image:
    """Position-independent machine code and where its entry points are."""

    code: bytes
    entries: dict[str, int]


@dataclass
class LoadedImage:
    """An image in executable memory of this process."""

    image: Image
    _map: mmap.mmap = field(init=False)
    _anchor: ctypes.c_char = field(init=False)

    def __post_init__(self) -> None:
        size = (len(self.image.code) + mmap.PAGESIZE - 1) // mmap.PAGESIZE * mmap.PAGESIZE
        self._map = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._map.write(self.image.code)
        self._anchor = ctypes.c_char.from_buffer(self._map)
        self.address = ctypes.addressof(self._anchor)
        # Never writable and executable at once.
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(self.address), ctypes.c_size_t(size), mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "executable memory is refused here (mprotect)")

    def function(self, name: str, *arguments: type, returns: type | None) -> Callable[..., int]:
        """An entry point as a function of (memory address, arguments...)."""
        kind = ctypes.CFUNCTYPE(returns, ctypes.c_void_p, *arguments)
        return kind(self.address + self.image.entries[name])

    def close(self) -> None:
        del self._anchor
        self._map.close()


def cache_folder() -> Path:
    """``$PENSTOCK_CACHE``, else the user's cache folder."""
    if value := os.environ.get("PENSTOCK_CACHE"):
        return Path(value)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "penstock" / "images"


class ImageCache:
    """Images on disk by key. Writers put a whole new file in place, so readers never see half of one."""

    def __init__(self, folder: Path | None = None):
        self.folder = folder or cache_folder()

    def _path(self, key: str) -> Path:
        return self.folder / key

    def load(self, key: str) -> Image | None:
        try:
            with open(self._path(key), "rb") as file:
                status = os.fstat(file.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & 0o022 or status.st_size > _MAX_IMAGE_BYTES:
                    return None
                data = file.read()
        except OSError:
            return None
        return self.decode(data, key)

    @staticmethod
    def decode(data: bytes, key: str) -> Image | None:
        """The image in a cache entry, or None where anything about it is wrong."""
        start = len(_MAGIC) + _DIGEST_BYTES
        if not data.startswith(_MAGIC) or len(data) < start + 4:
            return None
        body = data[start:]
        if hashlib.sha256(body).digest() != data[len(_MAGIC) : start]:
            return None
        size = int.from_bytes(body[:4], "little")
        try:
            head = json.loads(body[4 : 4 + size])
            entries = {str(k): int(v) for k, v in head["entries"].items()}
            if head["key"] != key:
                return None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        code = body[4 + size :]
        if any(not 0 <= v < len(code) for v in entries.values()):
            return None
        return Image(code, entries)

    @staticmethod
    def encode(image: Image, key: str) -> bytes:
        head = json.dumps({"key": key, "entries": image.entries}, sort_keys=True).encode()
        body = len(head).to_bytes(4, "little") + head + image.code
        return _MAGIC + hashlib.sha256(body).digest() + body

    def store(self, key: str, image: Image) -> None:
        """Best effort: a cache that cannot be written only costs time."""
        temporary = ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor, temporary = tempfile.mkstemp(dir=self.folder, prefix=".new-")
            with os.fdopen(descriptor, "wb") as file:
                file.write(self.encode(image, key))
            os.replace(temporary, self._path(key))
        except OSError:
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
