"""How are latencies distributed, arm by arm?

Two views of the same: the share of requests answered within a time (CDF), and the percentiles on an axis that gives
each further nine as much room (HDR: log of 1 / (1 - p)). Where fewer than a hundred requests lie beyond a percentile
the line is faint: so far the numbers carry, and not further. Both come from the histogram, exact to one part in a
thousand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from perigrid.bench.latency.histogram import histogram_from
from perigrid.bench.latency.statistics import TAIL_SAMPLES
from perigrid.bench.latency.summary import SeriesSummary
from perigrid.report.latency.plot import HEIGHT_PX, Ending, Scale, curve, dot, label, plot, stretched, tick_text
from perigrid.report.latency.words import WORLD_NAMES, arm_names, line_style
from perigrid.report.markup import Html, join
from perigrid.report.words import count, seconds

CDF_LABELS = (0.93, 0.08)
"""The heights between which the arms' names are spread."""

NINES = ((0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.999, "99.9 %"), (0.9999, "99.99 %"))
LEFT_FROM = 0.62
"""A name stands to the left of its curve from this share of the width on."""


def curves(group: Sequence[SeriesSummary]) -> Html:
    """CDF and percentiles of a group of arms that were asked the same."""
    shown = [one for one in group if one.histogram]
    if not shown:
        return Html("")
    return join([cdf(shown), tail(shown)])


def cdf(group: Sequence[SeriesSummary]) -> Html:
    """Share of answered requests within a time, each arm with its name on its curve."""
    scale = Scale.around([value_s for one in group for value_s, _ in one.histogram])
    names = arm_names(group)
    lines, labels = [], []
    ordered = sorted(group, key=_median_s)
    for place, one in enumerate(ordered):
        points = histogram_from(one.histogram).curve()
        style = line_style(one, group)
        lines.append(curve(_steps(points, scale), f"curve {style}"))
        top, bottom = CDF_LABELS
        level = top - (top - bottom) * (place + 0.5) / len(ordered)
        value_s = next(value for value, share in points if share >= level)
        x, y_px = scale.share(value_s), HEIGHT_PX * (1 - level)
        labels.append(dot(x, y_px, style, f"{names[one.name]}: {100 * level:.0f} % within {seconds(value_s)}"))
        labels.append(label(x, y_px, names[one.name], style, right=x < LEFT_FROM))
    return plot(
        "Share of answered requests within a time",
        _described(group, names),
        [stretched(*lines), *labels],
        [(scale.share(value), tick_text(value)) for value in scale.ticks_s()],
        [(share, f"{100 * share:.0f} %") for share in (0.0, 0.25, 0.5, 0.75, 1.0)],
        "time from the intended send to the answer, on a logarithmic axis",
        "answered within",
    )


def tail(group: Sequence[SeriesSummary]) -> Html:
    """Latency over the percentile, each further nine with the same width."""
    scale = Scale.around([value_s for one in group for value_s, _ in one.histogram])
    names = arm_names(group)
    decades = max(1.0, *(math.log10(one.answered) for one in group))
    lines, endings = [], []
    for one in group:
        points = histogram_from(one.histogram).curve()
        carried = 1 - TAIL_SAMPLES / one.answered
        sure = [
            p for p in _percentile_points(points, one.answered, scale, decades) if p[0] <= _nines(carried) / decades
        ]
        every = list(_percentile_points(points, one.answered, scale, decades))
        style = line_style(one, group)
        lines.append(curve(every, f"curve beyond {style}"))
        if len(sure) > 1:
            lines.append(curve(sure, f"curve {style}"))
        endings.append(Ending(names[one.name], HEIGHT_PX * (1 - every[-1][1]), style))
    return plot(
        "Latency at each percentile",
        f"Faint where fewer than {TAIL_SAMPLES} requests lie beyond. {_described(group, names)}",
        [stretched(*lines)],
        [(_nines(share) / decades, text) for share, text in NINES if _nines(share) <= decades],
        [(scale.share(value), tick_text(value)) for value in scale.ticks_s(9)],
        f"percentile; each further nine has the same width; faint: fewer than {TAIL_SAMPLES} requests lie beyond",
        "latency",
        endings,
    )


def _nines(share: float) -> float:
    """log10 of 1 / (1 - p)."""
    return -math.log10(max(1e-12, 1 - share)) if share > 0 else 0.0


def _percentile_points(
    points: Sequence[tuple[float, float]], answered: int, scale: Scale, decades: float
) -> list[tuple[float, float]]:
    """Places of a curve; the greatest value stands at the percentile that has one request beyond."""
    found, share_before = [], 0.0
    for value_s, share in points:
        y = scale.share(value_s)
        found.append((min(1.0, _nines(share_before) / decades), y))
        share_before = min(share, 1 - 1 / answered) if answered > 1 else 0.0
        found.append((min(1.0, _nines(share_before) / decades), y))
    return found


def _steps(points: Sequence[tuple[float, float]], scale: Scale) -> list[tuple[float, float]]:
    found, before = [], 0.0
    for value_s, share in points:
        x = scale.share(value_s)
        found += [(x, before), (x, share)]
        before = share
    return found


def _median_s(one: SeriesSummary) -> float:
    return histogram_from(one.histogram).percentile_s(0.5)


def _described(group: Sequence[SeriesSummary], names: dict[str, str]) -> str:
    told = [
        f"{names[one.name]} ({WORLD_NAMES[one.world]}, {count(one.answered, 'request')}): "
        f"median {seconds(_median_s(one))}"
        for one in sorted(group, key=_median_s)
    ]
    return "; ".join(told) + "."
