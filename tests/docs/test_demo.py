"""What ``make demo`` runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo_prints_what_the_readme_says() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "examples" / "demo.py")], capture_output=True, text=True, timeout=120, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    readme = (ROOT / "README.md").read_text()
    counts = [line for line in done.stdout.splitlines() if " dropped by " in line or line.endswith("  passed")]
    assert len(counts) == 8 and all(line in readme for line in counts), done.stdout
    assert "bytes of machine code" in done.stdout and "allowed packets:" in done.stdout
