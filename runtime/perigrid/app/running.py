"""How is a job run, watched and its result kept, on the constellation that is up or on one of its own?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from perigrid.app.handles import on_board
from perigrid.app.jobs import complete, perform, read_job
from perigrid.app.progress import job_display
from perigrid.app.reducers import Reduction, find_reduction
from perigrid.app.shell import Shell
from perigrid.app.tables import check_folder
from perigrid.app.worlds import DEFAULT_WORLD, Wanted, data_source, is_data_path, is_model_path, world
from perigrid.errors import JobFailed, NotRunning, UsageError
from perigrid.job.spec import JobSpec
from perigrid.live.launch import LaunchOptions, down
from perigrid.live.rundir import RunDirectory
from perigrid.report.outcome import lines_of


def carry_out(
    shell: Shell,
    job_file: Path | None,
    out: Path | None,
    parquet: bool,
    on: str | None,
    reduce: str | None,
    data: str | None,
    wish: dict[str, Any],
) -> int:
    """Do what `perigrid run` says; `wish` has the fields of JobSpec, None where not given. The exit code."""
    if parquet and out is None:
        raise UsageError("--parquet writes into the folder of --out: name one.")
    if out is not None:
        check_folder(out, parquet)
    reduction = find_reduction(reduce)
    stated = {} if job_file is None else read_job(job_file)
    stated.update({key: value for key, value in wish.items() if value is not None})
    if data is not None:
        if wish["dataset"] is not None:
            raise UsageError("--data and --dataset both name the job's data: give one of them.")
        stated["data"] = data
    run = running(shell, stated, on)
    if run is not None:
        spec = complete(on_board_of(shell, run, stated), run)
        try:
            return watched(shell, run, spec, reduction, out, parquet)
        except KeyboardInterrupt:
            again = f"`perigrid run --job {spec.job}` with the same options watches it again"
            shell.say(f"job {spec.job} goes on without us; {again}")
            raise
    run = own_constellation(shell, stated, on or DEFAULT_WORLD)
    try:
        return watched(shell, run, complete(stated, run), reduction, out, parquet)
    finally:
        down(run)


def running(shell: Shell, stated: dict[str, Any], on: str | None) -> RunDirectory | None:
    """The constellation that is up and meant; None where the job is to have one of its own."""
    if on is not None:
        return None
    try:
        return shell.run()
    except NotRunning:
        several = shell.name is None and any(each.is_up() for each in RunDirectory.all(shell.root))
        if several or not brings_files(stated):
            raise
        return None


def on_board_of(shell: Shell, run: RunDirectory, stated: dict[str, Any]) -> dict[str, Any]:
    """The job with its model and data as they are called on board, where what is not there is brought first."""
    model, dataset = on_board(run, stated.get("model"), stated.get("data"), shell.say)
    there = {key: value for key, value in stated.items() if key != "data"}
    return {**there, "model": model, "dataset": dataset or there.get("dataset")}


def own_constellation(shell: Shell, stated: dict[str, Any], target: str) -> RunDirectory:
    """Bring up a constellation with the job's own model and data on board, and name them as they are called there."""
    # It imports onnxruntime, which a job on what is up does not need.
    from perigrid.app.launching import bring_up

    model, data = stated.get("model"), stated.pop("data", None)
    source = None if data is None else data_source(data, os.environ)
    wanted = Wanted(None if model is None else [model], None if source is None else [source])
    chosen = world(target, wanted, os.environ, shell.say)
    for change in chosen.changes:
        shell.say(change)
    shell.say(f"bringing up {chosen.scenario.name} for this job")
    run, _ = bring_up(chosen.scenario, shell.root, shell.name, LaunchOptions(), os.environ, shell.say)
    # Files are called on board by their stems.
    if model is not None and is_model_path(model):
        stated["model"] = Path(model).stem
    if source is not None:
        stated["dataset"] = Path(source.label).stem
    return run


def brings_files(stated: dict[str, Any]) -> bool:
    """Whether a job names a model or data of the user's own."""
    model, data = stated.get("model"), stated.get("data")
    return (model is not None and is_model_path(model)) or (data is not None and is_data_path(data))


def watched(
    shell: Shell, run: RunDirectory, spec: JobSpec, reduction: Reduction, out: Path | None, parquet: bool
) -> int:
    """Run the job to its end; the exit code."""
    display = job_display(shell.terminal, shell.say)
    try:
        result = perform(run, spec, display.show, reduction, out, parquet)
    finally:
        display.close()
    lines = lines_of(result.outcome)
    shell.show(result.outcome, [*lines, f"  kept in {result.directory if out is None else out}"])
    return 0 if result.complete else JobFailed.exit_code
