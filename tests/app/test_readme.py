"""Do the commands that the README shows work, in the order in which it shows them?"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND_LIMIT_S = 120.0
MEASUREMENTS = "perigrid bench"
"""Measurements take minutes, and a test that times anything would pass or fail by luck."""

pytestmark = pytest.mark.live


def commands() -> list[str]:
    """The perigrid commands of all code blocks, without the measurements."""
    lines = [line for block in BLOCK.findall((ROOT / "README.md").read_text()) for line in block.splitlines()]
    return [line for line in lines if line.startswith("perigrid ") and not line.startswith(MEASUREMENTS)]


def run(line: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one command as a shell in that folder would."""
    words = shlex.split(line.replace("perigrid", "", 1))
    script = "from perigrid.app.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "runtime")}
    return subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_LIMIT_S,
        check=False,
    )


def test_every_command_of_the_readme_works(tmp_path: Path) -> None:
    lines = commands()
    assert lines[0].startswith("perigrid up") and lines[-1] == "perigrid down"
    try:
        for line in lines:
            done = run(line, tmp_path)
            assert done.returncode == 0, f"{line}: {done.stderr}"
    finally:
        run("perigrid down", tmp_path)
