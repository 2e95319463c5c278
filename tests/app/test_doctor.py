"""Does the doctor see what is there and what is missing?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perigrid.app.cli import run_command
from perigrid.app.doctor import Check, examine


def test_this_machine_is_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["doctor", "--json", "--root", str(tmp_path / "runs")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is True
    found = {check["what"]: check for check in answer["checks"]}
    assert found["model tinycloud"]["ok"] is True
    assert found["constellations"]["detail"].endswith("none")
    assert not (tmp_path / "runs").exists()


def test_what_is_missing_comes_with_a_remedy(tmp_path: Path) -> None:
    checks = examine(tmp_path, {"PERIGRID_CACHE": str(tmp_path), "HOME": str(tmp_path)})
    scene = next(check for check in checks if check.what == "scene sentinel2")
    assert not scene.ok
    assert not scene.required
    assert "PERIGRID_DATA" in scene.line()


def test_lines() -> None:
    fit = Check(what="a", ok=True, required=True, detail="1.0", remedy="none")
    missing = Check(what="b", ok=False, required=True, detail="not installed", remedy="pip install b")
    assert fit.line() == "ok      a: 1.0"
    assert missing.line() == "MISSING b: not installed -> pip install b"
