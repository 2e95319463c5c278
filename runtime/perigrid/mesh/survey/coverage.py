"""How often do the satellites stand over the stations, and how long may nobody?

The sky is sampled at equal steps: a contact shorter than a step may be missed, a share is off by about a step in
each contact, and a gap by a step. What counts is geometry alone (elevation and mask): antennas, clouds and
acquisition, which take contacts away, are the contact plan's business (`plan.py`).

`sky/passes.py` has the same figures to a hundredth of a second, from every pass that there is; for thousands of
satellites over a week that takes minutes, and here the work is bounded.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.mesh.planning.geometry import Geometry
from perigrid.scenario.model import Scenario
from perigrid.sky.frames import Floats

Flags = npt.NDArray[np.bool_]

STEPS_S = (10.0, 20.0, 30.0, 60.0, 120.0, 180.0)
"""Steps to sample with. The longest still meets nearly every pass: one over a station at 500 km and 10 degrees lasts
seven minutes at most.
"""

MAX_SAMPLES = 8_000_000
"""Positions that are computed at most, where the longest step allows it."""

CHUNK_POSITIONS = 200_000
"""Positions that are worked on at once; with five stations they need some tens of megabytes."""

ALL_STATIONS = "all stations"


@dataclass(frozen=True, slots=True)
class Gap:
    """The longest time without contact; where it touches an end of the window it may be longer than known."""

    longest_s: float
    at_least: bool


@dataclass(frozen=True, slots=True)
class Coverage:
    """Contact with one station, or with any of them.

    `satellite_share` is the share of time that a satellite sees it, a mean over the satellites; `any_share` the share
    in which at least one does. `satellite_gap` is that of the satellite that waits longest, `any_gap` of all together.
    """

    station: str
    satellite_share: float
    any_share: float
    satellite_gap: Gap
    any_gap: Gap


def step_for(satellites: int, hours: float) -> float:
    """The step that a window of so many satellites and hours is sampled with, seconds."""
    most = MAX_SAMPLES / max(satellites, 1)
    return next((step for step in STEPS_S if hours * 3600 / step <= most), STEPS_S[-1])


def coverage(scenario: Scenario, geometry: Geometry, start_s: float, hours: float) -> tuple[Coverage, ...]:
    """Contact with each station and with all together, over the window; empty without stations.

    Satellites that have come down before the window begins are no part of it.
    """
    names = [station.name for station in scenario.stations]
    flying = ~geometry.fleet.decayed(np.array([start_s * geometry.orbit_rate]))[0]
    satellites = int(flying.sum())
    if not names or not satellites:
        return ()
    step_s = step_for(len(flying), hours)
    t_s = start_s + np.arange(0.0, hours * 3600, step_s)
    seen = np.empty((len(names), len(t_s), satellites), np.bool_)
    chunk = max(1, CHUNK_POSITIONS // len(flying))
    for first in range(0, len(t_s), chunk):
        part = slice(first, first + chunk)
        seen[:, part] = np.moveaxis(in_view(geometry, t_s[part])[:, flying], -1, 0)
    found = [_coverage(name, seen[number], step_s) for number, name in enumerate(names)]
    if len(names) > 1:
        found.append(_coverage(ALL_STATIONS, np.asarray(seen.any(axis=0)), step_s))
    return tuple(found)


def in_view(geometry: Geometry, t_s: Floats) -> Flags:
    """Whether each satellite stands high enough over each station, [T, N, S], mask included."""
    positions = geometry.positions_ecef_km(t_s)
    seen = geometry.seen(positions)
    # Most stations have no mask, so that only the few satellites above the others' horizons are looked at again.
    times, satellites, stations = np.nonzero(seen)
    pairs = np.stack([satellites, stations], axis=1)
    seen[times, satellites, stations] = geometry.radio_margin(pairs, positions[times, satellites]) > 0.0
    return seen


def _coverage(name: str, seen: Flags, step_s: float) -> Coverage:
    anyone = np.asarray(seen.any(axis=1))
    return Coverage(
        station=name,
        satellite_share=float(seen.mean()),
        any_share=float(anyone.mean()),
        satellite_gap=longest_gap(seen, step_s),
        any_gap=longest_gap(anyone[:, None], step_s),
    )


def longest_gap(seen: Flags, step_s: float) -> Gap:
    """The longest run without contact of any column of `seen` [T, K], sampled every `step_s`."""
    steps = len(seen)
    index = np.arange(steps, dtype=np.int32)[:, None]
    last = np.maximum.accumulate(np.where(seen, index, np.int32(-1)), axis=0)
    waited = index - last
    longest = waited.max(axis=0)
    column = int(np.argmax(longest))
    length = int(longest[column])
    ends_at = int(np.argmax(waited[:, column]))
    touches = ends_at == steps - 1 or ends_at - length < 0
    return Gap(length * step_s, bool(touches and length > 0))
