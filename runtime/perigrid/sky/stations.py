"""Which satellite stands how high, and in which direction, above which ground station?

Elevation is the angle between the line to the satellite and the station's horizon, the plane normal to the
WGS84 ellipsoid. Refraction is left out: it lifts a satellite at 5 degrees by about 0.17 degrees.

A station sees what stands at least at its smallest elevation, and at least at its mask's in that direction. A mask is a
skyline: points (azimuth, elevation), in degrees and joined by straight lines around the whole circle.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.scenario.model import Station
from perigrid.sky.frames import Floats, geodetic_site

Indices = npt.NDArray[np.int64]
Truths = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Mask:
    """One station's skyline: `elevation_deg` [M] at `azimuth_deg` [M], and the smallest elevation anywhere."""

    azimuth_deg: Floats
    elevation_deg: Floats
    least_deg: float

    def sine_min(self, azimuth_deg: Floats) -> Floats:
        """Sine of the smallest elevation [...] in directions [...]."""
        skyline = np.interp(azimuth_deg, self.azimuth_deg, self.elevation_deg, period=360.0)
        return np.asarray(np.sin(np.radians(np.maximum(skyline, self.least_deg))))


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """S stations as arrays: ECEF `position_km` [S, 3], unit normals `up` [S, 3], `sine_min` [S] of the
    elevation.

    Where a station has a mask, `sine_min` is the least over all directions: what is below it is seen by nobody, what
    is above it may be hidden. `masks` holds the masks by station, and is empty as a rule.
    """

    position_km: Floats
    up: Floats
    sine_min: Floats
    masks: tuple[tuple[int, Mask], ...] = ()

    @classmethod
    def from_stations(cls, stations: Iterable[Station]) -> "Sites":
        """Place the stations on the ellipsoid."""
        listed = list(stations)
        sites = [geodetic_site(station.latitude_deg, station.longitude_deg) for station in listed]
        masks = tuple((number, _mask(station)) for number, station in enumerate(listed) if station.mask_deg)
        least_deg = [station.min_elevation_deg for station in listed]
        for number, mask in masks:
            least_deg[number] = max(mask.least_deg, float(mask.elevation_deg.min()))
        return cls(
            np.array([site.position_km for site in sites]).reshape(-1, 3),
            np.array([site.up for site in sites]).reshape(-1, 3),
            np.sin(np.radians(least_deg)),
            masks,
        )

    def __len__(self) -> int:
        return len(self.sine_min)


def sine_elevation(positions_ecef_km: Floats, sites: Sites) -> Floats:
    """Sine of the elevation [..., N, S] of satellites at ECEF positions [..., N, 3] above every site."""
    # Dot products instead of difference vectors: a third of the memory where N and S are large.
    height = positions_ecef_km @ sites.up.T - np.sum(sites.position_km * sites.up, axis=1)
    return np.asarray(height / slant_km(positions_ecef_km, sites))


def slant_km(positions_ecef_km: Floats, sites: Sites) -> Floats:
    """Distance [..., N, S], km, from every site to satellites at ECEF positions [..., N, 3]."""
    squared = (
        np.sum(positions_ecef_km**2, axis=-1)[..., None]
        + np.sum(sites.position_km**2, axis=1)
        - 2 * positions_ecef_km @ sites.position_km.T
    )
    return np.asarray(np.sqrt(squared))


def sine_and_slant_of_pairs(positions_ecef_km: Floats, sites: Sites, stations: Indices) -> tuple[Floats, Floats]:
    """Sine of the elevation and distance, km, of satellite k above site `stations[k]`.

    Positions are [..., K, 3] and the answers [..., K].
    """
    away = positions_ecef_km - sites.position_km[stations]
    slant = np.sqrt(np.sum(away * away, axis=-1))
    return np.sum(away * sites.up[stations], axis=-1) / slant, slant


def sine_margin_of_pairs(positions_ecef_km: Floats, sites: Sites, stations: Indices) -> Floats:
    """By how much satellite k stands above the smallest elevation of site `stations[k]` in its direction.

    The difference of the sines, [..., K] for positions [..., K, 3]; masks are honoured. It costs no more than the
    elevation where none of the stations has one.
    """
    sine, _ = sine_and_slant_of_pairs(positions_ecef_km, sites, stations)
    return sine - sine_min_of_pairs(positions_ecef_km, sites, stations)


def sine_min_of_pairs(positions_ecef_km: Floats, sites: Sites, stations: Indices) -> Floats:
    """Sine of the smallest elevation [..., K] of site `stations[k]` towards satellites at [..., K, 3]."""
    least = sites.sine_min[stations]
    if not sites.masks:
        return least
    least = np.broadcast_to(least, positions_ecef_km.shape[:-1]).copy()
    for number, mask in sites.masks:
        here = np.flatnonzero(stations == number)
        if len(here):
            azimuth = azimuth_of_pairs_deg(positions_ecef_km[..., here, :], sites, stations[here])
            least[..., here] = mask.sine_min(azimuth)
    return least


def azimuth_of_pairs_deg(positions_ecef_km: Floats, sites: Sites, stations: Indices) -> Floats:
    """Direction [..., K] of satellite k from site `stations[k]`, degrees in [0, 360) from north over east.

    Positions are [..., K, 3]. Straight overhead, and at the poles themselves, the direction is arbitrary.
    """
    away = positions_ecef_km - sites.position_km[stations]
    east, north = _level(sites.up)
    eastward, northward = np.sum(away * east[stations], axis=-1), np.sum(away * north[stations], axis=-1)
    return np.asarray(np.degrees(np.arctan2(eastward, northward)) % 360.0)


def topocentric(positions_ecef_km: Floats, sites: Sites) -> tuple[Floats, Floats, Floats]:
    """Azimuth and elevation, degrees, and range, km, of satellites at ECEF positions [..., N, 3] from every site.

    Each is [..., N, S]; azimuths are in [0, 360) from north over east.
    """
    away = positions_ecef_km[..., :, None, :] - sites.position_km
    east, north = _level(sites.up)
    eastward, northward, upward = (np.sum(away * axis, axis=-1) for axis in (east, north, sites.up))
    azimuth = np.degrees(np.arctan2(eastward, northward)) % 360.0
    elevation = np.degrees(np.arctan2(upward, np.hypot(eastward, northward)))
    return azimuth, elevation, np.sqrt(eastward**2 + northward**2 + upward**2)


def elevation_deg(positions_ecef_km: Floats, sites: Sites) -> Floats:
    """Elevation [..., N, S] in degrees, negative below the horizon."""
    return np.degrees(np.arcsin(np.clip(sine_elevation(positions_ecef_km, sites), -1.0, 1.0)))


def visible(positions_ecef_km: Floats, sites: Sites) -> Truths:
    """Whether each site sees each satellite, its mask taken into account, [..., N, S]."""
    seen = np.asarray(sine_elevation(positions_ecef_km, sites) >= sites.sine_min)
    for number, _ in sites.masks:
        stations = np.full(positions_ecef_km.shape[-2], number)
        seen[..., number] &= sine_margin_of_pairs(positions_ecef_km, sites, stations) >= 0.0
    return seen


def _mask(station: Station) -> Mask:
    azimuths, elevations = np.array(station.mask_deg, np.float64).T
    return Mask(azimuths, elevations, station.min_elevation_deg)


def _level(up: Floats) -> tuple[Floats, Floats]:
    """Unit vectors [S, 3] to the east and to the north of places with normals [S, 3]; at a pole, some two."""
    level = np.hypot(up[:, 0], up[:, 1])
    at_pole = level == 0.0
    cosine, sine = np.where(at_pole, 1.0, up[:, 0]), np.where(at_pole, 0.0, up[:, 1])
    level = np.where(at_pole, 1.0, level)
    east = np.stack([-sine / level, cosine / level, np.zeros(len(up))], axis=1)
    return east, np.cross(up, east)
