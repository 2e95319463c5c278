"""How does the Earth stand among the stars, and where on it is a place?

Two frames share the Earth's axis. ECI is TEME, the frame of SGP4: true equator and mean equinox of date; x points to
that equinox, and right ascensions count from it. ECEF turns with the Earth: x points to Greenwich. The angle between
them is Greenwich mean sidereal time (IAU 1982), which is what defines TEME (AIAA 2006-6753, appendix C).

What is left out, and what it costs: polar motion, up to 15 m on the ground; digits of the Earth's rate, 0.3 m for
each day of a run; and, where a scenario does not state `ut1_utc_s`, the Earth's lead on the clock, 460 m on the equator
for a second of it (it is never above 0.9 s, and in this decade below 0.2 s). With it stated, a point below a satellite
is good to 20 m.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from perigrid.units import EARTH_FLATTENING, EARTH_MEAN_RADIUS_KM, EARTH_RADIUS_KM, EARTH_RATE_RAD_S

Floats = npt.NDArray[np.float64]

J2000 = datetime(2000, 1, 1, 12, tzinfo=UTC)
"""The moment from which sidereal time is counted, JD 2451545.0."""

DAY_S = 86_400.0
CENTURY_DAYS = 36_525.0


@dataclass(frozen=True, slots=True, eq=False)
class Site:
    """A place on the ellipsoid: `position_km` [3] and the unit normal `up` [3], both ECEF."""

    position_km: Floats
    up: Floats


def sidereal_angle_rad(epoch: datetime, ut1_utc_s: float = 0.0) -> float:
    """Greenwich mean sidereal time at an aware moment, radians in [0, 2 pi); `ut1_utc_s` is UT1 - UTC.

    The IAU 1982 expression (Aoki et al. 1982; Vallado, eq. 3-47).
    """
    moved = (epoch - J2000).total_seconds() + ut1_utc_s
    centuries = moved / DAY_S / CENTURY_DAYS
    # J2000 is a noon, so that the turns since it are the half day of its own and what the equinox gained.
    gained_s = 67_310.54841 + 8_640_184.812866 * centuries + 0.093104 * centuries**2 - 6.2e-6 * centuries**3
    return float(2 * np.pi * ((moved % DAY_S + gained_s) / DAY_S % 1.0))


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


def geodetic(positions_ecef_km: Floats) -> tuple[Floats, Floats, Floats]:
    """Geodetic latitude [...] and longitude [...], degrees, and altitude [...], km, of ECEF positions [..., 3].

    Bowring's formula (Survey Review 23, 1976), twice: below 1 mm of error from the Earth's surface to beyond the
    Moon's orbit. Longitudes are in [-180, 180]. Below 50 km from the Earth's centre latitude means nothing.
    """
    x, y, z = positions_ecef_km[..., 0], positions_ecef_km[..., 1], positions_ecef_km[..., 2]
    level = np.sqrt(x * x + y * y)
    polar_km = EARTH_RADIUS_KM * (1 - EARTH_FLATTENING)
    eccentricity_squared = EARTH_FLATTENING * (2 - EARTH_FLATTENING)
    second_squared = eccentricity_squared / (1 - eccentricity_squared)
    reduced = np.arctan2(z * EARTH_RADIUS_KM, level * polar_km)
    for _ in range(2):
        latitude = np.arctan2(
            z + second_squared * polar_km * np.sin(reduced) ** 3,
            level - eccentricity_squared * EARTH_RADIUS_KM * np.cos(reduced) ** 3,
        )
        reduced = np.arctan2((1 - EARTH_FLATTENING) * np.sin(latitude), np.cos(latitude))
    sine = np.sin(latitude)
    altitude = level * np.cos(latitude) + z * sine - EARTH_RADIUS_KM * np.sqrt(1 - eccentricity_squared * sine**2)
    return np.degrees(latitude), np.degrees(np.arctan2(y, x)), np.asarray(altitude)


def great_circle_km(one: tuple[float, float], two: tuple[float, float]) -> float:
    """Distance over the mean sphere between two (latitude, longitude) pairs in degrees; haversine formula."""
    latitude_1, longitude_1, latitude_2, longitude_2 = np.radians([*one, *two])
    chord = (
        np.sin((latitude_2 - latitude_1) / 2) ** 2
        + np.cos(latitude_1) * np.cos(latitude_2) * np.sin((longitude_2 - longitude_1) / 2) ** 2
    )
    return float(2 * EARTH_MEAN_RADIUS_KM * np.arcsin(min(1.0, np.sqrt(chord))))
