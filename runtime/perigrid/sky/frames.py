"""How does the Earth stand among the stars, and where on it is a place?

Two frames share the Earth's axis. ECI is fixed to the mean equinox of date: x points to it, and right
ascensions count from it. ECEF turns with the Earth: x points to Greenwich. The angle between them is
Greenwich mean sidereal time. UT1 is taken to equal UTC, which moves a ground point by up to 300 m, far less
than a contact's edge notices; polar motion, nutation and the precession during a run are left out for the
same reason.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from perigrid.units import EARTH_FLATTENING, EARTH_MEAN_RADIUS_KM, EARTH_RADIUS_KM, EARTH_RATE_RAD_S

Floats = npt.NDArray[np.float64]

J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
"""The moment from which sidereal time is counted, JD 2451545.0 (UT1 taken as UTC)."""

DAY_S = 86_400.0
CENTURY_DAYS = 36_525.0


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A place on the ellipsoid: `position_km` [3] and the unit normal `up` [3], both ECEF."""

    position_km: Floats
    up: Floats


def sidereal_angle_rad(epoch: datetime) -> float:
    """Greenwich mean sidereal time at an aware moment, radians in [0, 2 pi).

    Earth rotation angle (IERS Conventions 2010, eq. 5.15) plus the leading terms of the accumulated
    precession (Capitaine et al. 2003, eq. 42), good to 0.001 arcsec over this century.
    """
    days = (epoch - J2000).total_seconds() / DAY_S
    centuries = days / CENTURY_DAYS
    turns = 0.7790572732640 + 0.00273781191135448 * days + days % 1.0
    precession_arcsec = 0.014506 + 4612.156534 * centuries + 1.3915817 * centuries**2
    return float((2 * np.pi * turns + np.radians(precession_arcsec / 3600)) % (2 * np.pi))


def earth_angle_rad(angle_at_epoch_rad: float, t_s: Floats) -> Floats:
    """Angle from the ECI x axis to Greenwich at sky times `t_s` [T], radians, not reduced."""
    return angle_at_epoch_rad + EARTH_RATE_RAD_S * t_s


def eci_to_ecef(positions: Floats, angle_rad: Floats) -> Floats:
    """Turn ECI vectors [T, ..., 3] by the Earth's angle [T] into ECEF."""
    shape = angle_rad.shape + (1,) * (positions.ndim - angle_rad.ndim - 1)
    cosine, sine = np.cos(angle_rad).reshape(shape), np.sin(angle_rad).reshape(shape)
    x, y = positions[..., 0], positions[..., 1]
    return np.stack([x * cosine + y * sine, y * cosine - x * sine, positions[..., 2]], axis=-1)


def ecef_to_eci(positions: Floats, angle_rad: Floats) -> Floats:
    """Turn ECEF vectors [T, ..., 3] by the Earth's angle [T] into ECI."""
    return eci_to_ecef(positions, -angle_rad)


def geodetic_site(latitude_deg: float, longitude_deg: float) -> Site:
    """The place at a geodetic latitude and longitude on the WGS84 ellipsoid, height 0."""
    latitude, longitude = np.radians(latitude_deg), np.radians(longitude_deg)
    eccentricity_squared = EARTH_FLATTENING * (2 - EARTH_FLATTENING)
    normal_km = EARTH_RADIUS_KM / np.sqrt(1 - eccentricity_squared * np.sin(latitude) ** 2)
    up = np.array([np.cos(latitude) * np.cos(longitude), np.cos(latitude) * np.sin(longitude), np.sin(latitude)])
    return Site(normal_km * up * np.array([1.0, 1.0, 1 - eccentricity_squared]), up)


def great_circle_km(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Distance over the mean sphere between two (latitude, longitude) pairs in degrees; haversine formula."""
    latitude_1, longitude_1, latitude_2, longitude_2 = np.radians([*one, *two])
    chord = (
        np.sin((latitude_2 - latitude_1) / 2) ** 2
        + np.cos(latitude_1) * np.cos(latitude_2) * np.sin((longitude_2 - longitude_1) / 2) ** 2
    )
    return float(2 * EARTH_MEAN_RADIUS_KM * np.arcsin(min(1.0, np.sqrt(chord))))
