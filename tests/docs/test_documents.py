"""Every console and Python block in README and docs runs and prints what it says (``...`` stands for anything)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([ROOT / "README.md", *ROOT.glob("docs/*.md")])
_BLOCK = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _matches(expected: str, actual: str) -> bool:
    pattern = "".join(".*?" if part == "..." else re.escape(part) for part in re.split(r"(\.\.\.)", expected.strip("\n")))
    return re.fullmatch(pattern + r"\s*", actual.strip("\n"), re.DOTALL) is not None


def _commands(block: str) -> list[tuple[str, str, int]]:
    """(command, expected output, expected status); ``? 1`` on the last line means that status."""
    found: list[tuple[str, str, int]] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        while expected.startswith("> "):
            line, _, expected = expected[2:].partition("\n")
            command += "\n" + line
        status = 0
        if match := re.search(r"^\? (\d+)\n?\Z", expected, re.MULTILINE):
            status, expected = int(match[1]), expected[: match.start()]
        found.append((command, expected, status))
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_blocks_run_and_print_what_they_say(document: Path, tmp_path: Path) -> None:
    for name in ("boxes", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "100", "PENSTOCK_RUN": str(tmp_path / "run")}
    try:
        _run_blocks(document, tmp_path, environment)
    finally:
        subprocess.run([f"{Path(sys.executable).parent}/cosmos", "shutdown"], env=environment, capture_output=True)


def _run_blocks(document: Path, tmp_path: Path, environment: dict[str, str]) -> None:
    for language, options, block in _BLOCK.findall(document.read_text()):
        if language == "python" and "file=" in options:
            (tmp_path / options.split("file=")[1].strip()).write_text(block)
        elif language == "python":
            subprocess.run([sys.executable, "-W", "error", "-c", block], cwd=tmp_path, env=environment, check=True, timeout=60)
        elif language == "console":
            for command, expected, status in _commands(block):
                done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, timeout=60, text=True,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
                assert done.returncode == status, f"{command}\n{done.stdout}"
                assert _matches(expected, done.stdout), f"{command}\n--- expected\n{expected}--- printed\n{done.stdout}"


def test_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_own_element_is_short() -> None:
    block = next(b for _, options, b in _BLOCK.findall((ROOT / "docs/own-element.md").read_text()) if "file=" in options)
    assert len(block.splitlines()) < 40


def test_readme_counts_the_elements_right() -> None:
    from penstock.elements import catalog

    known = [n for n in catalog.class_names() if (cls := catalog.find(n)) is not None and cls.__module__.startswith("penstock.")]
    assert f"{len(known)} element classes" in (ROOT / "README.md").read_text()


def test_the_list_of_missing_elements_names_none_that_is_there() -> None:
    from penstock.elements import catalog

    text = (ROOT / "docs/elements-status.md").read_text().split("## Classes that Click does not have")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| ") and not line.startswith("| class")]
    names = [word for row in rows for word in re.findall(r"\b[A-Z]\w+", row)]
    assert len(names) > 20
    assert not [name for name in names if catalog.find(name) is not None]
