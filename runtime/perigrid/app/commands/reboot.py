"""Start a satellite again."""

from __future__ import annotations

import click

from perigrid.app.completion import satellites
from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("reboot")
@click.argument("node", shell_complete=satellites)
@click.option("--lose-flash", is_flag=True, help="It comes back without its captures and results.")
@shared_options
@pass_shell
def command(shell: Shell, node: str, lose_flash: bool) -> None:
    """Start the satellite NODE again, dead or alive, from its flash."""
    from perigrid.live.clients import SupervisorClient

    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.reboot(node, lose_flash)
    facts = {"action": "reboot", "node": node, "lose_flash": lose_flash, "message": message}
    shell.show(facts, [message or f"{node}: rebooted"])
