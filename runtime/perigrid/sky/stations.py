"""Which satellite stands how high above which ground station?

Elevation is the angle between the line to the satellite and the station's horizon, the plane normal to the
WGS84 ellipsoid. Refraction is left out: it lifts a satellite at 5 degrees by about 0.17 degrees.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.scenario.model import Station
from perigrid.sky.frames import Floats, geodetic_site


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """S stations as arrays: ECEF `position_km` [S, 3], unit normals `up` [S, 3], `sine_min` [S] of the
    elevation.
    """

    position_km: Floats
    up: Floats
    sine_min: Floats

    @classmethod
    def from_stations(cls, stations: Iterable[Station]) -> "Sites":
        """Place the stations on the ellipsoid."""
        listed = list(stations)
        sites = [geodetic_site(station.latitude_deg, station.longitude_deg) for station in listed]
        return cls(
            np.array([site.position_km for site in sites]).reshape(-1, 3),
            np.array([site.up for site in sites]).reshape(-1, 3),
            np.sin(np.radians([station.min_elevation_deg for station in listed])),
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


def sine_and_slant_of_pairs(
    positions_ecef_km: Floats, sites: Sites, stations: npt.NDArray[np.int64]
) -> tuple[Floats, Floats]:
    """Sine of the elevation and distance, km, of satellite k above site `stations[k]`.

    Positions are [..., K, 3] and the answers [..., K].
    """
    away = positions_ecef_km - sites.position_km[stations]
    slant = np.sqrt(np.sum(away * away, axis=-1))
    return np.sum(away * sites.up[stations], axis=-1) / slant, slant


def elevation_deg(positions_ecef_km: Floats, sites: Sites) -> Floats:
    """Elevation [..., N, S] in degrees, negative below the horizon."""
    return np.degrees(np.arcsin(np.clip(sine_elevation(positions_ecef_km, sites), -1.0, 1.0)))


def visible(positions_ecef_km: Floats, sites: Sites) -> npt.NDArray[np.bool_]:
    """Whether each satellite stands at least at each site's minimum elevation, [..., N, S]."""
    return np.asarray(sine_elevation(positions_ecef_km, sites) >= sites.sine_min)
