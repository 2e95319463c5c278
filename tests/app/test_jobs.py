"""Does a wish become the right job, and do endings become the mask of a plain process?"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import perigrid.app.reference
from perigrid.app.demonstration import finish_reference, reference_task, start_reference
from perigrid.app.jobs import complete, misfit, read_job
from perigrid.app.merging import MaskMerger
from perigrid.app.scenarios import model_store, parse, shipped_presets
from perigrid.errors import EnvironmentProblem, MissingFile, ModelError, ProtocolError, UsageError
from perigrid.job.spec import Catalogue, JobSpec
from perigrid.live.clients import Delivered
from perigrid.live.config import read_config
from perigrid.live.launch import LaunchOptions
from perigrid.live.models import ModelStore
from perigrid.live.pipeline import load_model
from perigrid.live.prepare import prepare
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch, load_scene
from perigrid.node.frames import Stages
from perigrid.node.records import ShardAccepted, ShardFailed
from perigrid.node.replies import Row
from perigrid.units import NodeId

SCENARIO = """
preset = "three-body-12"
models = ["tinycloud"]
[[data]]
dataset = "spyndex"
stride_px = 15
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run that is prepared and was never brought up."""
    run = RunDirectory.create(tmp_path_factory.mktemp("runs"), "t")
    scenario = parse(SCENARIO, "t.toml", shipped_presets())
    prepare(scenario, run, model_store({"HOME": "/nowhere"}), {"HOME": "/nowhere"}, LaunchOptions(), lambda _: None)
    return run


def catalogue(run: RunDirectory) -> Catalogue:
    return read_config(run.path).catalogue


def endings(run: RunDirectory, tiles_per_shard: int) -> list[Delivered]:
    """The endings of a job, one capture's shards after the other's, computed here."""
    scene = load_scene("spyndex", SceneSearch.from_environment({"HOME": "/nowhere"}))
    made = []
    with load_model(ModelStore(), "tinycloud").pipeline() as pipeline:
        for capture in catalogue(run).of("spyndex"):
            pixels = scene.bands[:, capture.first_row : capture.first_row + capture.height_px]
            for start in range(0, len(capture.tiles), tiles_per_shard):
                part = slice(start, start + tiles_per_shard)
                places = zip(capture.rows[part], capture.columns[part], strict=True)
                result = b"".join(pipeline.tile(pixels, row, column).tobytes() for row, column in places)
                shard = len(made)
                ending = ShardAccepted("a", shard, b"", len(result), NodeId(0), 1, 1, 0.0, Stages(0, 0, 0, 0, 0))
                made.append(Delivered(Row(shard + 1, capture.tiles[part], ending), result))
    return made


def test_what_is_left_out_is_chosen_from_the_run(run: RunDirectory) -> None:
    spec = complete({"priority": 3, "model": None}, run)
    assert (spec.model, spec.dataset, spec.priority, spec.tiles_per_shard) == ("tinycloud", "spyndex", 3, 4)
    assert spec.job.startswith("tinycloud-")
    assert complete({}, run).job != complete({}, run).job


@pytest.mark.parametrize(
    ("wish", "needle"),
    [
        ({"dataset": "landsat5"}, "spyndex"),
        ({"tiles_per_shard": 0}, "tiles_per_shard"),
        ({"deadline_s": -1.0}, "deadline_s"),
        ({"job": "a b"}, "job id"),
    ],
)
def test_a_wish_that_cannot_be(run: RunDirectory, wish: dict[str, object], needle: str) -> None:
    with pytest.raises(UsageError, match=needle):
        complete(wish, run)


def test_a_model_that_wants_more_bands_than_there_are(run: RunDirectory) -> None:
    capture = catalogue(run).captures[0]
    store = ModelStore()
    assert misfit(store.entry("tinycloud"), capture) is None
    reason = misfit(store.entry("cloudmask"), capture)
    assert reason is not None
    assert "needs 6 bands and spyndex has 4" in reason
    assert issubclass(ModelError, UsageError)


def test_a_job_file(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text('model = "tinycloud"\ntiles_per_shard = 2\n')
    assert read_job(path) == {"model": "tinycloud", "tiles_per_shard": 2}
    for text, needle in (
        ('modle = "x"', "'model'"),
        ("model = 3", "model"),
        ("model = ", "TOML"),
        ('priority = "high"', "priority"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=needle):
            read_job(path)
    with pytest.raises(MissingFile):
        read_job(tmp_path / "gone.toml")


def test_merging_does_not_depend_on_order_and_drops_what_comes_twice(run: RunDirectory) -> None:
    captures = catalogue(run).of("spyndex")
    one, other = MaskMerger(captures), MaskMerger(captures)
    made = endings(run, 1)
    for delivered in made:
        one.take(delivered)
    for delivered in [*reversed(made), made[0], made[3]]:
        other.take(delivered)
    assert one.repeated == 0
    assert other.repeated == 2
    first, second = one.handed(1.0), other.handed(1.0)
    assert first.result_sha256 == second.result_sha256
    assert first.coverage_error is None
    assert second.coverage_error is None


def test_a_failed_shard_leaves_a_hole(run: RunDirectory) -> None:
    merger = MaskMerger(catalogue(run).of("spyndex"))
    made = endings(run, 1)
    for delivered in made[1:]:
        merger.take(delivered)
    merger.take(Delivered(Row(1, made[0].row.tiles, ShardFailed("a", 0, "gone", 0.0)), b""))
    error = merger.handed(1.0).coverage_error
    assert error is not None
    assert "1 of 16 tiles are missing" in error


def test_a_result_of_the_wrong_length_is_refused(run: RunDirectory) -> None:
    merger = MaskMerger(catalogue(run).of("spyndex"))
    first = endings(run, 1)[0]
    with pytest.raises(ProtocolError, match="shard 0"):
        merger.take(Delivered(first.row, first.result[:-1]))


def test_the_plain_process_gets_the_same_mask(run: RunDirectory) -> None:
    search = SceneSearch.from_environment({"HOME": "/nowhere"})
    scene = load_scene("spyndex", search)
    spec = JobSpec(job="a", model="tinycloud", dataset="spyndex")
    source = read_config(run.path).scenario.data[0]
    process = start_reference(reference_task(run, spec, source, scene, search))
    merger = MaskMerger(catalogue(run).of("spyndex"))
    for delivered in endings(run, 2):
        merger.take(delivered)
    answer = finish_reference(process)
    assert answer["tiles"] == 16
    assert answer["result_sha256"] == merger.handed(1.0).result_sha256
    assert merger.reducer.mask().shape == scene.bands.shape[1:]


def test_the_plain_process_imports_nothing_of_perigrid() -> None:
    tree = ast.parse(Path(perigrid.app.reference.__file__).read_text())
    imported = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert imported
    assert not any(name.startswith("perigrid") for name in imported)


def test_a_plain_process_that_fails_says_so() -> None:
    task = {"model_file": "/nowhere.onnx", "scene_file": "/nowhere", "scene_format": "npz"}
    with pytest.raises(EnvironmentProblem, match="the reference failed"):
        finish_reference(start_reference(task))


def test_the_plain_process_reads_its_task_from_stdin_only() -> None:
    script = perigrid.app.reference.__file__
    done = subprocess.run(
        [sys.executable, "-I", script], input=json.dumps({}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    assert "KeyError" in done.stderr
    assert np.iinfo(np.uint8).max == perigrid.app.reference.NO_VOTE
