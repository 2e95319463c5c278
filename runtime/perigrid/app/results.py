"""What does a user get of a job: of each tile, of each shard as it arrives, and of the whole?

Times are emulated seconds. Those of a tile are its shard's, since a shard's tiles are computed and carried together;
they sum up: settled - admitted = uplink + lasers + waiting + queue + inference + downlink, where waiting is what was
spent held on the ground, in custody or in front of links, and on attempts that came to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from perigrid.app.merging import MASK, Arrays, TileOutput
from perigrid.errors import JobFailed, UsageError
from perigrid.node.records import ShardAccepted, ShardFailed
from perigrid.report.outcome import MAX_CAUSES_SHOWN, Outcome, lines_of

if TYPE_CHECKING:
    from perigrid.app.reducers import Reduced

FAILED = "failed"
"""Name of the array that says which tiles have no result, bool [N]."""


@dataclass(frozen=True, slots=True)
class TileResult:
    """One tile of a job: who computed it, how long each stage took, and its outputs.

    `source` is the file that it came from where the data is a folder, else "". `attempt` counts from 1 and `hops` are
    links on the way down. `sent_s`, `arrived_s` and `settled_s` are moments, seconds since the scenario's epoch: when
    its assignment left the ground, when that reached the satellite, and when the result was durable on the ground. The
    other times last; `desk_wait_s` and `cpu_s` are this machine's own. `error` names why there is no result, or is "";
    with an error, satellite and digest are "", and numbers are None.
    """

    tile: int
    source: str
    shard: int
    satellite: str
    attempt: int | None
    hops: int | None
    settled_s: float
    sent_s: float | None
    arrived_s: float | None
    queue_s: float | None
    uplink_s: float | None
    lasers_s: float | None
    waiting_s: float | None
    inference_s: float | None
    downlink_s: float | None
    desk_wait_s: float | None
    cpu_s: float | None
    output_sha256: str
    error: str
    output: TileOutput | None = field(default=None, repr=False, compare=False)

    @property
    def ok(self) -> bool:
        """Whether the tile has a result."""
        return not self.error

    @property
    def outputs(self) -> Arrays:
        """The tile's output arrays by name, without the batch's axis; of a scene's tile `mask` uint8 [H,W].

        JobFailed for a tile without a result. UsageError where outputs were not kept, as with reduce="votes", which
        keeps only the merged mask.
        """
        if self.error:
            raise JobFailed(f"tile {self.tile} has no result: {self.error}; look at `error` before its outputs.")
        if self.output is None:
            raise UsageError(
                f'the outputs of tile {self.tile} were merged and not kept; run the job with reduce="none", or take '
                "them as they arrive from `submit`."
            )
        return self.output.read()


COLUMNS = tuple(each.name for each in fields(TileResult) if each.name != "output")
"""Columns of the tables of tiles, in order."""


@dataclass(frozen=True, slots=True)
class ShardResult:
    """One shard that has ended: its tiles, in order. They were computed together, and were settled once."""

    job: str
    shard: int
    tiles: tuple[TileResult, ...]

    @property
    def satellite(self) -> str:
        """Name of the satellite that computed it, or "" where it failed."""
        return self.tiles[0].satellite

    @property
    def attempt(self) -> int | None:
        """Which attempt succeeded, counted from 1; None where none did."""
        return self.tiles[0].attempt

    @property
    def error(self) -> str:
        """Why it failed, or ""."""
        return self.tiles[0].error

    @property
    def ok(self) -> bool:
        """Whether it has a result."""
        return not self.error

    @property
    def outputs(self) -> Arrays:
        """The tiles' outputs by name, a row a tile; raises what `TileResult.outputs` raises."""
        parts = [tile.outputs for tile in self.tiles]
        return {name: np.stack([part[name] for part in parts]) for name in parts[0]}

    def _repr_html_(self) -> str:
        from perigrid.app.display import shard_html

        return shard_html(self)


@dataclass(frozen=True, slots=True, repr=False)
class JobResult:
    """A finished job: its outcome, its tiles in order, and what was made of them.

    `outcome` is what `perigrid run --json` prints; `reduce` says what made `value`: "votes" a mask uint8 [H,W] (255
    where nothing voted), "none" the outputs as `outputs` gives them, else whatever the user's function returned.
    `directory` is where the run keeps the result.
    """

    outcome: Outcome
    tiles: tuple[TileResult, ...]
    reduced: Reduced
    directory: Path

    @property
    def job(self) -> str:
        """The job's id."""
        return self.outcome.job

    @property
    def reduce(self) -> str:
        """How the tiles were merged: "votes", "none" or the function's name."""
        return self.reduced.name

    @property
    def value(self) -> Any:
        """What the reduction made."""
        return self.reduced.value

    @property
    def complete(self) -> bool:
        """Whether every tile has its result, handed on exactly once."""
        return self.outcome.complete

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which tiles have no result, bool [N]."""
        return np.array([not tile.ok for tile in self.tiles], np.bool_)

    @property
    def mask(self) -> NDArray[np.uint8]:
        """The merged mask, uint8 [H,W]; UsageError where the job was not reduced by votes."""
        if self.reduce != "votes":
            raise UsageError(
                f"job {self.job} was reduced by {self.reduce}, so it has no merged mask; take `value` or `outputs`."
            )
        mask: NDArray[np.uint8] = self.value
        return mask

    @property
    def outputs(self) -> Arrays:
        """The tiles' outputs by name, [N, ...] in the order of tiles, as `stacked` makes them.

        UsageError where they were not kept.
        """
        return dict(self.value) if self.reduce == "none" else stacked(self.tiles)

    def check(self) -> JobResult:
        """The result itself where it is complete; else JobFailed with the causes."""
        if self.complete:
            return self
        o = self.outcome
        causes = sorted(o.failures.items(), key=lambda item: -item[1])[:MAX_CAUSES_SHOWN]
        named = "; ".join(f"{count} shards: {cause}" for cause, count in causes) or "the merged result is not whole"
        raise JobFailed(
            f"job {o.job}: {o.accepted} of {o.shards} shards accepted, {o.failed} failed, {o.duplicates_to_client} "
            f"handed on twice ({named}); see {self.directory}."
        )

    def table(self) -> list[dict[str, Any]]:
        """A row a tile, as tiles.csv has them: `pandas.DataFrame(result.table())`."""
        return [row_of(tile) for tile in self.tiles]

    def save(self, folder: str | Path, parquet: bool = False) -> Path:
        """Write outcome.json, tiles.csv and the arrays into a folder, and tiles.parquet where asked for; the folder.

        UsageError for a folder that holds files which are no result's, EnvironmentProblem where it cannot be written.
        """
        from perigrid.app.tables import check_folder, save

        path = Path(folder)
        check_folder(path, parquet)
        save(path, self, parquet)
        return path

    def __str__(self) -> str:
        return "\n".join(lines_of(self.outcome))

    def __repr__(self) -> str:
        o = self.outcome
        return f"<JobResult {o.job}: {o.outcome}, {o.accepted} of {o.shards} shards, {o.tiles} tiles, by {self.reduce}>"

    def _repr_html_(self) -> str:
        from perigrid.app.display import result_html

        return result_html(self)


@dataclass(frozen=True, slots=True)
class Naming:
    """What turns a job's endings into results for people: names of satellites and of the tiles' files."""

    satellites: Sequence[str]
    sources: Sequence[str]
    admitted_s: float

    def shard_result(
        self, ending: ShardAccepted | ShardFailed, tiles: tuple[int, ...], outputs: tuple[TileOutput, ...]
    ) -> ShardResult:
        """The result of one ended shard; `outputs` are its tiles', none where it failed."""
        if isinstance(ending, ShardFailed):
            made = tuple(self._failed(ending, tile) for tile in tiles)
        else:
            made = tuple(self._accepted(ending, output) for output in outputs)
        return ShardResult(ending.job, ending.shard, made)

    def _source(self, tile: int) -> str:
        return self.sources[tile] if tile < len(self.sources) else ""

    def _accepted(self, ending: ShardAccepted, output: TileOutput) -> TileResult:
        s = ending.stages
        lasers_s = s.up_laser_s + ending.down_laser_s
        known_s = s.up_ground_s + lasers_s + s.queue_s + s.inference_s + ending.down_ground_s
        return TileResult(
            tile=output.tile,
            source=self._source(output.tile),
            shard=ending.shard,
            satellite=self.satellites[ending.satellite],
            attempt=ending.attempt,
            hops=ending.hops,
            settled_s=ending.settled_sky_s,
            sent_s=s.sent_sky_s,
            arrived_s=s.arrived_sky_s,
            queue_s=s.queue_s,
            uplink_s=s.up_ground_s,
            lasers_s=lasers_s,
            waiting_s=ending.settled_sky_s - self.admitted_s - known_s,
            inference_s=s.inference_s,
            downlink_s=ending.down_ground_s,
            desk_wait_s=s.desk_wait_s,
            cpu_s=s.cpu_s,
            output_sha256=output.digest.hex(),
            error="",
            output=output,
        )

    def _failed(self, ending: ShardFailed, tile: int) -> TileResult:
        missing = dict.fromkeys(
            name for name in COLUMNS if name in ("attempt", "hops") or (name.endswith("_s") and name != "settled_s")
        )
        return TileResult(
            tile=tile,
            source=self._source(tile),
            shard=ending.shard,
            satellite="",
            settled_s=ending.settled_sky_s,
            output_sha256="",
            error=ending.cause,
            **missing,
        )


def row_of(tile: TileResult) -> dict[str, Any]:
    """One tile as a row of a table."""
    return {name: getattr(tile, name) for name in COLUMNS}


def stacked(tiles: Sequence[TileResult]) -> Arrays:
    """The tiles' outputs by name, [N, ...] in their order, and `failed` bool [N].

    The rows of tiles without a result are NaN where the output is of floats, else 0. An output whose tiles differ in
    shape cannot be stacked; it is given tile by tile, as `name.TILE`. A model's own output of the name `failed` keeps
    it, and the tiles' is then called `failed_tiles`.
    """
    read = [tile.outputs if tile.ok else None for tile in tiles]
    names = list(dict.fromkeys(name for part in read if part is not None for name in part))
    arrays: Arrays = {}
    for name in names:
        arrays.update(_one_output(name, tiles, [None if part is None else part[name] for part in read]))
    failed = FAILED if FAILED not in arrays else f"{FAILED}_tiles"
    arrays[failed] = np.array([part is None for part in read], np.bool_)
    return arrays


def _one_output(name: str, tiles: Sequence[TileResult], parts: list[NDArray[Any] | None]) -> Iterator[tuple[str, Any]]:
    there = [part for part in parts if part is not None]
    first = there[0]
    if any(part.shape != first.shape or part.dtype != first.dtype for part in there):
        for tile, part in zip(tiles, parts, strict=True):
            if part is not None:
                yield f"{name}.{tile.tile}", part
        return
    empty = np.nan if first.dtype.kind == "f" else 0
    whole = np.full((len(parts), *first.shape), empty, first.dtype)
    for row, part in enumerate(parts):
        if part is not None:
            whole[row] = part
    yield name, whole


__all__ = ["COLUMNS", "FAILED", "MASK", "JobResult", "Naming", "ShardResult", "TileResult", "row_of", "stacked"]
