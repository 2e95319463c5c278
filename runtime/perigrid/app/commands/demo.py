"""Show that a job survives a cut laser and a lost satellite."""

from __future__ import annotations

import os

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.errors import JobFailed


@click.command("demo")
@shared_options
@pass_shell
def command(shell: Shell) -> int:
    """Bring up twelve satellites, cut a laser and lose a satellite in the middle of a job, and compare its
    result with that of a single process.
    """
    from perigrid.app.demonstration import Demonstration

    demonstration = Demonstration(shell, os.environ)
    proof = demonstration.perform()
    shell.show(proof, proof.lines())
    return 0 if proof.holds else JobFailed.exit_code
