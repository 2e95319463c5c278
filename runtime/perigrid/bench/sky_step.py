"""What is one step of a constellation with perigrid's own sky and mesh?

The same question as `sky_script.py` asks, answered with what perigrid's analyses use: `Fleet` for positions, frames,
slant ranges and `Sweep` for the ways. Satellites are moved by SGP4 as in the script, so that results can be compared
digit by digit, or by perigrid's own Walker shells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from perigrid.mesh.sweep import Sweep
from perigrid.scenario.model import Elements, Shell
from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.sgp4 import Catalogued
from perigrid.sky.stations import Sites, slant_km
from perigrid.sky.walker import Walker

EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
SPHERE_KM = 6371.0
WGS72_KM, WGS72_MU_KM3_S2 = 6378.135, 398600.8
"""SGP4's own constants, in which the shell's altitude is turned into a mean motion."""

ECCENTRICITY = 1e-7
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Constellation:
    """A shell in a closed grid over places [(latitude, longitude)] on a sphere, degrees; None is half-slot phasing."""

    places: tuple[tuple[float, float], ...]
    planes: int = 72
    slots: int = 22
    altitude_km: float = 550.0
    inclination_deg: float = 53.0
    elevation_deg: float = 25.0
    phasing: int | None = None

    def shell(self) -> Shell:
        """As a shell of perigrid's own, moved by the secular effects of oblateness."""
        return Shell(
            name="shell",
            altitude_km=self.altitude_km,
            inclination_deg=self.inclination_deg,
            planes=self.planes,
            sats_per_plane=self.slots,
            phasing=0.5 if self.phasing is None else self.phasing / self.planes,
            topology="grid",
        )

    def elements(self) -> list[Elements]:
        """As objects for SGP4."""
        motion_rad_s = math.sqrt(WGS72_MU_KM3_S2 / (WGS72_KM + self.altitude_km) ** 3)
        return [self._element(plane, slot, motion_rad_s) for plane in range(self.planes) for slot in range(self.slots)]

    def _element(self, plane: int, slot: int, motion_rad_s: float) -> Elements:
        slot_deg = 360.0 / self.slots
        ahead_deg = plane % 2 * slot_deg / 2 if self.phasing is None else slot_deg / self.planes * plane * self.phasing
        return Elements(
            number=plane * self.slots + slot + 1,
            name="",
            epoch=EPOCH,
            mean_motion_rev_day=motion_rad_s * DAY_S / (2 * math.pi),
            eccentricity=ECCENTRICITY,
            inclination_deg=self.inclination_deg,
            raan_deg=360.0 / self.planes * plane,
            argument_of_perigee_deg=0.0,
            mean_anomaly_deg=(slot_deg * slot + ahead_deg) % 360,
        )

    def fleet(self, sgp4: bool) -> Fleet:
        """What moves."""
        if sgp4:
            return Fleet(Walker.from_shells(()), Catalogued.of(self.elements(), EPOCH))
        return Fleet(Walker.from_shells([self.shell()], EPOCH))

    def lasers(self) -> npt.NDArray[np.int64]:
        """Pairs [L, 2]: each satellite with the next in its plane and the same slot of the next plane.

        Not `Mesh`'s pairs, which are the nearest slots: across the last plane these differ by the phasing.
        """
        count = self.planes * self.slots
        plane, slot = np.divmod(np.arange(count), self.slots)
        ahead = plane * self.slots + (slot + 1) % self.slots
        across = (plane + 1) % self.planes * self.slots + slot
        return np.stack([np.tile(np.arange(count), 2), np.concatenate([ahead, across])], axis=1)

    def slant_limit_km(self) -> float:
        """How far a satellite at the shell's altitude is at the least elevation."""
        elevation = math.radians(self.elevation_deg)
        level_km = SPHERE_KM * math.cos(elevation)
        return math.sqrt((SPHERE_KM + self.altitude_km) ** 2 - level_km**2) - SPHERE_KM * math.sin(elevation)


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """N satellites and G places: `length_km` [N, G] and `step` [N, G] towards each place, satellites numbered from 0
    and places from N on, and the shortest ways `between_km` [G, G] places.
    """

    length_km: Floats
    step: npt.NDArray[np.int32]
    between_km: Floats


class SkyStep:
    """A constellation, moment after moment."""

    def __init__(self, constellation: Constellation, sgp4: bool = True) -> None:
        self._fleet = constellation.fleet(sgp4)
        self._limit_km = constellation.slant_limit_km()
        latitude, longitude = np.radians(np.array(constellation.places)).T
        level = np.cos(latitude)
        up = np.stack([level * np.cos(longitude), level * np.sin(longitude), np.sin(latitude)], axis=1)
        least = np.full(len(up), math.sin(math.radians(constellation.elevation_deg)))
        self._sites = Sites(up * SPHERE_KM, up, least)
        self._lasers = constellation.lasers()
        self._angle_at_epoch_rad = sidereal_angle_rad(EPOCH)
        self._satellites, self._places = len(self._fleet), len(up)
        self._sweep = Sweep(
            self._satellites + self._places, np.arange(self._satellites, self._satellites + self._places)
        )

    def at(self, t_s: float) -> Moment:
        """Ranges, ways and next hops at a sky time."""
        times_s = np.array([t_s])
        positions = self._fleet.positions_eci_km(times_s)
        fixed = eci_to_ecef(positions, earth_angle_rad(self._angle_at_epoch_rad, times_s))[0]
        slant = slant_km(fixed, self._sites).T
        one, two = self._lasers.T
        away = fixed[one] - fixed[two]
        laser_km = np.sqrt(np.einsum("ij,ij->i", away, away))
        place, satellite = np.nonzero(slant <= self._limit_km)
        seen_km = slant[place, satellite]
        reach = self._sweep.advance(
            np.concatenate([one, two, satellite]),
            np.concatenate([two, one, self._satellites + place]),
            np.concatenate([laser_km, laser_km, seen_km]),
        )
        length_km = reach.length[: self._satellites]
        return Moment(length_km, reach.step[: self._satellites], self._between(length_km, place, satellite, seen_km))

    def _between(
        self, length_km: Floats, place: npt.NDArray[np.int64], satellite: npt.NDArray[np.int64], seen_km: Floats
    ) -> Floats:
        """The best of all satellites that a place sees; the places are in ascending order."""
        between = np.full((self._places, self._places), np.inf)
        if len(place):
            ways = length_km.take(satellite, axis=0)
            ways += seen_km[:, None]
            first = np.flatnonzero(np.diff(place, prepend=-1))
            between[place[first]] = np.minimum.reduceat(ways, first, axis=0)
        return between
