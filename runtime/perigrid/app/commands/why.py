"""Say what a satellite's shards wait for, and until when."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perigrid.app.completion import nodes
from perigrid.app.shell import Shell, pass_shell, shared_options

if TYPE_CHECKING:
    from perigrid.node.replies import Explanation


@click.command("why")
@click.argument("node", shell_complete=nodes)
@shared_options
@pass_shell
def command(shell: Shell, node: str) -> None:
    """What the shards of NODE wait for, and until when, as far as the ground knows."""
    import msgspec

    from perigrid.app.launching import epoch_of
    from perigrid.app.scenarios import utc_at
    from perigrid.live.clients import JobClient, SupervisorClient

    run = shell.run()
    info = run.read()
    with SupervisorClient(run) as supervisor, JobClient(info.jobs) as client:
        explanation = client.explain(node)
        status = supervisor.status()
    until_s = explanation.until_sky_s
    moment = None if until_s is None else utc_at(epoch_of(info), until_s)
    in_sky_s = None if until_s is None else max(0.0, until_s - status.sky_s)
    in_wall_s = None if in_sky_s is None or status.rate <= 0 else in_sky_s / status.rate
    facts = msgspec.to_builtins(explanation)
    facts.pop("type", None)
    dead = explanation.node in status.satellites_lost
    facts.update(dead=dead, until_utc=moment, in_sky_s=in_sky_s, in_wall_s=in_wall_s)
    lines = lines_of(explanation, moment, in_sky_s, in_wall_s)
    if dead:
        lines.append(f"  it is dead, whatever the ground knows: `perigrid reboot {node}` starts it again")
    shell.show(facts, lines)


def lines_of(
    explanation: Explanation, moment: str | None, in_sky_s: float | None, in_wall_s: float | None
) -> list[str]:
    """The explanation for a reader."""
    e = explanation
    lines = [
        f"{e.node}: {'reachable' if e.reachable else 'not reachable'}, {e.shards_leased} shards leased to "
        f"it, {e.shards_waiting} that it could compute wait"
    ]
    if e.reason:
        lines.append(f"  waits for: {e.reason}")
    if not e.reachable and moment is None:
        lines.append("  until: no path to it comes within the contact plan's horizon; heal a link or reboot")
    if moment is not None and in_sky_s is not None and in_wall_s is not None:
        lines.append(f"  until: {moment} in orbit, in {in_sky_s:.0f} s there, {in_wall_s:.0f} s here")
    return lines
