"""Where did each millisecond go?

A bar an arm: its mean latency, cut into stages, which add up to it. Arms differ by orders of magnitude, so each bar is
its own hundred percent and the mean stands beside it; the table below has the seconds. Means are used, since medians
do not add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from perigrid.bench.latency.summary import SeriesSummary, StageSummary
from perigrid.node.stages import STAGES
from perigrid.report.latency.words import (
    DASH,
    STAGE_NAMES,
    arm_names,
    dagger,
    frame,
    head_row,
    is_assumed,
    line_style,
    percent,
    stated,
    swatch,
    world_badge,
)
from perigrid.report.markup import Html, join, tag
from perigrid.report.words import seconds

BAR_PX = 28
NARROW_SHARE, WIDE_SHARE = 1.75, 0.75
"""Percent of the width that a letter takes on a narrow and on a wide screen, with some air."""

SHOWN_STAGES = (0.5, 0.9, 0.99)


def stage_bars(group: Sequence[SeriesSummary]) -> Html:
    """Bars, legend and table of a group's stages; nothing where no request was answered."""
    shown = [one for one in group if one.stages]
    if not shown:
        return Html("")
    names = arm_names(shown)
    rows = [_bar(one, names[one.name], line_style(one, shown)) for one in shown]
    used = [stage for stage in STAGES if any(s.name == stage for one in shown for s in one.stages)]
    legend = tag(
        "ul",
        *(tag("li", tag("span", class_=f"swatch s-{s}", aria_hidden="true"), STAGE_NAMES[s]) for s in used),
        class_="legend",
    )
    caption = tag("figcaption", "Where the mean request's time went; each bar is the arm's own hundred percent")
    figure = tag("figure", caption, *rows, legend, class_="chart")
    details = tag("details", tag("summary", "All stages as a table"), _table(shown, names))
    return join([figure, details])


def _bar(one: SeriesSummary, name: str, style: str) -> Html:
    whole_s = sum(stage.mean.value_s or 0.0 for stage in one.stages)
    parts, left, told = [], 0.0, []
    for stage in one.stages:
        share = 100 * (stage.mean.value_s or 0.0) / whole_s if whole_s > 0 else 0.0
        title = f"{STAGE_NAMES[stage.name]}: {seconds(stage.mean.value_s or 0.0)}, {share:.3g} % of the mean"
        told.append(title)
        parts.append(_piece(stage, left, share, title))
        left += share
    mean = join([seconds(whole_s), dagger(is_assumed(one))])
    head = tag(
        "p",
        swatch(style),
        tag("b", name),
        " ",
        world_badge(one.world),
        tag("span", mean, class_="total"),
        class_="bar-head",
    )
    svg = tag(
        "svg",
        *parts,
        role="img",
        aria_label=f"{name}, mean {seconds(whole_s)}: {'; '.join(told)}",
        width="100%",
        height=BAR_PX,
        class_="stages",
    )
    return tag("div", head, svg, class_="bar-row")


def _piece(stage: StageSummary, left: float, share: float, title: str) -> Html:
    rect = tag("rect", x=f"{left:.3f}%", y=0, width=f"{share:.3f}%", height=BAR_PX, class_=f"s-{stage.name}")
    parts = [tag("title", title), rect]
    text = STAGE_NAMES[stage.name] + ("†" if stage.assumed else "")
    if share >= WIDE_SHARE * len(text) + 1:
        style = "in-bar" if share >= NARROW_SHARE * len(text) + 2 else "in-bar wide"
        parts.append(tag("text", text, x=f"{left + share / 2:.3f}%", y=BAR_PX / 2 + 4, class_=style))
    return tag("g", *parts)


def _table(group: Sequence[SeriesSummary], names: dict[str, str]) -> Html:
    heads = ("arm", "stage", "mean, with its interval", "share", "p50", "p90", "p99", "most")
    body = [row for one in group for row in _rows(one, names[one.name])]
    caption = tag("caption", "Stages of answered requests; † rests on assumed values")
    return frame(tag("table", caption, head_row(heads, 2), tag("tbody", *body)), "Stages of all arms", tall=True)


def _rows(one: SeriesSummary, name: str) -> Iterator[Html]:
    whole_s = sum(stage.mean.value_s or 0.0 for stage in one.stages)
    for stage in one.stages:
        share = (stage.mean.value_s or 0.0) / whole_s if whole_s > 0 else 0.0
        shown = [stated(stage.mean, stage.assumed), percent(share)]
        for wanted in SHOWN_STAGES:
            found = next((p for p in stage.percentiles if p.share == wanted), None)
            shown.append(DASH if found is None else stated(found, stage.assumed))
        shown.append(join([seconds(stage.most_s), dagger(stage.assumed)]))
        yield tag(
            "tr",
            tag("th", name, " ", world_badge(one.world), scope="row"),
            tag("td", tag("span", class_=f"swatch s-{stage.name}", aria_hidden="true"), " ", STAGE_NAMES[stage.name]),
            *(tag("td", text, class_="number") for text in shown),
        )
    explained = f"differs from the latency by {seconds(one.unexplained_s)} at most"
    yield tag(
        "tr",
        tag("th", name, scope="row"),
        tag("td", "sum of all", tag("small", explained)),
        tag("td", stated(one.mean, is_assumed(one)), class_="number"),
        *(tag("td", DASH, class_="number") for _ in range(5)),
        class_="whole",
    )
