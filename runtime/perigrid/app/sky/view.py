"""Which sky does the user ask about, from when, and how long?

A preset, a scenario file or a file of element sets; nothing of it has to be up, and neither models nor scenes are
looked for. Contact plans hold the hours asked about and no others, so that any moment of a year can be looked at.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np

from perigrid.app.scenarios import from_file, is_file, shipped_presets
from perigrid.errors import UsageError
from perigrid.mesh.outages import Outages
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.planning.contacts import chooses
from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.segment import KNOTS, SEGMENT_S, Segment, segment_start_s
from perigrid.mesh.topology import Mesh
from perigrid.report.sky.head import Head, head_of, moment_at, utc_text
from perigrid.scenario.draft import utc
from perigrid.scenario.model import Scenario, Station
from perigrid.scenario.presets import preset_scenario
from perigrid.units import NodeId

MAX_HOURS = 168.0
"""A week: the longest window that a command looks at."""

MAX_AT_DAYS = 366
"""The furthest moment that is looked at, days after the epoch."""

MAX_CATALOGUE_DAYS = 30
"""The same with catalogued objects: SGP4 loses kilometres a day."""

MAX_PLAN_LINKS = 3_000_000
"""Links that might meet x segments of a contact plan that is computed for one command: some two minutes of work."""

SEGMENT_WEIGHT = 1_000
"""What a segment costs beside its links, counted in links."""

MAX_LEAD_WEIGHT = 600_000
"""Links x segments that are computed from the epoch on for what is asked about later: some twenty seconds of work."""

SAID_SEGMENTS, SAID_TIMES = 10, 10
"""Of so many segments and more it is said how far they are, so many times."""

FRESH_SEGMENTS = 2
"""Segments before the one asked about at which antennas start afresh, where it is too long since the epoch."""

DEFAULT_ELEVATION_DEG = 10.0
"""Smallest elevation at a place given as latitude and longitude, where the scenario has no station to take it from."""

Say = Callable[[str], None]


def say_nothing(line: str) -> None:
    """Takes a line and keeps it to itself."""


class Sky:
    """A scenario's sky from a moment on, `at_s` seconds after its epoch.

    `geometry` says where everything is, `mesh` who can be linked with whom, `plan` when they are, how far apart and how
    fast. Without `fibre` stations are not joined on the ground. Times are seconds after the epoch, nodes go by number:
    satellites, stations, the ground centre.
    """

    def __init__(self, scenario: Scenario, at_s: float, say: Say, fibre: bool = False) -> None:
        # A run may turn the sky faster than time passes; what is asked here are the orbits' own moments.
        clock = msgspec.structs.replace(scenario.clock, orbit_rate=1.0)
        self.scenario = msgspec.structs.replace(scenario, clock=clock)
        self._orbit_rate = scenario.clock.orbit_rate
        self.at_s = at_s
        self._say = say
        self._fibre = fibre
        self._notes: list[str] = []

    @cached_property
    def mesh(self) -> Mesh:
        """Nodes and possible links."""
        return Mesh(self.scenario, fibre=self._fibre)

    @cached_property
    def geometry(self) -> Geometry:
        """Where everything is."""
        return Geometry.of(self.scenario, self.mesh)

    @property
    def head(self) -> Head:
        """What stands over every output, with what has been noted so far."""
        return head_of(self.scenario, self.at_s, tuple(dict.fromkeys(self._notes)), self._orbit_rate)

    def plan(self, hours: float) -> ContactPlan:
        """The contact plan of the hours from the sky's moment on; UsageError where that is too much to compute."""
        segment_s = SEGMENT_S / self.scenario.clock.orbit_rate
        first = int(self.at_s // segment_s)
        plan = ContactPlan(self.scenario, self.mesh, first)
        last = max(first, math.ceil((self.at_s + hours * 3600) / segment_s) - 1)
        count = last - first + 1
        weight = count * max(1, len(self.mesh.lasers) + self.mesh.satellite_count * self.mesh.station_count)
        if weight > MAX_PLAN_LINKS:
            fewer = max(1, MAX_PLAN_LINKS * count // weight) * segment_s / 3600
            raise UsageError(
                f"--hours: {count} segments of contact plan of {self.scenario.name} are more than one command "
                f"computes; ask for {fewer:g} hours at most."
            )
        if Outages(self.scenario, self.mesh):
            self._notes.append("outages of lasers and clouds over optical stations strike unplanned: left out")
        before = self._before(first, weight // count)
        for index in range(first, last + 1):
            done = index - first
            if count >= SAID_SEGMENTS and done * SAID_TIMES // count > (done - 1) * SAID_TIMES // count:
                self._say(f"contact plan: {done} of {count} segments")
            before = compute_segment(self.scenario, self.mesh, index, before)
            plan.add(before)
        return plan

    def _before(self, first: int, links: int) -> Segment | None:
        """The segment before the first one that is asked for, where terminals or antennas choose whom they point at.

        What they chose depends on all hours since the epoch. Where those are too many to compute they choose afresh
        `FRESH_SEGMENTS` before, which a note says.
        """
        if first == 0 or not chooses(self.scenario):
            return None
        segment: Segment | None = None
        start = 0
        if first * (links + SEGMENT_WEIGHT) > MAX_LEAD_WEIGHT:
            start = max(0, first - FRESH_SEGMENTS)
        if start > 0:
            segment = _nothing(self.scenario, start - 1)
            since = utc_text(moment_at(self.scenario, segment_start_s(start, self.scenario.clock.orbit_rate)))
            self._notes.append(f"antennas and terminals that choose whom they point at start afresh at {since}")
        if first - start >= SAID_SEGMENTS:
            self._say(f"contact plan: {first - start} segments before the first one asked for")
        for index in range(start, first):
            segment = compute_segment(self.scenario, self.mesh, index, segment)
        return segment

    def satellite(self, name: str) -> int:
        """The index of a satellite; UsageError for a name that is none."""
        node = self.mesh.id_of(name)
        if not self.mesh.is_satellite(node):
            raise UsageError(f"{name} is not a satellite: these are {self._satellites()}.")
        return node

    def station(self, name: str) -> int:
        """The index of a station among the stations; UsageError names the nearest for a name that is none."""
        names = [station.name for station in self.scenario.stations]
        for number, each in enumerate(names):
            if each.casefold() == name.casefold():
                return number
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"There is no station {name!r}: {hint}{self.scenario.name} has {', '.join(names) or 'none'}.")

    def node(self, name: str) -> NodeId:
        """The node of that name; UsageError names the nearest."""
        return self.mesh.id_of(name)

    def _satellites(self) -> str:
        names = self.scenario.satellite_names
        return f"{names[0]} to {names[-1]}" if names else "none"


def open_sky(target: str, at: str | None = None, say: Say = say_nothing) -> Sky:
    """The sky of a preset, a scenario file or a file of element sets, from a moment on.

    Args:
        target: a preset's name, or the path of a .toml file or of a file of element sets (.json, .csv, .xml, .kvn or
            .tle).
        at: a moment in ISO 8601 with its zone, the scenario's epoch by default.
        say: takes lines of progress; by default nobody does.

    Raises UsageError or ScenarioError for what cannot be, MissingFile for a file that is not there.
    """
    scenario = sky_scenario(target, say)
    return Sky(scenario, sky_time(scenario, at), say)


def sky_scenario(target: str, say: Say) -> Scenario:
    """The scenario that `target` names; a preset as it stands, as its scenes and models have no part in its sky."""
    if is_file(target):
        return from_file(Path(target), os.environ, say).scenario
    return preset_scenario(target, shipped_presets())


def sky_time(scenario: Scenario, at: str | None) -> float:
    """The sky time of a moment in ISO 8601 with its zone; UsageError for one before the epoch or a year after it."""
    if at is None:
        return 0.0
    moment = utc(at, "--at")
    at_s = (moment - scenario.epoch).total_seconds()
    days = MAX_CATALOGUE_DAYS if scenario.catalogues else MAX_AT_DAYS
    if not 0.0 <= at_s <= days * 86_400:
        raise UsageError(
            f"--at {at} is {_distance(at_s)}; {scenario.name} is known from its epoch, {_iso(scenario.epoch)}, to "
            f"{days} days after it: choose a moment in between, or another epoch in a scenario file."
        )
    return at_s


def with_places(scenario: Scenario, names: tuple[str, ...]) -> tuple[Scenario, tuple[str, ...]]:
    """The scenario with a station at each name that is `latitude,longitude`, and the names its nodes have.

    Such a place serves any number of satellites at once, at the smallest elevation of the scenario's first station.
    """
    stations, found = list(scenario.stations), []
    elevation_deg = stations[0].min_elevation_deg if stations else DEFAULT_ELEVATION_DEG
    for name in names:
        place = _place(name)
        if place is None:
            found.append(name)
            continue
        label = ",".join(part.strip() for part in name.split(","))
        if label not in {station.name for station in stations}:
            stations.append(
                Station(name=label, latitude_deg=place[0], longitude_deg=place[1], min_elevation_deg=elevation_deg)
            )
        found.append(label)
    return msgspec.structs.replace(scenario, stations=tuple(stations)), tuple(found)


def _nothing(scenario: Scenario, index: int) -> Segment:
    """A segment in which nobody meets."""
    return Segment(
        digest=scenario.digest(),
        index=index,
        orbit_rate=scenario.clock.orbit_rate,
        pairs=np.empty((0, 2), np.int32),
        lasers=0,
        squared_km2=np.empty((0, KNOTS), np.float32),
        offsets=np.zeros(1, np.int64),
        intervals=np.empty((0, 2)),
    )


def _place(name: str) -> tuple[float, float] | None:
    """Latitude and longitude, or None for what is a name; UsageError for numbers that are no place."""
    parts = name.split(",")
    try:
        latitude, longitude = (float(part) for part in parts)
    except ValueError:
        return None
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise UsageError(f"{name} is no place: write latitude,longitude in degrees, -90 to 90 and -180 to 180.")
    return latitude, longitude


def steps(start_s: float, hours: float, step_s: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Sky times from `start_s` on, `step_s` apart, the window's end included where it falls on a step."""
    return start_s + np.arange(0.0, hours * 3600 + step_s * 1e-6, step_s)


def _distance(at_s: float) -> str:
    side = "before" if at_s < 0 else "after"
    return f"{abs(at_s) / 86_400:.1f} days {side} the epoch"


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
