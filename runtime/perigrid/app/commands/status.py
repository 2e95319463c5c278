"""Show what is up, what is down, and whether its times count."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perigrid.app.shell import Shell, pass_shell, shared_options

if TYPE_CHECKING:
    from perigrid.live.clients import LinkStatus


@click.command("status")
@shared_options
@pass_shell
def command(shell: Shell) -> None:
    """Show the constellation's links, satellites and jobs, and whether its times count."""
    import msgspec

    from perigrid.app.progress import status_rows
    from perigrid.live.clients import JobClient, RunStatus, SupervisorClient

    run = shell.run()
    info = run.read()
    with SupervisorClient(run) as supervisor, JobClient(info.jobs) as client:
        text = supervisor.status_json()
        status = msgspec.json.decode(text, type=RunStatus)
        jobs = client.jobs()
    rows = status_rows(status, len(info.satellites), jobs)
    lines = [f"{run.name} in {info.directory}", *(f"  {what:<14} {how}" for what, how in rows)]
    lines += [link_line(link) for link in status.links if link.kind != "fibre"]
    shell.show({"run": run.name, **msgspec.json.decode(text), "job_list": jobs}, lines)


def link_line(link: LinkStatus) -> str:
    """One link for a reader."""
    place = f"  {link.kind:<6} {link.a} - {link.b}: {link.state}"
    if link.state != "up" or link.range_km is None or link.delay_ms is None:
        return place
    return f"{place}, {link.range_km:.0f} km, {link.delay_ms:.2f} ms, {rates(link)}"


def rates(link: LinkStatus) -> str:
    """How fast a link is for a reader: both ways at once where they are equal."""
    from perigrid.report.words import bit_rate

    forth_bps, back_bps = link.rate_bps or 0.0, link.back_bps or 0.0
    if forth_bps == back_bps:
        return bit_rate(forth_bps)
    return f"{bit_rate(forth_bps)} there, {bit_rate(back_bps)} back"
