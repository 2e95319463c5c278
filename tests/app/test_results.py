"""Do a job's endings become the right arrays and tables, each tile once, and are bad wishes named?"""

from __future__ import annotations

import csv
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from perigrid.app.merging import MaskMerger, TensorMerger, merger_of
from perigrid.app.reducers import Reduced, Reduction, find_reduction, reduced
from perigrid.app.results import COLUMNS, JobResult, Naming, ShardResult, TileResult, stacked
from perigrid.app.tables import check_folder, write_arrays
from perigrid.errors import Bug, EnvironmentProblem, JobFailed, MissingFile, ProtocolError, UsageError
from perigrid.job.masks import pack
from perigrid.job.spec import Capture, JobSpec
from perigrid.live.clients import Delivered
from perigrid.node.frames import Stages
from perigrid.node.records import JobEnded, ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted, Row
from perigrid.report.outcome import outcome_of
from perigrid.units import NodeId
from perigrid.wire.generated import open_inference_pb2 as protocol
from tests.app.test_outcome import status

TILES, PER_SHARD = 7, 3
ADMITTED_S = 2.0
STAGES = Stages(4.0, 0.5, 0.25, 0.01, 0.2, 3.0, 0.125, 0.0625)
SETTLED_S, DOWN_LASER_S, DOWN_GROUND_S = 9.0, 0.5, 1.0
SATELLITES = ("sat-01", "sat-02")
SOURCES = tuple(f"tile-{number}.npy" for number in range(TILES))


def stack() -> tuple[Capture, ...]:
    """Seven tiles of three numbers on two satellites."""
    return tuple(
        Capture(
            name=f"s@{SATELLITES[owner]}",
            dataset="s",
            owner=NodeId(owner),
            replicas=(),
            tiles=tiles,
            rows=tuple(range(len(tiles))),
            columns=(0,) * len(tiles),
            is_stack=True,
            item_shape=(3,),
        )
        for owner, tiles in enumerate(((0, 1, 2), (3, 4, 5, 6)))
    )


def scores(tile: int) -> NDArray[np.float32]:
    return np.arange(4, dtype=np.float32) + 10 * tile


def answer(tiles: tuple[int, ...]) -> bytes:
    """What a satellite sends of these tiles: a row of scores each, and a count."""
    response = protocol.ModelInferResponse(model_name="m")
    rows, counts = np.stack([scores(tile) for tile in tiles]), np.array(tiles, np.int64)
    for name, datatype, array in (("scores", "FP32", rows), ("file", "INT64", counts)):
        response.outputs.add(name=name, datatype=datatype, shape=array.shape)
        response.raw_output_contents.append(array.tobytes())
    return response.SerializeToString()


def accepted(shard: int, tiles: tuple[int, ...], result: bytes) -> Delivered:
    ending = ShardAccepted(
        "j", shard, b"", len(result), NodeId(shard % 2), 1, 3, SETTLED_S, STAGES, DOWN_LASER_S, DOWN_GROUND_S
    )
    return Delivered(Row(shard + 1, tiles, ending), result)


def endings(lost: frozenset[int] = frozenset()) -> list[Delivered]:
    """The endings of a job on the stack; the shards that are lost have failed."""
    made = []
    for shard, start in enumerate(range(0, TILES, PER_SHARD)):
        tiles = tuple(range(start, min(TILES, start + PER_SHARD)))
        if shard in lost:
            failed = ShardFailed("j", shard, "DEADLINE: 1 s after admission", SETTLED_S)
            made.append(Delivered(Row(shard + 1, tiles, failed), b""))
        else:
            made.append(accepted(shard, tiles, answer(tiles)))
    return made


def results_of(made: list[Delivered], merger: MaskMerger | TensorMerger) -> tuple[TileResult, ...]:
    """The tiles of what was handed on, in order."""
    naming, tiles = Naming(SATELLITES, SOURCES, ADMITTED_S), []
    for delivered in made:
        outputs = merger.take(delivered)
        if outputs is not None:
            tiles += naming.shard_result(delivered.row.ending, delivered.row.tiles, outputs).tiles
    return tuple(sorted(tiles, key=lambda tile: tile.tile))


def result(lost: frozenset[int] = frozenset(), reduce: str | Any = "none", folder: Path = Path()) -> JobResult:
    """A whole job's result."""
    merger = TensorMerger(stack())
    made = endings(lost)
    tiles = results_of(made, merger)
    spec = JobSpec(job="j", model="m", dataset="s")
    ending = JobEnded("j", "failed" if lost else "complete", 10.0, 3, 0, 0)
    admitted = Admitted("j", TILES, len(made), False, admitted_sky_s=ADMITTED_S)
    outcome = outcome_of(spec, admitted, ending, merger.handed(1.0), 2, status(2.0, 0), status(10.0, 0))
    return JobResult(outcome, tiles, reduced(find_reduction(reduce), tiles, merger), folder)


# --- merging


def test_captures_choose_the_merger() -> None:
    assert isinstance(merger_of(stack()), TensorMerger)


def test_tensors_come_back_as_they_were_sent() -> None:
    whole = result().outputs
    assert np.array_equal(whole["scores"], np.stack([scores(tile) for tile in range(TILES)]))
    assert whole["file"].tolist() == list(range(TILES))
    assert whole["file"].dtype == np.int64
    assert not whole["failed"].any()


def test_the_digest_of_a_stack_is_the_documented_one() -> None:
    whole = hashlib.sha256()
    for tile in range(TILES):
        one = hashlib.sha256()
        one.update(b"scores\0FP32\0" + np.array([1, 4], "<i4").tobytes() + scores(tile).tobytes())
        one.update(b"file\0INT64\0" + np.array([0], "<i4").tobytes() + np.int64(tile).tobytes())
        whole.update(np.array(tile, "<i4").tobytes() + one.digest())
        assert result().tiles[tile].output_sha256 == one.hexdigest()
    assert result().outcome.result_sha256 == whole.hexdigest()


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(3)), st.lists(st.integers(0, 2), max_size=4))
def test_neither_order_nor_repetition_changes_a_result(order: list[int], again: list[int]) -> None:
    merger = TensorMerger(stack())
    made = endings()
    tiles = results_of([made[i] for i in [*order, *again]], merger)
    handed = merger.handed(1.0)
    assert [tile.tile for tile in tiles] == list(range(TILES))
    assert (handed.repeated, handed.coverage_error) == (len(again), None)
    assert handed.result_sha256 == result().outcome.result_sha256


def test_a_tile_of_two_shards_is_refused() -> None:
    merger = TensorMerger(stack())
    merger.take(accepted(0, (0, 1), answer((0, 1))))
    with pytest.raises(ProtocolError, match="tile 1"):
        merger.take(accepted(1, (1, 2), answer((1, 2))))


@pytest.mark.parametrize(
    ("spoil", "needle"),
    [
        (lambda r: r.outputs[0].shape.__setitem__(0, 2), "FP32"),
        (lambda r: r.raw_output_contents.pop(), "1 raw contents"),
        (lambda r: setattr(r.outputs[0], "datatype", "BYTES"), "BYTES"),
        (lambda r: (r.outputs[0].shape.__setitem__(0, 6), r.outputs[0].shape.__setitem__(1, 2)), "a row a tile"),
        (lambda r: r.outputs[0].shape.extend([-1, -1]), "which they are not"),
    ],
)
def test_a_result_that_is_none_is_refused(spoil: Any, needle: str) -> None:
    response = protocol.ModelInferResponse.FromString(answer((0, 1, 2)))
    spoil(response)
    with pytest.raises(ProtocolError, match=needle):
        TensorMerger(stack()).take(accepted(0, (0, 1, 2), response.SerializeToString()))
    with pytest.raises(ProtocolError, match="no ModelInferResponse"):
        TensorMerger(stack()).take(accepted(0, (0, 1, 2), b"\xff\xff\xff"))


def test_masks_are_read_back_tile_by_tile() -> None:
    side = 4
    capture = Capture(
        name="c", dataset="c", owner=NodeId(0), replicas=(), tiles=(0, 1), rows=(0, 0), columns=(0, 2),
        bands=1, height_px=side, width_px=side + 2,
    )  # fmt: skip
    masks = [np.arange(16, dtype=np.uint8).reshape(side, side) % 3, np.full((side, side), 2, np.uint8)]
    merger = merger_of((capture,))
    assert isinstance(merger, MaskMerger)
    packed = b"".join(pack(mask).tobytes() for mask in masks)
    tiles = results_of([accepted(0, (0, 1), packed)], merger)
    for tile, mask in zip(tiles, masks, strict=True):
        assert np.array_equal(tile.outputs["mask"], mask)
        assert tile.output_sha256 == hashlib.sha256(pack(mask).tobytes()).hexdigest()


# --- tiles and shards


def test_times_of_a_tile_sum_up() -> None:
    tile = result().tiles[0]
    parts = (tile.uplink_s, tile.lasers_s, tile.waiting_s, tile.queue_s, tile.inference_s, tile.downlink_s)
    assert sum(part for part in parts if part is not None) == pytest.approx(SETTLED_S - ADMITTED_S)
    assert (tile.uplink_s, tile.lasers_s, tile.downlink_s) == (0.0625, 0.625, 1.0)
    assert (tile.sent_s, tile.arrived_s, tile.settled_s, tile.queue_s) == (3.0, 4.0, 9.0, 0.5)
    assert (tile.satellite, tile.attempt, tile.hops, tile.source) == ("sat-01", 1, 3, "tile-0.npy")


def test_failed_tiles_are_rows_too_and_leave_holes() -> None:
    found = result(lost=frozenset({1}))
    assert not found.complete
    assert found.failed.tolist() == [False] * 3 + [True] * 3 + [False]
    whole = found.outputs
    assert np.isnan(whole["scores"][3:6]).all()
    assert whole["file"].tolist() == [0, 1, 2, 0, 0, 0, 6]
    assert whole["failed"].tolist() == found.failed.tolist()
    tile = found.tiles[3]
    assert (tile.satellite, tile.attempt, tile.waiting_s, tile.output_sha256) == ("", None, None, "")
    with pytest.raises(JobFailed, match="DEADLINE"):
        _ = tile.outputs
    with pytest.raises(JobFailed, match=r"2 of 3 shards accepted.*DEADLINE"):
        found.check()
    assert not found.outcome.coverage_ok


def test_missing_tiles_are_named() -> None:
    merger = TensorMerger(stack())
    results_of(endings(frozenset({1})), merger)
    assert merger.coverage_error() == "3 of 7 tiles are missing: 3, 4, 5"


def test_a_job_of_which_nothing_came_has_only_failed_tiles() -> None:
    found = result(lost=frozenset({0, 1, 2}))
    assert list(found.outputs) == ["failed"]
    assert found.failed.all()


def test_outputs_of_different_shapes_are_given_tile_by_tile() -> None:
    parts = [np.zeros(2), np.zeros(3)]
    tiles = [made_tile(number, {"boxes": part, "failed": np.ones(1)}) for number, part in enumerate(parts)]
    whole = stacked(tiles)
    assert set(whole) == {"boxes.0", "boxes.1", "failed", "failed_tiles"}
    assert whole["failed"].shape == (2, 1)
    assert whole["failed_tiles"].dtype == np.bool_


def made_tile(number: int, arrays: dict[str, NDArray[Any]]) -> TileResult:
    from perigrid.app.merging import TileOutput

    naming = Naming(SATELLITES, (), ADMITTED_S)
    ending = accepted(0, (number,), b"").row.ending
    output = TileOutput(number, b"", lambda: arrays)
    return naming.shard_result(ending, (number,), (output,)).tiles[0]


def test_a_shard_stacks_its_own_tiles() -> None:
    shard = ShardResult("j", 0, result().tiles[:3])
    assert shard.outputs["scores"].shape == (3, 4)
    assert (shard.satellite, shard.attempt, shard.ok) == ("sat-01", 1, True)


# --- reductions


def test_a_function_gets_all_tiles_in_order_once() -> None:
    calls = []

    def largest(tiles: tuple[TileResult, ...]) -> dict[str, Any]:
        calls.append([tile.tile for tile in tiles])
        return {"largest": max(float(tile.outputs["scores"].max()) for tile in tiles), "n": np.int64(len(tiles))}

    found = result(reduce=largest)
    assert calls == [list(range(TILES))]
    assert found.value == {"largest": 63.0, "n": TILES}
    assert json.loads(found.reduced.text or b"") == {"largest": 63.0, "n": TILES}
    assert found.reduce.endswith("largest")
    with pytest.raises(UsageError, match="no merged mask"):
        _ = found.mask


@pytest.mark.parametrize(
    ("value", "names"),
    [(np.arange(3), ["reduced"]), ({"a": np.zeros(1), "b": np.ones(2)}, ["a", "b"])],
)
def test_arrays_of_a_function_stay_arrays(value: Any, names: list[str]) -> None:
    found = result(reduce=lambda tiles: value)
    assert found.reduced.arrays is not None
    assert list(found.reduced.arrays) == names


@pytest.mark.parametrize(
    "value", [object(), {"a": {1, 2}, "b": object()}, np.array([None, "x"], object), {1: object()}]
)
def test_what_cannot_be_saved_is_named(value: Any) -> None:
    with pytest.raises(UsageError, match=r"<lambda>.*return"):
        result(reduce=lambda tiles: value)


def test_a_function_that_fails_is_named_with_its_place() -> None:
    def count(tiles: Any) -> int:
        return int(tiles[0].outputs["clouds"].sum())

    with pytest.raises(UsageError, match=r"count.*KeyError: 'clouds' at .*test_results.py:\d+"):
        result(reduce=count)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("wish", "needle"),
    [
        ("vote", "votes"),
        ("own_reduction", "module:function"),
        ("no_such_module_here:count", "no_such_module_here.py"),
        ("own_reduction_1:cuont", "cuont"),
        ("own_reduction_1:NUMBER", "cannot be called"),
        ("own_reduction_1:two", "one argument"),
        ("own_reduction_2:count", r"ZeroDivisionError.*own_reduction_2.py:1"),
    ],
)
def test_a_reduction_that_cannot_be_is_refused_at_once(elsewhere: Path, wish: str, needle: str) -> None:
    (elsewhere / "own_reduction_1.py").write_text("NUMBER = 3\ndef two(a, b):\n    return a\n")
    (elsewhere / "own_reduction_2.py").write_text("x = 1 / 0\n")
    before = list(sys.path)
    with pytest.raises(UsageError, match=needle):
        find_reduction(wish)
    assert sys.path == before


def test_a_reduction_in_the_current_folder_is_found(elsewhere: Path) -> None:
    (elsewhere / "own_reduction_3.py").write_text("def count(tiles):\n    return len(tiles)\n")
    assert result(reduce="own_reduction_3:count").value == TILES


def test_votes_need_a_scene() -> None:
    with pytest.raises(UsageError, match="stack of tiles"):
        find_reduction("votes").fitting(stack()[0])
    assert find_reduction(None).fitting(stack()[0]) == Reduction("none")


# --- files


def test_a_result_is_saved_and_read_back(tmp_path: Path) -> None:
    found = result(lost=frozenset({1}))
    folder = found.save(tmp_path / "out", parquet=True)
    with np.load(folder / "outputs.npz") as arrays:
        assert set(arrays) == {"scores", "file", "failed"}
        assert np.array_equal(arrays["scores"], found.outputs["scores"], equal_nan=True)
    assert json.loads((folder / "outcome.json").read_text()) == json.loads(msgspec.json.encode(found.outcome))
    with (folder / "tiles.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    assert [row["source"] for row in rows] == list(SOURCES)
    assert (rows[3]["inference_s"], rows[3]["error"]) == ("", "DEADLINE: 1 s after admission")
    assert float(rows[0]["lasers_s"]) == 0.625
    import pyarrow.parquet

    assert pyarrow.parquet.read_table(folder / "tiles.parquet").to_pylist() == found.table()


def test_an_earlier_result_is_replaced_whole(tmp_path: Path) -> None:
    result(reduce=lambda tiles: 1).save(tmp_path)
    assert (tmp_path / "reduced.json").read_text() == "1\n"
    result(reduce=lambda tiles: np.arange(2)).save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outcome.json", "reduced.npz", "tiles.csv"]


@pytest.mark.parametrize("name", ["thesis.tex", "mask.npz", "outcome.json"])
def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(UsageError, match=name):
        result().save(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    with pytest.raises(UsageError, match="is a file"):
        check_folder(tmp_path / name, parquet=False)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentProblem, match="--out"):
        result().save(tmp_path / "file" / "out")


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingFile, match=r"pip install 'perigrid\[parquet\]'"):
        result().save(tmp_path / "out", parquet=True)
    assert not (tmp_path / "out").exists()


def test_arrays_may_have_any_name(tmp_path: Path) -> None:
    arrays = {"file": np.arange(3), "allow_pickle": np.ones((2, 2)), "a/b": np.array(1.5)}
    write_arrays(tmp_path / "x.npz", arrays)
    write_arrays(tmp_path / "y.npz", arrays)
    with np.load(tmp_path / "x.npz") as read:
        assert {name: read[name].tolist() for name in read} == {name: array.tolist() for name, array in arrays.items()}
    assert (tmp_path / "x.npz").read_bytes() == (tmp_path / "y.npz").read_bytes()


# --- notebooks


def test_whatever_is_shown_in_a_notebook_is_escaped() -> None:
    tiles = result().tiles
    evil = JobResult(
        msgspec.structs.replace(result().outcome, job="<script>alert(1)</script>"), tiles, Reduced("none", {}), Path()
    )
    html = evil._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html
    assert "sat-01" in html
    failed = ShardResult("j", 0, result(lost=frozenset({0})).tiles[:3])
    assert "DEADLINE" in failed._repr_html_()
    assert "7 tiles" in repr(result())
    assert "result_sha256" in str(result())


def test_a_tile_added_twice_to_a_mask_is_a_bug() -> None:
    capture = Capture(
        name="c", dataset="c", owner=NodeId(0), replicas=(), tiles=(0,), rows=(0,), columns=(0,),
        bands=1, height_px=2, width_px=2,
    )  # fmt: skip
    merger, packed = MaskMerger((capture,)), pack(np.zeros((2, 2), np.uint8)).tobytes()
    merger.take(accepted(0, (0,), packed))
    with pytest.raises(Bug, match="added twice"):
        merger.take(accepted(1, (0,), packed))
