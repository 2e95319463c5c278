"""Repeat a run from its directory, and say whether its results are equal."""

from __future__ import annotations

import os

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import JobFailed


@click.command("rerun")
@click.argument("run", metavar="RUN")
@click.option("--keep", is_flag=True, help="Leave the new constellation up at the end.")
@shared_options
@pass_shell
def command(shell: Shell, /, run: str, keep: bool) -> int:
    """Repeat RUN, a run's name or its directory, up or not: same world, models, data, jobs and faults.

    The new run is called RUN-rerun, or as --name says; it is taken down at the end, and its directory stays. Exit code
    0 says that every job's result is equal, 1 that one differs: the output says which, and what has changed.
    """
    from perigrid.app.finding import find_run
    from perigrid.app.rerun import rerun

    repetition = rerun(find_run(shell.root, run), shell.root, shell.name, keep, os.environ, shell.say)
    shell.show(repetition, repetition.lines())
    return 0 if repetition.equal else JobFailed.exit_code
