"""When was which shard where?

A row a shard, in emulated time from the job's admission to its end: each attempt on the way up, queued, computed and on
the way back, or in vain; and vertical lines where something broke. Places along the time axis are shares of the
width, so that letters keep their size on any screen. At most MAX_ROWS shards are drawn: those with a story first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perigrid.report.markup import Html, join, tag
from perigrid.report.story import Accepted, Attempt, Incident, ShardStory, Story
from perigrid.report.words import count, said, seconds

MAX_ROWS = 400
SMOOTH_ROWS = 100
"""Rows that are kept for shards whose first attempt brought the result."""

MAX_INCIDENTS_DRAWN = 40
"""Breaks and repairs that have a line; the list below the drawing has as many."""

MARKER_SHARE = 0.05
"""Incidents nearer to each other than this share of the time drawn have one marker together."""

ROW_PX, BAR_PX, AXIS_PX = 15, 9, 40
LETTER_PX = 6.0
WANTED_TICKS = 4
MIN_SPAN_S = 1e-6
MAX_CAUSE_LETTERS = 300


@dataclass(frozen=True, slots=True)
class Axis:
    """Emulated time along the width, from `from_s` to `to_s`."""

    from_s: float
    to_s: float

    def place(self, at_s: float) -> float:
        """Where a time is, in percent of the width, kept inside."""
        return round(min(100.0, max(0.0, 100 * (at_s - self.from_s) / (self.to_s - self.from_s))), 3)

    def ticks_s(self) -> Iterator[float]:
        """Round times since the axis's start."""
        span_s = self.to_s - self.from_s
        power = 10.0 ** math.floor(math.log10(span_s / WANTED_TICKS))
        step_s = next(power * n for n in (1, 2, 5, 10) if power * n >= span_s / WANTED_TICKS * 0.999)
        for number in range(int(span_s / step_s + 1e-9) + 1):
            yield number * step_s


def timeline(story: Story) -> Html:
    """The drawing, its legend, the list of what broke, and the same as a table."""
    axis = axis_of(story)
    rows = rows_of(story.shards)
    during = [i for i in story.incidents if axis.from_s <= i.at_s <= axis.to_s]
    groups = grouped(during[:MAX_INCIDENTS_DRAWN], axis)
    return join(
        [
            tag("p", _what_is_shown(len(rows), story), class_="note"),
            _legend(bool(groups)),
            _drawing(rows, axis, groups, story),
            _incident_list(groups, len(during), story),
            tag(
                "details",
                tag("summary", "The same as a table"),
                _table(rows, story.admitted_s),
            ),
        ]
    )


def axis_of(story: Story) -> Axis:
    """The job's time, from its admission to its end."""
    return Axis(story.admitted_s, max(story.ended_s, story.admitted_s + MIN_SPAN_S))


def rows_of(shards: Sequence[ShardStory]) -> list[ShardStory]:
    """At most MAX_ROWS shards, in their order: those that failed, then those that took several attempts, then others.

    Of each kind some are taken evenly where there are too many, and the others keep a share of the rows.
    """
    if len(shards) <= MAX_ROWS:
        return list(shards)
    smooth = [shard for shard in shards if shard.smooth]
    failed = [shard for shard in shards if shard.cause is not None]
    rough = [shard for shard in shards if not shard.smooth and shard.cause is None]
    kept = _evenly(smooth, min(len(smooth), SMOOTH_ROWS))
    rows = _evenly(failed, MAX_ROWS - len(kept))
    rows += _evenly(rough, MAX_ROWS - len(kept) - len(rows))
    rows += _evenly(smooth, MAX_ROWS - len(rows))
    return sorted(rows, key=lambda shard: shard.shard)


def _evenly(shards: Sequence[ShardStory], room: int) -> list[ShardStory]:
    """As many of the shards as there is room for, from the whole length of them."""
    if len(shards) <= room:
        return list(shards)
    return [shards[number * len(shards) // room] for number in range(room)]


def grouped(incidents: Sequence[Incident], axis: Axis) -> list[list[Incident]]:
    """Incidents in the order of time, those that stand too near together for markers of their own in one group."""
    groups: list[list[Incident]] = []
    for incident in sorted(incidents, key=lambda i: i.at_s):
        if groups and axis.place(incident.at_s) - axis.place(groups[-1][0].at_s) < 100 * MARKER_SHARE:
            groups[-1].append(incident)
        else:
            groups.append([incident])
    return groups


def _what_is_shown(rows: int, story: Story) -> str:
    total = len(story.shards)
    if rows < total:
        return (
            f"Showing {rows:,} of {count(total, 'shard')}: first those that failed, then those that took several "
            f"attempts, as far as there is room, and at least {SMOOTH_ROWS} of the others, evenly taken."
        )
    return (
        f"Showing all {count(total, 'shard')}, in emulated time from the job's admission; a long list scrolls in its "
        "frame."
    )


def _legend(with_incidents: bool) -> Html:
    entries = [
        ("t-up", "on the way to the satellite"),
        ("t-queue", "queued on board"),
        ("t-inference", "computed"),
        ("t-down", "on the way back, until settled"),
        ("t-lost", "attempt without a result"),
    ]
    if with_incidents:
        entries.append(("t-incident", "something broke or was mended"))
    items = [tag("li", tag("span", class_=f"swatch {style}", aria_hidden="true"), text) for style, text in entries]
    return tag("ul", *items, class_="legend")


def _drawing(rows: Sequence[ShardStory], axis: Axis, groups: Sequence[Sequence[Incident]], story: Story) -> Html:
    height = max(ROW_PX * len(rows), ROW_PX)
    labels = [str(row.shard) for row in rows]
    ends = [_ending(row) for row in rows]
    title = f"Attempts of {count(len(rows), 'shard')} over {seconds(axis.to_s - axis.from_s)} of emulated time"
    bars = [join(_bar(a, row, number, axis) for a in row.attempts) for number, row in enumerate(rows)]
    plot = tag(
        "svg",
        tag("title", title, id="timeline-title"),
        tag("desc", "A row a shard. The table below the drawing has the same figures.", id="timeline-desc"),
        _grid(axis, height),
        *bars,
        *(_incident_line(axis.place(i.at_s), height) for group in groups for i in group),
        role="img",
        aria_labelledby="timeline-title timeline-desc",
        width="100%",
        height=height,
        class_="plot",
    )
    inside = tag(
        "div",
        tag("span", "shard", class_="corner"),
        _axis_row(axis, groups),
        tag("span", class_="corner"),
        _column(labels, "end", height),
        plot,
        _column(ends, "start", height),
        class_="timeline",
    )
    return tag("div", inside, class_="scroll tall", tabindex="0", role="region", aria_label="Timeline of the shards")


def _column(texts: Sequence[str], anchor: str, height: int) -> Html:
    width = math.ceil(LETTER_PX * max((len(text) for text in texts), default=1)) + 10
    x = width - 6 if anchor == "end" else 6
    items = [tag("text", text, x=x, y=ROW_PX * number + 11) for number, text in enumerate(texts)]
    return tag("svg", *items, width=width, height=height, text_anchor=anchor, aria_hidden="true", class_="names")


def _ending(row: ShardStory) -> str:
    if row.accepted is not None:
        tries = f" · try {row.accepted.attempt}" if row.accepted.attempt > 1 else ""
        return f"{row.accepted.satellite} · {count(row.accepted.hops, 'hop')}{tries}"
    return "failed" if row.cause is not None else "not settled"


def _axis_row(axis: Axis, groups: Sequence[Sequence[Incident]]) -> Html:
    parts = []
    for tick_s in axis.ticks_s():
        place = axis.place(axis.from_s + tick_s)
        anchor = "start" if place < 4 else "end" if place > 96 else "middle"
        text = tag("text", _tick(tick_s), x=f"{place}%", y=AXIS_PX - 8, text_anchor=anchor)
        tick = tag("line", x1=f"{place}%", x2=f"{place}%", y1=AXIS_PX - 4, y2=AXIS_PX, class_="tick")
        parts += [text, tick]
    number = 1
    for group in groups:
        label = str(number) if len(group) == 1 else f"{number}–{number + len(group) - 1}"
        number += len(group)
        middle = min(97.0, max(3.0, axis.place(group[0].at_s)))
        half = 4 * len(label) + 4
        marker = tag("rect", x=-half, y=2, width=2 * half, height=16, rx=8, class_="marker")
        parts.append(
            tag("svg", marker, tag("text", label, y=14, class_="marker-text"), x=f"{middle}%", overflow="visible")
        )
    return tag("svg", *parts, width="100%", height=AXIS_PX, class_="axis", aria_hidden="true")


def _tick(tick_s: float) -> str:
    """A round time without the noughts that say how exact a measured one is."""
    number, unit = seconds(tick_s).split(" ", 1)
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def _grid(axis: Axis, height: int) -> Html:
    places = [axis.place(axis.from_s + tick_s) for tick_s in axis.ticks_s()]
    return join(tag("line", x1=f"{p}%", x2=f"{p}%", y1=0, y2=height, class_="grid") for p in places)


def _incident_line(place: float, height: int) -> Html:
    return tag("line", x1=f"{place}%", x2=f"{place}%", y1=0, y2=height, class_="incident")


def _bar(attempt: Attempt, row: ShardStory, number: int, axis: Axis) -> Html:
    """One attempt: its stages where it brought the result, else one bar in vain."""
    y = ROW_PX * number + (ROW_PX - BAR_PX) / 2
    accepted = row.accepted
    head = f"shard {row.shard}, attempt {attempt.number} on {attempt.satellite}"
    if attempt.end != "accepted" or accepted is None:
        lasted = seconds(attempt.to_s - attempt.from_s)
        title = tag("title", f"{head}: {attempt.end} after {lasted}")
        return tag("g", title, _rect(attempt.from_s, attempt.to_s, y, "t-lost", axis))
    stages = stages_of(attempt, accepted)
    told = ", ".join(f"{name} {seconds(to_s - from_s)}" for name, _, from_s, to_s in stages)
    title = tag("title", f"{head}, {count(accepted.hops, 'hop')}: {told}")
    return tag("g", title, *(_rect(from_s, to_s, y, style, axis) for _, style, from_s, to_s in stages if to_s > from_s))


def stages_of(attempt: Attempt, accepted: Accepted) -> list[tuple[str, str, float, float]]:
    """The stages of the attempt that brought the result: name, style, start and end; each starts where one ended."""
    arrived_s = accepted.arrived_s
    started_s = arrived_s + accepted.queue_s
    computed_s = started_s + accepted.inference_s
    return [
        ("up", "t-up", attempt.from_s, arrived_s),
        ("queued", "t-queue", arrived_s, started_s),
        ("computed", "t-inference", started_s, computed_s),
        ("back", "t-down", computed_s, accepted.settled_s),
    ]


def _rect(from_s: float, to_s: float, y: float, style: str, axis: Axis) -> Html:
    left, right = axis.place(from_s), axis.place(to_s)
    return tag("rect", x=f"{left}%", y=y, width=f"{round(right - left, 3)}%", height=BAR_PX, class_=style)


def _incident_list(groups: Sequence[Sequence[Incident]], during: int, story: Story) -> Html:
    """What broke while the job ran, in words; and how much is left out."""
    parts: list[str] = []
    listed = [i for group in groups for i in group]
    if listed:
        items = [tag("li", tag("b", seconds(i.at_s - story.admitted_s)), f" {said(i)}") for i in listed]
        parts.append(tag("ol", *items, class_="incidents"))
    else:
        parts.append(tag("p", "Nothing was broken on purpose while the job ran.", class_="note"))
    hidden = during - len(listed) + story.incidents_left_out
    if hidden:
        parts.append(
            tag("p", f"{count(hidden, 'more break or repair', 'more breaks and repairs')} not shown.", class_="note")
        )
    before = [i for i in story.incidents if i.at_s < story.admitted_s]
    if before:
        parts.append(
            tag("p", f"{count(len(before), 'break or repair', 'breaks and repairs')} before the job.", class_="note")
        )
    return join(parts)


def _table(rows: Sequence[ShardStory], admitted_s: float) -> Html:
    heads = ("shard", "ending", "satellite", "attempts", "hops", "settled", "up", "queued", "computed", "back")
    head = tag("tr", *(tag("th", name, scope="col") for name in heads))
    body = [_table_row(row, admitted_s) for row in rows]
    table = tag("table", tag("caption", "Shards drawn above"), tag("thead", head), tag("tbody", *body))
    return tag("div", table, class_="scroll tall", tabindex="0", role="region", aria_label="Table of the shards")


def _table_row(row: ShardStory, admitted_s: float) -> Html:
    shard = tag("th", str(row.shard), scope="row")
    attempts = tag("td", str(len(row.attempts)), class_="number")
    if row.accepted is None:
        cause = "not settled" if row.cause is None else f"failed: {row.cause[:MAX_CAUSE_LETTERS]}"
        return tag("tr", shard, tag("td", cause), tag("td", "–"), attempts, *(tag("td", "–") for _ in range(6)))
    good = next((a for a in row.attempts if a.end == "accepted"), None)
    stages = [] if good is None else stages_of(good, row.accepted)
    times = [seconds(row.accepted.settled_s - admitted_s), *(seconds(to_s - from_s) for _, _, from_s, to_s in stages)]
    times += ["–"] * (5 - len(times))
    return tag(
        "tr",
        shard,
        tag("td", "accepted"),
        tag("td", row.accepted.satellite),
        attempts,
        *(tag("td", text, class_="number") for text in (str(row.accepted.hops), *times)),
    )
