"""Can a program do from Python what the command line does, and does it get every tile exactly once?

One small constellation, a ring of three satellites with a station below each, serves the whole file; whoever breaks
something mends it.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import perigrid
from perigrid.app import job_handle
from perigrid.job.masks import windows
from perigrid.job.reduce import VoteReducer
from perigrid.live.models import ModelStore, shipped_folder
from perigrid.live.pipeline import load_model
from perigrid.live.scenes import SceneSearch, load_scene
from tests.app.test_cli import HEAVY
from tests.app.test_live_errors import STRIDE_PX, alive, gone, scenario_text

SOURCE_ROOT = Path(__file__).resolve().parents[2] / "runtime"
LIMIT_S = 60.0
LOOK_S = 0.02
TILES = 12


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Poll until the condition holds; fail with `what` past the limit."""
    end_s = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end_s, f"not within {LIMIT_S:g} s: {what}"
        time.sleep(LOOK_S)


@pytest.fixture(scope="module")
def tiles() -> NDArray[np.float32]:
    """Tiles of one's own, as tinycloud takes them."""
    return np.random.default_rng(5).random((TILES, 4, 256, 256), dtype=np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs lie, with a scenario and a model of one's own."""
    made = tmp_path_factory.mktemp("api")
    (made / "ring-3.toml").write_text(scenario_text(3))
    (made / "my.onnx").write_bytes((shipped_folder() / "tinycloud.onnx").read_bytes())
    return made


@pytest.fixture(scope="module")
def c(folder: Path, tiles: NDArray[np.float32]) -> Iterator[perigrid.Constellation]:
    scene = perigrid.DataSource(dataset="spyndex", stride_px=STRIDE_PX, replicas=1)
    with perigrid.launch(
        folder / "ring-3.toml", models=["tinycloud", folder / "my.onnx"], data=[scene, tiles], root=folder, name="c"
    ) as launched:
        pids = [os.getpid(), launched._run.read().supervisor_pid]
        yield launched
    assert gone(pids[1:])
    assert alive(pids[:1])
    with pytest.raises(perigrid.NotRunning):
        launched.run()
    with pytest.raises(perigrid.NotRunning):
        launched.cut("sat-01", "sat-02")
    assert "is down" in launched._repr_html_()


@pytest.fixture
def dataset(c: perigrid.Constellation) -> str:
    """What the tiles are called on board."""
    return next(label for label in (Path(source.label).stem for source in c.scenario.data) if label != "spyndex")


@pytest.fixture(scope="module")
def expected_mask() -> NDArray[np.uint8]:
    """What one process makes of the scene, tile by tile."""
    bands = load_scene("spyndex", SceneSearch.from_environment({"HOME": "/nowhere"})).bands
    _, height, width = bands.shape
    corners = windows(height, width, 256, STRIDE_PX)
    reducer = VoteReducer(height, width, 256, corners)
    with load_model(ModelStore(), "tinycloud").pipeline() as pipeline:
        for tile, (row, column) in enumerate(corners.tolist()):
            reducer.add(tile, (row, column), pipeline.tile(bands, row, column))
    return reducer.mask()


@pytest.fixture(scope="module")
def expected_scores(tiles: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime gives for each tile alone."""
    session = load_model(ModelStore(), "tinycloud").session
    name = session.inputs[0].name
    return np.concatenate([session.run({name: tile[None]})[0] for tile in tiles])


def output_name() -> str:
    return load_model(ModelStore(), "tinycloud").session.outputs[0].name


def exactly_once(shards: list[perigrid.ShardResult], count: int) -> None:
    seen = [tile.tile for shard in shards for tile in shard.tiles]
    assert sorted(seen) == list(range(count))


# --- jobs


@pytest.mark.live
def test_a_scene_becomes_the_mask_of_one_process(c: perigrid.Constellation, expected_mask: NDArray[np.uint8]) -> None:
    result = c.run(model="tinycloud", data="spyndex").check()
    assert np.array_equal(result.mask, expected_mask)
    assert (result.reduce, result.complete) == ("votes", True)
    with np.load(result.directory / "mask.npz") as arrays:
        assert np.array_equal(arrays["mask"], expected_mask)
    with pytest.raises(perigrid.UsageError, match="not kept"):
        _ = result.tiles[0].outputs
    assert result.job in c._repr_html_()


@pytest.mark.live
def test_own_tiles_are_equal_to_bare_onnxruntime(
    c: perigrid.Constellation, dataset: str, expected_scores: NDArray[np.float32], tmp_path: Path
) -> None:
    result = c.run("my", dataset, out=tmp_path / "out", tiles_per_shard=2)
    assert np.array_equal(result.outputs[output_name()], expected_scores)
    with np.load(tmp_path / "out" / "outputs.npz") as arrays:
        assert np.array_equal(arrays[output_name()], expected_scores)
    admitted_s = []
    for tile in result.tiles:
        parts = (tile.uplink_s, tile.lasers_s, tile.queue_s, tile.inference_s, tile.downlink_s, tile.waiting_s)
        assert min(parts) > -1e-6
        assert tile.satellite in c.satellites
        admitted_s.append(tile.settled_s - sum(parts))
    assert admitted_s == pytest.approx([admitted_s[0]] * TILES)
    assert admitted_s[0] < min(tile.sent_s for tile in result.tiles)
    assert len({tile.satellite for tile in result.tiles}) > 1


@pytest.mark.live
def test_results_arrive_while_links_break(
    c: perigrid.Constellation, dataset: str, expected_scores: NDArray[np.float32]
) -> None:
    job = c.submit("tinycloud", dataset, tiles_per_shard=1)
    assert (len(job), job.shards) == (TILES, TILES)
    shards = []
    for shard in job:
        if not shards:
            c.cut("sat-01", "sat-02")
            c.kill("sat-03")
        shards.append(shard)
    exactly_once(shards, TILES)
    for shard in shards:
        assert np.array_equal(shard.outputs[output_name()], expected_scores[[tile.tile for tile in shard.tiles]])
    assert job.result().check().outcome.duplicates_to_client == 0
    status = c.status()
    assert (status.links_cut, status.satellites_lost) == (1, ("sat-03",))
    assert "sat-03" in str(status)
    assert "cut" in status._repr_html_()
    assert c.why("sat-03").dead
    c.restore()
    status = c.status()
    assert (status.links_cut, status.satellites_lost) == (0, ())
    assert c.why("sat-03").shards_leased == 0


@pytest.mark.live
def test_the_controller_may_be_killed(c: perigrid.Constellation, dataset: str) -> None:
    job = c.submit("tinycloud", dataset, tiles_per_shard=1)
    shards = []
    for shard in job:
        if not shards:
            c.kill("ground")
        shards.append(shard)
    exactly_once(shards, TILES)
    assert job.result().complete
    assert [each.state for each in c.jobs() if each.job == job.id] == ["complete"]


@pytest.mark.live
def test_a_job_that_nobody_reads_waits_for_its_reader(
    c: perigrid.Constellation, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_handle, "MAX_UNREAD_BYTES", 0)
    job = c.submit("tinycloud", dataset, tiles_per_shard=1)
    wait_until(lambda: all(each.state == "complete" for each in c.jobs()), "the constellation is through")
    assert not job.done
    assert job.shards_done < TILES
    exactly_once(list(job), TILES)
    assert job.result(LIMIT_S).complete
    assert (job.done, job.state) == (True, "ended")
    assert "ended" in job._repr_html_()
    left = c.submit("tinycloud", dataset, tiles_per_shard=1)
    assert left.result(LIMIT_S).complete
    assert list(left) == []


@pytest.mark.live
def test_the_same_id_again_is_the_same_job(c: perigrid.Constellation, dataset: str) -> None:
    first = c.run("tinycloud", dataset, job="twice")
    again = c.run("tinycloud", dataset, job="twice")
    assert again.outcome.result_sha256 == first.outcome.result_sha256
    assert [tile.settled_s for tile in again.tiles] == [tile.settled_s for tile in first.tiles]
    assert [tile.waiting_s for tile in again.tiles] == [tile.waiting_s for tile in first.tiles]
    with pytest.raises(perigrid.UsageError, match="another specification"):
        c.submit("tinycloud", dataset, job="twice", priority=3)


@pytest.mark.live
def test_a_cancelled_job_says_so(c: perigrid.Constellation, dataset: str) -> None:
    c.cut("sat-01", "sat-02")
    for name in c.satellites:
        c.kill(name)
    try:
        job = c.submit("tinycloud", dataset)
        with pytest.raises(perigrid.LinkBroken, match="has not ended"):
            job.result(0.1)
        job.cancel()
        result = job.result(LIMIT_S)
    finally:
        c.restore()
    assert not result.complete
    assert all("CANCELLED" in tile.error for tile in result.tiles)
    with pytest.raises(perigrid.JobFailed, match="CANCELLED"):
        result.check()


@pytest.mark.live
def test_a_function_reduces_and_its_faults_are_its_own(c: perigrid.Constellation, dataset: str, tmp_path: Path) -> None:
    result = c.run("tinycloud", dataset, reduce=lambda tiles: {"tiles": len(tiles)}, out=tmp_path / "out")
    assert result.value == {"tiles": TILES}
    assert json.loads((tmp_path / "out" / "reduced.json").read_text()) == {"tiles": TILES}
    with pytest.raises(perigrid.UsageError, match="KeyError"):
        c.run("tinycloud", dataset, reduce=lambda tiles: tiles[0].outputs["none"], out=tmp_path / "kept")
    assert (tmp_path / "kept" / "outputs.npz").exists()


@pytest.mark.live
@pytest.mark.parametrize(
    ("wish", "kind", "needle"),
    [
        ({"model": "cloudmusk"}, perigrid.ModelError, "cloudmask"),
        ({"data": "gone.npy"}, perigrid.MissingFile, "gone.npy"),
        ({"reduce": "no_such_module_here:count"}, perigrid.UsageError, "no_such_module_here"),
        ({"model": "my", "data": "spyndex"}, perigrid.ModelError, "gives no mask"),
        ({"tiles_per_shard": 0}, perigrid.UsageError, "tiles_per_shard"),
        ({"out": Path(__file__).parent}, perigrid.UsageError, "__init__.py"),
    ],
)
def test_what_cannot_be_is_refused_before_a_job_is(
    c: perigrid.Constellation, wish: dict[str, Any], kind: type[Exception], needle: str
) -> None:
    before = c.jobs()
    for method in (c.run, c.submit):
        with pytest.raises(kind, match=needle):
            method(**wish)
    assert c.jobs() == before


@pytest.mark.live
def test_votes_on_tiles_are_refused(c: perigrid.Constellation, dataset: str) -> None:
    with pytest.raises(perigrid.UsageError, match="stack of tiles"):
        c.run("tinycloud", dataset, "votes")


@pytest.mark.live
def test_new_tiles_come_on_board_of_a_constellation_that_is_up(
    c: perigrid.Constellation, tiles: NDArray[np.float32], expected_scores: NDArray[np.float32]
) -> None:
    for _ in range(2):
        # The second time they are there already.
        result = c.run("tinycloud", tiles[:5], tiles_per_shard=1)
        assert np.array_equal(result.outputs[output_name()], expected_scores[:5])
    assert sum(event["what"] == "loaded" for event in c.events()) == 1


# --- one satellite


@pytest.mark.live
def test_one_satellite_can_be_asked(
    c: perigrid.Constellation, tiles: NDArray[np.float32], expected_scores: NDArray[np.float32]
) -> None:
    with c.client("sat-02") as client:
        assert client.ready()
        metadata = client.metadata("my")
        name = metadata.inputs[0].name
        assert (metadata.inputs[0].shape, metadata.outputs[0].name) == ((-1, 4, 256, 256), output_name())
        answer = client.infer("tinycloud", {name: tiles[:2]}, parameters={"due_s": 1.5})
        assert np.array_equal(answer.outputs[output_name()], expected_scores[:2])
        assert np.array_equal(client.infer("my", {name: tiles[:1]}).outputs[output_name()], expected_scores[:1])
        assert answer.parameters["cpu_s"] > 0
        with pytest.raises(perigrid.ModelError, match="gone"):
            client.infer("gone", {name: tiles[:1]})
        with pytest.raises(perigrid.ModelError, match="gone"):
            client.metadata("gone")
        with pytest.raises(perigrid.DataError, match="shape"):
            client.infer("my", {name: tiles[:1, :3]})
        with pytest.raises(perigrid.DataError, match="datatype"):
            client.infer("my", {name: tiles[:1].astype(np.float64)})
        with pytest.raises(perigrid.DataError, match="not served"):
            client.infer("my", {name: np.array([1j])})
        with pytest.raises(perigrid.LinkBroken, match="sat-02"):
            client.infer("my", {name: tiles[:2]}, timeout_s=1e-6)
    with pytest.raises(perigrid.UsageError, match="sat-99"):
        c.client("sat-99")


@pytest.mark.live
def test_the_ground_has_an_inference_done_in_orbit(
    c: perigrid.Constellation, tiles: NDArray[np.float32], expected_scores: NDArray[np.float32]
) -> None:
    with c.client("ground") as client:
        name = client.metadata("my").inputs[0].name
        answer = client.infer("my", {name: tiles[3:4]}, parameters={"satellite": "sat-02", "priority": 1})
        assert np.array_equal(answer.outputs[output_name()], expected_scores[3:4])
        assert answer.parameters["satellite"] == "sat-02"
        assert answer.parameters["hops"] >= 1
        with pytest.raises(perigrid.ModelError, match="gone"):
            client.infer("gone", {name: tiles[:1]})
        with pytest.raises(perigrid.DataError, match="colour"):
            client.infer("my", {name: tiles[:1]}, parameters={"colour": "blue"})
        c.kill("sat-02")
        try:
            with pytest.raises(perigrid.LinkBroken, match="DEADLINE_EXCEEDED"):
                client.infer("my", {name: tiles[:1]}, parameters={"satellite": "sat-02"}, timeout_s=1.0)
        finally:
            c.restore()


# --- attach, events, displays


@pytest.mark.live
def test_whoever_attaches_leaves_it_up(c: perigrid.Constellation, dataset: str, tmp_path: Path) -> None:
    with perigrid.attach(root=c.directory.parent) as other:
        assert (other.name, other.satellites, other.rate) == ("c", ("sat-01", "sat-02", "sat-03"), 0.2)
        result = other.run("tinycloud", dataset)
    assert c.status().satellites_up == 3
    events = list(c.events())
    assert events[0]["what"] == "run"
    outcome = [event for event in events if event["what"] == "outcome"][-1]
    assert (outcome["job"], outcome["result_sha256"]) == (result.job, result.outcome.result_sha256)
    report = c.report(tmp_path / "report.html")
    assert result.outcome.result_sha256 in report.read_text()
    assert "up, 3 satellites" in repr(c)
    with pytest.raises(perigrid.NotRunning, match="nobody"):
        perigrid.attach("nobody", root=c.directory.parent)
    with pytest.raises(perigrid.NameInUse):
        perigrid.launch(c.scenario, root=c.directory.parent, name="c")


@pytest.mark.live
def test_unknown_nodes_are_named(c: perigrid.Constellation) -> None:
    for call in (c.kill, c.reboot, c.why, lambda name: c.cut("sat-01", name), lambda name: c.heal("sat-01", name)):
        with pytest.raises(perigrid.UsageError, match="sat-99"):
            call("sat-99")


# --- a process of its own


@pytest.mark.live
def test_a_constellation_goes_with_the_process_that_launched_it(tmp_path: Path) -> None:
    (tmp_path / "ring-1.toml").write_text(scenario_text(1))
    script = (
        "import os, perigrid\n"
        "c = perigrid.launch('ring-1.toml', name='mine')\n"
        "info = c._run.read()\n"
        "print(info.supervisor_pid, info.controller_pid, *(s.pid for s in info.satellites), flush=True)\n"
        "os._exit(7)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=LIMIT_S
    )
    assert done.returncode == 7, done.stderr
    assert gone([int(word) for word in done.stdout.split()])


def test_the_import_is_light_and_the_stub_says_what_there_is() -> None:
    script = f"import sys, perigrid; dir(perigrid); print([m for m in {HEAVY!r} if m in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(SOURCE_ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
    stub = ast.parse((SOURCE_ROOT / "perigrid" / "__init__.pyi").read_text())
    stated = {
        alias.name: node.module for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert stated == perigrid.HOMES
    assert all(getattr(perigrid, name) is not None for name in perigrid.__all__)
    assert set(perigrid.HOMES) <= set(dir(perigrid))
    with pytest.raises(AttributeError, match="lunch"):
        perigrid.lunch  # noqa: B018
    assert (SOURCE_ROOT / "perigrid" / "py.typed").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "needle"),
    [
        ({"scenario": "three-body-21"}, perigrid.ScenarioError, "three-body-12"),
        ({"scenario": "gone.toml"}, perigrid.MissingFile, "gone.toml"),
        ({"rate": 0.0}, perigrid.UsageError, "rate"),
        ({"clock": "sundial"}, perigrid.UsageError, "sundial"),
        ({"epoch": "yesterday"}, perigrid.ScenarioError, "epoch"),
        ({"orbit_rate": 0}, perigrid.ScenarioError, "clock.orbit_rate is 0 and must be above 0 and at most 1000"),
        ({"orbit_rate": 1001.0}, perigrid.ScenarioError, "clock.orbit_rate"),
        ({"orbit_rate": float("nan")}, perigrid.ScenarioError, "clock.orbit_rate"),
        ({"models": "cloudmusk"}, perigrid.ModelError, "cloudmask"),
        ({"models": "gone.onnx"}, perigrid.MissingFile, "gone.onnx"),
        ({"data": "gone.npy", "models": "tinycloud"}, perigrid.MissingFile, "gone.npy"),
        ({"data": np.array(["x"], object), "models": "tinycloud"}, perigrid.DataError, "objects"),
    ],
)
def test_a_launch_that_cannot_be_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: dict[str, Any], kind: type[Exception], needle: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=needle):
        perigrid.launch(**arguments)
    assert not list(tmp_path.glob("runs/*"))
