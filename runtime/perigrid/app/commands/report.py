"""Write what became of a job as one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("report")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--job", help="The job's id; by default the last whose outcome is known.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page; by default RUN/report.html.")
@shared_options
@pass_shell
def command(shell: Shell, /, run: str | None, job: str | None, out: Path | None) -> None:
    """Write a job's report: one HTML file with its outcome, pictures, timeline, latency, bytes and assumptions.

    RUN is a run's name or its directory, up or not; it may be left out where there is only one under --root.
    """
    from perigrid.app.finding import find_run
    from perigrid.report.page import publish

    published = publish(find_run(shell.root, run or shell.name).path, job, out)
    shown = {"report": str(published.path), "job": published.story.job.job, "figures": published.figures}
    shell.show(shown, [str(published.path)])
