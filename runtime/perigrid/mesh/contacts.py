"""When does the sky let two nodes talk during one hour?

A link has a margin: a number that is positive while geometry allows the link, and continuous in between.
Margins are sampled every `STEP_S`; where their sign changes, the moment is found by bisection to 0.01 s. A
contact that begins and ends between two samples is missed on purpose: it would be too short to acquire.

    laser    the smallest of: the beam's closest approach to the Earth's centre minus (radius + grazing
             altitude), the greatest range minus the range, and, between planes, the polar cutoff minus
             the higher latitude
    radio    sine of the elevation minus sine of the station's smallest elevation

A contact is usable, and counts as up, once its ends have found each other: acquisition time is taken off
its start. What is in contact at the epoch counts as acquired.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.mesh.segment import SEGMENT_S, STEP_S, STEPS, Segment
from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Scenario
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.stations import Sites, sine_and_slant_of_pairs, sine_elevation
from perigrid.sky.walker import Walker
from perigrid.units import EARTH_RADIUS_KM

Indices = npt.NDArray[np.int64]

CHUNK_STEPS = 32
"""Steps that are worked on at once, so that 4,408 satellites need tens of megabytes and not a gigabyte."""

BISECTIONS = 9
"""Halvings of a step: 10 s / 2^9 leaves a bracket of 0.02 s, whose middle is off by 0.01 s at most."""

NO_CUTOFF_SINE = 2.0
"""Stands for a laser that works over the poles too: no latitude has this sine."""

TOGETHER_KM2 = 1e-12
"""Stands in for the squared range of two satellites in one place, so that no division by zero happens."""

Margin = Callable[[Indices, Floats], Floats]
"""Margins of links `rows[k]` at their own times `t_s[k]`."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A scenario's sky with its links as arrays, which the margins of all links are computed from.

    `ends` [L, 2] are the lasers' satellites; `cutoff_sine` [L] is the sine of each polar cutoff.
    """

    walker: Walker
    sites: Sites
    angle_at_epoch_rad: float
    ends: Indices
    cutoff_sine: Floats
    grazing_km: float
    max_range_km: float

    @classmethod
    def of(cls, scenario: Scenario, mesh: Mesh) -> "Geometry":
        """Lay out the scenario's links."""
        cutoffs = [
            NO_CUTOFF_SINE if shell.polar_cutoff_deg is None else float(np.sin(np.radians(shell.polar_cutoff_deg)))
            for shell in scenario.shells
            for _ in range(shell.planes * shell.sats_per_plane)
        ]
        sines = [cutoffs[link.a] if link in mesh.crossing else NO_CUTOFF_SINE for link in mesh.lasers]
        limit = scenario.lasers.max_range_km
        return cls(
            walker=Walker.from_shells(scenario.shells),
            sites=Sites.from_stations(scenario.stations),
            angle_at_epoch_rad=sidereal_angle_rad(scenario.epoch),
            ends=np.array([(link.a, link.b) for link in mesh.lasers], np.int64).reshape(-1, 2),
            cutoff_sine=np.array(sines),
            grazing_km=EARTH_RADIUS_KM + scenario.lasers.grazing_altitude_km,
            max_range_km=np.inf if limit is None else limit,
        )

    def positions_ecef_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] in ECEF, km, of all satellites at sky times [T]."""
        angle = earth_angle_rad(self.angle_at_epoch_rad, t_s)
        return eci_to_ecef(self.walker.positions_eci_km(t_s), angle)

    def laser_margin(self, rows: Indices, one: Floats, two: Floats) -> tuple[Floats, Floats]:
        """Margin (in km, roughly) and range, km, of lasers `rows` [K] between positions [..., K, 3]."""
        away = two - one
        squared = np.sum(away * away, axis=-1)
        along = np.clip(-np.sum(one * away, axis=-1) / np.maximum(squared, TOGETHER_KM2), 0.0, 1.0)
        closest = one + along[..., None] * away
        clear_km = np.sqrt(np.sum(closest * closest, axis=-1)) - self.grazing_km
        range_km = np.sqrt(squared)
        sine = np.maximum(np.abs(one[..., 2]) / _norm(one), np.abs(two[..., 2]) / _norm(two))
        below_cutoff_km = (self.cutoff_sine[rows] - sine) * EARTH_RADIUS_KM
        margin = np.minimum(np.minimum(clear_km, self.max_range_km - range_km), below_cutoff_km)
        return margin, range_km

    def laser_margin_at(self, rows: Indices, t_s: Floats) -> Floats:
        """Margin [K] of lasers `rows` [K], each at its own sky time [K]."""
        one = self.walker.positions_of_eci_km(self.ends[rows, 0], t_s)
        two = self.walker.positions_of_eci_km(self.ends[rows, 1], t_s)
        return self.laser_margin(rows, one, two)[0]

    def radio_margin_at(self, satellites: Indices, stations: Indices, t_s: Floats) -> Floats:
        """Margin [K] of satellite-station pairs [K], each at its own sky time [K]."""
        angle = earth_angle_rad(self.angle_at_epoch_rad, t_s)
        positions = eci_to_ecef(self.walker.positions_of_eci_km(satellites, t_s), angle)
        sine, _ = sine_and_slant_of_pairs(positions, self.sites, stations)
        return sine - self.sites.sine_min[stations]


def compute_segment(scenario: Scenario, mesh: Mesh, index: int) -> Segment:
    """The contacts of hour `index` (0 starts at the epoch) of a scenario.

    Pure and deterministic: every caller gets the same segment on the same kind of machine.
    """
    geometry = Geometry.of(scenario, mesh)
    start_s, end_s = float(index * SEGMENT_S), float((index + 1) * SEGMENT_S)
    window = (start_s, end_s)

    laser_s = _sample_times(index, scenario.lasers.acquire_s)
    margin, range_km = _sample_lasers(geometry, laser_s)
    laser_offsets, laser_intervals = _usable(
        margin, laser_s, geometry.laser_margin_at, scenario.lasers.acquire_s, window
    )
    radio_s = _sample_times(index, scenario.ground_link.acquire_s)
    pairs = _pairs_in_contact(geometry, radio_s)
    satellites, stations = pairs[:, 0], pairs[:, 1]
    radio_margin, radio_range_km = _sample_radio(geometry, pairs, radio_s)
    radio_offsets, radio_intervals = _usable(
        radio_margin,
        radio_s,
        lambda rows, t_s: geometry.radio_margin_at(satellites[rows], stations[rows], t_s),
        scenario.ground_link.acquire_s,
        window,
    )
    return Segment(
        digest=scenario.digest(),
        index=index,
        laser_range_km=range_km[:, -(STEPS + 1) :],
        laser_offsets=laser_offsets,
        laser_intervals=laser_intervals,
        radio_pairs=(pairs + np.array([0, mesh.satellite_count])).astype(np.int32),
        radio_range_km=radio_range_km[:, -(STEPS + 1) :],
        radio_offsets=radio_offsets,
        radio_intervals=radio_intervals,
    )


def _norm(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.sum(vectors * vectors, axis=-1)))


def _sample_times(index: int, acquire_s: float) -> Floats:
    """Sample times of an hour, and as long before it as an acquisition under way at its start may have
    begun.
    """
    first = index * STEPS
    lead = min(first, int(np.ceil(acquire_s / STEP_S)))
    return np.arange(first - lead, first + STEPS + 1, dtype=np.float64) * STEP_S


def _sample_lasers(geometry: Geometry, t_s: Floats) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Margins [L, T] and ranges [L, T] of all lasers."""
    rows = np.arange(len(geometry.ends))
    margin = np.empty((len(rows), len(t_s)))
    range_km = np.empty((len(rows), len(t_s)), np.float32)
    for start in range(0, len(t_s), CHUNK_STEPS):
        chunk = slice(start, start + CHUNK_STEPS)
        positions = geometry.walker.positions_eci_km(t_s[chunk])
        one, two = positions[:, geometry.ends[:, 0]], positions[:, geometry.ends[:, 1]]
        margins, ranges = geometry.laser_margin(rows, one, two)
        margin[:, chunk], range_km[:, chunk] = margins.T, ranges.T
    return margin, range_km


def _pairs_in_contact(geometry: Geometry, t_s: Floats) -> Indices:
    """Pairs [P, 2] of satellite and station index that see each other at any of the times, sorted."""
    seen = np.zeros((len(geometry.walker), len(geometry.sites)), np.bool_)
    for start in range(0, len(t_s), CHUNK_STEPS):
        positions = geometry.positions_ecef_km(t_s[start : start + CHUNK_STEPS])
        seen |= (sine_elevation(positions, geometry.sites) > geometry.sites.sine_min).any(axis=0)
    return np.argwhere(seen)


def _sample_radio(geometry: Geometry, pairs: Indices, t_s: Floats) -> tuple[Floats, npt.NDArray[np.float32]]:
    """Margins [P, T] and ranges [P, T] of pairs of satellite and station."""
    satellites, stations = pairs[:, 0], pairs[:, 1]
    margin = np.empty((len(pairs), len(t_s)))
    range_km = np.empty((len(pairs), len(t_s)), np.float32)
    for start in range(0, len(t_s), CHUNK_STEPS):
        chunk = slice(start, start + CHUNK_STEPS)
        positions = geometry.positions_ecef_km(t_s[chunk])[:, satellites]
        sine, slant = sine_and_slant_of_pairs(positions, geometry.sites, stations)
        margin[:, chunk], range_km[:, chunk] = (sine - geometry.sites.sine_min[stations]).T, slant.T
    return margin, range_km


def _usable(
    margin: Floats, t_s: Floats, margin_at: Margin, acquire_s: float, window: tuple[float, float]
) -> tuple[Indices, Floats]:
    """Offsets [R + 1] and intervals [K, 2] in which each of R links is acquired, cut to the window.

    `margin` [R, T] is sampled at `t_s` [T]; `margin_at` gives it in between.
    """
    up = margin > 0.0
    rows, steps = np.nonzero(up[:, 1:] != up[:, :-1])
    rising = up[rows, steps + 1]
    edges_s = _bisect(rows, t_s[steps], t_s[steps + 1], rising, margin_at)

    # Within a row rises and sets alternate, so sorting both by (row, time) pairs each rise with its set.
    always, still = np.nonzero(up[:, 0])[0], np.nonzero(up[:, -1])[0]
    start_rows = np.concatenate([always, rows[rising]])
    starts_s = np.concatenate([np.full(len(always), t_s[0]), edges_s[rising] + acquire_s])
    end_rows = np.concatenate([rows[~rising], still])
    ends_s = np.concatenate([edges_s[~rising], np.full(len(still), t_s[-1])])
    by_start, by_end = np.lexsort((starts_s, start_rows)), np.lexsort((ends_s, end_rows))
    intervals = np.stack([starts_s[by_start], ends_s[by_end]], axis=1)
    intervals = np.stack([np.maximum(intervals[:, 0], window[0]), np.minimum(intervals[:, 1], window[1])], axis=1)
    lasting = intervals[:, 0] < intervals[:, 1]
    counts = np.bincount(start_rows[by_start][lasting], minlength=len(margin))
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), intervals[lasting]


def _bisect(rows: Indices, low_s: Floats, high_s: Floats, rising: npt.NDArray[np.bool_], margin_at: Margin) -> Floats:
    """When, between `low_s` and `high_s` [K], the margins of links `rows` [K] change their sign."""
    for _ in range(BISECTIONS):
        middle_s = (low_s + high_s) / 2
        after = (margin_at(rows, middle_s) > 0.0) == rising
        low_s, high_s = np.where(after, low_s, middle_s), np.where(after, middle_s, high_s)
    return (low_s + high_s) / 2
