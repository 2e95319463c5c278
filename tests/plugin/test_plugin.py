"""Does the plugin let a user test her own job over failing links, and would it tell her if a result were lost?"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.live.conftest import processes_in

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "failing-links"
TESTS_OF_THE_EXAMPLE = 6
LIMIT_S = 240.0

pytestmark = pytest.mark.live


def run_pytest(folder: Path, source: Path = ROOT / "runtime") -> tuple[int, str]:
    """Run the tests of a folder as their owner would; the exit code, and what was said."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--basetemp", str(folder / "tmp"), "-rA", "."],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def counts(output: str) -> dict[str, int]:
    """What pytest's last line counts."""
    last = output.strip().splitlines()[-1]
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|errors|error|skipped)", last)}


def nothing_runs_in(folder: Path) -> bool:
    """Whether no process of a constellation that was brought up there is left."""
    return not any(processes_in(path.parent) for path in folder.rglob("run.json"))


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A copy of the example project."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__")))


def test_the_example_project_passes(example: Path) -> None:
    code, output = run_pytest(example)
    assert code == 0, output
    assert counts(output) == {"passed": TESTS_OF_THE_EXAMPLE}
    assert nothing_runs_in(example)
    assert not (example / "perigrid-failures").exists()


def test_every_test_of_the_example_fails_where_the_settle_is_broken(example: Path, tmp_path: Path) -> None:
    source = tmp_path / "runtime"
    shutil.copytree(ROOT / "runtime" / "perigrid", source / "perigrid", ignore=shutil.ignore_patterns("__pycache__"))
    # The models that ship lie beside the source root.
    (tmp_path / "models").symlink_to(ROOT / "models")
    patch = Path(__file__).with_name("broken-settle.patch")
    subprocess.run(["git", "apply", str(patch)], cwd=source, check=True, timeout=LIMIT_S)
    code, output = run_pytest(example, source)
    assert code == 1, output
    assert counts(output) == {"failed": TESTS_OF_THE_EXAMPLE}
    assert output.count("is not exactly once") >= TESTS_OF_THE_EXAMPLE
    kept = sorted(path.name for path in (example / "perigrid-failures").iterdir())
    assert len(kept) == TESTS_OF_THE_EXAMPLE
    for name in kept:
        assert (example / "perigrid-failures" / name / "events.jsonl").stat().st_size > 0
        assert (example / "perigrid-failures" / name / "report.html").stat().st_size > 0
    assert nothing_runs_in(example)


SCOPES = """
import pytest

seen = []
OWN = {"models": ["anomaly.onnx"], "data": "windows.npy"}


@pytest.mark.constellation("world.toml", **OWN)
def test_alone(constellation):
    seen.append(constellation.directory)
    constellation.kill("sat-05")


@pytest.mark.constellation("world.toml", scope="module", satellites_per_process=6, **OWN)
def test_first_of_two(constellation):
    seen.append(constellation.directory)
    constellation.cut("sat-05", "sat-06")
    constellation.kill("sat-07")


@pytest.mark.constellation("world.toml", scope="module", satellites_per_process=6, **OWN)
def test_second_of_two(constellation):
    seen.append(constellation.directory)
    status = constellation.status()
    assert seen[1] == seen[2] != seen[0]
    assert (status.links_cut, status.satellites_lost) == (0, ())


@pytest.mark.constellation("world.toml", scope="planet", **OWN)
def test_no_such_scope(constellation):
    raise AssertionError("never reached")


@pytest.mark.constellation("no-such-preset")
def test_no_such_preset(constellation):
    raise AssertionError("never reached")
"""


def test_scopes_share_and_mend_and_mistakes_are_named(example: Path) -> None:
    (example / "test_telemetry_job.py").write_text(SCOPES)
    np.save(example / "windows.npy", np.zeros((24, 64), np.float32))
    code, output = run_pytest(example)
    assert code == 1, output
    assert counts(output) == {"passed": 3, "errors": 2}
    assert "scope 'planet'; there are function, class, module, session" in output
    assert "no-such-preset" in output and "three-body-12" in output
    assert nothing_runs_in(example)
