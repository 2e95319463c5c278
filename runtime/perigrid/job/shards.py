"""How is a scene shared out among satellites, and a job cut into shards?

Tiles are overlapping crops of a scene in row-major order. Each satellite gets a contiguous run of them, so that its
capture is one band of rows; a shard is a contiguous run of tiles within one capture.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from perigrid.errors import UsageError
from perigrid.job.spec import Capture, Catalogue, JobSpec, Shard
from perigrid.units import NodeId

MAX_SHARDS_PER_JOB = 100_000


def share_out(
    dataset: str,
    shape: tuple[int, int, int],
    windows: Sequence[tuple[int, int]],
    tile_px: int,
    satellites: Sequence[NodeId],
    replicas_of: Callable[[NodeId], tuple[NodeId, ...]],
    name_of: Callable[[NodeId], str],
) -> tuple[Capture, ...]:
    """Give every satellite its capture of a scene.

    `shape` is (bands, height, width); `windows` the (row, column) of each tile, tile ids being their indices.
    Satellites beyond the number of tiles get none.
    """
    captures = []
    count, takers = len(windows), min(len(satellites), len(windows))
    for i in range(takers):
        first, last = i * count // takers, (i + 1) * count // takers
        rows = [windows[t][0] for t in range(first, last)]
        top, bottom = min(rows), max(rows) + tile_px
        owner = satellites[i]
        captures.append(
            Capture(
                name=f"{dataset}@{name_of(owner)}",
                dataset=dataset,
                owner=owner,
                replicas=replicas_of(owner),
                first_row=top,
                bands=shape[0],
                height_px=bottom - top,
                width_px=shape[2],
                tiles=tuple(range(first, last)),
                rows=tuple(r - top for r in rows),
                columns=tuple(windows[t][1] for t in range(first, last)),
            )
        )
    return tuple(captures)


def share_out_stack(
    dataset: str,
    count: int,
    dtype: str,
    item_shape: tuple[int, ...],
    satellites: Sequence[NodeId],
    replicas_of: Callable[[NodeId], tuple[NodeId, ...]],
    name_of: Callable[[NodeId], str],
) -> tuple[Capture, ...]:
    """Give every satellite its run of a stack's tiles; satellites beyond their number get none."""
    captures = []
    takers = min(len(satellites), count)
    for i in range(takers):
        tiles = tuple(range(i * count // takers, (i + 1) * count // takers))
        owner = satellites[i]
        captures.append(
            Capture(
                name=f"{dataset}@{name_of(owner)}",
                dataset=dataset,
                owner=owner,
                replicas=replicas_of(owner),
                tiles=tiles,
                rows=tuple(range(len(tiles))),
                columns=(0,) * len(tiles),
                is_stack=True,
                dtype=dtype,
                item_shape=item_shape,
            )
        )
    return tuple(captures)


def next_in_ring(satellite: NodeId, neighbours: Sequence[NodeId], copies: int) -> tuple[NodeId, ...]:
    """Who holds the copies of a satellite's captures beyond its own: its neighbours, from the next one on."""
    following = sorted(neighbours, key=lambda n: (n < satellite, n))
    return tuple(following[: max(0, copies - 1)])


def cut(spec: JobSpec, catalogue: Catalogue) -> tuple[Shard, ...]:
    """The shards of a job, in order of their tiles. UsageError where the dataset is unknown or the job too large."""
    shards: list[Shard] = []
    for capture in catalogue.of(spec.dataset):
        for start in range(0, len(capture.tiles), spec.tiles_per_shard):
            part = slice(start, start + spec.tiles_per_shard)
            shards.append(
                Shard(
                    index=len(shards),
                    capture=capture.name,
                    tiles=capture.tiles[part],
                    rows=capture.rows[part],
                    columns=capture.columns[part],
                )
            )
    if len(shards) > MAX_SHARDS_PER_JOB:
        raise UsageError(
            f"job {spec.job}: {len(shards)} shards, the limit is {MAX_SHARDS_PER_JOB}; raise tiles_per_shard."
        )
    return tuple(shards)
