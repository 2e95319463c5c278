"""Mend a link between two nodes."""

from __future__ import annotations

import click

from perigrid.app.completion import nodes
from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("heal")
@click.argument("a", shell_complete=nodes)
@click.argument("b", shell_complete=nodes)
@shared_options
@pass_shell
def command(shell: Shell, a: str, b: str) -> None:
    """Mend the link between the nodes A and B, in both directions."""
    from perigrid.live.clients import SupervisorClient

    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.heal(a, b)
    shell.show({"action": "heal", "a": a, "b": b, "message": message}, [message or f"{a} - {b}: healed"])
