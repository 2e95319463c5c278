"""Does `perigrid report` find the run that is meant, and say where the page is?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perigrid.app.commands.report import command
from perigrid.app.shell import Shell
from perigrid.errors import MissingFile
from tests.report.made_runs import JOB, Wish, made_run


def report(*arguments: str) -> None:
    command.main(args=list(arguments), prog_name="report", obj=Shell(), standalone_mode=False)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return made_run(tmp_path, Wish(shards=4, faults=False))


def test_by_name_by_directory_and_by_itself(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = str(run.parent)
    for arguments in (("made", "--root", root), (str(run),), ("--root", root), ("--name", "made", "--root", root)):
        (run / "report.html").unlink(missing_ok=True)
        report(*arguments)
        assert capsys.readouterr().out == f"{run / 'report.html'}\n"
        assert (run / "report.html").is_file()


def test_as_json_with_the_figures(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "elsewhere.html"
    report(str(run), "--json", "--out", str(out), "--job", JOB)
    said = json.loads(capsys.readouterr().out)
    assert said["report"] == str(out)
    assert said["job"] == JOB
    assert said["figures"] == json.loads((run / "results" / JOB / "outcome.json").read_bytes())


def test_a_run_that_is_not_there(run: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"'nosuch'.*there are: made"):
        report("nosuch", "--root", str(run.parent))
    with pytest.raises(MissingFile, match="there are: none"):
        report("--root", str(tmp_path / "empty"))
