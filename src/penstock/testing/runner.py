"""Running one test: its script in a folder of its own, what it wrote against what was expected."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from penstock.testing.testfile import Expectation, TestFile

__all__ = ["Outcome", "run_test"]

_SEGMENT = re.compile(r"\{\{(.*?)\}\}")


@dataclass
class Outcome:
    """``state``: passed, failed, or left out (a requirement is not met)."""

    state: Literal["passed", "failed", "left out"]
    problems: list[str] = field(default_factory=list)
    stdout: str = ""
    stderr: str = ""


def _environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The commands of this installation first, so that a test's ``click`` is ours."""
    here = str(Path(sys.executable).parent)
    return {**os.environ, "PATH": f"{here}:{os.environ.get('PATH', '')}", **variables}


def _shell(script: str, folder: str, environment: dict[str, str], stdin: bytes, timeout_s: float) -> tuple[int, bytes, bytes]:
    process = subprocess.Popen(["/bin/sh", "-c", script], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, start_new_session=True)
    try:
        out, err = process.communicate(stdin, timeout=timeout_s)
        return process.returncode, out, err
    except subprocess.TimeoutExpired:
        raise TimeoutError(f"the script did not end within {timeout_s:g} s") from None
    finally:
        # Whatever the script has left running ends with it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def run_test(test: TestFile, *, timeout_s: float = 60, variables: Mapping[str, str] | None = None) -> Outcome:
    """Run a test in a folder of its own, which is removed afterwards."""
    environment = _environment(variables or {})
    with tempfile.TemporaryDirectory(prefix="penstock-test-") as folder:
        for name, data in test.files.items():
            path = Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        try:
            for requirement, _ in test.requirements:
                status, _, _ = _shell(requirement, folder, environment, b"", timeout_s)
                if status != 0:
                    told = (requirement.strip().splitlines() or [""])[-1]
                    return Outcome("left out", [f"{test.name}: requirement is not met: {told}"])
            status, stdout, stderr = _shell(test.script, folder, environment, test.stdin, timeout_s)
        except TimeoutError as error:
            return Outcome("failed", [f"{test.name}: {error}"])
        outcome = Outcome("passed", stdout=stdout.decode("utf-8", "replace"), stderr=stderr.decode("utf-8", "replace"))
        if status != 0 and not any(e.names == ("status",) for e in test.expectations):
            last = outcome.stderr.strip().splitlines()[-1:] or [""]
            outcome.problems.append(f"{test.name}: the script ended with status {status}" + (f": {last[0]}" if last[0] else ""))
        _compare_all(test, Path(folder), {"stdout": stdout, "stderr": stderr, "status": str(status).encode()}, outcome)
    if outcome.problems:
        outcome.state = "failed"
    return outcome


def _compare_all(test: TestFile, folder: Path, streams: dict[str, bytes], outcome: Outcome) -> None:
    alternatives: dict[str, list[Expectation]] = {}
    for expectation in test.expectations:
        if not expectation.is_ignore:
            for name in expectation.names:
                alternatives.setdefault(name, []).append(expectation)
    for name, wanted in alternatives.items():
        if name in streams:
            data = streams[name]
        else:
            path = folder / name
            if not path.is_file():
                outcome.problems.append(f"{wanted[0].place}:{wanted[0].line}: file '{name}' was not made")
                continue
            data = path.read_bytes()
        ignored = [e for e in test.expectations if e.is_ignore and (not e.names or name in e.names)]
        actual = _lines(data.decode("utf-8", "surrogateescape").split("\n"), wanted[0].flags, ignored)
        problems = [_difference(e, name, actual, ignored) for e in wanted]
        # Several expectations of one file are alternatives where they say so (-a); else all must hold.
        if any("a" in e.flags for e in wanted):
            if all(problems):
                outcome.problems.append(str(problems[0]))
        else:
            outcome.problems += [p for p in problems if p]


def _normal(line: str, flags: str) -> str:
    line = line.rstrip()
    if "d" in flags:
        line = line.lstrip()
    if "w" in flags:
        line = " ".join(line.split())
    return line.lower() if "i" in flags else line


def _is_ignored(line: str, ignored: list[Expectation]) -> bool:
    for expectation in ignored:
        for pattern in expectation.lines:
            if pattern.strip() and _matches(pattern.rstrip(), line, expectation.style):
                return True
    return False


def _lines(lines: list[str], flags: str, ignored: list[Expectation]) -> list[tuple[int, str]]:
    """Lines that count, with their numbers; blank ones at the end do not."""
    kept = [(i, _normal(line, flags)) for i, line in enumerate(lines, 1) if not _is_ignored(line.rstrip(), ignored)]
    while kept and not kept[-1][1]:
        kept.pop()
    return kept


def _matches(pattern: str, line: str, style: str) -> bool:
    if style == "v":
        return pattern == line
    if style == "x":
        try:
            return re.fullmatch(pattern, line) is not None
        except re.error:
            return False
    if "{{" not in pattern:
        return pattern == line
    parts, at = "", 0
    for found in _SEGMENT.finditer(pattern):
        parts += re.escape(pattern[at : found.start()]) + f"(?:{found[1]})"
        at = found.end()
    try:
        return re.fullmatch(parts + re.escape(pattern[at:]), line) is not None
    except re.error:
        return False


def _difference(expectation: Expectation, name: str, actual: list[tuple[int, str]], ignored: list[Expectation]) -> str | None:
    plain = "".join(c for c in expectation.flags if c != "i") if "{{" in "\n".join(expectation.lines) else expectation.flags
    expected = _lines(expectation.lines, plain, ignored)
    for (number, wanted), (got_number, got) in zip(expected, actual):
        if not _matches(wanted, got, expectation.style):
            return (f"{expectation.place}:{expectation.line + number - 1}: {name}, line {got_number}:\n"
                    f"  expected '{wanted}'\n   but got '{got}'")
    if len(expected) > len(actual):
        number, wanted = expected[len(actual)]
        return f"{expectation.place}:{expectation.line + number - 1}: {name}:\n  expected '{wanted}'\n   but got the end of the file"
    if len(actual) > len(expected):
        number, got = actual[len(expected)]
        return f"{expectation.place}:{expectation.line}: {name}, line {number}:\n  expected the end of the file\n   but got '{got}'"
    return None
