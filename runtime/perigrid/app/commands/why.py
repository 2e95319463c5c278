"""Say what a satellite's shards wait for, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perigrid.app.completion import nodes
from perigrid.app.shell import Shell, pass_shell, shared_options

if TYPE_CHECKING:
    from perigrid.app.handles import Why


@click.command("why")
@click.argument("node", shell_complete=nodes)
@shared_options
@pass_shell
def command(shell: Shell, node: str) -> None:
    """What the shards of NODE wait for, and until when, as far as the ground knows."""
    from perigrid.app.handles import Constellation

    why = Constellation(shell.run(), owned=False, say=shell.say).why(node)
    shell.show(why, lines_of(why))


def lines_of(why: Why) -> list[str]:
    """The explanation for a reader."""
    lines = [
        f"{why.node}: {'reachable' if why.reachable else 'not reachable'}, {why.shards_leased} shards leased to "
        f"it, {why.shards_waiting} that it could compute wait"
    ]
    if why.reason:
        lines.append(f"  waits for: {why.reason}")
    if not why.reachable and why.until_utc is None and not why.dead:
        lines.append("  until: no path to it comes within the contact plan's horizon; heal a link or reboot")
    if why.until_utc is not None and why.in_sky_s is not None and why.in_wall_s is not None:
        lines.append(f"  until: {why.until_utc} in orbit, in {why.in_sky_s:.0f} s there, {why.in_wall_s:.0f} s here")
    if why.dead:
        lines.append(f"  it is dead, whatever the ground knows: `perigrid reboot {why.node}` starts it again")
    return lines
