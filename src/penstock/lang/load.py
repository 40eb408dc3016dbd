"""From a file, a string or an archive to a flat configuration."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from penstock.lang.configuration import Configuration
from penstock.lang.elaborate import elaborate
from penstock.lang.parser import parse
from penstock.lang.source import Diagnostics, Landmark

__all__ = ["flatten", "read_configuration", "unpack_archive"]

_AR_MAGIC = b"!<arch>\n"


def unpack_archive(data: bytes) -> bytes:
    """The member ``config`` of a Click archive (ar format), or ``data`` itself where it is none."""
    if not data.startswith(_AR_MAGIC):
        return data
    position = len(_AR_MAGIC)
    while position + 60 <= len(data):
        header = data[position : position + 60]
        name = header[:16].decode("latin-1").strip().rstrip("/")
        size_text = header[48:58].decode("latin-1").strip()
        if not size_text.isdigit():
            break
        size = int(size_text)
        body = data[position + 60 : position + 60 + size]
        if name == "config":
            return body
        position += 60 + size + size % 2
    raise ValueError("archive has no member 'config'")


def read_configuration(name: str, diagnostics: Diagnostics) -> tuple[str, str]:
    """The text of configuration file ``name`` (``-`` or empty: standard input) and its landmark name."""
    shown = "<stdin>" if name in ("", "-") else name
    try:
        data = sys.stdin.buffer.read() if shown == "<stdin>" else Path(name).read_bytes()
        return unpack_archive(data).decode("utf-8", "surrogateescape"), shown
    except OSError as error:
        diagnostics.error(f"{error.strerror or error}", Landmark(shown), code="E050")
    except ValueError as error:
        diagnostics.error(str(error), Landmark(shown), code="E051")
    return "", shown


def flatten(
    text: str,
    *,
    file: str = "config",
    known_classes: Callable[[str], bool],
    class_names: Callable[[], Collection[str]] = tuple,
    variables: Mapping[str, str] | None = None,
    library_path: Collection[Path] = (),
    diagnostics: Diagnostics | None = None,
) -> Configuration:
    """Parse and flatten. Without ``diagnostics`` any error raises ConfigurationError."""
    sink = diagnostics if diagnostics is not None else Diagnostics()
    statements = parse(text, file, sink)
    configuration = elaborate(
        statements, sink, known_classes=known_classes, class_names=class_names,
        variables=variables, library_path=library_path,
    )
    if diagnostics is None:
        sink.raise_if_errors()
    return configuration
