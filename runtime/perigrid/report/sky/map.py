"""Where is everything over the Earth at a moment?

A map in plate carree: land, night, satellites by shell, the lasers and ground links that are up, stations with what
they see, and where satellites go next. A link is drawn as the line below its beam. What crosses the date line is drawn
on both sides of it: longitudes are unwrapped, and lines that leave the map on one side are drawn again 360 degrees
off.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from perigrid.mesh.plan import Edges
from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.survey.overview import Group, groups_of, one_of_each_plane, shell_view
from perigrid.mesh.topology import LinkKind
from perigrid.report.sky import style
from perigrid.report.sky.head import Head
from perigrid.report.sky.land import Land
from perigrid.scenario.model import Scenario, Shell
from perigrid.sky.frames import eci_to_ecef, geodetic
from perigrid.sky.sun import sun_km
from perigrid.units import EARTH_MEAN_RADIUS_KM

Floats = npt.NDArray[np.float64]

BEAM_POINTS, MANY_BEAM_POINTS = 61, 13
"""Points of a beam that are projected: enough for the long ones of small constellations that pass near a pole, and for
the short ones of large constellations.
"""

BEARINGS_DEG = np.linspace(0.0, 360.0, 181)
"""Directions in which the edge of what a station sees is drawn."""

MANY_BEAMS = 300

TRACK_POINTS = 181
"""Points of a ground track over one turn: one in half a minute."""

MAX_TRACKS = 6
"""Ground tracks that are drawn at most, of different planes."""

MAX_NAMED = 30
"""Satellites of a larger constellation are not named."""

SEA, LAND, COAST, NIGHT = "#f2f6fa", "#dcdfd8", "#9aa39b", "#1b2a49"
FULL_TURN_DEG = 360.0
EDGE_DEG = 180.0


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What a map is of: a scenario's sky at a moment, with the links that are up, and which satellites have decayed."""

    scenario: Scenario
    geometry: Geometry
    edges: Edges
    at_s: float
    head: Head


def draw_map(view: View, land: Land) -> Any:
    """The map as a figure."""
    figure = style.new_figure()
    style.title(figure, f"{view.scenario.name} at {view.head.at_utc}", view.head)
    axes = figure.add_axes((0.045, 0.165, 0.94, 0.71))
    _background(axes, view, land)
    _cutoffs(axes, view)
    _links(axes, view)
    _tracks(axes, view)
    _stations(axes, view)
    _satellites(axes, view)
    _legend(figure, axes, view)
    style.small_print(figure, view.head)
    return figure


def unwrapped(longitude_deg: Floats) -> Iterator[Floats]:
    """Longitudes along lines [K, n] without jumps, once for each turn in which a part of them is on the map.

    Yields copies [K, n] of which rows that are off the map are NaN.
    """
    smooth = np.degrees(np.unwrap(np.radians(longitude_deg), axis=-1))
    for turn in (-1, 0, 1):
        moved = smooth + turn * FULL_TURN_DEG
        inside = (moved.max(axis=-1) >= -EDGE_DEG) & (moved.min(axis=-1) <= EDGE_DEG)
        if inside.any():
            yield np.where(inside[..., None], moved, np.nan)


def beams(positions_ecef_km: Floats, ends: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Latitude and longitude [K, n], degrees, below the straight lines between pairs [K, 2] of nodes."""
    share = np.linspace(0.0, 1.0, BEAM_POINTS if len(ends) <= MANY_BEAMS else MANY_BEAM_POINTS)[:, None]
    one, two = positions_ecef_km[ends[:, 0]][:, None], positions_ecef_km[ends[:, 1]][:, None]
    latitude, longitude, _ = geodetic(one + (two - one) * share)
    return latitude, longitude


def _lines(axes: Any, latitude: Floats, longitude: Floats, **look: Any) -> None:
    """Lines [K, n], on both sides of the date line where they cross it."""
    collection = style.matplotlib("matplotlib.collections").LineCollection
    for turn in unwrapped(longitude):
        rows = np.isfinite(turn[:, 0])
        axes.add_collection(collection(np.stack([turn, latitude], axis=-1)[rows], **look))


def _background(axes: Any, view: View, land: Land) -> None:
    axes.set_facecolor(SEA)
    axes.contourf(land.longitude_deg, land.latitude_deg, land.share, levels=[0.5, 2.0], colors=[LAND], zorder=0)
    axes.contour(
        *(land.longitude_deg, land.latitude_deg, land.share), levels=[0.5], colors=[COAST], linewidths=0.4, zorder=0.5
    )
    longitude, latitude = np.meshgrid(np.linspace(-180, 180, 361), np.linspace(-90, 90, 181))
    orbit_s = np.array([view.at_s * view.geometry.orbit_rate])
    sun = eci_to_ecef(sun_km(view.scenario.epoch, orbit_s), view.geometry.earth_angle_rad(np.array([view.at_s])))[0]
    sun = sun / np.linalg.norm(sun)
    east, north = np.radians(longitude), np.radians(latitude)
    height = np.cos(north) * (np.cos(east) * sun[0] + np.sin(east) * sun[1]) + np.sin(north) * sun[2]
    axes.contourf(longitude, latitude, height, levels=[-2.0, 0.0], colors=[NIGHT], alpha=0.13, zorder=0.7)
    axes.set(xlim=(-180, 180), ylim=(-90, 90))
    axes.set_xticks(range(-180, 181, 30), [_degrees(value, "W", "E") for value in range(-180, 181, 30)], fontsize=7)
    axes.set_yticks(range(-90, 91, 30), [_degrees(value, "S", "N") for value in range(-90, 91, 30)], fontsize=7)
    axes.grid(color="#c4ccd4", linewidth=0.4, zorder=0.6)
    axes.tick_params(length=2, color=style.FAINT)
    for spine in axes.spines.values():
        spine.set_color(style.FAINT)


def _cutoffs(axes: Any, view: View) -> None:
    """The latitudes above which lasers between planes are off."""
    found = {shell.polar_cutoff_deg for shell in view.scenario.shells if shell.polar_cutoff_deg is not None}
    for cutoff in sorted(found):
        for side in (-1, 1):
            axes.axhline(side * cutoff, color=style.FAINT, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.text(
            *(-178, -cutoff - 1, f"lasers between planes are off poleward of {cutoff:g} deg"),
            fontsize=6.5,
            color="#59636e",
            zorder=6,
            va="top",
            path_effects=_halo(),
        )


def _links(axes: Any, view: View) -> None:
    """Lasers in the colour of their shell, between shells in black, and ground links."""
    kinds = np.array([link.kind for link in view.edges.links], np.int64)
    nodes = _nodes_ecef_km(view)
    groups = groups_of(view.scenario)
    number = np.repeat(np.arange(len(groups)), [group.count for group in groups])
    lasers = view.edges.ends[kinds == LinkKind.LASER]
    many = len(lasers)
    width, opacity = (1.3, 0.75) if many < 200 else (0.7, 0.5) if many < 2000 else (0.4, 0.28)
    sort = number[lasers]
    for each in range(len(groups)):
        inside = (sort == each).all(axis=1)
        _lines(
            axes,
            *beams(nodes, lasers[inside]),
            colors=style.colour_of(each),
            linewidths=width,
            alpha=opacity,
            zorder=2,
        )
    between = sort[:, 0] != sort[:, 1]
    _lines(axes, *beams(nodes, lasers[between]), colors="black", linewidths=width, alpha=0.8, zorder=2.1)
    _lines(axes, *beams(nodes, view.edges.ends[kinds == LinkKind.RADIO]), colors=style.RADIO, linewidths=1.6, zorder=4)


def _nodes_ecef_km(view: View) -> Floats:
    """Positions [N + S, 3] of satellites and stations."""
    positions = view.geometry.positions_ecef_km(np.array([view.at_s]))[0]
    return np.concatenate([positions, view.geometry.sites.position_km])


def _tracks(axes: Any, view: View) -> None:
    """Where one satellite of some planes goes over the next turn."""
    rate = view.geometry.orbit_rate
    for number, satellite in _leaders(view):
        group = groups_of(view.scenario)[number]
        period_s = shell_view(group).period_min.median * 60 / rate
        t_s = view.at_s + np.linspace(0.0, period_s, TRACK_POINTS)
        orbit = view.geometry.fleet.positions_of_eci_km(np.full(TRACK_POINTS, satellite), t_s * rate)
        latitude, longitude, _ = geodetic(eci_to_ecef(orbit, view.geometry.earth_angle_rad(t_s)))
        _lines(
            *(axes, latitude[None], longitude[None]),
            colors=style.colour_of(number),
            linewidths=1.1,
            linestyles=(0, (1, 1.6)),
            alpha=0.9,
            zorder=3,
        )


def _leaders(view: View) -> list[tuple[int, int]]:
    """Number of the group and first satellite of those planes whose tracks are drawn, fairly over the groups."""
    groups = groups_of(view.scenario)
    alive = _alive(view)
    each = max(1, MAX_TRACKS // max(1, len(groups)))
    if len(groups) == 1 and view.scenario.satellite_count > MAX_NAMED:
        each = 1
    found = []
    for number, group in enumerate(groups):
        first = [satellite for satellite in one_of_each_plane(view.geometry, group).tolist() if alive[satellite]]
        found += [(number, satellite) for satellite in first[: each if group.count <= MAX_NAMED else 1]]
    return found[:MAX_TRACKS]


def _stations(axes: Any, view: View) -> None:
    groups = groups_of(view.scenario)
    counts = [group.count for group in groups]
    heights = np.repeat([shell_view(group).altitude_km.median for group in groups], counts)
    height_km = float(np.median(heights)) if len(heights) else 0.0
    for station in view.scenario.stations:
        place = (station.latitude_deg, station.longitude_deg)
        elevation_deg = np.full(len(BEARINGS_DEG), station.min_elevation_deg)
        if station.mask_deg:
            azimuths, skyline = np.array(station.mask_deg).T
            elevation_deg = np.maximum(elevation_deg, np.interp(BEARINGS_DEG, azimuths, skyline, period=360.0))
        latitude, longitude = footprint(*place, elevation_deg, height_km)
        _lines(axes, latitude[None], longitude[None], colors=style.STATION, linewidths=0.8, alpha=0.55, zorder=3)
        axes.plot(
            station.longitude_deg,
            station.latitude_deg,
            "^",
            color=style.STATION,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.7,
            zorder=6,
        )
        left = station.longitude_deg > 150
        axes.annotate(
            *(station.name, (station.longitude_deg, station.latitude_deg)),
            xytext=(-6 if left else 6, 5),
            textcoords="offset points",
            ha="right" if left else "left",
            fontsize=7.5,
            color=style.STATION,
            zorder=7,
            path_effects=_halo(),
        )


def footprint(
    latitude_deg: float, longitude_deg: float, elevation_deg: Floats, height_km: float
) -> tuple[Floats, Floats]:
    """Latitude and longitude [n], degrees, of the ring below satellites that stand at elevations [n], one for each of
    `BEARINGS_DEG`, on a sphere.
    """
    elevation = np.radians(elevation_deg)
    reach = np.arccos(EARTH_MEAN_RADIUS_KM * np.cos(elevation) / (EARTH_MEAN_RADIUS_KM + height_km)) - elevation
    bearing = np.radians(BEARINGS_DEG)
    north, east = np.radians(latitude_deg), np.radians(longitude_deg)
    latitude = np.arcsin(np.sin(north) * np.cos(reach) + np.cos(north) * np.sin(reach) * np.cos(bearing))
    across = np.sin(bearing) * np.sin(reach) * np.cos(north)
    longitude = east + np.arctan2(across, np.cos(reach) - np.sin(north) * np.sin(latitude))
    return np.degrees(latitude), np.degrees(longitude)


def _alive(view: View) -> npt.NDArray[np.bool_]:
    return np.asarray(~view.geometry.fleet.decayed(np.array([view.at_s * view.geometry.orbit_rate]))[0])


def _satellites(axes: Any, view: View) -> None:
    latitude, longitude, _ = geodetic(view.geometry.positions_ecef_km(np.array([view.at_s]))[0])
    alive = _alive(view)
    count = view.scenario.satellite_count
    size = 34 if count <= MAX_NAMED else 14 if count <= 300 else 5 if count <= 2000 else 3
    for number, group in enumerate(groups_of(view.scenario)):
        some = np.flatnonzero(alive[group.first : group.last]) + group.first
        axes.scatter(
            *(longitude[some], latitude[some]),
            s=size,
            color=style.colour_of(number),
            zorder=5,
            edgecolors="white" if count <= 300 else "none",
            linewidths=0.6,
        )
    if count > MAX_NAMED:
        return
    for satellite, name in enumerate(view.scenario.satellite_names):
        if alive[satellite]:
            axes.annotate(
                *(name, (longitude[satellite], latitude[satellite])),
                xytext=(0, -9),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=6.5,
                zorder=7,
                color="#222222",
                path_effects=_halo(),
                annotation_clip=True,
                clip_on=True,
            )


def _legend(figure: Any, axes: Any, view: View) -> None:
    line = style.matplotlib("matplotlib.lines").Line2D
    handles = [
        line([], [], color=style.colour_of(number), marker="o", markersize=5, linewidth=1.2, label=_label(group))
        for number, group in enumerate(groups_of(view.scenario))
    ]
    kinds = [link.kind for link in view.edges.links]
    lasers, radio = kinds.count(LinkKind.LASER), kinds.count(LinkKind.RADIO)
    handles += [
        line([], [], color="black", linestyle=(0, (1, 1.6)), linewidth=1.1, label="ground track, next turn"),
        line([], [], color=style.RADIO, linewidth=1.6, label=f"ground links up: {radio}"),
        line([], [], color=style.STATION, marker="^", linewidth=0.8, label="station and what it sees"),
    ]
    # A laser is a thin line of its shell's colour; its number stands for what one cannot count.
    handles.insert(-2, line([], [], color=style.FAINT, linewidth=1.2, label=f"lasers up: {lasers}"))
    figure.legend(
        handles=handles,
        loc="lower center",
        bbox_to_anchor=(0.51, 0.076),
        ncols=min(len(handles), 6),
        fontsize=7.5,
        frameon=False,
        handlelength=2.2,
        columnspacing=1.6,
    )


def _label(group: Group) -> str:
    view = shell_view(group)
    height = f"{view.altitude_km.median:.0f} km"
    if isinstance(group.origin, Shell):
        return f"{group.name}: {view.notation}, {height}"
    return f"{group.name}: {group.count} objects, {height} in the median"


def _halo() -> list[Any]:
    stroke = style.matplotlib("matplotlib.patheffects").withStroke
    return [stroke(linewidth=2, foreground="white", alpha=0.85)]


def _degrees(value: int, negative: str, positive: str) -> str:
    return f"{abs(value)}{'' if value == 0 else negative if value < 0 else positive}"
