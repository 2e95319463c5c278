"""How do a pair's round trip and the contacts of stations go over time?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from perigrid.report.sky import style
from perigrid.report.sky.head import Head

MAX_ROWS = 60
"""Rows of a Gantt chart at most."""

NAMED_BAR_SHARE = 0.035
"""A bar as wide as this share of the window has room for a name."""

PALE = "#d5dbe2"


@dataclass(frozen=True, slots=True, eq=False)
class RoundTrips:
    """The round trip of a pair at moments [T]: `rtt_ms` [T] is NaN where there is no way, `hops` [T] then 0.

    `way` [T] is a number of its own for each way. `why` is said of the first time without one, "" where there is
    none.
    """

    a: str
    b: str
    t_s: npt.NDArray[np.float64]
    rtt_ms: npt.NDArray[np.float64]
    hops: npt.NDArray[np.int64]
    way: npt.NDArray[np.int64]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of sky time with a name; a pale one stands behind the others."""

    start_s: float
    end_s: float
    text: str = ""
    pale: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a Gantt chart; `group` gives its colour."""

    label: str
    group: int
    bars: Sequence[Bar]


def draw_round_trips(found: RoundTrips, epoch: datetime, head: Head) -> Any:
    """The round trip over time, with the hops of the way below."""
    figure = style.new_figure()
    style.title(figure, f"{head.scenario}: round trip of light {found.a} - {found.b}", head)
    above = figure.add_axes((0.07, 0.38, 0.9, 0.47))
    below = figure.add_axes((0.07, 0.17, 0.9, 0.15), sharex=above)
    moments = _moments(epoch, found.t_s)
    _gaps(above, moments, np.isnan(found.rtt_ms))
    # Where a way is exchanged for another the round trip jumps: a line through both would show what never was.
    changes = np.flatnonzero(np.diff(found.way) != 0) + 1
    above.plot(*_broken(moments, found.rtt_ms, changes), color=style.COLOURS[0], linewidth=1.4)
    # A way that lasts for one moment alone is no line.
    alone = np.ones(len(found.way), np.bool_)
    alone[1:] &= found.way[1:] != found.way[:-1]
    alone[:-1] &= found.way[:-1] != found.way[1:]
    above.plot(moments[alone], found.rtt_ms[alone], ".", color=style.COLOURS[0], markersize=4)
    above.set_ylabel("round trip, ms")
    known = found.rtt_ms[np.isfinite(found.rtt_ms)]
    if len(known):
        middle = float(np.median(known))
        above.axhline(middle, color=style.FAINT, linewidth=0.8, linestyle=(0, (4, 3)))
        above.set_ylim(*_limits(known))
        text = f"lowest {known.min():.1f} ms, median {middle:.1f} ms, highest {known.max():.1f} ms"
    else:
        text = "no way at any moment shown"
    share = np.isfinite(found.rtt_ms).mean()
    above.set_title(f"{text}; a way {share:.1%} of the time", fontsize=9, loc="left")
    below.step(
        moments, np.where(found.hops > 0, found.hops, np.nan), where="post", color=style.COLOURS[1], linewidth=1.2
    )
    below.set_ylabel("hops")
    below.yaxis.set_major_locator(style.matplotlib("matplotlib.ticker").MaxNLocator(integer=True, nbins=5))
    _time_axis(below, moments)
    above.tick_params(labelbottom=False)
    for axes in (above, below):
        _plain(axes)
    note = f"Grey: no way ({found.why}). " if found.why else ""
    style.small_print(figure, head, f"Light alone, along the shortest way of each moment. {note}")
    return figure


def draw_gantt(what: str, rows: Sequence[Row], window_s: tuple[float, float], epoch: datetime, head: Head) -> Any:
    """Contacts as bars, a line a station or link."""
    figure = style.new_figure()
    style.title(figure, f"{head.scenario}: {what}", head)
    axes = figure.add_axes((0.13, 0.14, 0.85, 0.72))
    start, end = (_moments(epoch, np.array([second]))[0] for second in window_s)
    shown = rows[:MAX_ROWS]
    for number, row in enumerate(shown):
        for bar in row.bars:
            _bar(axes, number, row, bar, epoch, window_s)
    axes.set(xlim=(start, end), ylim=(max(len(shown), 1) - 0.4, -0.6))
    size = 8.5 if len(shown) <= 25 else 6
    axes.set_yticks(range(len(shown)), [row.label for row in shown], fontsize=size)
    _time_axis(axes, np.array([start, end]))
    _plain(axes)
    axes.grid(axis="y", visible=False)
    more = f"{len(rows) - len(shown)} more lines are left out. " if len(rows) > len(shown) else ""
    pale = any(bar.pale for row in shown for bar in row.bars)
    note = "Pale: in sight; coloured: served. " if pale else ""
    if not shown:
        axes.text(0.5, 0.5, "no contact in this window", transform=axes.transAxes, ha="center", color=style.FAINT)
    style.small_print(figure, head, f"{note}{more}")
    return figure


def _bar(axes: Any, number: int, row: Row, bar: Bar, epoch: datetime, window_s: tuple[float, float]) -> None:
    start, end = _moments(epoch, np.array([bar.start_s, bar.end_s]))
    colour = PALE if bar.pale else style.colour_of(row.group)
    axes.barh(
        number,
        end - start,
        left=start,
        height=0.78 if bar.pale else 0.56,
        color=colour,
        edgecolor="none" if bar.pale else "white",
        linewidth=0.5,
        zorder=2 if bar.pale else 3,
    )
    wide = (bar.end_s - bar.start_s) / (window_s[1] - window_s[0]) >= NAMED_BAR_SHARE
    if bar.text and wide and not bar.pale:
        axes.text(
            start + (end - start) / 2, number, bar.text, ha="center", va="center", fontsize=6.5, color="white", zorder=4
        )


def _moments(epoch: datetime, t_s: npt.NDArray[np.float64]) -> Any:
    """Sky times as days, as matplotlib counts them."""
    start = epoch.astimezone(UTC)
    dates = style.matplotlib("matplotlib.dates")
    first = dates.date2num(start)
    return first + np.asarray(t_s) / timedelta(days=1).total_seconds()


def _time_axis(axes: Any, moments: Any) -> None:
    dates = style.matplotlib("matplotlib.dates")
    locator = dates.AutoDateLocator(tz=UTC, minticks=4, maxticks=12)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlim(moments[0], moments[-1])
    axes.set_xlabel("UTC", fontsize=8)


def _gaps(axes: Any, moments: Any, missing: npt.NDArray[np.bool_]) -> None:
    """Shade the times without a way."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], missing, [False]]).astype(np.int8)))
    for first, last in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        axes.axvspan(moments[first], moments[min(last, len(moments) - 1)], color=PALE, zorder=0, linewidth=0)


def _broken(moments: Any, values: npt.NDArray[np.float64], at: npt.NDArray[np.int64]) -> tuple[Any, Any]:
    return np.insert(moments, at, moments[at]), np.insert(values, at, np.nan)


def _limits(known: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Some air above and below; a constant has two milliseconds around it."""
    air = max(1.0, 0.08 * float(known.max() - known.min()))
    return max(0.0, float(known.min()) - air), float(known.max()) + air


def _plain(axes: Any) -> None:
    axes.grid(color="#dfe4e9", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8, length=2, color=style.FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(style.FAINT)
