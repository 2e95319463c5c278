"""Could two nodes see each other at t, and how far apart are they?

A link has a margin: a number that is positive while geometry allows the link, and continuous in between.

    laser    the smallest of: the beam's closest approach to the Earth's centre minus (radius + grazing
             altitude), the greatest range minus the range, and, between planes, the polar cutoff minus
             the higher latitude
    radio    sine of the elevation minus sine of the station's smallest elevation there

Times are sky time. Where the scenario turns the sky faster than time passes (`clock.orbit_rate`), this is the
only place that knows: satellites and Earth stand where they are `orbit_rate` times as long after the epoch.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.mesh.topology import Mesh
from perigrid.scenario.model import Scenario
from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.stations import Sites, sine_elevation, sine_margin_of_pairs
from perigrid.units import EARTH_RADIUS_KM

Indices = npt.NDArray[np.int64]

NO_CUTOFF_SINE = 2.0
"""Stands for a satellite whose lasers work over the poles too: no latitude has this sine."""

TOGETHER_KM2 = 1e-12
"""Stands in for the squared range of two satellites in one place, so that no division by zero happens."""


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A scenario's sky, which the margins of all its links are computed from.

    `cutoff_sine` [N] is the sine of each satellite's polar cutoff, `plane` [N] the number of its plane; a laser
    between planes obeys the stricter cutoff of its ends. Satellites and stations go by their indices.
    """

    fleet: Fleet
    sites: Sites
    angle_at_epoch_rad: float
    orbit_rate: float
    cutoff_sine: Floats
    plane: Indices
    grazing_km: float
    max_range_km: float

    @classmethod
    def of(cls, scenario: Scenario, mesh: Mesh) -> "Geometry":
        """Lay out the scenario's sky."""
        cutoffs = [
            NO_CUTOFF_SINE if shell.polar_cutoff_deg is None else float(np.sin(np.radians(shell.polar_cutoff_deg)))
            for shell in scenario.shells
            for _ in range(shell.planes * shell.sats_per_plane)
        ]
        free = [NO_CUTOFF_SINE] * (scenario.satellite_count - len(cutoffs))
        limit = scenario.lasers.max_range_km
        return cls(
            fleet=Fleet.of(scenario),
            sites=Sites.from_stations(scenario.stations),
            angle_at_epoch_rad=sidereal_angle_rad(scenario.epoch, scenario.ut1_utc_s),
            orbit_rate=scenario.clock.orbit_rate,
            cutoff_sine=np.array(cutoffs + free),
            plane=np.array(mesh.planes, np.int64),
            grazing_km=EARTH_RADIUS_KM + scenario.lasers.grazing_altitude_km,
            max_range_km=np.inf if limit is None else limit,
        )

    def positions_eci_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] in ECI, km, of all satellites at sky times [T]."""
        return self.fleet.positions_eci_km(t_s * self.orbit_rate)

    def positions_ecef_km(self, t_s: Floats) -> Floats:
        """Positions [T, N, 3] in ECEF, km, of all satellites at sky times [T]."""
        return eci_to_ecef(self.positions_eci_km(t_s), self.earth_angle_rad(t_s))

    def earth_angle_rad(self, t_s: Floats) -> Floats:
        """Angle [T] from the ECI x axis to Greenwich at sky times [T], radians."""
        return earth_angle_rad(self.angle_at_epoch_rad, t_s * self.orbit_rate)

    def laser_margin(self, pairs: Indices, one: Floats, two: Floats) -> Floats:
        """Margin (in km, roughly) of lasers between satellites `pairs` [K, 2] at positions [..., K, 3]."""
        away = two - one
        squared = np.sum(away * away, axis=-1)
        along = np.clip(-np.sum(one * away, axis=-1) / np.maximum(squared, TOGETHER_KM2), 0.0, 1.0)
        closest = one + along[..., None] * away
        margin = np.sqrt(np.sum(closest * closest, axis=-1)) - self.grazing_km
        if np.isfinite(self.max_range_km):
            margin = np.minimum(margin, self.max_range_km - np.sqrt(squared))
        cutoff = np.minimum(self.cutoff_sine[pairs[:, 0]], self.cutoff_sine[pairs[:, 1]])
        cut = np.flatnonzero((cutoff <= 1.0) & (self.plane[pairs[:, 0]] != self.plane[pairs[:, 1]]))
        if len(cut):
            here, there = one[..., cut, :], two[..., cut, :]
            sine = np.maximum(np.abs(here[..., 2]) / _norm(here), np.abs(there[..., 2]) / _norm(there))
            margin[..., cut] = np.minimum(margin[..., cut], (cutoff[cut] - sine) * EARTH_RADIUS_KM)
        return np.asarray(margin)

    def laser_margin_at(self, pairs: Indices, t_s: Floats) -> Floats:
        """Margin [K] of lasers `pairs` [K, 2], each at its own sky time [K]."""
        one = self.fleet.positions_of_eci_km(pairs[:, 0], t_s * self.orbit_rate)
        two = self.fleet.positions_of_eci_km(pairs[:, 1], t_s * self.orbit_rate)
        return self.laser_margin(pairs, one, two)

    def radio_margin_at(self, pairs: Indices, t_s: Floats) -> Floats:
        """Margin [K] of pairs [K, 2] of satellite and station, each at its own sky time [K]."""
        positions = self.fleet.positions_of_eci_km(pairs[:, 0], t_s * self.orbit_rate)
        return self.radio_margin(pairs, eci_to_ecef(positions, self.earth_angle_rad(t_s)))

    def radio_margin(self, pairs: Indices, positions_ecef_km: Floats) -> Floats:
        """Margin [..., K] of pairs [K, 2] of satellite and station; the satellites are at ECEF [..., K, 3]."""
        return sine_margin_of_pairs(positions_ecef_km, self.sites, pairs[:, 1])

    def seen(self, positions_ecef_km: Floats) -> npt.NDArray[np.bool_]:
        """Whether satellites at [..., N, 3] may be high enough for each site at some azimuth [..., N, S]."""
        return np.asarray(sine_elevation(positions_ecef_km, self.sites) > self.sites.sine_min)


def _norm(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.sum(vectors * vectors, axis=-1)))
