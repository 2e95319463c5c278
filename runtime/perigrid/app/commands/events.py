"""What happened in a run: its event log, for a reader or for a program, also while it goes on."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

import click

from perigrid.app.shell import Shell, pass_shell, shared_options, to_json

INTERRUPTED = 130
"""Exit code after Ctrl-C. It is no error where following has no other end, so nothing is said about it."""

FRAME_FIELDS = ("t", "wall", "node", "what", "trace")
"""What every event has, and what ties events together: not repeated behind an event's own fields."""

SHOWN = {
    "run": ("run", "perigrid", "mode", "rate", "orbit_rate", "satellites"),
    "accepted": ("job", "shard", "attempt", "satellite", "hops"),
    "outcome": ("job", "outcome", "accepted", "shards", "result_sha256"),
}
"""Of events with many fields, those that a reader is shown; --json has them all."""


@click.command("events")
@click.argument("run", metavar="[RUN]", required=False)
@click.option("--follow", is_flag=True, help="Go on with what comes, until the run is down.")
@click.option("--what", "kinds", multiple=True, metavar="KIND", help="Only events of this kind; may be repeated.")
@click.option("--node", "nodes", multiple=True, metavar="NAME", help="Only those of this node; may be repeated.")
@click.option("--since", "since_s", type=float, metavar="S", help="Only those from so many seconds of orbit on.")
@shared_options
@pass_shell
def command(
    shell: Shell,
    /,
    run: str | None,
    follow: bool,
    kinds: tuple[str, ...],
    nodes: tuple[str, ...],
    since_s: float | None,
) -> int:
    """Print a run's event log, a line an event; with --json each event as it is, a JSON object a line.

    RUN is a run's name or its directory, up or not; it may be left out where there is only one, or one that is up.
    Lines begin with seconds of orbit and stand in the order of the file: docs/events.md says what they mean.
    """
    from perigrid.app.finding import find_run
    from perigrid.live.eventlog import follow_events, read_events

    found = find_run(shell.root, run or shell.name)
    events = follow_events(found.path, found.is_up) if follow else read_events(found.path)
    try:
        for event in events:
            if wanted(event, kinds, nodes, since_s):
                print(to_json(event) if shell.json else line_of(event), flush=follow)
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def wanted(event: Mapping[str, Any], kinds: Collection[str], nodes: Collection[str], since_s: float | None) -> bool:
    """Whether an event is one of those that were asked for; no kinds are all kinds, no nodes all nodes."""
    return (
        (not kinds or event.get("what") in kinds)
        and (not nodes or event.get("node") in nodes)
        and (since_s is None or event.get("t", 0.0) >= since_s)
    )


def line_of(event: Mapping[str, Any]) -> str:
    """An event as a line: seconds of orbit, node, kind, and its fields as name=value."""
    what = str(event.get("what", ""))
    shown = SHOWN.get(what) or [name for name in event if name not in FRAME_FIELDS]
    fields = " ".join(f"{name}={_text(event[name])}" for name in shown if event.get(name) is not None)
    return f"{event.get('t', 0.0):>14.6f}  {_text(event.get('node', '')):<10}  {_text(what):<14}  {fields}".rstrip()


def _text(value: object) -> str:
    """A value without spaces around it or control characters in it, so that a line stays one."""
    if isinstance(value, str) and value and value.isprintable() and " " not in value:
        return value
    return json.dumps(value, separators=(",", ":"))
