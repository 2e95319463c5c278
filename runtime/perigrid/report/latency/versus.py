"""In orbit or by the bent pipe: which is faster, when, and what does each put on the ground links?

Two panels of bars with an axis each: what an arm takes but for waiting for a contact, and that wait. So one sees what
the pipe loses and what the wait alone makes of it. Below, the break-even in words; where the bent pipe wins it says so
first. Then the bytes that one capture or request puts on ground links, up and down.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from perigrid.bench.latency.break_even import WAIT
from perigrid.bench.latency.rows import Arm
from perigrid.bench.latency.statistics import Verdict
from perigrid.bench.latency.summary import NamedBreakEven, SeriesSummary
from perigrid.report.latency.words import (
    ARM_NAMES,
    arm_names,
    cells,
    dagger,
    frame,
    head_row,
    is_assumed,
    line_style,
    swatch,
    verdict_badge,
    world_badge,
)
from perigrid.report.markup import Html, join, tag
from perigrid.report.outcome import amount
from perigrid.report.words import seconds

BAR_PX = 22
INSIDE_SHARE = 62.0
"""A bar longer than this share of the width has its value inside."""


def versus(group: Sequence[SeriesSummary], evens: Sequence[NamedBreakEven]) -> Html:
    """The panels and break-evens of a group; nothing where no bent pipe was measured in it."""
    shown = [one for one in group if one.answered and one.arm != Arm.BARE]
    if not evens:
        return Html("")
    names = arm_names(group)
    rest = [(one, (one.mean.value_s or 0.0) - _wait_s(one)) for one in shown]
    wait = [(one, _wait_s(one)) for one in shown]
    guessed = [one.name for one in shown if is_assumed(one, without=WAIT)]
    panels = tag(
        "div",
        _panel("Mean time but for the wait for a contact, with queues behind it", rest, names, "bar", assumed=guessed),
        _panel("Mean wait for a contact", wait, names, "bar waiting"),
        class_="panels",
    )
    caption = tag("figcaption", "In orbit against the bent pipe; each panel has its own axis from 0")
    return join([tag("figure", caption, panels, class_="chart"), _break_evens(evens), _table(evens)])


def traffic(group: Sequence[SeriesSummary]) -> Html:
    """Bytes over ground links an item, down and up, as bars and with totals."""
    shown = [one for one in group if one.requests and one.arm != Arm.BARE]
    if not any(one.bytes_up or one.bytes_down for one in shown):
        return Html("")
    names = arm_names(group)
    panels = tag(
        "div",
        _panel("Down, mean bytes a request", [(o, o.bytes_down / o.requests) for o in shown], names, "bar", amount_of),
        _panel("Up, mean bytes a request", [(o, o.bytes_up / o.requests) for o in shown], names, "bar", amount_of),
        class_="panels",
    )
    heads = ("arm", "requests", "down, in all", "up, in all")
    body = [
        tag(
            "tr",
            tag("th", names[o.name], " ", world_badge(o.world), scope="row"),
            cells([f"{o.requests:,}", amount(o.bytes_down), amount(o.bytes_up)]),
        )
        for o in shown
    ]
    caption = tag("caption", "Bytes over ground links, warm-up left out")
    table = frame(tag("table", caption, head_row(heads), tag("tbody", *body)), "Bytes over ground links")
    figure = tag(
        "figure",
        tag("figcaption", "Bytes moved over ground links; each panel has its own axis from 0"),
        panels,
        class_="chart",
    )
    return join([figure, table])


def pipe_wins(even: NamedBreakEven) -> bool:
    """Whether the bent pipe was the faster of the two, and that is decided."""
    return even.verdict == Verdict.SLOWER


def amount_of(value: float) -> str:
    """A mean number of bytes."""
    return amount(round(value))


def _wait_s(one: SeriesSummary) -> float:
    return next((stage.mean.value_s or 0.0 for stage in one.stages if stage.name == WAIT), 0.0)


def _panel(
    title: str,
    values: Sequence[tuple[SeriesSummary, float]],
    names: dict[str, str],
    style: str,
    told: Callable[[float], str] = seconds,
    assumed: Collection[str] = (),
) -> Html:
    """Bars of one quantity from 0, each with its value."""
    most = max((value for _, value in values), default=0.0) or 1.0
    rows = []
    for one, value in values:
        text, line = told(max(0.0, value)), line_style(one, [other for other, _ in values])
        share = max(0.0, 100 * value / most)
        inside = share > INSIDE_SHARE
        bar = tag(
            "rect",
            x=0,
            y=0,
            width=f"{max(share, 0.3) if value > 0 else 0:.3f}%",
            height=BAR_PX,
            rx=2,
            class_=f"{style} {line}",
        )
        # The dagger stands in the drawing too, beside the number that it marks.
        number = text + ("†" if one.name in assumed else "")
        written = tag(
            "text",
            number,
            x=f"{share:.3f}%",
            dx=-6 if inside else 6,
            y=BAR_PX / 2 + 4,
            text_anchor="end" if inside else "start",
            class_="in-bar-value" if inside else "beside-bar",
        )
        svg = tag(
            "svg", bar, written, role="img", aria_label=f"{names[one.name]}: {number}", width="100%", height=BAR_PX
        )
        rows.append(tag("div", tag("span", swatch(line), names[one.name], class_="bar-name"), svg, class_="bar-line"))
    return tag("div", tag("p", title, class_="axis-name"), *rows, class_="panel")


def finding(one: NamedBreakEven) -> Html:
    """A break-even in words, loud where the pipe wins or nothing is decided."""
    if one.verdict in (Verdict.UNDECIDED, Verdict.INVALID):
        return tag("li", verdict_badge(one.verdict), " ", one.even.sentence())
    head = tag("strong", "The bent pipe wins here. ") if pipe_wins(one) else ""
    return tag("li", head, one.even.sentence(), class_="pipe-wins" if pipe_wins(one) else None)


def _break_evens(evens: Sequence[NamedBreakEven]) -> Html:
    ordered = sorted(evens, key=lambda one: not pipe_wins(one))
    return tag("ul", *map(finding, ordered), class_="findings")


def _table(evens: Sequence[NamedBreakEven]) -> Html:
    heads = (
        "bent pipe",
        "against",
        "pipe in contact",
        "its contact wait",
        "in orbit",
        "break-even wait",
        "pipe faster",
    )
    body = []
    for one in evens:
        even = one.even
        faster = f"{even.pipe_faster:,} of {even.pairs:,}" if even.pairs else "–"
        threshold = seconds(even.wait_s) if even.wait_s > 0 else "never"
        numbers = [
            seconds(even.pipe_without_wait_s),
            seconds(even.pipe_wait_s),
            seconds(even.orbit_s),
            threshold,
            faster,
        ]
        body.append(
            tag("tr", tag("th", ARM_NAMES[even.pipe], scope="row"), tag("td", ARM_NAMES[even.orbit]), cells(numbers))
        )
    caption = tag("caption", "Break-even: the bent pipe is faster while its contact wait is below this; means")
    return frame(tag("table", caption, head_row(heads, 2), tag("tbody", *body)), "Break-even")


def assumed_note(group: Sequence[SeriesSummary]) -> Html:
    """What the dagger means, where there is one."""
    if not any(is_assumed(one) for one in group):
        return Html("")
    link = tag("a", "named below", href="#world")
    return tag("p", dagger(True), " rests on assumed values, which are ", link, ".", class_="note")
