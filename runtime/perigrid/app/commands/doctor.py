"""Say whether this machine has what perigrid needs."""

from __future__ import annotations

import dataclasses
import json
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
    if shell.json:
        # Not Shell.show, which needs a package that may be what is missing.
        print(json.dumps({"ok": fit, "checks": [dataclasses.asdict(check) for check in checks]}), flush=True)
    else:
        shell.show(None, [check.line() for check in checks])
    return 0 if fit else EnvironmentProblem.exit_code
