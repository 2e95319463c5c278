"""How does a user's wish become a job, and a job a result?

What the user leaves out is chosen from what the run holds; what cannot be, such as a model that wants more
bands than the data has, is refused before anything goes up. Endings are merged as they arrive (`merging.py`), reduced
at the end (`reducers.py`), and kept in the run directory and where the user wants them (`tables.py`).
"""

from __future__ import annotations

import time
import tomllib
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from perigrid.app.merging import Merger, merger_of, tile_px
from perigrid.app.reducers import NONE, Reduction, reduced
from perigrid.app.results import JobResult, Naming, ShardResult, TileResult
from perigrid.app.scenarios import read_text
from perigrid.app.tables import check_folder, save
from perigrid.errors import Bug, DataError, ModelError, UsageError
from perigrid.job.spec import Capture, JobSpec
from perigrid.live.clients import (
    MAX_JOB_S,
    Delivered,
    JobClient,
    JobEvent,
    RunStatus,
    SupervisorClient,
)
from perigrid.live.config import RunConfig, read_config
from perigrid.live.eventlog import append_event
from perigrid.live.models import STANDARD_BANDS, ModelEntry
from perigrid.live.modelstore import GROUND_FOLDER, GroundModels
from perigrid.live.rundir import RunDirectory
from perigrid.node.records import JobEnded
from perigrid.node.replies import Admitted
from perigrid.report.outcome import Outcome, outcome_of
from perigrid.scenario.draft import refuse_unknown
from perigrid.units import MIB

SETTLING_LIMIT_S = 60.0
"""Longest that a job waits for a run that has just come up; it can run without, only later than it might."""

SETTLING_LOOK_S = 0.2
JOB_ID_LETTERS = 8
"""Random letters of a job id that perigrid chooses."""

MAX_HELD_BYTES = 2048 * MIB
"""Most bytes of outputs that are held for a reduction; merging by votes holds none."""


@dataclass(frozen=True, slots=True)
class Started:
    """A job is admitted, while the run is as `status` says."""

    spec: JobSpec
    admitted: Admitted
    status: RunStatus


@dataclass(frozen=True, slots=True)
class Settling:
    """The run is up and not settled yet; the job waits until it is."""


RunEvent = Settling | Started | JobEvent | ShardResult
"""What is heard of a job: a ShardResult follows each Delivered that was not handed on before."""


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
    catalogue, preloaded = config.catalogue, {file.entry.name: file.entry for file in config.models}
    pushed = {file.entry.name: file.entry for file in GroundModels(run.path / GROUND_FOLDER).files()}
    models = {**pushed, **preloaded}
    if not catalogue.captures:
        raise DataError(
            "this constellation holds no data: name some with --data (in Python data=), or add a [[data]] table to its "
            'scenario, such as dataset = "spyndex", and bring it up again.'
        )
    dataset = given.setdefault("dataset", catalogue.captures[0].dataset)
    capture = catalogue.of(dataset)[0]
    if "model" not in given:
        fitting = [name for name, entry in preloaded.items() if misfit(entry, capture) is None]
        if not fitting:
            reasons = " ".join(str(misfit(entry, capture)) for entry in models.values())
            raise ModelError(f"none of this constellation's models fits {dataset}: {reasons}")
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
    if capture.is_stack:
        return _misfit_of_tiles(entry, capture)
    if entry.mask is None:
        return (
            f"model {entry.name} gives no mask, so it cannot work on the scene {capture.dataset}: choose one that "
            "does, or give tiles of its own shape as a .npy file."
        )
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


def _misfit_of_tiles(entry: ModelEntry, capture: Capture) -> str | None:
    """Why a model cannot take a stack's tiles one by one; None when it can."""
    from perigrid.live.forms import has_batch_axis

    if len(entry.inputs) != 1:
        names = ", ".join(tensor.name for tensor in entry.inputs)
        return f"model {entry.name} has the inputs {names}, and a tile is one: choose a model with one input."
    texts = [output.name for output in entry.outputs if output.dtype == "BYTES"]
    if texts:
        return (
            f"model {entry.name} gives text ({', '.join(texts)}), which a job's results do not hold: ask it through "
            "the gateway."
        )
    if not entry.batch_invariant and entry.canonical_batch != 1:
        return (
            f"model {entry.name} runs in batches of {entry.canonical_batch} only, and a job computes its tiles one by "
            "one: ask it through the gateway."
        )
    tensor = entry.inputs[0]
    if tensor.dtype != capture.dtype:
        return (
            f"model {entry.name} takes {tensor.dtype} and the tiles of {capture.dataset} are {capture.dtype}: convert "
            "them with numpy's astype and save them again."
        )
    item = tensor.shape[1:] if has_batch_axis(tensor) else tensor.shape
    fits = len(item) == len(capture.item_shape) and all(
        wanted in (-1, size) for wanted, size in zip(item, capture.item_shape, strict=True)
    )
    if not fits:
        return (
            f"model {entry.name} takes {list(tensor.shape)} and the tiles of {capture.dataset} are "
            f"{list(capture.item_shape)} each: a tile is one item of a batch, so save them as [N, ...] with the "
            "shape of the model's input behind N (-1 is any size)."
        )
    return None


def perform(
    run: RunDirectory,
    spec: JobSpec,
    on: Callable[[RunEvent], None],
    reduction: Reduction,
    out: Path | None = None,
    parquet: bool = False,
    limit_s: float = MAX_JOB_S,
) -> JobResult:
    """Run a job to its end, reduce it, and keep the result in results/JOB/ of the run, and in `out` too where given.

    `on` hears of everything as it happens. Raises what `JobClient.run`, `check_folder` and the reduction raise; failed
    shards are in the result. Where a reduction of the user's own fails, the outputs are kept as with "none".
    """
    if out is not None:
        check_folder(out, parquet)
    config = read_config(run.path)
    captures = config.catalogue.of(spec.dataset)
    reduction = reduction.fitting(captures[0])
    gathering = Gathering(spec, config, merger_of(captures), reduction.keeps_outputs)
    outcome = gathering.watch(run, on, limit_s)
    tiles, folder = gathering.tiles(), run.path / "results" / spec.job
    try:
        made = reduced(reduction, tiles, gathering.merger)
    except UsageError:
        plain = reduced(Reduction(NONE), tiles, gathering.merger)
        for kept in (folder, *([] if out is None else [out])):
            save(kept, JobResult(outcome, tiles, plain, folder), parquet)
        raise
    result = JobResult(outcome, tiles, made, folder)
    save(folder, result, False)
    if out is not None:
        save(out, result, parquet)
    return result


class Gathering:
    """Hears a job to its end: merges what arrives, and hands it on as results for people."""

    def __init__(self, spec: JobSpec, config: RunConfig, merger: Merger, keep_outputs: bool) -> None:
        self.merger = merger
        self._spec = spec
        self._satellites = config.scenario.satellite_names
        found = [file.sources for file in config.inputs if file.kind == "data" and file.name == spec.dataset]
        self._sources = found[0] if found else ()
        self._keep_outputs = keep_outputs
        self._held_bytes = 0
        self._admitted: Admitted | None = None
        self._naming = Naming(self._satellites, self._sources, 0.0)
        self._tiles: list[TileResult] = []

    def watch(self, run: RunDirectory, on: Callable[[RunEvent], None], limit_s: float) -> Outcome:
        """Submit the job and watch it to its end; its outcome, which is noted in the event log too."""
        info = run.read()
        with SupervisorClient(run) as supervisor, JobClient(info.jobs, run.is_up) as client:
            before = settled(supervisor, on)
            start_s = time.monotonic()
            ending = client.run(self._spec, lambda event: self._hear(event, before, on), limit_s)
            elapsed_s = time.monotonic() - start_s
            after = supervisor.status()
        return self._outcome(run, ending, elapsed_s, before, after)

    def tiles(self) -> tuple[TileResult, ...]:
        """All tiles that have ended, in order."""
        return tuple(sorted(self._tiles, key=lambda tile: tile.tile))

    def _hear(self, event: JobEvent, before: RunStatus, on: Callable[[RunEvent], None]) -> None:
        if isinstance(event, Admitted):
            self._admitted = event
            self._naming = Naming(self._satellites, self._sources, event.admitted_sky_s)
            on(Started(self._spec, event, before))
            return
        on(event)
        if isinstance(event, Delivered):
            self._take(event, on)

    def _take(self, delivered: Delivered, on: Callable[[RunEvent], None]) -> None:
        outputs = self.merger.take(delivered)
        if outputs is None:
            return
        shard = self._naming.shard_result(delivered.row.ending, delivered.row.tiles, outputs)
        if self._keep_outputs:
            self._held_bytes += len(delivered.result)
            if self._held_bytes > MAX_HELD_BYTES:
                raise DataError(
                    f"the outputs of job {self._spec.job} are more than {MAX_HELD_BYTES} bytes, which is what is held "
                    "for a reduction; cut the data into several jobs, or take a model that gives less a tile."
                )
            self._tiles += shard.tiles
        else:
            self._tiles += [replace(tile, output=None) for tile in shard.tiles]
        on(shard)

    def _outcome(
        self, run: RunDirectory, ending: JobEnded, elapsed_s: float, before: RunStatus, after: RunStatus
    ) -> Outcome:
        if self._admitted is None:
            raise Bug(f"job {self._spec.job} has ended and was never admitted.")
        handed = self.merger.handed(elapsed_s)
        outcome = outcome_of(self._spec, self._admitted, ending, handed, len(self._satellites), before, after)
        append_event(run.path, ending.ended_sky_s, "client", "outcome", msgspec.to_builtins(outcome))
        return outcome


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
