"""Let a satellite die."""

from __future__ import annotations

import click

from perigrid.app.completion import victims
from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("kill")
@click.argument("node", shell_complete=victims)
@shared_options
@pass_shell
def command(shell: Shell, node: str) -> None:
    """Let the satellite NODE die at once; what is on its flash stays there."""
    from perigrid.live.clients import SupervisorClient

    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.kill(node)
    shell.show({"action": "kill", "node": node, "message": message}, [message or f"{node}: killed"])
