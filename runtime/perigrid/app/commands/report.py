"""Write what became of a job as one page that needs nothing else."""

from __future__ import annotations

from pathlib import Path

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import MissingFile


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
    from perigrid.report.page import publish

    published = publish(run_folder(shell, run), job, out)
    shown = {"report": str(published.path), "job": published.story.job.job, "figures": published.figures}
    shell.show(shown, [str(published.path)])


def run_folder(shell: Shell, run: str | None) -> Path:
    """The directory of the run that is meant, up or not; MissingFile with the runs there are otherwise."""
    from perigrid.live.config import CONFIG_FILE
    from perigrid.live.rundir import RunDirectory

    wanted = run or shell.name
    known = [one for one in RunDirectory.all(shell.root) if (one.path / CONFIG_FILE).is_file()]
    names = ", ".join(one.name for one in known) or "none"
    if wanted is None:
        if len(known) == 1:
            return known[0].path
        raise MissingFile(f"which run? Under {shell.root} there are: {names}; name one, or give its directory.")
    for folder in (shell.root / wanted, Path(wanted)):
        if (folder / CONFIG_FILE).is_file():
            return folder.resolve()
    raise MissingFile(
        f"{wanted!r} is neither a run under {shell.root} (there are: {names}) nor a run's directory; name one of "
        "them, or say with --root where the runs are."
    )
