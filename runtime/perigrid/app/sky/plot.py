"""How does a sky become a picture?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import numpy as np

from perigrid.app.shell import Shell
from perigrid.app.sky.lists import Asked, contacts_of
from perigrid.app.sky.view import Sky, open_sky, sky_scenario, sky_time, steps, with_places
from perigrid.errors import UsageError
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.routes import NoPath, Routes
from perigrid.mesh.topology import LinkKind
from perigrid.report.sky.charts import Bar, RoundTrips, Row, draw_gantt, draw_round_trips
from perigrid.report.sky.head import Head, brief_lines
from perigrid.report.sky.map import View, draw_map
from perigrid.report.sky.style import matplotlib, save
from perigrid.report.tables import check_suffix
from perigrid.scenario.model import GROUND_NAME
from perigrid.sky.passes import passes
from perigrid.units import NodeId

RTT_HOURS, GANTT_HOURS = 2.0, 6.0
"""Windows where none is asked for."""

RTT_MOMENTS = 300
"""Moments of a round trip's curve where no step is asked for."""

MAX_MOMENTS = 5_000

FEW_SATELLITES = 60
"""Of larger constellations someone is always in sight, so that a Gantt chart shows only who is served."""


@dataclass(frozen=True, slots=True)
class Plot:
    """What is to be drawn, as it was asked for; None takes the kind's default."""

    kind: str
    output: File
    pair: tuple[str, str] | None
    hours: float | None
    step_s: float | None
    asked: Asked


@dataclass(frozen=True, slots=True)
class Drawn:
    """What was drawn, to which file, and what it rests on; `round_trips` are the figures of a curve."""

    file: str
    kind: str
    head: Head
    round_trips: dict[str, Any] | None = None


def plot_sky(shell: Shell, target: str, at: str | None, plot: Plot) -> None:
    """Draw the picture that was asked for, and say what is in it."""
    check_suffix(plot.output, (".png",), "a picture")
    if (plot.kind == "rtt") != (plot.pair is not None):
        raise UsageError("--pair A B belongs to --kind rtt: give both, or neither.")
    # What is missing is said before minutes of work, not after.
    matplotlib()
    draw = {"map": _map, "rtt": _rtt, "gantt": _gantt}[plot.kind]
    figure, drawn = draw(shell, target, at, plot)
    save(figure, plot.output)
    lines = brief_lines(drawn.head)
    if drawn.round_trips is not None:
        lines.append(
            f"round trip of {drawn.round_trips['a']} - {drawn.round_trips['b']}: {_figures(drawn.round_trips)}"
        )
    shell.show(drawn, [*lines, f"{plot.output}: {plot.kind}"])


def _map(shell: Shell, target: str, at: str | None, plot: Plot) -> tuple[Any, Drawn]:
    from perigrid.report.sky.land import read_land

    if plot.hours is not None or plot.step_s is not None:
        raise UsageError("--kind map is of one moment, --at: it has neither --hours nor --step.")
    land = read_land()
    sky = open_sky(target, at, shell.say)
    plan = sky.plan(0.0)
    edges = plan.edges_at(sky.at_s)
    head = sky.head
    view = View(sky.scenario, sky.geometry, edges, sky.at_s, head)
    return draw_map(view, land), Drawn(str(plot.output), plot.kind, head)


def _rtt(shell: Shell, target: str, at: str | None, plot: Plot) -> tuple[Any, Drawn]:
    hours = plot.hours or RTT_HOURS
    step_s = plot.step_s or hours * 3600 / RTT_MOMENTS
    if hours * 3600 / step_s > MAX_MOMENTS:
        raise UsageError(f"--step: {hours:g} h in steps of {step_s:g} s are more than {MAX_MOMENTS} moments: widen it.")
    scenario, names = with_places(sky_scenario(target, shell.say), plot.pair or ("", ""))
    sky = Sky(scenario, sky_time(scenario, at), shell.say, fibre=GROUND_NAME in names)
    ends = [sky.node(name) for name in names]
    plan = sky.plan(hours)
    found = _round_trips(sky, plan, ends, steps(sky.at_s, hours, step_s))
    head = sky.head
    known = found.rtt_ms[np.isfinite(found.rtt_ms)]
    figures = {
        "a": found.a,
        "b": found.b,
        "t_s": found.t_s.tolist(),
        "rtt_ms": [None if np.isnan(each) else each for each in found.rtt_ms.tolist()],
        "hops": found.hops.tolist(),
        "lowest_ms": float(known.min()) if len(known) else None,
        "median_ms": float(np.median(known)) if len(known) else None,
        "highest_ms": float(known.max()) if len(known) else None,
    }
    figure = draw_round_trips(found, scenario.epoch, head)
    return figure, Drawn(str(plot.output), plot.kind, head, figures)


def _round_trips(sky: Sky, plan: ContactPlan, ends: list[NodeId], t_s: Any) -> RoundTrips:
    """The shortest way's round trip at each moment."""
    routes = Routes(plan)
    rtt_ms, why = np.full(len(t_s), np.nan), ""
    hops, way = np.zeros(len(t_s), np.int64), np.full(len(t_s), -1)
    ways: dict[tuple[NodeId, ...], int] = {}
    last_s = plan.horizon_s
    for number, moment in enumerate(t_s.tolist()):
        found = routes.path(ends[0], ends[1], min(moment, last_s), frozenset())
        if isinstance(found, NoPath):
            why = why or found.reason.partition(" before ")[0]
            continue
        rtt_ms[number] = 2e3 * found.delay_s
        hops[number] = len(found.links)
        way[number] = ways.setdefault(found.nodes, len(ways))
    names = sky.mesh.names
    return RoundTrips(names[ends[0]], names[ends[1]], t_s, rtt_ms, hops, way, why)


def _figures(found: dict[str, Any]) -> str:
    if found["median_ms"] is None:
        return "no way at any moment"
    share = sum(each is not None for each in found["rtt_ms"]) / len(found["rtt_ms"])
    return (
        f"{found['lowest_ms']:.1f} ms at least, {found['median_ms']:.1f} ms in the median, "
        f"{found['highest_ms']:.1f} ms at most; a way {share:.1%} of the time"
    )


def _gantt(shell: Shell, target: str, at: str | None, plot: Plot) -> tuple[Any, Drawn]:
    hours = plot.hours or GANTT_HOURS
    if plot.step_s is not None:
        raise UsageError("--kind gantt shows contacts at their full length: it has no --step.")
    sky = open_sky(target, at, shell.say)
    plan = sky.plan(hours)
    if plot.asked.satellites:
        what, rows = f"contacts of {', '.join(plot.asked.satellites)}", _link_rows(sky, plan, hours, plot.asked)
    else:
        what, rows = "contacts with the ground", _station_rows(sky, plan, hours, plot.asked)
    head = sky.head
    figure = draw_gantt(what, rows, (sky.at_s, sky.at_s + hours * 3600), sky.scenario.epoch, head)
    return figure, Drawn(str(plot.output), plot.kind, head)


def _station_rows(sky: Sky, plan: ContactPlan, hours: float, asked: Asked) -> list[Row]:
    """For each station a line for each satellite that it serves at the same time, with who is in sight behind it."""
    table = contacts_of(sky, plan, hours, "radio", Asked(stations=asked.stations))
    stations = [sky.station(name) for name in asked.stations] or range(len(sky.scenario.stations))
    rows = []
    for number in stations:
        mine = table.of(table.b == sky.mesh.satellite_count + number)
        lanes: list[list[Bar]] = []
        for satellite, start_s, end_s in zip(mine.a.tolist(), mine.start_s.tolist(), mine.end_s.tolist(), strict=True):
            bar = Bar(start_s, end_s, sky.mesh.names[satellite])
            free = next((lane for lane in lanes if lane[-1].end_s <= bar.start_s), None)
            if free is None:
                lanes.append(free := [])
            free.append(bar)
        behind = _in_sight(sky, hours, number)
        name = sky.scenario.stations[number].name
        lanes = lanes or [[]]
        rows += [Row(name if lane is lanes[0] else "", number, [*behind, *lane]) for lane in lanes]
    return rows


def _in_sight(sky: Sky, hours: float, station: int) -> list[Bar]:
    """When any satellite of a small constellation is in sight of a station."""
    geometry, rate = sky.geometry, sky.geometry.orbit_rate
    if sky.scenario.satellite_count > FEW_SATELLITES:
        return []
    found = passes(
        geometry.fleet, geometry.sites, geometry.angle_at_epoch_rad, sky.at_s * rate, (sky.at_s + hours * 3600) * rate
    )
    mine = [one for one in found if one.station == station]
    return [Bar(one.rise_s / rate, one.set_s / rate, pale=True) for one in mine]


def _link_rows(sky: Sky, plan: ContactPlan, hours: float, asked: Asked) -> list[Row]:
    """A line for each link of some satellites: lasers first."""
    table = contacts_of(sky, plan, hours, "all", asked)
    bars: dict[tuple[int, int, int], list[Bar]] = {}
    columns = (table.kind, table.a, table.b, table.start_s, table.end_s)
    for kind, a, b, start_s, end_s in zip(*(column.tolist() for column in columns), strict=True):
        bars.setdefault((kind, a, b), []).append(Bar(start_s, end_s))
    names = sky.mesh.names
    return [
        Row(f"{names[a]} - {names[b]}", 1 if kind == LinkKind.LASER else 2, some)
        for (kind, a, b), some in sorted(bars.items())
    ]
