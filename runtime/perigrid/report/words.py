"""How are figures said to a reader?

Numbers with the unit that suits their size, places of a scenario with the unit that their name ends in, and the job's
outcome in one sentence. The exact values stand beside them in the page, as `data` elements and as JSON.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from perigrid.report.markup import Html, join, tag
from perigrid.report.outcome import Outcome
from perigrid.report.story import Incident, Story

UNITS = {"km": "km", "s": "s", "px": "px", "watts": "W"}
"""Last words of names, and how their unit is written behind a value."""

MAX_VALUE_LETTERS = 300
LINK = re.compile(r"(?:https?://)?[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+/[^\s;,]*[^\s;,.:)]")
"""An address on the web: a host with a dot in its name, and something behind its slash."""

DONE = {"cut": "cut", "heal": "mended", "kill": "lost", "reboot": "started again"}
BY = {"user": "by hand", "scenario": "by the scenario"}


def seconds(value_s: float) -> str:
    """A duration for a reader: three figures and the unit that suits."""
    size = abs(value_s)
    if size < 0.5e-6:
        return "0 s"
    if size < 0.9995e-3:
        return f"{1e6 * value_s:.3g} µs"
    if size < 0.9995:
        return f"{1e3 * value_s:.3g} ms"
    if size < 9.995:
        return f"{value_s:.2f} s"
    if size < 99.95:
        return f"{value_s:.1f} s"
    if size < 600:
        return f"{value_s:.0f} s"
    minutes, rest = divmod(round(value_s), 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"


def count(number: int, one: str, many: str | None = None) -> str:
    """A number of things: "1 shard", "10,000 shards"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def named(names: Sequence[str], limit: int) -> str:
    """Names one after the other, those past the limit counted."""
    if len(names) <= limit:
        return ", ".join(names)
    return f"{', '.join(names[:limit])} and {len(names) - limit:,} more"


def sentence(story: Story, outcome: Outcome) -> str:
    """A job's outcome as one would tell a colleague, with what went wrong around it."""
    work = f"{outcome.model} on {count(outcome.tiles, 'tile')} of {outcome.dataset}"
    where = f"a constellation of {count(outcome.satellites, 'satellite')}"
    if outcome.complete:
        head = f"All {count(outcome.shards, 'shard')} of the job" if outcome.shards != 1 else "The job's one shard"
        done = f"{head}, {work}, came down from {where}, each handed on exactly once"
    else:
        done = f"{outcome.accepted:,} of {count(outcome.shards, 'shard')} of the job, {work}, came down from {where}"
        if outcome.failed:
            done += f", {outcome.failed:,} failed"
        if outcome.duplicates_to_client:
            done += f", {outcome.duplicates_to_client:,} were handed on twice"
        if not outcome.coverage_ok:
            done += ", and the result does not cover what it should"
    times = f"{seconds(outcome.emulated_s)} in orbit, {seconds(outcome.elapsed_s)} here"
    return f"{done}{_although(story, outcome.complete)}: {times}."


def _although(story: Story, complete: bool) -> str:
    """What was broken while the job ran or before it, as a clause that goes with what became of the job."""
    during = [i for i in story.incidents if i.at_s >= story.admitted_s]
    links = {frozenset(i.nodes) for i in during if i.what == "cut"} | story.cut
    nodes = {i.nodes[0] for i in during if i.what == "kill"} | story.dead
    broken = []
    if len(links) == 1:
        broken.append(f"the link {' – '.join(sorted(next(iter(links))))} was cut")
    elif links:
        broken.append(f"{count(len(links), 'link')} were cut")
    if len(nodes) == 1:
        broken.append(f"{next(iter(nodes))} was lost")
    elif nodes:
        broken.append(f"{count(len(nodes), 'node')} were lost")
    link = ", although " if complete else "; meanwhile "
    return f"{link}{' and '.join(broken)}" if broken else ""


def said(incident: Incident) -> str:
    """A break or a repair in words."""
    what = f"{' – '.join(incident.nodes)} {DONE.get(incident.what, incident.what)}"
    by = BY.get(incident.by, f"by {incident.by}" if incident.by else "")
    return f"{what}, {by}" if by else what


def value_of(name: str, value: Any) -> str:
    """A scenario's value with the unit that its name ends in; `name` is its dotted name."""
    unit = name.rsplit(".", 1)[-1].rsplit("_", 1)[-1]
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S UTC")
    if isinstance(value, int | float):
        if unit == "bps":
            return bit_rate(float(value))
        number = f"{value:,}" if isinstance(value, int) else f"{value:,.12g}"
        if unit == "deg":
            return f"{number}°"
        return f"{number} {UNITS[unit]}" if unit in UNITS else number
    if isinstance(value, tuple | list):
        text = ", ".join(str(one) for one in value)
    elif isinstance(value, dict):
        text = ", ".join(f"{key} {one}" for key, one in value.items())
    else:
        text = str(value)
    return text if len(text) <= MAX_VALUE_LETTERS else f"{text[:MAX_VALUE_LETTERS]}… ({len(text):,} letters)"


def bit_rate(rate_bps: float) -> str:
    """Bits a second for a reader, with the unit that suits."""
    for size, unit in ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")):
        if rate_bps >= size:
            return f"{rate_bps / size:,.6g} {unit}"
    return f"{rate_bps:,.6g} bit/s"


def linked(text: str) -> Html:
    """Text with the addresses in it as links."""
    parts: list[str] = []
    end = 0
    for found in LINK.finditer(text):
        shown = found.group()
        address = shown if "://" in shown else f"https://{shown}"
        parts += [text[end : found.start()], tag("a", shown, href=address, rel="noreferrer noopener")]
        end = found.end()
    return join([*parts, text[end:]])


def figure(name: str, value: object, shown: str) -> Html:
    """One of the outcome's figures, by its dotted name there, with its exact value for machines."""
    exact = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return tag("data", shown, value=exact, data_figure=name)
