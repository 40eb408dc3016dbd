"""Positions in configuration text, and the diagnostics that name them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

__all__ = ["ConfigurationError", "Diagnostic", "Diagnostics", "Landmark", "quote"]


@dataclass(frozen=True, slots=True)
class Landmark:
    """Where something stands: ``file`` as users name it, 1-based ``line`` and ``column`` (0: unknown)."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}" if self.line else self.file


NOWHERE = Landmark()


def _locale_is_utf8() -> bool:
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        if value := os.environ.get(name):
            return "utf-8" in value.lower() or "utf8" in value.lower()
    return False


def quote(text: str) -> str:
    """Quote ``text`` as Click does: typographic quotes under a UTF-8 locale, plain ones elsewhere."""
    return f"‘{text}’" if _locale_is_utf8() else f"'{text}'"


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One message. ``context`` is the line Click prints above it (``While configuring 'x :: Y':``)."""

    severity: str
    message: str
    landmark: Landmark = NOWHERE
    context: str = ""
    code: str = ""
    suggestion: str = ""

    def __str__(self) -> str:
        text = f"warning: {self.message}" if self.severity == "warning" else self.message
        return f"{self.landmark}: {text}" if str(self.landmark) else text


class ConfigurationError(Exception):
    """A configuration cannot be used; ``diagnostics`` tells every reason."""

    def __init__(self, diagnostics: Diagnostics):
        self.diagnostics = diagnostics
        super().__init__("\n".join(diagnostics.click_lines()))


@dataclass
class Diagnostics:
    """Collects everything that is wrong with a configuration, so that one run reports all of it."""

    entries: list[Diagnostic] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    _context: tuple[str, Landmark] = ("", NOWHERE)

    def error(self, message: str, at: Landmark | None = None, *, code: str = "", suggestion: str = "") -> None:
        self._add("error", message, at, code, suggestion)

    def warning(self, message: str, at: Landmark | None = None, *, code: str = "", suggestion: str = "") -> None:
        self._add("warning", message, at, code, suggestion)

    def _add(self, severity: str, message: str, at: Landmark | None, code: str, suggestion: str) -> None:
        context, landmark = self._context
        entry = Diagnostic(severity, message, at or landmark, context, code, suggestion)
        if entry not in self.entries:
            self.entries.append(entry)

    @contextmanager
    def within(self, context: str, at: Landmark) -> Iterator[None]:
        """Messages added inside carry ``context`` and stand at ``at`` unless they know better."""
        before = self._context
        self._context = (context, at)
        try:
            yield
        finally:
            self._context = before

    @property
    def errors(self) -> list[Diagnostic]:
        return [e for e in self.entries if e.severity == "error"]

    def raise_if_errors(self) -> None:
        if self.errors:
            raise ConfigurationError(self)

    def click_lines(self, *, warnings: bool = True) -> list[str]:
        """The messages in Click's own layout: ``file:line: text``, contexts with indented messages."""
        lines: list[str] = []
        context: tuple[str, Landmark] | None = None
        for entry in self.entries:
            if entry.severity == "warning" and not warnings:
                continue
            prefix = f"{entry.landmark}: " if str(entry.landmark) else ""
            body = f"warning: {entry.message}" if entry.severity == "warning" else entry.message
            if entry.context:
                if context != (entry.context, entry.landmark):
                    lines.append(prefix + entry.context)
                lines += [f"  {part}" for part in body.split("\n")]
                context = (entry.context, entry.landmark)
            else:
                context = None
                lines += [prefix + part for part in body.split("\n")]
        return lines

    def pretty_lines(self) -> list[str]:
        """The messages with source line, caret and suggestion, for people at a terminal."""
        lines: list[str] = []
        for entry in self.entries:
            code = f"[{entry.code}]" if entry.code else ""
            where = str(entry.landmark)
            if where and entry.landmark.column:
                where += f":{entry.landmark.column}"
            lines.append(f"{where + ': ' if where else ''}{entry.severity}{code}: {entry.message}")
            if entry.context:
                lines.append(f"  {entry.context.rstrip(':')}")
            source = self.sources.get(entry.landmark.file, "").split("\n")
            if 0 < entry.landmark.line <= len(source):
                text = source[entry.landmark.line - 1]
                gutter = f"{entry.landmark.line:>5} | "
                lines.append(gutter + text.replace("\t", " "))
                if entry.landmark.column:
                    lines.append(" " * (len(gutter) + entry.landmark.column - 1) + "^")
            if entry.suggestion:
                lines.append(f"      = {entry.suggestion}")
        return lines
