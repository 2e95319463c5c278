"""Let a satellite die."""

from __future__ import annotations

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.live.clients import SupervisorClient


@click.command("kill")
@click.argument("node")
@shared_options
@pass_shell
def command(shell: Shell, node: str) -> None:
    """Let the satellite NODE die at once; what is on its flash stays there."""
    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.kill(node)
    shell.show({"action": "kill", "node": node, "message": message}, [message or f"{node}: killed"])
