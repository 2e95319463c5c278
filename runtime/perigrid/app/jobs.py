"""How does a user's wish become a job, and its endings one mask?

What the user leaves out is chosen from what the run holds; what cannot be, such as a model that wants more
bands than the data has, is refused before anything goes up. Endings are merged as they arrive: the vote sum
and the count of what was handed on do not trust the service that hands it on.
"""

from __future__ import annotations

import time
import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from perigrid.app.scenarios import read_text
from perigrid.errors import DataError, EnvironmentProblem, ModelError, ProtocolError, UsageError
from perigrid.job.masks import PIXELS_PER_BYTE
from perigrid.job.reduce import VoteReducer
from perigrid.job.spec import Capture, JobSpec
from perigrid.live.clients import (
    MAX_JOB_S,
    Delivered,
    JobClient,
    JobEvent,
    RunStatus,
    SupervisorClient,
)
from perigrid.live.config import read_config
from perigrid.live.models import STANDARD_BANDS, ModelEntry
from perigrid.live.rundir import RunDirectory
from perigrid.node.records import ShardAccepted, ShardFailed
from perigrid.node.replies import Admitted
from perigrid.report.outcome import Handed, Outcome, outcome_of
from perigrid.scenario.draft import refuse_unknown

SETTLING_LIMIT_S = 60.0
"""Longest that a job waits for a run that has just come up; it can run without, only later than it might."""

SETTLING_LOOK_S = 0.2
JOB_ID_LETTERS = 8
"""Random letters of a job id that perigrid chooses."""


@dataclass(frozen=True, slots=True)
class Started:
    """A job is admitted, while the run is as `status` says."""

    spec: JobSpec
    admitted: Admitted
    status: RunStatus


@dataclass(frozen=True, slots=True)
class Settling:
    """The run is up and not settled yet; the job waits until it is."""


RunEvent = Settling | Started | JobEvent


def read_job(path: Path) -> dict[str, Any]:
    """The keys of a job file, those of a JobSpec; UsageError naming file, key and remedy."""
    where = str(path)
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{where}: this is not TOML: {error}: mend that line.") from error
    fields = msgspec.structs.fields(JobSpec)
    refuse_unknown(table, [field.name for field in fields], where, "")
    for field in fields:
        if field.name in table:
            try:
                msgspec.convert(table[field.name], field.type)
            except msgspec.ValidationError as error:
                raise UsageError(f"{where}: {field.name}: {error}: write that type.") from error
    return table


def complete(wish: Mapping[str, Any], run: RunDirectory) -> JobSpec:
    """The job of a wish (fields of JobSpec, None where not given) on this run.

    The dataset is the run's first by default, the model the scenario's first that fits it. UsageError for
    what cannot be.
    """
    given = {key: value for key, value in wish.items() if value is not None}
    config = read_config(run.path)
    catalogue, models = config.catalogue, {file.entry.name: file.entry for file in config.models}
    if not catalogue.captures:
        raise DataError(
            "this constellation holds no data: add a [[data]] table to its scenario, such as "
            'dataset = "spyndex", and bring it up again.'
        )
    dataset = given.setdefault("dataset", catalogue.captures[0].dataset)
    capture = catalogue.of(dataset)[0]
    if "model" not in given:
        fitting = [name for name, entry in models.items() if misfit(entry, capture) is None]
        if not fitting:
            raise ModelError(
                f"none of this constellation's models ({', '.join(models)}) gives masks of {dataset}: name "
                "others in the scenario's `models`, such as tinycloud, and bring it up again."
            )
        given["model"] = fitting[0]
    elif given["model"] in models:
        reason = misfit(models[given["model"]], capture)
        if reason is not None:
            raise ModelError(reason)
    given.setdefault("job", f"{Path(given['model']).stem}-{uuid.uuid4().hex[:JOB_ID_LETTERS]}")
    spec = JobSpec(**given)
    spec.check()
    return spec


def misfit(entry: ModelEntry, capture: Capture) -> str | None:
    """Why a model cannot work on a dataset's captures; None when it can."""
    if entry.mask is None:
        return f"model {entry.name} gives no mask, so it cannot run as a job: choose one that does."
    needed = max(STANDARD_BANDS.index(band) for band in entry.bands) + 1
    if needed > capture.bands:
        return (
            f"model {entry.name} needs {needed} bands and {capture.dataset} has {capture.bands}: choose "
            "tinycloud or cloudmask-4b, or other data."
        )
    if entry.mask.tile_px != tile_px(capture):
        return (
            f"model {entry.name} takes tiles of {entry.mask.tile_px} pixels and {capture.dataset} is cut "
            f"into tiles of {tile_px(capture)}: set data.tile_px in the scenario."
        )
    return None


def tile_px(capture: Capture) -> int:
    """Side of a capture's tiles: its lowest tile ends where it ends."""
    return capture.height_px - max(capture.rows)


class Merger:
    """Gathers a job's endings and merges their masks. What is handed on twice is counted and not merged."""

    def __init__(self, captures: tuple[Capture, ...]) -> None:
        places = {
            tile: (capture.first_row + row, column)
            for capture in captures
            for tile, row, column in zip(capture.tiles, capture.rows, capture.columns, strict=True)
        }
        # Tiles are numbered from 0 over a whole dataset, so their places in order are the reducer's windows.
        self._places = [places[tile] for tile in sorted(places)]
        self._tile_px = tile_px(captures[0])
        height = max(capture.first_row + capture.height_px for capture in captures)
        windows = np.array(self._places, np.int32)
        self.reducer = VoteReducer(height, captures[0].width_px, self._tile_px, windows)
        self.endings: dict[int, tuple[ShardAccepted | ShardFailed, int]] = {}
        self.repeated = 0

    def take(self, delivered: Delivered) -> None:
        """Take one ending. ProtocolError for a result that is not as long as its tiles' masks."""
        ending, tiles = delivered.row.ending, delivered.row.tiles
        if ending.shard in self.endings:
            self.repeated += 1
            return
        self.endings[ending.shard] = (ending, len(tiles))
        if isinstance(ending, ShardFailed):
            return
        size = self._tile_px**2 // PIXELS_PER_BYTE
        if len(delivered.result) != size * len(tiles) or max(tiles) >= len(self._places):
            raise ProtocolError(
                f"shard {ending.shard} of job {ending.job} came with {len(delivered.result)} bytes for tiles "
                f"{tiles}: {size} a tile were expected; see ground/ in the run directory."
            )
        packed = np.frombuffer(delivered.result, np.uint8).reshape(len(tiles), size)
        for tile, mask in zip(tiles, packed, strict=True):
            self.reducer.add(tile, self._places[tile], mask)

    def handed(self, elapsed_s: float) -> Handed:
        """What was handed on, and the merged mask's facts."""
        return Handed(
            endings=tuple(self.endings.values()),
            repeated=self.repeated,
            result_sha256=self.reducer.sha256(),
            coverage_error=self.reducer.coverage_error(),
            elapsed_s=elapsed_s,
        )


def run_job(
    run: RunDirectory,
    spec: JobSpec,
    on: Callable[[RunEvent], None],
    out: Path | None = None,
    limit_s: float = MAX_JOB_S,
) -> tuple[Outcome, Merger]:
    """Run a job to its end, merge its masks and keep mask.npz and outcome.json in results/JOB/, or in `out`.

    `on` hears of everything as it happens. Raises what `JobClient.run` raises; failed shards are in the
    outcome.
    """
    info = run.read()
    merger = Merger(read_config(run.path).catalogue.of(spec.dataset))
    admissions: list[Admitted] = []
    with SupervisorClient(run) as supervisor, JobClient(info.jobs, run.is_up) as client:
        before = settled(supervisor, on)

        def hear(event: JobEvent) -> None:
            if isinstance(event, Admitted):
                admissions.append(event)
                on(Started(spec, event, before))
                return
            if isinstance(event, Delivered):
                merger.take(event)
            on(event)

        start_s = time.monotonic()
        ending = client.run(spec, hear, limit_s)
        elapsed_s = time.monotonic() - start_s
        after = supervisor.status()
    handed = merger.handed(elapsed_s)
    outcome = outcome_of(spec, admissions[0], ending, handed, len(info.satellites), before, after)
    keep(out if out is not None else run.path / "results" / spec.job, outcome, merger)
    return outcome, merger


def settled(supervisor: SupervisorClient, on: Callable[[RunEvent], None]) -> RunStatus:
    """Wait until a run has settled, at most SETTLING_LIMIT_S; its status then."""
    end_s = time.monotonic() + SETTLING_LIMIT_S
    status = supervisor.status()
    if not status.settled:
        on(Settling())
    while not status.settled and time.monotonic() < end_s:
        time.sleep(SETTLING_LOOK_S)
        status = supervisor.status()
    return status


def keep(folder: Path, outcome: Outcome, merger: Merger) -> None:
    """Write mask.npz (`mask` uint8 [H,W]) and outcome.json; EnvironmentProblem where that is not possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "mask.npz", mask=merger.reducer.mask())
        text = msgspec.json.format(msgspec.json.encode(outcome), indent=1)
        (folder / "outcome.json").write_bytes(text + b"\n")
    except OSError as error:
        raise EnvironmentProblem(
            f"the result could not be written to {folder} ({error.strerror}); name another folder with "
            f"--out, and run the job again as --job {outcome.job}."
        ) from error
