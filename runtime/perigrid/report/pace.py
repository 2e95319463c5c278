"""How fast did time pass here while a job ran?

A step line of emulated seconds a second of the wall over emulated time, for runs whose clock was governed; a rate that
was given is one number, which the head of the report has. The scale is logarithmic, from the lowest to the highest that
was, in whole decades.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from perigrid.report.markup import Html, join, tag
from perigrid.report.story import Story, Stretch
from perigrid.report.timeline import Axis
from perigrid.report.words import seconds

HEIGHT_PX = 120
MAX_STEPS = 400
LOWEST_RATE = 1e-4
"""Where time all but stood, the line is drawn here."""


def pace(story: Story, axis: Axis) -> Html:
    """The step line and what it comes to; nothing where the clock's rate was given."""
    steps = [step for step in story.stretches if step.to_s > axis.from_s and step.from_s < axis.to_s]
    if not steps:
        return Html("")
    while len(steps) > MAX_STEPS:
        steps = _halved(steps)
    low, high = decades(steps)
    emulated_s, wall_s = sum(s.to_s - s.from_s for s in steps), sum(s.wall_s for s in steps)
    standing_s = sum(s.standing * s.wall_s for s in steps)
    mean = emulated_s / wall_s if wall_s > 0 else 0.0
    told = (
        f"The clock was governed: on average {mean:.3g} emulated seconds a second of the wall "
        f"while the job ran; for {100 * standing_s / wall_s if wall_s > 0 else 0:.0f} % of the wall time stood and "
        "waited for this machine."
    )
    heights = {exponent: _y(10.0**exponent, low, high) for exponent in range(low, high + 1)}
    grid = [
        join(
            [
                tag("line", x1="0%", x2="100%", y1=y, y2=y, class_="grid"),
                tag("text", f"{10.0**exponent:g}", x=2, y=y - 3 if exponent == low else y + 11),
            ]
        )
        for exponent, y in heights.items()
    ]
    plot = tag(
        "svg",
        tag("title", "How fast time passed here", id="pace-title"),
        tag("desc", told, id="pace-desc"),
        *grid,
        *_line(steps, axis, low, high),
        role="img",
        aria_labelledby="pace-title pace-desc",
        width="100%",
        height=HEIGHT_PX,
        class_="plot",
    )
    caption = f"Emulated seconds a second of the wall, logarithmic. {told}"
    return tag("figure", plot, tag("figcaption", caption), class_="pace")


def decades(steps: Sequence[Stretch]) -> tuple[int, int]:
    """The powers of ten that the scale begins and ends with."""
    rates = [max(step.rate, LOWEST_RATE) for step in steps]
    low, high = math.floor(math.log10(min(rates)) + 1e-9), math.ceil(math.log10(max(rates)) - 1e-9)
    return low, max(high, low + 1)


def _line(steps: Sequence[Stretch], axis: Axis, low: int, high: int) -> list[Html]:
    drawn, before = [], None
    for step in steps:
        y = _y(step.rate, low, high)
        left, right = axis.place(step.from_s), axis.place(step.to_s)
        title = tag("title", f"{seconds(step.to_s - step.from_s)} at {step.rate:.3g}, time stood {step.standing:.0%}")
        if before is not None:
            drawn.append(tag("line", x1=f"{left}%", x2=f"{left}%", y1=before, y2=y, class_="pace-line"))
        drawn.append(tag("line", title, x1=f"{left}%", x2=f"{right}%", y1=y, y2=y, class_="pace-line"))
        before = y
    return drawn


def _y(rate: float, low: int, high: int) -> float:
    share = (math.log10(max(rate, LOWEST_RATE)) - low) / (high - low)
    return round(HEIGHT_PX - 4 - share * (HEIGHT_PX - 8), 2)


def _halved(steps: Sequence[Stretch]) -> list[Stretch]:
    """Each two steps as one that lasted as long and came as far."""
    pairs = [steps[number : number + 2] for number in range(0, len(steps), 2)]
    return [
        Stretch(
            pair[0].from_s,
            pair[-1].to_s,
            sum(s.wall_s for s in pair),
            sum(s.standing * s.wall_s for s in pair) / max(sum(s.wall_s for s in pair), 1e-9),
        )
        for pair in pairs
    ]
