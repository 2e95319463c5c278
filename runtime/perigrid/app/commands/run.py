"""Run a job, watch it and keep its result: on the constellation that is up, or on one that lasts as long as the job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("run")
@click.argument("job_file", metavar="[JOB.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--model", help="A model on board, or an .onnx file; by default the first that fits the data.")
@click.option("--data", help="A dataset, a scene (.npz), or tiles: a .npy file [N, ...] or a folder of .npy files.")
@click.option("--dataset", help="A dataset on board; by default its first.")
@click.option("--reduce", "reduce", help="votes (one mask), none (all outputs) or module:function.")
@click.option("--tiles-per-shard", type=int, help="Tiles that are computed and settled together.")
@click.option("--priority", type=int, help="Higher goes first; 0 by default.")
@click.option("--deadline", "deadline_s", type=float, help="Emulated seconds after which it is given up.")
@click.option("--job", help="The job's id; the same id again is the same job.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for the result: arrays, tiles.csv, outcome.json.")
@click.option("--parquet", is_flag=True, help="With --out: tiles.parquet too (pip install 'perigrid[parquet]').")
@click.option("--on", "on", metavar="SCENARIO", help="Bring up this preset or scenario file for the job alone.")
@shared_options
@pass_shell
def command(
    shell: Shell,
    /,
    job_file: Path | None,
    out: Path | None,
    parquet: bool,
    on: str | None,
    reduce: str | None,
    data: str | None,
    **wish: Any,
) -> int:
    """Run a job: what JOB.toml says (job, model, dataset, tiles_per_shard, priority, deadline_s), the options over it.

    It runs on the constellation that is up. With --on, or where none is up and --model or --data is a file, one is
    brought up for the job (three-body-12 by default) and taken down after it.
    """
    from perigrid.app.running import carry_out

    return carry_out(shell, job_file, out, parquet, on, reduce, data, wish)
