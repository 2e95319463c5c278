"""What was the orbit doing while requests were sent?

Medians of each stratum over time, arm by arm, and below on the same axis what may explain them: eclipses, contacts,
faults, the strata themselves and the clock's rate. Bounded: MAX_LANES contacts by name, MAX_SPANS of a kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from perigrid.bench.latency.rows import Arm
from perigrid.bench.latency.summary import SeriesSummary, Span, Summary
from perigrid.report.latency.plot import Ending, Scale, curve, dot, plot, stretched, tick_text
from perigrid.report.latency.words import arm_names, line_style
from perigrid.report.markup import Html, join, tag
from perigrid.report.words import count, seconds

DOTS_PX = 240
LANE_PX = 18
MAX_LANES = 8
MAX_SPANS = 400
MAX_FAULTS_LISTED = 40
OVER = " over "
EDGE_SHARE = 0.012
"""What is left free before the first stratum and behind the last, so that no dot stands on the edge."""

TICKS_S = (1, 2, 5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 28800, 86400)
WANTED_TICKS = 6


@dataclass(frozen=True, slots=True)
class Window:
    """Emulated time along the width; it counts from `zero_s`, where the first stratum starts."""

    from_s: float
    to_s: float
    zero_s: float

    def share(self, at_s: float) -> float:
        """Where a time is, from 0 to 1, kept inside."""
        return min(1.0, max(0.0, (at_s - self.from_s) / (self.to_s - self.from_s)))

    def ticks(self) -> list[tuple[float, str]]:
        """Round times since the start."""
        span_s = self.to_s - self.zero_s
        step_s = next((s for s in TICKS_S if span_s / s <= WANTED_TICKS), span_s / WANTED_TICKS)
        minutes = step_s >= 60
        return [
            (self.share(self.zero_s + n * step_s), f"{n * step_s / 60:g} min" if minutes else f"{n * step_s:g} s")
            for n in range(int(span_s / step_s + 1e-9) + 1)
        ]


def timeline(summary: Summary, group: Sequence[SeriesSummary]) -> Html:
    """Dots of a group's strata over the lanes of what happened; nothing without a stratum."""
    window = window_of(summary)
    names = {one.name for one in group}
    dots = [one for one in in_orbit(summary) if one.by_stratum and one.name in names]
    if window is None or not dots:
        return Html("")
    return join([_dots(dots, group, window), lanes(summary, window)])


def in_orbit(summary: Summary) -> list[SeriesSummary]:
    """The series that stand at some place of an orbit: all but those of the bare model."""
    return [one for one in summary.series if one.arm != Arm.BARE]


def window_of(summary: Summary) -> Window | None:
    """From the first stratum to the end of the last; None without any."""
    strata = [stratum for one in in_orbit(summary) for stratum in one.strata]
    if not strata:
        return None
    from_s, to_s = min(s.start_s for s in strata), max(s.end_s for s in strata)
    air_s = max(1e-3, EDGE_SHARE * (to_s - from_s))
    return Window(from_s - air_s, to_s + air_s, from_s)


def lanes(summary: Summary, window: Window) -> Html:
    """One lane a kind: strata, eclipses, contacts by name, faults, the clock's rate."""
    rows = [("strata", [_rect(s.start_s, s.end_s, "stratum", f"stratum {s.number}", window) for s in _strata(summary)])]
    for kind in ("eclipse", "contact"):
        for name, spans in _by_name(summary.spans, kind):
            rects = [_rect(s.start_s, s.end_s, kind, f"{name}: {_lasted(s)}", window) for s in spans[:MAX_SPANS]]
            rows.append((f"eclipse, {name}" if kind == "eclipse" else short(name, summary.spans), rects))
    faults = [span for span in summary.spans if span.kind == "fault"]
    if faults:
        rows.append(("faults", [_fault(span, window) for span in faults[:MAX_SPANS]]))
    if len(summary.rate_history) > 1:
        rows.append(("clock's rate", [_rates(summary, window)]))
    parts = []
    for name, marks in rows:
        parts.append(tag("span", name, class_="lane-name"))
        svg = tag("svg", *marks, role="img", aria_label=f"{name}: {len(marks)} marks", width="100%", height=LANE_PX)
        parts.append(svg)
    hidden = sum(1 for _ in _names(summary.spans, "contact")) - MAX_LANES
    notes = []
    if hidden > 0:
        notes.append(tag("p", f"{count(hidden, 'further lane')} of contacts not shown.", class_="note"))
    if summary.facts.orbit_rate != 1.0:
        turned = f"The sky turned {summary.facts.orbit_rate:g} times as fast as time passed (orbit rate)."
        notes.append(tag("p", turned, class_="note"))
    return join([tag("div", *parts, class_="lanes"), *notes, _faults(faults, window)])


def _dots(dots: Sequence[SeriesSummary], group: Sequence[SeriesSummary], window: Window) -> Html:
    names = arm_names(group)
    scale = Scale.around([s.median_s for one in dots for s in one.by_stratum])
    marks, lines = [], []
    endings: list[Ending] = []
    for one in dots:
        places = sorted((window.share((s.start_s + s.end_s) / 2), scale.share(s.median_s), s) for s in one.by_stratum)
        style = line_style(one, group)
        lines.append(curve([(x, y) for x, y, _ in places], f"curve through {style}"))
        for x, y, stratum in places:
            told = (
                f"{names[one.name]} {one.repeat}, stratum {stratum.number}: median {seconds(stratum.median_s)} of "
                f"{count(stratum.answered, 'request')}"
            )
            marks.append(dot(x, DOTS_PX * (1 - y), style, told))
        if all(names[one.name] != ending.text for ending in endings):
            endings.append(Ending(names[one.name], DOTS_PX * (1 - places[-1][1]), style))
    return plot(
        "Medians over the orbit, a dot a stratum and repeat",
        f"{count(len(marks), 'dot')} of {len(dots)} series over {seconds(window.to_s - window.from_s)}.",
        [stretched(*lines), *marks],
        window.ticks(),
        [(scale.share(value), tick_text(value)) for value in scale.ticks_s(7)],
        "emulated time since the first stratum",
        "median latency of a stratum",
        endings,
        DOTS_PX,
        "chart over-lanes",
    )


def _strata(summary: Summary) -> list[_Stratum]:
    found = {
        (s.start_s, s.end_s): _Stratum(s.number, s.start_s, s.end_s) for one in in_orbit(summary) for s in one.strata
    }
    return sorted(found.values(), key=lambda s: s.start_s)[:MAX_SPANS]


@dataclass(frozen=True, slots=True)
class _Stratum:
    number: int
    start_s: float
    end_s: float


def short(name: str, spans: Sequence[Span]) -> str:
    """A contact's name without the satellite, where all contacts are of one: "sat-01 over Svalbard" is Svalbard's."""
    heads = {span.name.partition(OVER)[0] for span in spans if span.kind == "contact"}
    head, over, station = name.partition(OVER)
    return station if over and heads == {head} else name


def _names(spans: Sequence[Span], kind: str) -> list[str]:
    return sorted({span.name for span in spans if span.kind == kind})


def _by_name(spans: Sequence[Span], kind: str) -> list[tuple[str, list[Span]]]:
    return [
        (name, [span for span in spans if span.kind == kind and span.name == name])
        for name in _names(spans, kind)[:MAX_LANES]
    ]


def _rect(start_s: float, end_s: float, style: str, told: str, window: Window) -> Html:
    left, right = 100 * window.share(start_s), 100 * window.share(end_s)
    if right <= left and not window.from_s <= start_s <= window.to_s:
        return Html("")
    rect = tag("rect", x=f"{left:.3f}%", y=4, width=f"{max(0.25, right - left):.3f}%", height=LANE_PX - 8, class_=style)
    return tag("g", tag("title", told), rect)


def _fault(span: Span, window: Window) -> Html:
    x = 100 * window.share(span.start_s)
    told = f"{span.name} after {seconds(span.start_s - window.zero_s)}"
    mark = tag("path", d=f"M-5 {LANE_PX - 4}L0 3L5 {LANE_PX - 4}z", class_="fault")
    return tag("svg", tag("title", told), mark, x=f"{x:.3f}%", overflow="visible")


def _rates(summary: Summary, window: Window) -> Html:
    most = max(piece.rate for piece in summary.rate_history) or 1.0
    points: list[tuple[float, float]] = []
    for piece in summary.rate_history:
        x = window.share(piece.at_s)
        if points:
            points.append((x, points[-1][1]))
        points.append((x, 0.1 + 0.8 * piece.rate / most))
    points.append((1.0, points[-1][1]))
    least = min(piece.rate for piece in summary.rate_history)
    title = tag("title", f"from {least:.3g} to {most:.3g} emulated seconds a second")
    return tag("g", title, stretched(curve(points, "curve rate")))


def _faults(faults: Sequence[Span], window: Window) -> Html:
    if not faults:
        return Html("")
    items = [
        tag("li", tag("b", seconds(span.start_s - window.zero_s)), f" {span.name}")
        for span in sorted(faults, key=lambda s: s.start_s)[:MAX_FAULTS_LISTED]
    ]
    parts = [tag("p", "Faults, emulated time since the first stratum:", class_="note"), tag("ul", *items)]
    if len(faults) > MAX_FAULTS_LISTED:
        parts.append(tag("p", f"{len(faults) - MAX_FAULTS_LISTED:,} more not listed.", class_="note"))
    return join(parts)


def _lasted(span: Span) -> str:
    return f"{seconds(span.end_s - span.start_s)} from {seconds(max(0.0, span.start_s))} on"
