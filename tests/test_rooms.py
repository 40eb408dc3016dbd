"""Imports go one way, and importing the package is light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "penstock"
#: room -> rooms that it may import
ALLOWED = {
    "packet": {"packet"},
    "lang": {"lang", "packet"},
    "datapath": {"datapath", "packet"},
    "elements": {"elements", "datapath", "packet", "lang"},
    "runtime": {"runtime", "elements", "datapath", "packet", "lang"},
    "ring": {"ring", "datapath", "packet"},
    "verify": {"verify", "ring", "runtime", "elements", "datapath", "packet", "lang"},
    "isolation": {"isolation", "ring", "runtime", "elements", "datapath", "packet", "lang"},
    "device": {"device", "ring", "runtime", "elements", "datapath", "packet", "lang"},
    "switch": {"switch", "device", "ring", "runtime", "datapath", "packet"},
    "toolstack": {"toolstack", "switch", "isolation", "ring", "device", "runtime", "elements", "datapath", "packet", "lang"},
    "tracebox": {"tracebox", "packet"},
    "testing": {"testing"},
    "cli": {"cli", "testing", "tracebox", "verify", "toolstack", "switch", "isolation", "ring", "device", "runtime", "elements", "datapath", "packet", "lang"},
}


def _imports(path: Path) -> set[str]:
    """Rooms that a file imports at run time (imports for type checkers are no arrows)."""
    found: set[str] = set()
    tree = ast.parse(path.read_text())
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped |= {child for part in node.body for child in ast.walk(part)}
    for node in ast.walk(tree):
        if node in skipped:
            continue
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else (
            [f"{node.module}.{a.name}" for a in node.names] if isinstance(node, ast.ImportFrom) and node.module else [])
        for name in names:
            parts = name.split(".")
            if parts[0] == "penstock" and len(parts) > 1 and parts[1] in ALLOWED:
                found.add(parts[1])
    return found


def test_imports_go_one_way() -> None:
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and not p.name.startswith("_")}
    assert rooms == set(ALLOWED)
    for room, allowed in ALLOWED.items():
        for path in (SOURCE / room).rglob("*.py"):
            wrong = _imports(path) - allowed
            assert not wrong, f"{path.relative_to(SOURCE)} imports {wrong}"


def test_every_room_says_what_lives_there() -> None:
    for room in ALLOWED:
        assert ast.get_docstring(ast.parse((SOURCE / room / "__init__.py").read_text()))


def test_importing_the_package_is_light() -> None:
    code = "import sys, penstock; penstock.Router; print([m for m in ('llvmlite', 'rich', 'scapy', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
