"""Does a shell complete what a person would type, by click's protocol and in bash itself?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from perigrid.app.cli import COMMANDS, run_command

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "runtime"
HEAVY = ("grpc", "numpy", "onnxruntime", "zmq", "rich", "google.protobuf")
LIMIT_S = 60.0
SCRIPT = "from perigrid.app.cli import main; main()"


def environment(**changes: str) -> dict[str, str]:
    """What perigrid is asked with."""
    return {**os.environ, "PYTHONPATH": str(SOURCE_ROOT), **changes}


def question(words: str, kind: str) -> dict[str, str]:
    """What a shell asks with. Bash and zsh count the words, fish names the one that is being typed."""
    last = "" if words.endswith(" ") else words.rsplit(maxsplit=1)[-1]
    place = last if kind == "fish" else str(len(words.split()) - bool(last))
    return environment(COMP_WORDS=words, COMP_CWORD=place, _PERIGRID_COMPLETE=f"{kind}_complete")


def ask(folder: Path, words: str, kind: str = "bash") -> list[str]:
    """The lines that a shell gets for the last of the words, which is empty after a space."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env=question(words, kind),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert not done.stderr
    return [line for line in done.stdout.splitlines() if line]


def words_of(lines: list[str]) -> list[str]:
    """The completions of bash's lines, which are `type,value`."""
    return [line.partition(",")[2] for line in lines]


def keep_run(root: Path, name: str, satellites: int, stations: tuple[str, ...] = ("Miyun",)) -> None:
    """The files of a run of which a completion reads."""
    folder = root / name
    folder.mkdir(parents=True)
    found = [{"name": f"sat-{number:02d}"} for number in range(1, satellites + 1)]
    (folder / "run.json").write_text(json.dumps({"satellites": found}))
    (folder / "config.json").write_text(json.dumps({"scenario": {"stations": [{"name": s} for s in stations]}}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one run of three satellites."""
    keep_run(tmp_path / "runs", "ring", 3)
    return tmp_path


def test_commands_and_options_complete(folder: Path) -> None:
    assert words_of(ask(folder, "perigrid ")) == list(COMMANDS)
    assert words_of(ask(folder, "perigrid st")) == ["status"]
    assert words_of(ask(folder, "perigrid --he")) == ["--help"]
    assert "--rate" in words_of(ask(folder, "perigrid up --r"))


@pytest.mark.parametrize("command", ["cut", "heal", "why"])
def test_nodes_of_the_run_complete(folder: Path, command: str) -> None:
    assert words_of(ask(folder, f"perigrid {command} ")) == ["sat-01", "sat-02", "sat-03", "Miyun", "ground"]
    assert words_of(ask(folder, f"perigrid {command} m")) == ["Miyun"]


def test_satellites_complete_where_only_they_can_be_meant(folder: Path) -> None:
    assert words_of(ask(folder, "perigrid reboot ")) == ["sat-01", "sat-02", "sat-03"]
    assert words_of(ask(folder, "perigrid kill ")) == ["sat-01", "sat-02", "sat-03", "ground"]


def test_the_other_end_of_a_link_is_another_node(folder: Path) -> None:
    assert words_of(ask(folder, "perigrid cut sat-02 sat")) == ["sat-01", "sat-03"]


def test_names_of_runs_complete_and_choose_whose_nodes(folder: Path) -> None:
    keep_run(folder / "runs", "large", 5, ("Kourou",))
    assert words_of(ask(folder, "perigrid status --name ")) == ["large", "ring"]
    assert words_of(ask(folder, "perigrid why --name large sat")) == [f"sat-0{n}" for n in range(1, 6)]
    keep_run(folder / "elsewhere", "other", 1)
    assert words_of(ask(folder, "perigrid status --root elsewhere --name ")) == ["other"]


def test_presets_and_files_complete_for_up(folder: Path) -> None:
    assert words_of(ask(folder, "perigrid up three")) == ["three-body-12", "three-body-2800"]
    assert ask(folder, "perigrid up deploy/x") == ["file,deploy/x"]
    assert ask(folder, "perigrid up own") == ["file,own"]


@pytest.mark.parametrize("kind", ["zsh", "fish"])
def test_other_shells_are_answered(folder: Path, kind: str) -> None:
    assert any("sat-02" in line for line in ask(folder, "perigrid cut sat", kind))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"satellites": 7}', '{"satellites": [{}, 3]}'])
def test_files_that_make_no_sense_complete_to_nothing(folder: Path, text: str) -> None:
    (folder / "runs" / "ring" / "run.json").write_text(text)
    assert words_of(ask(folder, "perigrid reboot ")) == []


def test_without_a_run_there_is_nothing_to_complete(tmp_path: Path) -> None:
    assert words_of(ask(tmp_path, "perigrid reboot ")) == []
    assert words_of(ask(tmp_path, "perigrid status --name ")) == []


@pytest.mark.parametrize(
    "words", ["perigrid ", "perigrid cut ", "perigrid run --", "perigrid up k", "perigrid down --name "]
)
def test_a_completion_imports_nothing_heavy(folder: Path, words: str) -> None:
    script = (
        "import atexit, sys\n"
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        "from perigrid.app.cli import run_command\n"
        "run_command([])\n"
    )
    asked = question(words, "bash")
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, env=asked, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.stderr.strip() == "[]"
    assert done.stdout


@pytest.mark.parametrize("kind", ["bash", "zsh", "fish"])
def test_the_script_of_each_shell_asks_by_the_same_variable(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["completion", kind]) == 0
    assert f"_PERIGRID_COMPLETE={kind}_complete" in capsys.readouterr().out
    assert run_command(["completion", kind, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shell"] == kind


def test_an_unknown_shell_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["completion", "csh"]) == 2
    assert "bash" in capsys.readouterr().err


def test_bash_completes_with_the_script(folder: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash on this machine")
    (folder / "bin").mkdir()
    program = folder / "bin" / "perigrid"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{SCRIPT}" "$@"\n')
    program.chmod(0o755)
    lines = (
        "source <(perigrid completion bash)",
        "COMP_WORDS=(perigrid heal sat-01 s) COMP_CWORD=3",
        "_perigrid_completion perigrid heal sat-01",
        'echo "${COMPREPLY[@]}"',
    )
    asked = environment(PATH=f"{folder / 'bin'}:{os.environ['PATH']}")
    done = subprocess.run(
        [bash, "--norc", "-c", "\n".join(lines)],
        cwd=folder,
        env=asked,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.stdout.split() == ["sat-02", "sat-03"], done.stderr
