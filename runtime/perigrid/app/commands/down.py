"""Take a constellation down."""

from __future__ import annotations

import click

from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("down")
@shared_options
@pass_shell
def command(shell: Shell) -> None:
    """Take the constellation down; its directory stays until a run of that name comes up again."""
    from perigrid.live.launch import down

    run = shell.run()
    down(run)
    shell.show({"run": run.name, "directory": str(run.path), "down": True}, [f"{run.name} is down"])
