"""Does every tile end up in exactly one shard, on a satellite that holds it?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.errors import UsageError
from perigrid.job import shards as shards_module
from perigrid.job.masks import windows
from perigrid.job.shards import cut, next_in_ring, share_out
from perigrid.job.spec import MAX_TILES_PER_SHARD, Capture, Catalogue, JobSpec
from perigrid.units import NodeId

TILE_PX = 256
SIDES = st.integers(TILE_PX, 700)
STRIDES = st.integers(60, TILE_PX)


def shares(height: int, width: int, stride: int, satellites: int) -> tuple[list[tuple[int, int]], tuple[Capture, ...]]:
    corners = [(int(r), int(c)) for r, c in windows(height, width, TILE_PX, stride)]
    nodes = [NodeId(n) for n in range(satellites)]
    captures = share_out(
        "scene", (4, height, width), corners, TILE_PX, nodes, lambda n: (NodeId((n + 1) % satellites),), str
    )
    return corners, captures


def spec(tiles_per_shard: int = 4, dataset: str = "scene") -> JobSpec:
    return JobSpec(job="a", model="m", dataset=dataset, tiles_per_shard=tiles_per_shard)


@given(SIDES, SIDES, STRIDES, st.integers(1, 20))
def test_each_tile_is_born_on_one_satellite_in_contiguous_runs(h: int, w: int, stride: int, satellites: int) -> None:
    corners, captures = shares(h, w, stride, satellites)
    assert [t for c in captures for t in c.tiles] == list(range(len(corners)))
    assert [c.owner for c in captures] == list(range(min(satellites, len(corners))))
    sizes = [len(c.tiles) for c in captures]
    assert max(sizes) - min(sizes) <= 1, "no satellite has much more to do than another"


@given(SIDES, SIDES, STRIDES, st.integers(1, 20))
def test_a_capture_is_the_band_of_rows_that_its_tiles_need(h: int, w: int, stride: int, satellites: int) -> None:
    corners, captures = shares(h, w, stride, satellites)
    for capture in captures:
        assert capture.width_px == w and capture.bands == 4
        assert capture.first_row >= 0 and capture.first_row + capture.height_px <= h
        assert min(capture.rows) == 0 and max(capture.rows) + TILE_PX == capture.height_px
        for tile, row, column in zip(capture.tiles, capture.rows, capture.columns, strict=True):
            assert (capture.first_row + row, column) == corners[tile]
        assert capture.size_bytes == 4 * 4 * capture.height_px * w


@given(SIDES, SIDES, STRIDES, st.integers(1, 20), st.integers(1, MAX_TILES_PER_SHARD))
def test_shards_cover_all_tiles_once_and_never_mix_captures(
    h: int, w: int, stride: int, satellites: int, per_shard: int
) -> None:
    corners, captures = shares(h, w, stride, satellites)
    catalogue = Catalogue(captures)
    shards = cut(spec(per_shard), catalogue)
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert [t for shard in shards for t in shard.tiles] == list(range(len(corners)))
    for shard in shards:
        capture = catalogue.named(shard.capture)
        assert capture is not None and 1 <= len(shard.tiles) <= per_shard
        places = dict(zip(capture.tiles, zip(capture.rows, capture.columns, strict=True), strict=True))
        assert [places[t] for t in shard.tiles] == list(zip(shard.rows, shard.columns, strict=True))
    assert cut(spec(per_shard), catalogue) == shards, "equal inputs are cut equally"


@given(st.integers(1, 40), st.integers(1, 4))
def test_copies_go_to_the_next_in_the_ring(satellites: int, copies: int) -> None:
    for n in range(satellites):
        neighbours = sorted({NodeId((n - 1) % satellites), NodeId((n + 1) % satellites)} - {NodeId(n)})
        holders = next_in_ring(NodeId(n), neighbours, copies)
        assert len(holders) == min(copies - 1, len(neighbours)) == len(set(holders))
        if holders:
            assert holders[0] == (n + 1) % satellites and n not in holders


def test_an_unknown_dataset_is_refused_with_those_there_are() -> None:
    _, captures = shares(512, 512, 256, 2)
    with pytest.raises(UsageError, match=r"'other'.*holds: scene"):
        cut(spec(dataset="other"), Catalogue(captures))


def test_a_job_of_too_many_shards_is_refused_and_one_less_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    _, captures = shares(512, 512, 256, 2)
    monkeypatch.setattr(shards_module, "MAX_SHARDS_PER_JOB", 4)
    assert len(cut(spec(1), Catalogue(captures))) == 4
    monkeypatch.setattr(shards_module, "MAX_SHARDS_PER_JOB", 3)
    with pytest.raises(UsageError, match="raise tiles_per_shard"):
        cut(spec(1), Catalogue(captures))


@pytest.mark.parametrize(
    "changes",
    [
        {"job": ""},
        {"job": "x" * 65},
        {"job": "a/b"},
        {"job": "ä"},
        {"tiles_per_shard": 0},
        {"tiles_per_shard": MAX_TILES_PER_SHARD + 1},
        {"deadline_s": 0.0},
        {"deadline_s": -1.0},
        {"deadline_s": float("nan")},
    ],
)
def test_a_job_that_cannot_be_is_refused(changes: dict[str, object]) -> None:
    values = {"job": "a", "model": "m", "dataset": "d", **changes}
    with pytest.raises(UsageError):
        JobSpec(**values).check()  # type: ignore[arg-type]


def test_a_job_at_its_bounds_is_taken() -> None:
    JobSpec(job="x" * 64, model="m", dataset="d", tiles_per_shard=MAX_TILES_PER_SHARD, deadline_s=0.1).check()
