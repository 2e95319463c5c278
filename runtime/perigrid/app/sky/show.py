"""What does `perigrid sky show` say of a constellation?

Shells, their neighbours and their light; what lasers join and how wide that is; how much of the time the ground is in
sight; rates. Everything for the moment asked about, but for the ranges of neighbours (over an orbit) and contact with
the ground (over the plan, in geometry alone).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from perigrid.app.sky.view import Sky
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.survey.coverage import Coverage, Gap, coverage, step_for
from perigrid.mesh.survey.extent import Part, parts_of
from perigrid.mesh.survey.overview import (
    Group,
    Neighbours,
    ShellView,
    Spread,
    between_groups,
    groups_of,
    islands,
    neighbours,
    one_of_each_plane,
    shell_view,
    spread_of,
)
from perigrid.mesh.topology import LinkKind
from perigrid.report.sky.head import Head, head_lines
from perigrid.sky.eclipse import beta_deg, eclipse_fraction, margin_rad
from perigrid.sky.sun import sun_km
from perigrid.units import EARTH_RADIUS_KM

NAMES_SHOWN = 8
"""At most so many parts of a mesh, or stations, are listed."""


@dataclass(frozen=True, slots=True)
class Light:
    """A group in sunlight and shadow (a point Sun): angles of its orbits to the Sun, share of an orbit in shadow.

    `eclipse_share` is over its orbits as they stand, `eclipse_share_beta0` that of an orbit which the Sun stands in.
    """

    beta_deg: Spread
    in_shadow_now: int
    eclipse_share: Spread
    eclipse_share_beta0: float


@dataclass(frozen=True, slots=True)
class ShellReport:
    """All that is said of one shell or catalogue; `terminals` is None where the scenario states none."""

    shell: ShellView
    terminals: int | None
    neighbours: tuple[Neighbours, ...]
    lasers_up: int
    lasers_planned: int | None
    light: Light
    decayed: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Links of one kind that are up, and their mean rates there and back; on the ground down and up."""

    up: int
    mean_bps: float | None
    mean_back_bps: float | None


@dataclass(frozen=True, slots=True)
class Show:
    """The whole answer; `hours` and `step_s` are those of the contact with the ground."""

    head: Head
    shells: tuple[ShellReport, ...]
    between_shells: Neighbours | None
    islands: tuple[tuple[str, ...], ...]
    mesh: tuple[Part, ...]
    lasers: Traffic
    ground_links: Traffic
    hours: float
    step_s: float
    ground: tuple[Coverage, ...]


def show(sky: Sky, hours: float) -> Show:
    """Look at the sky at its moment, and at contact with the ground over some hours."""
    scenario = sky.scenario
    groups = groups_of(scenario)
    # The plan of the moment's own hour is enough for what is up.
    plan = sky.plan(0.0)
    edges = plan.edges_at(sky.at_s)
    ends = edges.ends[[link.kind == LinkKind.LASER for link in edges.links]]
    return Show(
        head=sky.head,
        shells=tuple(_shell(sky, group, ends) for group in groups),
        between_shells=between_groups(sky.geometry, sky.mesh, scenario, sky.at_s),
        islands=islands(scenario, sky.mesh),
        mesh=parts_of(edges, groups),
        lasers=_traffic(sky, plan, LinkKind.LASER),
        ground_links=_traffic(sky, plan, LinkKind.RADIO),
        hours=hours,
        step_s=step_for(scenario.satellite_count, hours),
        ground=coverage(scenario, sky.geometry, sky.at_s, hours),
    )


def _shell(sky: Sky, group: Group, ends: np.ndarray[Any, np.dtype[np.int64]]) -> ShellReport:
    scenario, view = sky.scenario, shell_view(group)
    inside = (ends >= group.first).all(axis=1) & (ends < group.last).all(axis=1)
    planned = [link for link in sky.mesh.lasers if group.first <= link.a and link.b < group.last]
    down = sky.geometry.fleet.decayed(np.array([sky.at_s * sky.geometry.orbit_rate]))[0, group.first : group.last]
    return ShellReport(
        shell=view,
        terminals=scenario.lasers.terminals,
        neighbours=neighbours(sky.geometry, sky.mesh, group, sky.at_s),
        lasers_up=int(inside.sum()),
        lasers_planned=None if view.topology == "nearest" else len(planned),
        light=_light(sky, group),
        decayed=int(down.sum()),
    )


def _light(sky: Sky, group: Group) -> Light:
    """Where the Sun stands for a group; of each plane its first satellite speaks for the orbit."""
    geometry = sky.geometry
    orbit_s = np.array([sky.at_s * geometry.orbit_rate])
    sun = sun_km(sky.scenario.epoch, orbit_s)
    positions = geometry.positions_eci_km(np.array([sky.at_s]))
    some = one_of_each_plane(geometry, group)
    altitude_km = np.linalg.norm(positions[0, some], axis=-1) - EARTH_RADIUS_KM
    beta = beta_deg(geometry.fleet.normals_eci(orbit_s), sun)[0, some]
    flying = altitude_km > 0.0
    altitude_km, beta = altitude_km[flying], beta[flying]
    dark = margin_rad(positions, sun)[0, group.first : group.last] < 0.0
    orbits = zip(altitude_km.tolist(), beta.tolist(), strict=True)
    nothing = Spread(0.0, 0.0, 0.0)
    return Light(
        beta_deg=spread_of(beta) or nothing,
        in_shadow_now=int((dark & ~geometry.fleet.decayed(orbit_s)[0, group.first : group.last]).sum()),
        eclipse_share=spread_of(np.array([eclipse_fraction(*orbit) for orbit in orbits])) or nothing,
        eclipse_share_beta0=eclipse_fraction(float(np.median(altitude_km))) if len(altitude_km) else 0.0,
    )


def _traffic(sky: Sky, plan: ContactPlan, kind: LinkKind) -> Traffic:
    """How many links of a kind are up, and how fast they are on average."""
    edges = plan.edges_at(sky.at_s)
    ends = edges.ends[[link.kind == kind for link in edges.links]]
    if not len(ends):
        return Traffic(0, None, None)
    states = plan.states(ends, np.full(len(ends), sky.at_s))
    return Traffic(len(ends), float(states.rate_bps.mean()), float(states.back_bps.mean()))


def show_lines(found: Show) -> list[str]:
    """The answer for a reader."""
    lines = head_lines(found.head)
    for report in found.shells:
        lines += _shell_lines(report)
    if found.between_shells is not None:
        lines.append(f"between shells: {_neighbour_text(found.between_shells)}")
    lines += _island_lines(found)
    lines += [f"mesh now: {_part_text(part)}" for part in found.mesh[:NAMES_SHOWN]]
    if len(found.mesh) > NAMES_SHOWN:
        lines.append(f"mesh now: and {len(found.mesh) - NAMES_SHOWN} smaller parts")
    lines.append(f"lasers up now: {_traffic_text(found.lasers, '')}")
    lines.append(f"ground links up now: {_traffic_text(found.ground_links, 'down')}")
    return lines + _ground_lines(found)


def _shell_lines(report: ShellReport) -> list[str]:
    shell, light = report.shell, report.light
    name = f"{shell.name} ({shell.notation})" if shell.notation else shell.name
    terminals = "" if report.terminals is None else f", {report.terminals} terminals a satellite"
    cutoff = (
        "" if shell.polar_cutoff_deg is None else f", lasers between planes off above {shell.polar_cutoff_deg:g} deg"
    )
    planned = "" if report.lasers_planned is None else f" of {report.lasers_planned}"
    down = f", {report.decayed} of them decayed" if report.decayed else ""
    return [
        f"{name}: {shell.satellites} satellites{down}, {_spread_text(shell.altitude_km, 'km', 0)}, period "
        f"{_spread_text(shell.period_min, 'min', 2)}",
        f"  lasers   topology {shell.topology}{terminals}{cutoff}; up now {report.lasers_up}{planned}",
        *(f"  {neighbour.sort}: {_neighbour_text(neighbour)}" for neighbour in report.neighbours),
        f"  light    beta {_spread_text(light.beta_deg, 'deg', 1)}; {light.in_shadow_now} in shadow now; of an orbit "
        f"{_percent_text(light.eclipse_share)} in shadow, {light.eclipse_share_beta0:.1%} at beta 0",
    ]


def _neighbour_text(found: Neighbours) -> str:
    if found.range_km is None or found.delay_ms is None:
        return f"{found.planned} lasers, which geometry never allows"
    return (
        f"{found.planned} lasers, allowed {found.allowed:.0%} of an orbit, {_spread_text(found.range_km, 'km', 0)}, "
        f"{_spread_text(found.delay_ms, 'ms', 2)}"
    )


def _island_lines(found: Show) -> list[str]:
    if len(found.islands) < 2:
        return []
    names = "; ".join(", ".join(island) for island in found.islands[:NAMES_SHOWN])
    return [f"islands: no laser joins {names}: they reach each other only over the ground"]


def _part_text(part: Part) -> str:
    least = "" if part.measured_from == part.satellites else f" at least (ways from {part.measured_from} satellites)"
    return (
        f"{part.satellites} satellites of {', '.join(part.shells)}, diameter {part.hops} hops, "
        f"{part.delay_ms:.1f} ms one way{least}"
    )


def _traffic_text(found: Traffic, down: str) -> str:
    if found.mean_bps is None or found.mean_back_bps is None:
        return "none"
    rates = rate_text(found.mean_bps)
    if down:
        rates = f"{rates} down and {rate_text(found.mean_back_bps)} up"
    return f"{found.up}, {rates} on average"


def _ground_lines(found: Show) -> list[str]:
    if not found.ground:
        return ["ground: the scenario has no stations"]
    lines = [f"ground, in view over {found.hours:g} h in steps of {found.step_s:g} s (antennas and clouds left out):"]
    width = max(len(each.station) for each in found.ground)
    for each in found.ground:
        one = f"a satellite {each.satellite_share:6.2%} of the time, longest gap {_gap_text(each.satellite_gap)}"
        anyone = f"any satellite {each.any_share:7.2%}, longest gap {_gap_text(each.any_gap)}"
        lines.append(f"  {each.station.ljust(width)}  {one}; {anyone}")
    return lines


def _gap_text(gap: Gap) -> str:
    least = "at least " if gap.at_least else ""
    return f"{least}{gap.longest_s / 60:.0f} min"


def _spread_text(spread: Spread, unit: str, digits: int) -> str:
    texts = [f"{value:,.{digits}f}" for value in (spread.lowest, spread.median, spread.highest)]
    if len(set(texts)) == 1:
        return f"{texts[0]} {unit}"
    return f"{texts[0]} to {texts[2]} {unit}, median {texts[1]}"


def _percent_text(spread: Spread) -> str:
    low, high = f"{spread.lowest:.1%}", f"{spread.highest:.1%}"
    return low if low == high else f"{low} to {high}"


def rate_text(rate_bps: float) -> str:
    """A rate in the unit that a reader would choose."""
    for unit, size in (("Tbit/s", 1e12), ("Gbit/s", 1e9), ("Mbit/s", 1e6), ("kbit/s", 1e3)):
        if rate_bps >= size:
            return f"{rate_bps / size:.4g} {unit}"
    return f"{rate_bps:.4g} bit/s"
