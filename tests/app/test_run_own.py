"""Does `perigrid run` take a stranger's model and tiles in one line, and refuse what cannot be before it starts?"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from perigrid.app.cli import run_command
from perigrid.app.worlds import Wanted, as_files, data_source, world
from perigrid.live.models import ModelStore, shipped_folder
from perigrid.live.pipeline import load_model
from tests.app.test_live_errors import answer, perigrid, scenario_text

TILES = 6
REDUCTION = """
import numpy as np

def clouds(tiles):
    return {"clouds": np.array([float(tile.outputs["output"].argmax(0).mean()) for tile in tiles])}
"""


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own with a model, a reduction and small constellations, in which nothing is left running."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2] / "runtime"))
    (tmp_path / "my.onnx").write_bytes((shipped_folder() / "tinycloud.onnx").read_bytes())
    (tmp_path / "own_clouds.py").write_text(REDUCTION)
    for satellites in (1, 2):
        (tmp_path / f"ring-{satellites}.toml").write_text(scenario_text(satellites))
    yield tmp_path
    for path in tmp_path.glob("runs/*/run.json"):
        perigrid("down", "--name", path.parent.name)


@pytest.fixture(scope="module")
def tiles() -> NDArray[np.float32]:
    return np.random.default_rng(3).random((TILES, 4, 256, 256), dtype=np.float32)


@pytest.fixture(scope="module")
def scores(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime gives for each tile alone."""
    session = load_model(ModelStore(), "tinycloud").session
    return np.concatenate([session.run({session.inputs[0].name: tile[None]})[0] for tile in tiles])


def folder_of(tiles: NDArray[np.float32], name: str) -> list[str]:
    """A folder with a file a tile; the files' names."""
    Path(name).mkdir()
    names = [f"{letter}.npy" for letter in "fbdace"]
    for file, tile in zip(sorted(names), tiles, strict=True):
        np.save(Path(name) / file, tile)
    return sorted(names)


def test_own_work_takes_the_place_of_a_presets() -> None:
    said: list[str] = []
    wanted = Wanted(models=["my.onnx"], data=[data_source("tiles.npy", {}), data_source("spyndex", {})])
    # Neither the preset's models nor its scene are looked for: nothing is there to be found or fetched.
    environment = {"HOME": "/nowhere", "PERIGRID_CACHE": "/nowhere", "http_proxy": "http://127.0.0.1:9"}
    chosen = world("three-body-12", wanted, environment, said.append)
    assert (chosen.changes, said) == ((), [])
    assert chosen.scenario.models == ("my.onnx",)
    assert [source.label for source in chosen.scenario.data] == ["tiles.npy", "spyndex"]
    assert chosen.scenario.data[1].dataset == "spyndex"
    provenance = chosen.scenario.provenance
    assert (provenance["models"].kind, provenance["data"].kind) == ("user", "user")
    assert not any(key.startswith("data.") for key in provenance)
    assert provenance["lasers.rate_bps"].kind == "sourced"
    again = world(chosen.scenario, Wanted(epoch="2026-01-01T00:00:00Z"), environment, said.append).scenario
    assert (again.models, again.data, again.epoch.year) == (chosen.scenario.models, chosen.scenario.data, 2026)


def test_an_array_is_named_by_its_bytes() -> None:
    one, other = np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32)
    with as_files([one, one.copy(), other, "tiles.npy"]) as files:
        names = [str(file) for file in files]
        assert names[0] == names[1] != names[2]
        assert names[3] == "tiles.npy"
        assert np.array_equal(np.load(names[2]), other)
    assert not Path(names[0]).exists()


@pytest.mark.live
def test_own_work_in_one_line(tiles: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    names = folder_of(tiles, "shots")
    wish = ("--model", "my.onnx", "--data", "shots", "--on", "ring-2.toml", "--tiles-per-shard", "2")
    outcome = answer("run", *wish, "--out", "results", "--parquet")
    assert (outcome["model"], outcome["dataset"], outcome["tiles"], outcome["failed"]) == ("my", "shots", TILES, 0)
    with np.load("results/outputs.npz") as arrays:
        assert np.array_equal(arrays["output"], scores)
        assert not arrays["failed"].any()
    assert json.loads(Path("results/outcome.json").read_text())["result_sha256"] == outcome["result_sha256"]
    with Path("results/tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["source"] for row in rows] == names
    assert {row["satellite"] for row in rows} == {"sat-01", "sat-02"}
    import pyarrow.parquet

    assert pyarrow.parquet.read_table("results/tiles.parquet").column("source").to_pylist() == names
    code, _, err = perigrid("status")
    assert (code, "no constellation is up" in err) == (3, True)
    assert not list(Path("runs/three-body-12/sockets").iterdir())


@pytest.mark.live
def test_own_files_come_on_board_of_what_is_up(tiles: NDArray[np.float32], scores: NDArray[np.float32]) -> None:
    np.save("tiles.npy", tiles)
    answer("up", "ring-1.toml", "--detach", "--name", "up")
    wish = ("--model", "my.onnx", "--data", "tiles.npy")
    outcome = answer("run", *wish, "--reduce", "own_clouds:clouds", "--out", "results")
    with np.load("results/reduced.npz") as arrays:
        assert arrays["clouds"].tolist() == scores.argmax(1).mean(axis=(1, 2)).tolist()
    again = answer("run", "--model", "my", "--data", "tiles")
    assert again["result_sha256"] == outcome["result_sha256"]
    code, _, err = perigrid("run", "--model", "my", "--data", "tiles", "--reduce", "votes")
    assert (code, "stack of tiles" in err) == (2, True)
    np.save("tiles.npy", tiles + 1)
    code, _, err = perigrid("run", *wish)
    assert (code, "rename" in err) == (2, True)
    assert answer("status")["satellites_up"] == 1


@pytest.mark.parametrize(
    ("arguments", "code", "needle"),
    [
        (("--model", "gone.onnx", "--data", "tiles.npy"), 3, "gone.onnx"),
        (("--model", "my.onnx", "--data", "gone.npy"), 3, "gone.npy"),
        (("--model", "my.onnx", "--data", "text.npy"), 2, "text.npy"),
        (("--model", "text.onnx", "--data", "tiles.npy"), 3, "text.onnx"),
        (("--data", "tiles.npy", "--reduce", "gone:count"), 2, "gone.py"),
        (("--data", "tiles.npy", "--reduce", "own_clouds:cluods"), 2, "cluods"),
        (("--data", "tiles.npy", "--out", "."), 2, "my.onnx"),
        (("--data", "tiles.npy", "--parquet"), 2, "--out"),
        (("--data", "tiles.npy", "--dataset", "spyndex"), 2, "--dataset"),
        (("--data", "tiles.npy", "--on", "three-body-21"), 2, "three-body-12"),
        (("--model", "my"), 3, "no constellation is up"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_starts(
    arguments: tuple[str, ...], code: int, needle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save("tiles.npy", np.zeros((2, 4, 256, 256), np.float32))
    Path("text.npy").write_text("no numbers")
    Path("text.onnx").write_text("no model")
    before = list(sys.path)
    assert run_command(["run", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert needle in captured.err.strip().splitlines()[-1]
    assert not list(Path("runs").glob("*/supervisor.lock"))
    assert sys.path == before
