"""What do `perigrid sky passes`, `contacts` and `export` list, row by row?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perigrid.app.sky.view import Sky, steps
from perigrid.errors import UsageError
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.survey.contact_list import ContactTable, contact_table, kind_name
from perigrid.mesh.survey.overview import groups_of
from perigrid.mesh.topology import LinkKind
from perigrid.report.tables import Table, iso, moments, rows_of
from perigrid.sky.eclipse import margin_rad
from perigrid.sky.frames import eci_to_ecef, geodetic
from perigrid.sky.passes import passes
from perigrid.sky.sun import sun_km

MAX_PAIR_HOURS = 3_000_000
"""Satellites x stations x hours in which passes are looked for: some minutes of work."""

MAX_POSITIONS = 3_000_000
"""Positions that are exported at once: a file of some 400 MB, and as much memory."""

MAX_ROWS_SHOWN = 60
"""Rows that a table for a reader has at most."""

KINDS = {"laser": frozenset({LinkKind.LASER}), "radio": frozenset({LinkKind.RADIO}), "all": frozenset(LinkKind)}
"""Words for --kind; links with optical stations are among those with the ground."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which satellites and stations, by name; none named are all."""

    satellites: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()


def passes_table(sky: Sky, hours: float, asked: Asked) -> Table:
    """Passes over stations within some hours; UsageError for names that are none, or too many to look for."""
    names, stations = sky.scenario.satellite_names, sky.scenario.stations
    if not stations:
        raise UsageError(f"{sky.scenario.name} has no stations to pass over: add one in a scenario file.")
    chosen = np.array([sky.satellite(name) for name in asked.satellites], np.int64)
    wanted = [sky.station(name) for name in asked.stations] or list(range(len(stations)))
    count = (len(chosen) or len(names)) * len(stations)
    if count * hours > MAX_PAIR_HOURS:
        raise UsageError(
            f"--hours: passes of {len(chosen) or len(names)} satellites over {len(stations)} stations are looked for "
            f"in {MAX_PAIR_HOURS / count:.1f} hours at most: ask for fewer, or for some satellites with --satellite."
        )
    geometry, rate = sky.geometry, sky.geometry.orbit_rate
    found = passes(
        geometry.fleet,
        geometry.sites,
        geometry.angle_at_epoch_rad,
        sky.at_s * rate,
        (sky.at_s + hours * 3600) * rate,
        chosen if len(chosen) else None,
    )
    rows = np.flatnonzero(np.isin(found.station, wanted))
    times = {"rise": found.rise_s, "culmination": found.culmination_s, "set": found.set_s}
    # Where the sky turns faster than time passes, the same pass comes sooner and takes less time.
    own = {name: t_s[rows] / rate for name, t_s in times.items()}
    return {
        "satellite": [names[number] for number in found.satellite[rows].tolist()],
        "station": [stations[number].name for number in found.station[rows].tolist()],
        **{f"{name}_utc": moments(sky.scenario.epoch, t_s) for name, t_s in own.items()},
        **{f"{name}_s": t_s for name, t_s in own.items()},
        "duration_s": own["set"] - own["rise"],
        "max_elevation_deg": found.max_elevation_deg[rows],
        "rise_azimuth_deg": found.rise_azimuth_deg[rows],
        "culmination_azimuth_deg": found.culmination_azimuth_deg[rows],
        "set_azimuth_deg": found.set_azimuth_deg[rows],
        "range_km": found.range_km[rows],
        "began_before": found.cut_start[rows],
        "goes_on": found.cut_end[rows],
    }


def contacts_of(sky: Sky, plan: ContactPlan, hours: float, kind: str, asked: Asked) -> ContactTable:
    """Contacts of a kind within a plan, in the window's own times; only those of the nodes that are named."""
    found = contact_table(sky.scenario, plan, sky.at_s, sky.at_s + hours * 3600, KINDS[kind])
    nodes = [sky.satellite(name) for name in asked.satellites]
    nodes += [sky.mesh.satellite_count + sky.station(name) for name in asked.stations]
    return found.of(np.isin(found.a, nodes) | np.isin(found.b, nodes)) if nodes else found


def contacts_table(sky: Sky, plan: ContactPlan, found: ContactTable) -> Table:
    """Contacts by name and moment."""
    names = sky.mesh.names
    return {
        "a": [names[node] for node in found.a.tolist()],
        "b": [names[node] for node in found.b.tolist()],
        "kind": [
            kind_name(sky.scenario, sky.mesh, kind, node)
            for kind, node in zip(found.kind.tolist(), found.b.tolist(), strict=True)
        ],
        "start_utc": moments(sky.scenario.epoch, found.start_s),
        "end_utc": moments(sky.scenario.epoch, found.end_s),
        "start_s": found.start_s,
        "end_s": found.end_s,
        "duration_s": found.end_s - found.start_s,
        "least_km": found.least_km,
        "most_km": found.most_km,
        "rate_bps": found.rate_bps,
        "far_rate_bps": found.far_rate_bps,
        "back_bps": found.back_bps,
        "volume_bytes": found.volume_bytes,
        "began_before": found.began,
        "goes_on": found.goes_on,
    }


def positions_table(sky: Sky, hours: float, step_s: float, every: int) -> Table:
    """Where every `every`-th satellite is at every step: ECEF and geodetic; UsageError for more than fits.

    Decayed satellites have no rows.
    """
    scenario, geometry = sky.scenario, sky.geometry
    t_s = steps(sky.at_s, hours, step_s)
    chosen = np.arange(0, scenario.satellite_count, every)
    check_positions(len(t_s), len(chosen), every)
    eci = geometry.positions_eci_km(t_s)[:, chosen]
    ecef = eci_to_ecef(eci, geometry.earth_angle_rad(t_s))
    latitude, longitude, altitude = geodetic(ecef)
    orbit_s = t_s * geometry.orbit_rate
    lit = margin_rad(eci, sun_km(scenario.epoch, orbit_s)) >= 0.0
    alive = ~geometry.fleet.decayed(orbit_s)[:, chosen].ravel()
    names, shells = _names(sky, chosen)
    return {
        "time_utc": moments(scenario.epoch, np.repeat(t_s, len(chosen))[alive]),
        "time_s": np.repeat(t_s, len(chosen))[alive],
        "satellite": np.tile(names, len(t_s))[alive],
        "shell": np.tile(shells, len(t_s))[alive],
        **{f"{axis}_km": ecef[..., number].ravel()[alive] for number, axis in enumerate("xyz")},
        "latitude_deg": latitude.ravel()[alive],
        "longitude_deg": longitude.ravel()[alive],
        "altitude_km": altitude.ravel()[alive],
        "sunlit": lit.ravel()[alive],
    }


def check_positions(moments_count: int, satellites: int, every: int) -> None:
    """UsageError where that is more than is exported at once, with what would fit."""
    if moments_count * satellites > MAX_POSITIONS:
        thinner = every * -(-moments_count * satellites // MAX_POSITIONS)
        raise UsageError(
            f"{moments_count} moments of {satellites} satellites are more than {MAX_POSITIONS} positions: ask for "
            f"fewer --hours, a longer --step, or thin the satellites with --every {thinner}."
        )


def as_rows(table: Table) -> list[dict[str, Any]]:
    """The table as a list of objects for JSON."""
    return [dict(zip(table, row, strict=True)) for row in rows_of(table)]


def passes_for_reader(table: Table) -> Table:
    """The columns of passes that fit on a line."""
    return {
        "satellite": table["satellite"],
        "station": table["station"],
        "rise": _clock(table["rise_utc"]),
        "culmination": _clock(table["culmination_utc"], day=False),
        "set": _clock(table["set_utc"], day=False),
        "min": np.asarray(table["duration_s"]) / 60,
        "max deg": table["max_elevation_deg"],
        "azimuths deg": _azimuths(table),
        "range km": table["range_km"],
        "cut": _cut(table),
    }


def contacts_for_reader(table: Table) -> Table:
    """The columns of contacts that fit on a line."""
    return {
        "a": table["a"],
        "b": table["b"],
        "kind": table["kind"],
        "start": _clock(table["start_utc"]),
        "end": _clock(table["end_utc"], day=False),
        "min": np.asarray(table["duration_s"]) / 60,
        "least km": table["least_km"],
        "most km": table["most_km"],
        "Mbit/s": np.asarray(table["rate_bps"]) / 1e6,
        "far Mbit/s": np.asarray(table["far_rate_bps"]) / 1e6,
        "GB": np.asarray(table["volume_bytes"]) / 1e9,
        "cut": _cut(table),
    }


def _names(sky: Sky, chosen: Any) -> tuple[Any, Any]:
    """Names and shells [K] of satellites [K], as arrays."""
    groups = groups_of(sky.scenario)
    shells = np.repeat([group.name for group in groups], [group.count for group in groups])
    return np.array(sky.scenario.satellite_names)[chosen], shells[chosen]


def _clock(values: Any, day: bool = True) -> list[str]:
    """Moments as a reader wants them: with the day, to the second, or the time alone."""
    rounded = np.asarray(values, "datetime64[us]") + np.timedelta64(500, "ms")
    texts = [text[:19].replace("T", " ") for text in iso(np.asarray(rounded))]
    return texts if day else [text[11:] for text in texts]


def _azimuths(table: Table) -> list[str]:
    columns: Sequence[Iterable[float]] = [
        np.asarray(table[f"{name}_azimuth_deg"]).tolist() for name in ("rise", "culmination", "set")
    ]
    return [f"{rise:3.0f} {peak:3.0f} {fall:3.0f}" for rise, peak, fall in zip(*columns, strict=True)]


def _cut(table: Table) -> list[str]:
    """Whether a row reaches over the window's edges: at its start, its end, or both."""
    words = {(False, False): "", (True, False): "start", (False, True): "end", (True, True): "both"}
    pairs = zip(np.asarray(table["began_before"]).tolist(), np.asarray(table["goes_on"]).tolist(), strict=True)
    return [words[pair] for pair in pairs]
