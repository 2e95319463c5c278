"""Does a model that is pushed reach real workers over real links, once, and only when every byte of it is right?"""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from perigrid.app.inference_client import InferenceClient
from perigrid.app.loading import ensure
from perigrid.app.models import push, verify
from perigrid.errors import CorruptFile, UsageError
from perigrid.job.spec import JobSpec
from perigrid.live.blobs import held
from perigrid.live.clients import Delivered, JobClient, JobEvent
from perigrid.live.config import read_config
from perigrid.live.eventlog import read_events
from perigrid.live.modelclient import ModelClient
from perigrid.live.models import file_sha256
from perigrid.live.modelservice import ModelRow
from perigrid.live.modelstore import GROUND_FOLDER, FlashModels, GroundModels, PushedFile, make_manifest
from perigrid.live.pipeline import own_entry
from perigrid.node.actions import KeepPiece
from perigrid.node.blobs import whole
from perigrid.node.manifest import PIECE_BYTES, Order
from perigrid.node.records import ShardAccepted
from tests.live.conftest import JOB_LIMIT_S, UP_LIMIT_S, Constellation, Launcher, wait_until
from tests.live.own_models import GAIN, SHIFT, field, write_model

DOCUMENTATION = 6
"""The field of an ONNX model that holds text: random letters in it make a model large, and change nothing else."""

SIZE = 3_000_000
FLOATS = NDArray[np.float32]


def write_large(path: Path, seed: int = 1) -> Path:
    write_model(path)
    letters = np.random.default_rng(seed).integers(97, 123, SIZE, dtype=np.uint8).tobytes()
    path.write_bytes(path.read_bytes() + field(DOCUMENTATION, letters))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return write_large(folder / "mine.onnx")


@pytest.fixture(scope="module")
def constellation(launcher: Launcher) -> Iterator[Constellation]:
    found = launcher.up("pushing", rate=0.5, service_s=0.02, acquire_s=0.1)
    yield found
    launcher.end(found.run)


def row_of(constellation: Constellation, name: str = "mine") -> ModelRow:
    with ModelClient(constellation.run) as client:
        return next(row for row in client.table().models if row.name == name)


def states(constellation: Constellation) -> dict[str, str]:
    return {place.satellite: place.state for place in row_of(constellation).places}


def infer(constellation: Constellation, satellite: str) -> None:
    tile: FLOATS = np.arange(6, dtype=np.float32).reshape(1, 6)
    with InferenceClient("ground", constellation.info["gateway"]) as gateway:
        answer = gateway.infer("mine", {"x": tile}, {"satellite": satellite})
    assert np.array_equal(answer.outputs["shifted"], tile * np.float32(GAIN) + np.float32(SHIFT))


def ground_bytes(constellation: Constellation) -> int:
    return int(constellation.status()["bytes_over_ground_links"])


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_a_pushed_model_crosses_the_ground_link_once_and_answers_on_every_satellite(
    constellation: Constellation, model: Path
) -> None:
    before, said = ground_bytes(constellation), list[str]()
    row = push(constellation.run, str(model), sha256=file_sha256(model), limit_s=UP_LIMIT_S, say=said.append)
    size = model.stat().st_size
    assert row.sha256 == file_sha256(model) and row.uplinked_bytes == row.bytes == size
    assert {place.state for place in row.places} == {"loaded"} and len(row.places) == 12 and said
    assert size < ground_bytes(constellation) - before < 1.02 * size + 20_000
    for satellite in ("sat-01", "sat-07"):
        infer(constellation, satellite)
        flash = constellation.directory / "flash" / satellite / "models" / f"{row.sha256}.onnx"
        assert file_sha256(flash) == row.sha256
    # No process was given it any other way, and nothing says that it was.
    config = read_config(constellation.directory)
    assert "mine" not in config.model_names and not any("mine" in text for text in config.preloaded)


def test_pushing_again_moves_nothing_and_other_bytes_are_refused(
    constellation: Constellation, model: Path, folder: Path
) -> None:
    before = ground_bytes(constellation)
    assert push(constellation.run, str(model), limit_s=UP_LIMIT_S).uplinked_bytes == model.stat().st_size
    assert ground_bytes(constellation) - before < 10_000
    (folder / "other").mkdir()
    other = write_large(folder / "other" / "mine.onnx", 2)
    with pytest.raises(UsageError, match="another model named 'mine' was pushed"):
        push(constellation.run, str(other))
    with pytest.raises(CorruptFile, match=f"{file_sha256(other)}, not {file_sha256(model)}"):
        push(constellation.run, str(other), sha256=file_sha256(model))
    with pytest.raises(UsageError, match="sat-99"):
        push(constellation.run, str(model), ["sat-99"])
    # The ground's own copy is changed before it sets out: it is not sent.
    entry = own_entry(other)
    ground = GroundModels(constellation.directory / GROUND_FOLDER)
    wrong = "a" * 64
    path = ground.stow(other, PushedFile(msgspec.structs.replace(entry, sha256=wrong, name="lie"), "lie"))
    with (
        ModelClient(constellation.run) as client,
        pytest.raises(UsageError, match=f"{file_sha256(other)}, not {wrong}"),
    ):
        client.push(wrong, (), False)
    path.unlink()
    path.with_suffix(".json").unlink()


def test_a_job_of_tiles_runs_on_it_wherever_it_is_loaded(
    constellation: Constellation, model: Path, folder: Path
) -> None:
    tiles = np.random.default_rng(3).standard_normal((24, 5)).astype(np.float32)
    np.save(folder / "tiles.npy", tiles)
    assert ensure(constellation.run, model, folder / "tiles.npy", lambda text: None) == ("mine", "tiles")
    accepted: list[ShardAccepted] = []

    def hear(event: JobEvent) -> None:
        if isinstance(event, Delivered):
            assert isinstance(event.row.ending, ShardAccepted), event.row.ending
            accepted.append(event.row.ending)

    with JobClient(constellation.run.read().jobs, constellation.run.is_up) as client:
        spec = JobSpec(job="pushed", model="mine", dataset="tiles", tiles_per_shard=1)
        assert client.run(spec, hear, limit_s=JOB_LIMIT_S).outcome == "complete"
    assert len({ending.satellite for ending in accepted}) == 12


def test_a_byte_that_decays_in_flash_is_found_told_and_mended(constellation: Constellation) -> None:
    sha256 = row_of(constellation).sha256
    path = constellation.directory / "flash" / "sat-05" / "models" / f"{sha256}.onnx"
    flip(path, 2_000_000)
    found = file_sha256(path)
    verdict = verify(constellation.run, "mine", UP_LIMIT_S)
    assert verdict.right == verdict.copies == 12 and not verdict.wrong
    assert len(verdict.mended) == 1 and "sat-05" in verdict.mended[0] and found in verdict.mended[0]
    assert file_sha256(path) == sha256
    corrupt = [event for event in read_events(constellation.directory) if event["what"] == "model-corrupt"]
    assert [(e["node"], e["found"], e["expected"]) for e in corrupt] == [("sat-05", found, sha256)]
    assert constellation.command("model", "verify", "mine")["right"] == 12
    listed = constellation.command("model", "list")["models"]
    assert [(m["name"], m["preloaded"]) for m in listed] == [("tinycloud", True), ("mine", False)]
    wait_until(lambda: states(constellation)["sat-05"] == "loaded", UP_LIMIT_S, "sat-05 serving again")
    infer(constellation, "sat-05")


def test_a_satellite_that_lost_its_flash_and_a_payload_that_died_serve_it_again(constellation: Constellation) -> None:
    killed_s = constellation.now_s()
    constellation.kill("sat-08")
    constellation.reboot("sat-08", lose_flash=True)
    payload = next(s["payload_pid"] for s in constellation.status()["satellites"] if s["name"] == "sat-03")
    os.kill(payload, signal.SIGKILL)
    before = ground_bytes(constellation)

    def served_again() -> bool:
        place = next(place for place in row_of(constellation).places if place.satellite == "sat-08")
        return place.state == "loaded" and (place.rehashed_sky_s or 0.0) > killed_s

    wait_until(served_again, UP_LIMIT_S, "sat-08 serving again")
    infer(constellation, "sat-08")
    infer(constellation, "sat-03")
    # From neighbours: nothing went up again.
    assert row_of(constellation).uplinked_bytes < 1.1 * SIZE and ground_bytes(constellation) - before < 100_000


# --- the store alone


def test_flash_keeps_pieces_over_a_restart_and_a_worker_loads_none_but_what_is_right(tmp_path: Path) -> None:
    data = write_large(tmp_path / "mine.onnx").read_bytes()
    entry = own_entry(tmp_path / "mine.onnx")
    manifest = make_manifest(entry, memoryview(data))
    assert manifest.digest == hashlib.sha256(data).digest() and len(manifest.pieces) == -(-len(data) // PIECE_BYTES)
    order, files = Order(manifest, 1), FlashModels(tmp_path / "flash")
    files.open(order)

    def keep(store: FlashModels, index: int, wrong: bool = False) -> bool:
        at = manifest.offset(index)
        piece = bytearray(data[at : at + manifest.size_bytes(index)])
        piece[0] ^= wrong
        kept = store.keep(KeepPiece(manifest.digest, index, (whole(held(bytes(piece))),), manifest.pieces[index]))
        assert kept.found == hashlib.sha256(piece).digest()
        return kept.blob is not None

    assert keep(files, 0) and keep(files, 3) and not keep(files, 1, wrong=True)
    (again,) = FlashModels(tmp_path / "flash").booted()
    assert again.order == order and [index for index, _ in again.pieces] == [0, 3]
    assert files.load("mine") is None
    rest = [index for index in range(len(manifest.pieces)) if index not in (0, 3)]
    assert all(keep(files, index) for index in rest)
    answer = files.rehash(manifest.digest)
    assert answer is not None and answer.found == manifest.digest and not answer.wrong
    loaded = files.load("mine")
    assert loaded is not None and loaded.entry.name == "mine"
    files.serves(manifest.digest)
    assert FlashModels(tmp_path / "flash").served() == ("mine",)
    path = tmp_path / "flash" / f"{manifest.digest.hex()}.onnx"
    flip(path, PIECE_BYTES + 7)
    with pytest.raises(CorruptFile, match=f"{file_sha256(path)}, but was pushed as {manifest.digest.hex()}"):
        files.load("mine")
    answer = files.rehash(manifest.digest)
    assert answer is not None and answer.wrong == (1,) and answer.found != manifest.digest
    assert files.load("mine") is None and not files.served()
    files.drop(manifest.digest)
    assert not list((tmp_path / "flash").iterdir())
