"""What do people see of models that were pushed?"""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from perigrid.app.cli import run_command
from perigrid.app.models import progress, table_lines
from perigrid.live.modelservice import ModelRow, ModelTable, Place

SHA256 = "ab" * 32


def row(*places: Place) -> ModelRow:
    return ModelRow(
        name="mine",
        sha256=SHA256,
        bytes=40_000_000,
        preloaded=False,
        pieces=153,
        uplinked_bytes=40_000_000,
        places=places,
    )


def test_a_push_says_how_far_it_is() -> None:
    places = [
        Place(satellite="sat-01", state="loaded", pieces=153),
        Place(satellite="sat-02", state="arriving", pieces=20),
        Place(satellite="sat-03", state="no-room", cause="it does not fit"),
    ]
    assert progress(row(*places), places) == (
        "mine: loaded on 1 of 3, 1 without it; every other one has 20 of 153 pieces"
    )


def test_the_table_names_every_satellite_s_state_and_why() -> None:
    preloaded = ModelRow(name="tinycloud", sha256=SHA256, bytes=20_000, preloaded=True)
    places = (
        Place(satellite="sat-01", state="loaded", pieces=153, rehashed_sky_s=12.34),
        Place(satellite="sat-02", state="corrupt", pieces=152, cause="its bytes had SHA-256 cd, the order says ab"),
    )
    lines = table_lines(ModelTable(20.0, (preloaded, row(*places))))
    assert lines[0].split() == ["tinycloud", SHA256[:12], "0.0", "MB", "preloaded", "on", "every", "satellite"]
    assert "loaded on 1 of 2, 40.0 MB went up" in lines[1]
    assert lines[2].split() == ["sat-01", "loaded,", "hashed", "at", "12.3", "s"]
    assert "152 of 153 pieces" in lines[3] and lines[3].endswith("the order says ab")
    assert table_lines(ModelTable(0.0, ())) == ["no models"]
    named = msgspec.structs.replace(row(*places), targets=("sat-01",), pinned=True)
    assert "loaded on 1 of 1, carried by 1, 40.0 MB went up, pinned" in table_lines(ModelTable(0.0, (named,)))[0]


@pytest.mark.parametrize("words", [["list"], ["verify"], ["push", "my.onnx"]], ids=str)
def test_without_a_constellation_each_says_how_to_get_one(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["model", *words, "--json", "--root", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert json.loads(said.out)["kind"] == "NotRunning" and "perigrid up" in said.err


@pytest.mark.parametrize("command", ["list", "push", "verify"])
def test_each_has_help_and_the_shared_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["model", command, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(option in text for option in ("--json", "--name", "--root"))
