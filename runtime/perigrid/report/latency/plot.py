"""How does a curve keep its letters on any screen?

Places along the width are percentages of it, so that text keeps its size and the plot fits 400 pixels as well as
1,280. Curves are drawn in a nested drawing that is stretched over the plot, with lines that keep their width. Axes are
columns and rows of a grid around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from perigrid.report.markup import Html, tag
from perigrid.report.words import seconds

HEIGHT_PX = 300
AXIS_PX = 58
ENDS_PX = 112
FOOT_PX = 24
UNITS = 1000
"""Width and height of the nested drawing's own units."""

MAX_POINTS = 400
LABEL_GAP_PX = 15
MIN_DECADES = 0.3
MANY_TICKS = 6
FINE_STEPS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds along an axis by their logarithm, from `low_s` to `high_s`."""

    low_s: float
    high_s: float

    @classmethod
    def around(cls, values_s: Sequence[float]) -> Scale:
        """A scale with some air around positive values."""
        found = [value for value in values_s if value > 0]
        low_s, high_s = (min(found), max(found)) if found else (1e-3, 1.0)
        decades = max(MIN_DECADES, math.log10(high_s / low_s))
        air = 10 ** (0.04 * decades)
        middle = math.sqrt(low_s * high_s)
        half = 10 ** (decades / 2)
        return cls(middle / half / air, middle * half * air)

    def share(self, value_s: float) -> float:
        """Where a value is along the axis, from 0 to 1, kept inside."""
        if value_s <= self.low_s:
            return 0.0
        return min(1.0, math.log10(value_s / self.low_s) / math.log10(self.high_s / self.low_s))

    def ticks_s(self, most: int = 8) -> list[float]:
        """Round values inside: as many steps of each decade as fit, else whole decades, else every n-th one."""
        first, last = math.floor(math.log10(self.low_s)), math.ceil(math.log10(self.high_s))
        for steps in (FINE_STEPS, (1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
            found = [m * 10.0**d for d in range(first, last + 1) for m in steps]
            inside = [value for value in found if self.low_s <= value <= self.high_s]
            if len(inside) <= most:
                return inside
        every = math.ceil(len(inside) / most)
        return [value for value in inside if round(math.log10(value)) % every == 0]


@dataclass(frozen=True, slots=True)
class Ending:
    """A label at the right end of a curve: its text, its wanted height in pixels, its style."""

    text: str
    y_px: float
    style: str


def tick_text(value_s: float) -> str:
    """A round time: 20 ms, 1 s, 1,000 s is 16 min 40 s and stays in seconds."""
    if value_s >= 0.9995:
        return f"{value_s:,.6g} s"
    number, unit = seconds(value_s).split(" ", 1)
    return f"{float(number):g} {unit}"


def curve(points: Sequence[tuple[float, float]], style: str) -> Html:
    """A line through places (share of the width, share of the height from below)."""
    kept = thinned(points)
    text = " ".join(f"{UNITS * x:.1f},{UNITS * (1 - y):.1f}" for x, y in kept)
    return tag("polyline", points=text, class_=style, vector_effect="non-scaling-stroke")


def thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most some MAX_POINTS points: of those nearer than a pixel to the last one kept, only the last."""
    if len(points) <= MAX_POINTS:
        return list(points)
    least = 2.0 / MAX_POINTS
    kept = [points[0]]
    for x, y in points[1:-1]:
        if abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= least:
            kept.append((x, y))
    return [*kept, points[-1]]


def stretched(*children: Html) -> Html:
    """A nested drawing over the whole plot, for curves."""
    return tag(
        "svg",
        *children,
        x=0,
        y=0,
        width="100%",
        height="100%",
        viewBox=f"0 0 {UNITS} {UNITS}",
        preserveAspectRatio="none",
        class_="stretched",
    )


def plot(
    title: str,
    describe: str,
    inside: Sequence[Html],
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    x_name: str,
    y_name: str,
    endings: Sequence[Ending] = (),
    height_px: int = HEIGHT_PX,
    style: str = "chart",
) -> Html:
    """A plot with axes; ticks are (share of the axis, text), `inside` what stands in it."""
    grid = [tag("line", x1=_pc(x), x2=_pc(x), y1=0, y2=height_px, class_="grid") for x, _ in x_ticks]
    grid += [
        tag("line", x1=0, x2="100%", y1=f"{height_px * (1 - y):.1f}", y2=f"{height_px * (1 - y):.1f}", class_="grid")
        for y, _ in y_ticks
    ]
    canvas = tag(
        "svg",
        tag("title", title),
        tag("desc", describe),
        *grid,
        *inside,
        role="img",
        aria_label=f"{title}. {describe}",
        width="100%",
        height=height_px,
        class_="canvas",
    )
    columns = "with-ends" if endings else "no-ends"
    parts = [
        tag("p", y_name, class_="axis-name"),
        tag("div", _left(y_ticks, height_px), canvas, *_right(endings, height_px), *_foot(x_ticks), class_=columns),
        tag("p", x_name, class_="axis-name below-plot"),
    ]
    return tag("figure", tag("figcaption", title), *parts, class_=style)


def spread_labels(endings: Sequence[Ending], height_px: int) -> list[tuple[float, Ending]]:
    """Heights at which labels do not meet, in the order of the wanted ones, as near to those as there is room."""
    ordered = sorted(endings, key=lambda one: one.y_px)
    gap = min(LABEL_GAP_PX, height_px / max(1, len(ordered)))
    placed: list[float] = []
    for one in ordered:
        placed.append(max(one.y_px, placed[-1] + gap if placed else gap / 2))
    limit = height_px - gap / 2
    for index in range(len(placed) - 1, -1, -1):
        placed[index] = min(placed[index], limit)
        limit = placed[index] - gap
    return list(zip(placed, ordered, strict=True))


def label(x_share: float, y_px: float, text: str, style: str, right: bool = True) -> Html:
    """A label beside a place of a curve, to its right or to its left."""
    return tag(
        "text",
        text,
        x=_pc(x_share),
        y=f"{y_px:.1f}",
        dx=7 if right else -7,
        dy=4,
        text_anchor="start" if right else "end",
        class_=f"direct {style}",
    )


def dot(x_share: float, y_px: float, style: str, told: str, radius: float = 3.5) -> Html:
    """A dot that keeps its shape, with what it says to a pointer."""
    return tag("circle", tag("title", told), cx=_pc(x_share), cy=f"{y_px:.1f}", r=radius, class_=f"dot {style}")


def _left(ticks: Sequence[tuple[float, str]], height_px: int) -> Html:
    texts = [
        tag("text", text, x=AXIS_PX - 8, y=f"{min(height_px - 2, max(10, height_px * (1 - y) + 4)):.1f}")
        for y, text in ticks
    ]
    return tag("svg", *texts, width=AXIS_PX, height=height_px, text_anchor="end", class_="ticks", aria_hidden="true")


def _right(endings: Sequence[Ending], height_px: int) -> Iterator[Html]:
    if not endings:
        return
    parts = []
    for y_px, one in spread_labels(endings, height_px):
        parts.append(tag("line", x1=0, y1=f"{one.y_px:.1f}", x2=12, y2=f"{y_px:.1f}", class_=f"leader {one.style}"))
        parts.append(tag("text", one.text, x=15, y=f"{y_px + 4:.1f}", class_=f"direct {one.style}"))
    yield tag("svg", *parts, width=ENDS_PX, height=height_px, class_="ends", aria_hidden="true")


def _foot(ticks: Sequence[tuple[float, str]]) -> Iterator[Html]:
    texts = []
    every = 2 if len(ticks) <= MANY_TICKS else 3
    for number, (x, text) in enumerate(ticks):
        anchor = "start" if x < 0.04 else "end" if x > 0.96 else "middle"
        # Only some labels, the last one among them, are shown where the screen is narrow.
        minor = (len(ticks) - 1 - number) % every != 0
        texts.append(tag("text", text, x=_pc(x), y=16, text_anchor=anchor, class_="minor" if minor else None))
    yield tag("span", class_="corner")
    yield tag("svg", *texts, width="100%", height=FOOT_PX, class_="ticks", aria_hidden="true")


def _pc(share: float) -> str:
    return f"{round(100 * share, 3)}%"
