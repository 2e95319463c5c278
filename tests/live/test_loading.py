"""Do a user's model and data come on board of a constellation that is up, stay there, and leave the rest in peace?

One constellation for the file; each test puts on board what the ones before have not. Its results are compared with
onnxruntime alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from perigrid.app.inference_client import InferenceClient
from perigrid.app.loading import ensure
from perigrid.errors import CorruptFile, DataError, MissingFile, PerigridError, ScenarioError, UsageError
from perigrid.job.spec import Capture, JobSpec
from perigrid.live.clients import Delivered, JobClient, JobEvent
from perigrid.live.config import read_config
from perigrid.node.records import ShardAccepted
from perigrid.scenario.model import DataSource
from perigrid.wire.generated import open_inference_pb2 as protocol
from tests.live.conftest import JOB_LIMIT_S, TILES, UP_LIMIT_S, Constellation, Launcher, alive, wait_until
from tests.live.own_models import write_model

pytestmark = pytest.mark.live

COUNT = 30
OUTPUTS = ("scaled", "shifted")


@pytest.fixture(scope="module")
def constellation(launcher: Launcher) -> Iterator[Constellation]:
    """Twelve satellites at real time, which hold a scene and one model."""
    found = launcher.up("loading", rate=1.0, service_s=0.05, acquire_s=0.1)
    yield found
    launcher.end(found.run)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the user's own."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return write_model(folder / "mine.onnx")


@pytest.fixture(scope="module")
def tiles(folder: Path) -> NDArray[np.float32]:
    made = np.random.default_rng(6).standard_normal((COUNT, 17)).astype(np.float32)
    np.save(folder / "my.npy", made)
    (folder / "leaves").mkdir()
    for number, tile in enumerate(made[::-1]):
        np.save(folder / "leaves" / f"{number:02d}.npy", tile)
    return made


def load(constellation: Constellation, model: Path | None, data: Path | DataSource | None) -> tuple[Any, Any]:
    found = ensure(constellation.run, model, data, lambda text: None)
    wait_until(lambda: constellation.status()["settled"], UP_LIMIT_S, "what was loaded in its place")
    return found


def bare(model: Path, tiles: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """What onnxruntime gives for each tile alone, in one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    rows = [session.run(None, {"x": tile[None]}) for tile in tiles]
    return {name: np.concatenate([row[n] for row in rows]) for n, name in enumerate(OUTPUTS)}


def outputs_of(
    constellation: Constellation, job: str, dataset: str, on_shard: Callable[[int], None] | None = None
) -> tuple[dict[str, NDArray[np.float32]], set[int]]:
    """The outputs of a job on a stack in the order of its tiles, each of which comes once, and who computed them."""
    rows: dict[int, dict[str, bytes]] = {}
    satellites: set[int] = set()

    def hear(event: JobEvent) -> None:
        if not isinstance(event, Delivered):
            return
        assert isinstance(event.row.ending, ShardAccepted), event.row.ending
        satellites.add(event.row.ending.satellite)
        response = protocol.ModelInferResponse.FromString(event.result)
        assert [output.name for output in response.outputs] == list(OUTPUTS) and not response.parameters
        for place, tile in enumerate(event.row.tiles):
            assert tile not in rows
            rows[tile] = {
                output.name: np.frombuffer(raw, np.float32).reshape(tuple(output.shape))[place].tobytes()
                for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
            }
        if on_shard is not None:
            on_shard(len(rows))

    spec = JobSpec(job=job, model="mine", dataset=dataset, tiles_per_shard=2)
    with JobClient(constellation.run.read().jobs, constellation.run.is_up) as client:
        ending = client.run(spec, hear, limit_s=JOB_LIMIT_S)
    assert ending.outcome == "complete" and sorted(rows) == list(range(len(rows)))
    arrays = {
        name: np.stack([np.frombuffer(rows[tile][name], np.float32) for tile in sorted(rows)]) for name in OUTPUTS
    }
    return arrays, satellites


def equal(found: dict[str, NDArray[np.float32]], wanted: dict[str, NDArray[np.float32]]) -> bool:
    return {n: a.tobytes() for n, a in found.items()} == {n: a.tobytes() for n, a in wanted.items()}


def captures_of(constellation: Constellation, dataset: str) -> Sequence[Capture]:
    return read_config(constellation.directory).catalogue.of(dataset)


def held(constellation: Constellation) -> set[str]:
    """Satellite:capture of all that lies in a flash and is known to its satellite."""
    return {name for state in constellation.states().values() for name in state.captures}


def pids(constellation: Constellation) -> list[int]:
    status = constellation.status()
    return [constellation.run.read().controller_pid, *(s["pid"] for s in status["satellites"])]


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def saved(path: Path, array: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    np.save(path, array)
    return path


Refusal = tuple[Path | None, Path | None, type[PerigridError], str]


def refused(constellation: Constellation, refusals: Sequence[Refusal]) -> None:
    """Each of these is refused, and nothing of the run changes."""
    before, config = pids(constellation), (constellation.directory / "config.json").read_bytes()
    for model, data, kind, match in refusals:
        with pytest.raises(kind, match=match):
            ensure(constellation.run, model, data, lambda text: None)
    assert (constellation.directory / "config.json").read_bytes() == config
    assert pids(constellation) == before and all(alive(pid) for pid in before)


def test_what_cannot_be_loaded_is_refused_with_its_remedy(
    constellation: Constellation, folder: Path, expected_sha256: str
) -> None:
    bad = folder / "bad"
    (bad / "good").mkdir(parents=True)
    good = write_model(bad / "good" / "mine.onnx")
    refusals: list[Refusal] = [
        (written(bad / "mine.onnx", b"no model"), None, CorruptFile, r"mine\.onnx is not a model"),
        (bad / "nowhere" / "mine.onnx", None, MissingFile, r"no model file at .*nowhere/mine\.onnx"),
        (write_model(bad / "unknown.onnx"), None, ScenarioError, r"device\.service_s\.unknown"),
        (None, written(bad / "junk.npy", b"no array"), DataError, r"junk\.npy.*numpy\.save"),
        (None, written(bad / "junk.npz", b"no scene"), PerigridError, r"junk\.npz"),
        (None, bad / "nowhere.npy", MissingFile, r"no tiles at .*nowhere\.npy"),
        (None, saved(bad / "words.npy", np.array(["a"])), DataError, r"words\.npy.*save numbers"),
        (None, bad / "good", MissingFile, r"folder .*good holds no \.npy"),
        # What is right does not come on board with what is wrong.
        (good, bad / "junk.npy", DataError, r"junk\.npy"),
    ]
    refused(constellation, refusals)
    assert constellation.job("unharmed").sha256 == expected_sha256


def test_own_model_and_tiles_come_on_board_while_a_job_runs(
    constellation: Constellation,
    folder: Path,
    model: Path,
    tiles: NDArray[np.float32],
    expected_sha256: str,
) -> None:
    before = pids(constellation)
    loaded: list[tuple[Any, Any]] = []
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(constellation.job, "before")
        loaded.append(load(constellation, model, folder / "my.npy"))
        job = running.result(timeout=JOB_LIMIT_S)
    assert loaded == [("mine", "my")]
    assert job.sha256 == expected_sha256 and len(job.rows) == TILES
    found, satellites = outputs_of(constellation, "own", "my")
    assert equal(found, bare(model, tiles)) and len(satellites) == 12
    assert pids(constellation) == before and all(alive(pid) for pid in before)
    assert constellation.job("after").sha256 == expected_sha256


def test_copies_cross_the_lasers_to_their_replicas(constellation: Constellation) -> None:
    names = constellation.mesh().names
    wanted = {f"{names[node]}:{c.name}" for c in captures_of(constellation, "my") for node in (c.owner, *c.replicas)}
    assert len(wanted) == 24
    wait_until(lambda: wanted <= held(constellation), UP_LIMIT_S, "the copies on their replicas")
    for name in sorted(wanted):
        satellite, _, capture = name.partition(":")
        owner = capture.partition("@")[2]
        paths = [constellation.directory / "flash" / s / "captures" / f"{capture}.f32" for s in (satellite, owner)]
        assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_folder_of_tiles_is_taken_as_well_and_what_is_there_is_not_loaded_again(
    constellation: Constellation, folder: Path, model: Path, tiles: NDArray[np.float32]
) -> None:
    assert load(constellation, model, folder / "leaves") == ("mine", "leaves")
    found, _ = outputs_of(constellation, "leaves", "leaves")
    assert equal(found, bare(model, tiles[::-1]))
    config = (constellation.directory / "config.json").read_bytes()
    said: list[str] = []
    for data in (folder / "leaves", folder / "my.npy", None):
        ensure(constellation.run, model, data, said.append)
    ensure(constellation.run, "mine", None, said.append)
    assert said == [] and (constellation.directory / "config.json").read_bytes() == config
    (entry,) = [file for file in read_config(constellation.directory).inputs if file.name == "leaves"]
    assert entry.sources[:2] == ("00.npy", "01.npy")


def test_a_name_that_something_else_on_board_has_is_refused(
    constellation: Constellation, folder: Path, model: Path, tiles: NDArray[np.float32]
) -> None:
    other = folder / "other"
    other.mkdir()
    refusals: list[Refusal] = [
        (
            write_model(other / "mine.onnx", gain=3.0),
            None,
            UsageError,
            "another model named 'mine' is on board.*rename",
        ),
        (None, saved(other / "my.npy", tiles + 1), UsageError, "other data named 'my' are on board.*rename"),
    ]
    refused(constellation, refusals)
    assert equal(outputs_of(constellation, "kept", "my")[0], bare(model, tiles))


def test_a_satellite_that_was_dead_while_something_was_loaded_has_it_once_it_boots(
    constellation: Constellation, folder: Path, model: Path
) -> None:
    late = np.random.default_rng(9).standard_normal((COUNT, 3)).astype(np.float32)
    constellation.kill("sat-08")
    assert load(constellation, model, saved(folder / "late.npy", late)) == ("mine", "late")
    constellation.reboot("sat-08")
    found, satellites = outputs_of(constellation, "late", "late")
    assert equal(found, bare(model, late))
    assert constellation.mesh().id_of("sat-08") in satellites, "it alone holds its share"


def test_a_satellite_that_boots_after_a_load_serves_what_was_loaded(
    constellation: Constellation, model: Path, tiles: NDArray[np.float32]
) -> None:
    name = "sat-05"
    own = {f"{name}:{c.name}" for c in captures_of(constellation, "my") if name in c.name}
    for lose_flash in (False, True):
        constellation.kill(name)
        constellation.reboot(name, lose_flash=lose_flash)
        assert (own <= held(constellation)) is not lose_flash
        with InferenceClient("ground", constellation.info["gateway"]) as gateway:
            answer = gateway.infer("mine", {"x": tiles[:1]}, {"satellite": name})
        assert answer.outputs["shifted"].tobytes() == bare(model, tiles[:1])["shifted"].tobytes()
        found, _ = outputs_of(constellation, f"rebooted-{lose_flash}", "my")
        assert equal(found, bare(model, tiles)), "its lost share is on its replica"


def test_a_controller_that_starts_after_a_load_knows_what_was_loaded(
    constellation: Constellation, model: Path, tiles: NDArray[np.float32]
) -> None:
    pid = constellation.run.read().controller_pid

    def kill(rows: int) -> None:
        if rows == 2:
            constellation.kill("ground")

    found, _ = outputs_of(constellation, "replayed", "my", kill)
    assert equal(found, bare(model, tiles))
    assert not alive(pid)
    with InferenceClient("ground", constellation.info["gateway"]) as gateway:
        wait_until(gateway.ready, UP_LIMIT_S, "the new controller")
        assert [t.name for t in gateway.metadata("mine").outputs] == list(OUTPUTS)
        answer = gateway.infer("mine", {"x": tiles[:1]})
    assert answer.outputs["shifted"].tobytes() == bare(model, tiles[:1])["shifted"].tobytes()
    assert equal(outputs_of(constellation, "afterwards", "leaves")[0], bare(model, tiles[::-1]))
