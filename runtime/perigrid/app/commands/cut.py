"""Cut a link between two nodes."""

from __future__ import annotations

import click

from perigrid.app.completion import nodes
from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("cut")
@click.argument("a", shell_complete=nodes)
@click.argument("b", shell_complete=nodes)
@click.option("--one-way", is_flag=True, help="Only the direction from A to B.")
@shared_options
@pass_shell
def command(shell: Shell, a: str, b: str, one_way: bool) -> None:
    """Cut the link between the nodes A and B, in both directions or in one."""
    from perigrid.live.clients import SupervisorClient

    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.cut(a, b, one_way)
    shell.show({"action": "cut", "a": a, "b": b, "message": message}, [message or f"{a} - {b}: cut"])
