"""Which satellite is in the Earth's shadow, how deep, and when does it enter and leave?

The Earth is a sphere, and so is the Sun. Seen from a satellite at distance r the Earth fills a disk of angular radius
asin(R / r), the Sun one of asin(S / s), and their centres are an angle apart. The shadow's edges are where

    point       the Sun's centre touches the Earth's disk (the Sun as a point, as in skyfield's `is_sunlit`)
    penumbra    the disks touch from outside: the Sun begins to be covered
    umbra       the Sun's disk is covered as a whole

`margin_rad` is a number for each edge that is positive outside and continuous; fractions and times follow from it.
The air, which bends and reddens light for some seconds around each edge, is left out; so is the flattening, which
shortens eclipses by some seconds where the edge passes near a pole.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np
import numpy.typing as npt

from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats
from perigrid.sky.spans import positive_spans
from perigrid.sky.sun import ASTRONOMICAL_UNIT_KM, sun_km
from perigrid.units import EARTH_RADIUS_KM

Edge = Literal["point", "penumbra", "umbra"]
Indices = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]

SUN_RADIUS_KM = 695_700.0
"""Radius of the Sun, km (IAU 2015, resolution B3)."""

SUN_SIGN = {"point": 0.0, "penumbra": 1.0, "umbra": -1.0}
"""Which multiple of the Sun's angular radius is added to the Earth's at each edge."""

STEP_S = 60.0
"""Step of the search for edges; eclipses between two steps are found too (see `spans.py`)."""


@dataclass(frozen=True, slots=True)
class Eclipse:
    """One passage of a satellite through the shadow, in sky time; cut where it is under way at the window's ends."""

    satellite: int
    enter_s: float
    leave_s: float
    cut_start: bool
    cut_end: bool


@dataclass(frozen=True, slots=True, eq=False)
class Eclipses:
    """K eclipses as arrays [K], sorted by satellite and time; iterating gives each as an `Eclipse`."""

    satellite: Indices
    enter_s: Floats
    leave_s: Floats
    cut_start: Truths
    cut_end: Truths

    def __len__(self) -> int:
        return len(self.satellite)

    def __iter__(self) -> Iterator[Eclipse]:
        columns = [getattr(self, name).tolist() for name in self.__slots__]
        return (Eclipse(*row) for row in zip(*columns, strict=True))


def margin_rad(
    positions_eci_km: Floats, sun_eci_km: Floats, edge: Edge = "point", earth_radius_km: float = EARTH_RADIUS_KM
) -> Floats:
    """By which angle [T, ...] satellites at ECI [T, ..., 3] are out of the shadow's edge, negative in the shadow.

    The Sun is at ECI [T, 3] (`sun_km`).
    """
    earth, sun, apart = _disks(positions_eci_km, sun_eci_km, earth_radius_km)
    return np.asarray(apart - earth - SUN_SIGN[edge] * sun)


def sunlight_share(positions_eci_km: Floats, sun_eci_km: Floats, earth_radius_km: float = EARTH_RADIUS_KM) -> Floats:
    """Share [T, ...] of the Sun's disk that satellites at ECI [T, ..., 3] see: 1 in sunlight, 0 in the umbra.

    The disks are taken as flat (Montenbruck and Gill, Satellite Orbits, eq. 3.87 to 3.94).
    """
    earth, sun, apart = _disks(positions_eci_km, sun_eci_km, earth_radius_km)
    partial = (apart < earth + sun) & (apart > np.abs(earth - sun))
    covered = np.where(apart >= earth + sun, 0.0, np.where(earth >= sun, 1.0, (earth / sun) ** 2))
    a, b, c = sun[partial], earth[partial], apart[partial]
    x = (c**2 + a**2 - b**2) / (2 * c)
    y = np.sqrt(np.maximum(a**2 - x**2, 0.0))
    lens = a**2 * np.arccos(np.clip(x / a, -1, 1)) + b**2 * np.arccos(np.clip((c - x) / b, -1, 1)) - c * y
    covered[partial] = lens / (np.pi * a**2)
    return np.asarray(1.0 - covered)


def beta_deg(normals_eci: Floats, sun_eci_km: Floats) -> Floats:
    """Angle [T, ...] of the Sun above orbits' planes with unit normals [T, ..., 3] (`Fleet.normals_eci`), degrees.

    At 0 the Sun lies in the plane and eclipses are longest; a dawn-dusk orbit has it near 90.
    """
    sun = _beside(sun_eci_km / _length(sun_eci_km)[..., None], normals_eci)
    return np.asarray(np.degrees(np.arcsin(np.clip(np.sum(normals_eci * sun, axis=-1), -1.0, 1.0))))


def eclipses(
    fleet: Fleet,
    epoch: datetime,
    start_s: float,
    end_s: float,
    edge: Edge = "umbra",
    earth_radius_km: float = EARTH_RADIUS_KM,
) -> Eclipses:
    """All eclipses of a fleet between sky times, of which 0 is `epoch`; moments are found to 0.01 s.

    They are good to 0.1 s against the model above, but for eclipses that the satellite barely grazes.
    """

    def sampled(t_s: Floats) -> Floats:
        return -margin_rad(fleet.positions_eci_km(t_s), sun_km(epoch, t_s), edge, earth_radius_km)

    def at(satellites: Indices, t_s: Floats) -> Floats:
        return -margin_rad(fleet.positions_of_eci_km(satellites, t_s), sun_km(epoch, t_s), edge, earth_radius_km)

    spans = positive_spans(sampled, at, len(fleet), start_s, end_s, STEP_S)
    return Eclipses(spans.row, spans.start_s, spans.end_s, spans.cut_start, spans.cut_end)


def eclipse_share(found: Eclipses, satellites: int, start_s: float, end_s: float) -> Floats:
    """Share of the time between `start_s` and `end_s` [N] that each of N satellites is in the shadow.

    `found` are the eclipses of that window.
    """
    in_shadow_s = np.bincount(found.satellite, weights=found.leave_s - found.enter_s, minlength=satellites)
    return np.asarray(in_shadow_s / (end_s - start_s))


def eclipse_fraction(altitude_km: float, beta: float = 0.0, edge: Edge = "point") -> float:
    """Share of a turn that a circular orbit is in the shadow, with the Sun `beta` degrees above its plane.

    `point` is the cylinder that an infinitely far Sun would throw (Vallado, section 5.3); the cones' half angles are
    those at the mean distance of the Sun.
    """
    # On a cone whose mantle leans inwards by `lean`, r sin(edge + lean) = R, where `edge` is the angle from its axis.
    lean = {
        "point": 0.0,
        "umbra": np.arcsin((SUN_RADIUS_KM - EARTH_RADIUS_KM) / ASTRONOMICAL_UNIT_KM),
        "penumbra": -np.arcsin((SUN_RADIUS_KM + EARTH_RADIUS_KM) / ASTRONOMICAL_UNIT_KM),
    }[edge]
    edge_rad = np.arcsin(EARTH_RADIUS_KM / (EARTH_RADIUS_KM + altitude_km)) - lean
    along = np.cos(edge_rad) / np.cos(np.radians(beta))
    return float(np.arccos(along) / np.pi) if along < 1.0 else 0.0


def _disks(positions: Floats, sun: Floats, earth_radius_km: float) -> tuple[Floats, Floats, Floats]:
    """Angular radii of Earth and Sun and the angle between their centres [T, ...] from positions [T, ..., 3]."""
    away = _beside(sun, positions) - positions
    radius, distance = _length(positions), _length(away)
    # Whatever is inside the Earth is in the dark, wherever the Sun stands.
    inside = radius <= earth_radius_km
    earth = np.where(inside, 2 * np.pi, np.arcsin(np.minimum(earth_radius_km / radius, 1.0)))
    cosine = -np.sum(positions * away, axis=-1)
    apart = np.arctan2(_length(np.cross(positions, away)), cosine)
    return earth, np.arcsin(SUN_RADIUS_KM / distance), apart


def _beside(sun: Floats, vectors: Floats) -> Floats:
    """The Sun's vectors [T, 3] in a shape that goes with vectors [T, ..., 3]."""
    return sun.reshape(sun.shape[:-1] + (1,) * (vectors.ndim - sun.ndim) + (3,))


def _length(vectors: Floats) -> Floats:
    return np.asarray(np.sqrt(np.sum(vectors * vectors, axis=-1)))
