"""Say whether this machine has what perigrid needs."""

from __future__ import annotations

import os

import click

from perigrid.app.doctor import examine
from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import EnvironmentProblem


@click.command("doctor")
@shared_options
@pass_shell
def command(shell: Shell) -> int:
    """Look at this machine; exit code 3 where something is missing that perigrid cannot do without."""
    checks = examine(shell.root, os.environ)
    fit = all(check.ok for check in checks if check.required)
    shell.show({"ok": fit, "checks": checks}, [check.line() for check in checks])
    return 0 if fit else EnvironmentProblem.exit_code
