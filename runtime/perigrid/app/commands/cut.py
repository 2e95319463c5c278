"""Cut a link between two nodes."""

from __future__ import annotations

import click

from perigrid.app.shell import Shell, pass_shell, shared_options
from perigrid.live.clients import SupervisorClient


@click.command("cut")
@click.argument("a")
@click.argument("b")
@click.option("--one-way", is_flag=True, help="Only the direction from A to B.")
@shared_options
@pass_shell
def command(shell: Shell, a: str, b: str, one_way: bool) -> None:
    """Cut the link between the nodes A and B, in both directions or in one."""
    with SupervisorClient(shell.run()) as supervisor:
        message = supervisor.cut(a, b, one_way)
    shell.show({"action": "cut", "a": a, "b": b, "message": message}, [message or f"{a} - {b}: cut"])
