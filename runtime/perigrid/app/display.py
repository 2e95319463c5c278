"""How does a notebook show a constellation, a job and a result?

Small tables of HTML, without script, style sheet or request, so that they look as the notebook does, light or dark.
Whatever comes from files or from users is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from perigrid.report.outcome import amount, validity

if TYPE_CHECKING:
    from perigrid.app.handles import Status
    from perigrid.app.job_handle import Job
    from perigrid.app.results import JobResult, ShardResult

MAX_ROWS = 12
"""Most tiles or links that are shown; how many more there are is said."""

HEAD = '<th scope="{scope}" style="text-align:left">{text}</th>'
CELL = '<td style="text-align:left">{text}</td>'


def facts_html(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """A table of facts, a row each: what, and how it is."""
    rows = "".join(
        f"<tr>{HEAD.format(scope='row', text=escape(str(what)))}{CELL.format(text=escape(str(how)))}</tr>"
        for what, how in facts
    )
    return f'<table><caption style="text-align:left"><b>{escape(title)}</b></caption><tbody>{rows}</tbody></table>'


def table_html(columns: Sequence[str], rows: Sequence[Sequence[object]], more: int) -> str:
    """A table with a head, and what is left out of it said below."""
    head = "".join(HEAD.format(scope="col", text=escape(column)) for column in columns)
    body = "".join(f"<tr>{''.join(CELL.format(text=escape(_text(cell))) for cell in row)}</tr>" for row in rows)
    rest = f"<p>and {more} more</p>" if more > 0 else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def status_html(status: Status) -> str:
    """A constellation's state, and its links that are not as they should be."""
    from perigrid.app.progress import status_rows

    facts = facts_html(f"constellation {status.name}", status_rows(status, len(status.satellites), status.job_list))
    broken = [link for link in status.links if link.state in ("cut", "dead", "out")]
    if not broken:
        return facts
    rows = [(link.kind, f"{link.a} - {link.b}", link.state) for link in broken[:MAX_ROWS]]
    return facts + table_html(("link", "between", "state"), rows, len(broken) - len(rows))


def job_html(job: Job) -> str:
    """How far a job is."""
    facts = [("shards", f"{job.shards_done} of {job.shards}"), ("state", job.state)]
    return facts_html(f"job {job.id}", facts)


def shard_html(shard: ShardResult) -> str:
    """One shard: who computed it, or why nobody could."""
    facts: list[tuple[str, object]] = [("tiles", ", ".join(str(tile.tile) for tile in shard.tiles))]
    if shard.error:
        facts.append(("failed", shard.error))
    else:
        facts += [("satellite", shard.satellite), ("attempt", shard.attempt), ("hops", shard.tiles[0].hops)]
    return facts_html(f"job {shard.job}, shard {shard.shard}", facts)


def result_html(result: JobResult) -> str:
    """A job's outcome, and its first tiles."""
    o = result.outcome
    facts = [
        ("outcome", o.outcome if result.complete else f"{o.outcome}: NOT COMPLETE"),
        ("model, data", f"{o.model} on {o.dataset}"),
        ("shards", f"{o.accepted} of {o.shards} accepted, {o.failed} failed, {o.attempts} attempts"),
        ("exactly once", f"{o.duplicates} duplicates dropped on the ground, {o.duplicates_to_client} handed on twice"),
        ("time", f"{o.elapsed_s:.1f} s here, {o.emulated_s:.2f} s in orbit"),
        ("bytes", f"{amount(o.bytes_over_lasers)} over lasers, {amount(o.bytes_over_ground_links)} over ground links"),
        ("times", validity(o)),
        ("reduced by", result.reduce),
        ("result_sha256", o.result_sha256),
    ]
    shown = result.tiles[:MAX_ROWS]
    columns = ("tile", "source", "satellite", "attempt", "hops", "inference_s", "error")
    rows = [[getattr(tile, column) for column in columns] for tile in shown]
    return facts_html(f"job {o.job}", facts) + table_html(columns, rows, len(result.tiles) - len(shown))


def _text(cell: object) -> str:
    if cell is None:
        return ""
    return f"{cell:.4g}" if isinstance(cell, float) else str(cell)
