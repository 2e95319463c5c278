"""Write what became of a job as one page that needs nothing else, or a run's traces for other tools."""

from __future__ import annotations

from pathlib import Path

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import UsageError


@click.command("report")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--job", help="The job's id; by default the last whose outcome is known.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="The page; by default RUN/report.html.")
@click.option(
    "--otlp",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Instead of a page, the traces of requests and frames as OpenTelemetry's JSON.",
)
@shared_options
@pass_shell
def command(shell: Shell, /, run: str | None, job: str | None, out: Path | None, otlp: Path | None) -> None:
    """Write a job's report: one HTML file with its outcome, pictures, timeline, latency, bytes and assumptions.

    RUN is a run's name or its directory, up or not; it may be left out where there is only one under --root.
    """
    from perigrid.app.finding import find_run

    if otlp is not None:
        from perigrid.report.otel import write_traces

        if job is not None or out is not None:
            raise UsageError("--otlp writes the traces of a whole run, and no page: leave --job and --out out.")
        written = write_traces(find_run(shell.root, run or shell.name).path, otlp)
        said = {"otlp": str(written.path), "traces": written.traces, "spans": written.spans}
        shell.show(said, [str(written.path)])
        return
    from perigrid.report.page import publish

    published = publish(find_run(shell.root, run or shell.name).path, job, out)
    shown = {"report": str(published.path), "job": published.story.job.job, "figures": published.figures}
    shell.show(shown, [str(published.path)])
