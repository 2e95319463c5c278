"""Run a constellation in virtual time, before anything is launched: what would requests take?"""

from __future__ import annotations

from typing import Any

import click

from perigrid.app.commands.latency import latency_options, measure
from perigrid.app.completion import scenarios
from perigrid.app.shell import Shell, pass_shell, shared_options


@click.command("sim")
@click.argument("constellation", shell_complete=scenarios)
@latency_options
@shared_options
@pass_shell
def command(shell: Shell, /, constellation: str, **given: Any) -> int | None:
    """Answer requests and sensors' frames in virtual time, by the machines that run live, and write a report."""
    measure(shell, constellation, {**given, "worlds": ("sim",), "rate": "auto", "untraced": False})
    return None
