"""Is a stack of tiles taken as it was saved, and is what is none refused with its file and a remedy?"""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from perigrid.errors import DataError, MissingFile, ModelError, PerigridError, ScenarioError
from perigrid.live import stacks
from perigrid.live.cargo import stow
from perigrid.live.config import Cargo
from perigrid.live.models import ModelStore
from perigrid.live.rundir import RunDirectory
from perigrid.live.scenes import SceneSearch
from perigrid.live.stacks import is_stack, load_stack
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import DataSource
from tests.conftest import ring_scenario
from tests.live.own_models import write_model

DESCRIPTORS = 128


def save(path: Path, array: Any) -> Path:
    np.save(path, array)
    return path


def test_a_file_is_a_stack_of_its_first_axis(tmp_path: Path) -> None:
    tiles = np.random.default_rng(1).random((5, 2, 3)).astype(np.float32)
    found = load_stack(save(tmp_path / "my.npy", tiles))
    assert (found.name, found.dtype, found.sources) == ("my", "FP32", ())
    assert np.array_equal(found.tiles, tiles)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("?", "BOOL"),
        ("u1", "UINT8"),
        ("<i2", "INT16"),
        (">i4", "INT32"),
        ("<u8", "UINT64"),
        ("<f2", "FP16"),
        (">f8", "FP64"),
    ],
)
def test_numbers_of_every_type_and_order_are_little_endian_afterwards(tmp_path: Path, kind: str, name: str) -> None:
    tiles = np.arange(6).astype(kind).reshape(3, 2)
    found = load_stack(save(tmp_path / "my.npy", tiles))
    assert found.dtype == name and found.tiles.tolist() == tiles.tolist()
    assert found.tiles.tobytes() == tiles.astype(np.dtype(kind).newbyteorder("<")).tobytes()


def test_the_order_of_the_axes_in_memory_does_not_matter(tmp_path: Path) -> None:
    tiles = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    plain = load_stack(save(tmp_path / "my.npy", tiles))
    fortran = load_stack(save(tmp_path / "fortran.npy", np.asfortranarray(tiles)))
    assert plain.sha256() == fortran.sha256()
    other = load_stack(save(tmp_path / "other.npy", tiles.reshape(4, 2, 3)))
    assert other.sha256() != plain.sha256(), "the shape counts"
    digest = hashlib.sha256(f"FP32 {tiles.shape} ".encode() + tiles.tobytes())
    assert plain.sha256() == digest.hexdigest()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """This process may open no more files than a stack has tiles."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
def test_a_folder_is_a_stack_of_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = tmp_path / "tiles"
    folder.mkdir()
    count = 2 * DESCRIPTORS
    for number in np.random.default_rng(1).permutation(count).tolist():
        save(folder / f"{number:04d}.npy", np.full((2, 2), number, np.float32))
    (folder / "notes.txt").write_text("not a tile")
    found = load_stack(folder)
    assert found.tiles[:, 0, 0].tolist() == list(range(count))
    assert found.sources[:2] == ("0000.npy", "0001.npy") and len(found.sources) == count
    assert found.sha256() == load_stack(save(tmp_path / "one.npy", found.tiles)).sha256()


def test_a_folder_or_a_npy_file_is_taken_for_a_stack(tmp_path: Path) -> None:
    assert is_stack("tiles.npy") and is_stack(str(tmp_path))
    assert not is_stack("scene.npz") and not is_stack("spyndex")


def zipped(path: Path) -> Path:
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    return path


def pickled(path: Path) -> Path:
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda p: save(p, np.zeros((0, 4))), r"shape \[0, 4\]"),
        (lambda p: save(p, np.zeros((1,) * 9)), "at most 8 dimensions"),
        (lambda p: save(p, np.zeros((3, 2), complex)), "complex128.*save numbers"),
        (lambda p: save(p, np.array(["a"])), "save numbers"),
        (lambda p: save(p, np.zeros(3, [("a", "f4")])), "save numbers"),
        (zipped, "numpy.save"),
        (pickled, "numpy.save"),
        (lambda p: written(p, b""), "numpy.save"),
        (lambda p: written(p, b"no array"), "numpy.save"),
        (lambda p: written(p, b"PK\x03\x04 no archive"), "numpy.save"),
        (lambda p: written(p, zipped(p).read_bytes()[:-30]), "numpy.save"),
        (lambda p: written(p, save(p, np.zeros((8, 8))).read_bytes()[:-8]), "numpy.save"),
    ],
)
@pytest.mark.parametrize("in_folder", [False, True])
def test_what_is_no_stack_is_refused(tmp_path: Path, make: Any, match: str, in_folder: bool) -> None:
    (tmp_path / "f").mkdir()
    path = make(tmp_path / "f" / "bad.npy")
    if in_folder:
        # There the number of tiles is one axis more.
        match = match.replace("[0, 4", "[1, 0, 4")
    with pytest.raises(DataError, match=match) as caught:
        load_stack(path.parent if in_folder else path)
    assert str(path.parent) in str(caught.value)


def test_a_single_number_is_no_stack_but_may_be_a_tile(tmp_path: Path) -> None:
    path = save(tmp_path / "3.npy", np.float32(3))
    with pytest.raises(DataError, match=r"shape \[\]"):
        load_stack(path)
    assert load_stack(tmp_path).tiles.tolist() == [3.0]


def test_what_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"no tiles at .*nowhere\.npy"):
        load_stack(tmp_path / "nowhere.npy")
    with pytest.raises(MissingFile, match=r"holds no \.npy file"):
        load_stack(tmp_path)


@pytest.mark.parametrize("other", [np.zeros((2, 3), np.float32), np.zeros((2, 2), np.float64)])
def test_the_tiles_of_a_folder_are_alike(tmp_path: Path, other: Any) -> None:
    save(tmp_path / "a.npy", np.zeros((2, 2), np.float32))
    save(tmp_path / "b.npy", other)
    with pytest.raises(DataError, match=r"b\.npy holds .* but a\.npy holds float32 \[2, 2\]"):
        load_stack(tmp_path)


def test_stacks_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    tiles = np.zeros((4, 8), np.float32)
    for number, tile in enumerate(tiles):
        save(folder / f"{number}.npy", tile)
    path = save(tmp_path / "my.npy", tiles)
    monkeypatch.setattr(stacks, "MAX_TILES", 4)
    monkeypatch.setattr(stacks, "MAX_STACK_BYTES", 4 * 160)
    assert len(load_stack(path).tiles) == len(load_stack(folder).tiles) == 4
    monkeypatch.setattr(stacks, "MAX_STACK_BYTES", tiles.nbytes - 1)
    for given in (path, folder):
        with pytest.raises(DataError, match="split it into several"):
            load_stack(given)
    monkeypatch.setattr(stacks, "MAX_STACK_BYTES", 10**6)
    monkeypatch.setattr(stacks, "MAX_TILES", 3)
    for given in (path, folder):
        with pytest.raises(DataError, match="4 tiles, the limit is 3"):
            load_stack(given)


# --- into a run directory


def stowed(tmp_path: Path, models: list[str], files: list[Path]) -> Cargo:
    run = RunDirectory(tmp_path / "run")
    (run.path / "inputs").mkdir(parents=True, exist_ok=True)
    sources = [DataSource(file=str(file)) for file in files]
    search = SceneSearch.from_environment({"HOME": "/nowhere"})
    return stow(run, Mesh(ring_scenario()), models, sources, ModelStore(), search, lambda text: None)


def test_a_stack_is_shared_out_in_runs_and_each_satellite_has_its_own(tmp_path: Path) -> None:
    tiles = np.random.default_rng(1).random((30, 3)).astype(np.float32)
    cargo = stowed(tmp_path, [], [save(tmp_path / "my.npy", tiles)])
    assert [t for c in cargo.captures for t in c.tiles] == list(range(30))
    assert len(cargo.captures) == 12 and len({c.owner for c in cargo.captures}) == 12
    mesh = Mesh(ring_scenario())
    for capture in cargo.captures:
        path = tmp_path / "run" / "flash" / mesh.names[capture.owner] / "captures" / f"{capture.name}.f32"
        assert path.read_bytes() == tiles[list(capture.tiles)].tobytes()
        assert path.stat().st_size == capture.size_bytes
    (kept,) = cargo.inputs
    assert (kept.name, kept.kind) == ("my", "data") and np.array_equal(np.load(kept.path), tiles)


def test_a_model_called_like_another_s_form_is_refused(tmp_path: Path) -> None:
    for name in ("my.tiles", "my.mask"):
        with pytest.raises(ModelError, match=f"{name}.*rename"):
            stowed(tmp_path, [str(write_model(tmp_path / f"{name}.onnx"))], [])


@pytest.mark.parametrize("name", [".", "..", "./"])
def test_a_folder_without_a_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below" if name == ".." else tmp_path)
    run = RunDirectory(tmp_path / "run")
    search = SceneSearch.from_environment({"HOME": "/nowhere"})
    with pytest.raises(DataError, match="ends without a name"):
        stow(run, Mesh(ring_scenario()), [], [DataSource(file=name)], ModelStore(), search, lambda text: None)


def test_two_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    twice = [save(folder / "my.npy", np.zeros((3, 2))) for folder in (tmp_path, tmp_path / "other")]
    with pytest.raises(ScenarioError, match="two datasets have the name 'my'"):
        stowed(tmp_path, [], twice)
    models = [str(write_model(folder / "mine.onnx")) for folder in (tmp_path, tmp_path / "other")]
    with pytest.raises(PerigridError, match="two have the same name"):
        stowed(tmp_path, models, [])
