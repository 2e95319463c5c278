"""Start a satellite again."""

from __future__ import annotations

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.live.clients import SupervisorClient


@click.command("reboot")
@click.argument("node")
@click.option("--lose-flash", is_flag=True, help="It comes back without its captures and results.")
@shared_options
@pass_shell
def command(shell: Shell, node: str, lose_flash: bool) -> None:
    """Start the satellite NODE again, dead or alive, from its flash."""
    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.reboot(node, lose_flash)
    facts = {"action": "reboot", "node": node, "lose_flash": lose_flash, "message": message}
    shell.show(facts, [message or f"{node}: rebooted"])
