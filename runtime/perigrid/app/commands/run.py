"""Run a job, watch it and merge what comes down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from perigrid.app.jobs import complete, read_job, run_job
from perigrid.app.progress import job_display
from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import JobFailed
from perigrid.report.outcome import lines_of


@click.command("run")
@click.argument("job_file", metavar="[JOB.toml]", required=False, type=click.Path(path_type=Path))
@click.option("--model", help="A model of the scenario; by default its first that fits the data.")
@click.option("--dataset", help="A dataset of the scenario; by default its first.")
@click.option("--tiles-per-shard", type=int, help="Tiles that are computed and settled together.")
@click.option("--priority", type=int, help="Higher goes first; 0 by default.")
@click.option("--deadline", "deadline_s", type=float, help="Emulated seconds after which it is given up.")
@click.option("--job", help="The job's id; the same id again is the same job.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder for mask.npz and outcome.json.")
@shared_options
@pass_shell
def command(shell: Shell, /, job_file: Path | None, out: Path | None, **wish: Any) -> int:
    """Run a job: what JOB.toml says (the keys of the options, with _ for -), and the options over it."""
    run = shell.run()
    stated = {} if job_file is None else read_job(job_file)
    stated.update({key: value for key, value in wish.items() if value is not None})
    spec = complete(stated, run)
    display = job_display(shell.terminal, shell.say)
    try:
        outcome, _ = run_job(run, spec, display.show, out)
    except KeyboardInterrupt:
        shell.say(
            f"job {spec.job} goes on without us; `perigrid run --job {spec.job}` with the same options watches it again"
        )
        raise
    finally:
        display.close()
    shell.show(outcome, lines_of(outcome))
    return 0 if outcome.complete else JobFailed.exit_code
