"""Does the command line answer as it should, with the right exit code, when nothing is up?"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from perigrid.app.cli import COMMANDS, run_command

HEAVY = ("grpc", "numpy", "onnxruntime", "zmq", "rich", "msgspec", "google.protobuf")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of its own, without cache or network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERIGRID_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_the_shared_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([name, "--help"]) == 0
    text = capsys.readouterr().out
    if name not in ("bench", "sky", "model"):
        assert all(option in text for option in ("--json", "--name", "--root"))


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from perigrid.app.cli import run_command\n"
        "run_command(['--help'])\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["up"],
        ["up", "three-body-12", "--rate", "0"],
        ["up", "three-body-12", "--orbit-rate", "0"],
        ["up", "three-body-12", "--orbit-rate", "1001"],
        ["up", "three-body-12", "--port", "99999"],
        ["up", "three-body-12", "--clock", "sundial"],
        ["up", "three-body-12", "--epoch", "yesterday"],
        ["up", "three-body-12", "--name", "../x", "--detach"],
        ["up", "three-body-13"],
        ["cut", "sat-01"],
        ["run", "--tiles-per-shard", "many"],
        ["bench", "nonsense"],
    ],
)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["status"],
        ["why", "sat-01"],
        ["cut", "sat-01", "sat-02"],
        ["heal", "sat-01", "sat-02"],
        ["kill", "sat-01"],
        ["reboot", "sat-01"],
        ["down"],
        ["run", "--name", "other"],
    ],
)
def test_nothing_up_is_3_and_says_how_to_start(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*arguments, "--json"]) == 3
    captured = capsys.readouterr()
    error = json.loads(captured.out)
    assert error["kind"] == "NotRunning"
    assert "perigrid up three-body-12" in error["error"]
    assert error["error"] in captured.err


def test_usage_errors_are_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["why", "--json"]) == 2
    assert json.loads(capsys.readouterr().out)["kind"] == "UsageError"


def test_an_unknown_preset_names_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["up", "three-body-21", "--detach"]) == 2
    error = capsys.readouterr().err
    assert "three-body-12" in error
    assert "kuiper-270" in error
    assert error.count("\n") == 1
