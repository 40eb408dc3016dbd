"""The sections of a test file.

    %info, %desc        what is tested                %script, %test    shell commands
    %require [-q]       commands that must succeed, or the test is left out
    %file NAME…         a file to be there            %stdin            what the script reads
    %expect[v|x] [-adiw] NAME…   what a file (stdout and stderr too) must be: ``{{regular expressions}}`` within, none (v), or a whole
                        line each (x)
    %ignore[v|x] [NAME…]         lines that do not count
    %include FILE       %eot, %eof: the end           %#, %%: remarks
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["Expectation", "TestFile", "TestFileError", "parse_test"]

_SECTION = re.compile(r"%(\w[\w-]*)(?:[ \t]+(.*?))?[ \t]*$")
_MAX_BYTES, _MAX_INCLUDES = 1 << 24, 8


class TestFileError(ValueError):
    """The file is no test; the message says where."""

    __test__ = False


@dataclass
class Expectation:
    """What a file must be, or (``is_ignore``) which of its lines do not count. ``style``: "" for ``{{…}}``, v for plain, x for regex."""

    names: tuple[str, ...]
    lines: list[str]
    place: str
    line: int
    style: str = ""
    flags: str = ""
    is_ignore: bool = False


@dataclass
class TestFile:
    """One test."""

    __test__ = False

    name: str
    info: str = ""
    script: str = ""
    requirements: list[tuple[str, bool]] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    stdin: bytes = b""
    expectations: list[Expectation] = field(default_factory=list)


def parse_test(text: bytes, name: str, *, depth: int = 0) -> TestFile:
    """Read a test file. Raises :class:`TestFileError`."""
    if len(text) > _MAX_BYTES:
        raise TestFileError(f"{name}: longer than 16 MiB")
    test = TestFile(name)
    lines = text.decode("utf-8", "surrogateescape").split("\n")
    at = 0
    known = False
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.startswith("%"):
            if line.strip() and not known:
                raise TestFileError(f"{name}:{at}: a test begins with a section, as %script")
            continue
        if line.startswith(("%#", "%%")):
            continue
        found = _SECTION.match(line)
        if not found:
            raise TestFileError(f"{name}:{at}: '{line[:40]}' is no section")
        kind, words = found[1], (found[2] or "").split()
        start = at
        body: list[str] = []
        fixed = next((w for w in words if re.fullmatch(r"\+\d+", w)), None)
        if kind in ("eot", "eof", "eofiles"):
            break
        if fixed is not None:
            # Exactly so many bytes, whatever stands in them.
            rest = "\n".join(lines[at:]).encode("utf-8", "surrogateescape")
            data, left = rest[: int(fixed[1:])], rest[int(fixed[1:]) :]
            lines, at = [*lines[:at], *left.decode("utf-8", "surrogateescape").split("\n")], at
            words.remove(fixed)
        else:
            while at < len(lines) and not _begins(lines[at]):
                body.append(lines[at])
                at += 1
            if at >= len(lines) and body and not body[-1]:
                body.pop()
            data = ("\n".join(body) + ("\n" if body else "")).encode("utf-8", "surrogateescape")
        known = True
        _take(test, kind, words, data, body, start, depth)
    if not test.script:
        raise TestFileError(f"{name}: there is no %script")
    return test


def _begins(line: str) -> bool:
    return line.startswith("%") and (line.startswith(("%#", "%%")) or _SECTION.match(line) is not None)


def _take(test: TestFile, kind: str, words: list[str], data: bytes, body: list[str], line: int, depth: int) -> None:
    flags = "".join(w[1:] for w in words if w.startswith("-"))
    names = tuple(w for w in words if not w.startswith("-"))
    if kind in ("script", "test"):
        test.script += data.decode("utf-8", "surrogateescape")
    elif kind in ("info", "desc", "cut"):
        test.info += data.decode("utf-8", "replace") if kind != "cut" else ""
    elif kind == "require":
        test.requirements.append((data.decode("utf-8", "surrogateescape"), "q" in flags))
    elif kind == "stdin" or (kind == "file" and names == ("stdin",)):
        test.stdin += data
    elif kind == "file":
        if "d" in flags:
            data = b"".join(part.lstrip(b" \t") for part in data.splitlines(True))
        for name in names:
            if name.startswith(("/", "../")) or "/../" in name:
                raise TestFileError(f"{test.name}:{line}: file '{name}' would lie outside of the test's folder")
            test.files[name] = data
    elif kind in ("expect", "expectv", "expectx", "stdout", "stderr"):
        is_stream = not kind.startswith("expect")
        style = "" if is_stream else kind[6:]
        named = names or ((kind,) if is_stream else ("stdout",))
        test.expectations.append(Expectation(named, body, test.name, line + 1, style, flags))
    elif kind in ("ignore", "ignorev", "ignorex"):
        test.expectations.append(Expectation(names, body, test.name, line + 1, kind[6:], flags, is_ignore=True))
    elif kind == "include":
        if depth >= _MAX_INCLUDES:
            raise TestFileError(f"{test.name}:{line}: files include each other")
        for name in names:
            path = Path(test.name).parent / name
            try:
                inner = parse_test(path.read_bytes() + b"\n%script\n:\n", str(path), depth=depth + 1)
            except OSError as error:
                raise TestFileError(f"{test.name}:{line}: {name}: {error.strerror}") from None
            test.files = inner.files | test.files
            test.expectations += inner.expectations
            test.requirements += inner.requirements
    else:
        raise TestFileError(f"{test.name}:{line}: section '%{kind}' is not known")
