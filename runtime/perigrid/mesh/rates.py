"""How fast is a link at a given range?

Received power falls with the square of the distance (Friis, Proc. IRE 1946), and so does the rate that an
adaptive modem can hold in a fixed bandwidth once it is limited by power. A link therefore has its whole rate up
to `full_rate_km`, where its strongest modulation still closes, and full rate x (full_rate_km / range)^2 beyond.
Between the horizon at 10 degrees and the zenith of a 535 km orbit free space takes 10 dB. Pointing loss,
atmosphere, interference and the steps between modulations are left out.
"""

import math

import numpy as np
import numpy.typing as npt

from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import GroundLink, Lasers, Scenario, Station
from perigrid.sky.frames import DAY_S
from perigrid.units import EARTH_MU_KM3_S2, EARTH_RADIUS_KM


class Rates:
    """The rates of a scenario's links at any range."""

    def __init__(self, scenario: Scenario, mesh: Mesh) -> None:
        self._satellites = mesh.satellite_count
        lasers = scenario.lasers
        ground = [link_of(scenario, station) for station in scenario.stations]
        self._parts: list[Lasers | GroundLink] = [lasers, *ground]
        # By the link's second end: lasers first, then one entry for each station.
        self._down_bps = [lasers.rate_bps, *(link.rate_bps for link in ground)]
        self._back_bps = [lasers.rate_bps, *(link.uplink_bps or link.rate_bps for link in ground)]
        self._full_km = [lasers.full_rate_km, *(link.full_rate_km for link in ground)]
        infinite = (np.inf if full_km is None else full_km for full_km in self._full_km)
        self._arrays = np.array(self._down_bps), np.array(self._back_bps), np.array(list(infinite))

    def acquire_s(self, link: Link) -> float:
        """What acquiring a link takes."""
        return 0.0 if link.kind == LinkKind.FIBRE else self._parts[self._entry(link)].acquire_s

    def loss(self, link: Link) -> float:
        """The probability that a frame is lost on a link that is up."""
        return 0.0 if link.kind == LinkKind.FIBRE else self._parts[self._entry(link)].loss

    def _entry(self, link: Link) -> int:
        return 0 if link.kind == LinkKind.LASER else link.b - self._satellites + 1

    def whole(self, link: Link) -> tuple[float, float, float]:
        """Rates there and back of a laser or ground link, and the range up to which it has them, infinite for any."""
        entry = self._entry(link)
        full_km = self._full_km[entry]
        return self._down_bps[entry], self._back_bps[entry], math.inf if full_km is None else full_km

    def of(
        self, ends: npt.NDArray[np.int64], range_km: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Rates there and back [K] of lasers and ground links between nodes [K, 2]."""
        entries = np.maximum(ends[:, 1] - self._satellites + 1, 0)
        down_bps, back_bps, full_km = (column[entries] for column in self._arrays)
        return rates_at_bps(down_bps, full_km, range_km), rates_at_bps(back_bps, full_km, range_km)


def link_of(scenario: Scenario, station: Station) -> GroundLink:
    """What a station's links are: the scenario's radio, or its light for an optical station."""
    if station.kind == "optical" and scenario.optical_link is not None:
        return scenario.optical_link
    return scenario.ground_link


def slowest_laser_bps(scenario: Scenario) -> float:
    """The rate of the longest laser that the scenario's altitudes let graze the atmosphere."""
    lasers = scenario.lasers
    highest_km = _highest_km(scenario)
    lowest_km = EARTH_RADIUS_KM + lasers.grazing_altitude_km
    longest_km = 2 * math.sqrt(max(0.0, highest_km**2 - lowest_km**2))
    return rate_at_bps(lasers.rate_bps, lasers.full_rate_km, min(longest_km, lasers.max_range_km or longest_km))


def slowest_ground_bps(scenario: Scenario) -> float:
    """The lower rate, up or down, of the longest ground link: to the highest satellite as it rises."""
    orbit_km = _highest_km(scenario)
    slowest_bps = math.inf
    for station in scenario.stations:
        link = link_of(scenario, station)
        sine = math.sin(math.radians(station.min_elevation_deg))
        below_km = EARTH_RADIUS_KM * sine
        slant_km = math.sqrt(below_km**2 + orbit_km**2 - EARTH_RADIUS_KM**2) - below_km
        for rate_bps in (link.rate_bps, link.uplink_bps or link.rate_bps):
            slowest_bps = min(slowest_bps, rate_at_bps(rate_bps, link.full_rate_km, slant_km))
    return slowest_bps if math.isfinite(slowest_bps) else scenario.ground_link.rate_bps


def _highest_km(scenario: Scenario) -> float:
    """How far from the Earth's centre the scenario's satellites come: shells, and apogees of catalogued ones.

    What has an apogee inside the Earth, as malformed elements may, is taken to be on the ground.
    """
    found = [EARTH_RADIUS_KM, *(EARTH_RADIUS_KM + shell.altitude_km for shell in scenario.shells)]
    for catalogue in scenario.catalogues:
        for one in catalogue.elements:
            motion_rad_s = one.mean_motion_rev_day * 2 * math.pi / DAY_S
            found.append((EARTH_MU_KM3_S2 / motion_rad_s**2) ** (1 / 3) * (1 + one.eccentricity))
    return max(found)


def rate_at_bps(rate_bps: float, full_rate_km: float | None, range_km: float) -> float:
    """Rate of a link at one range; `full_rate_km` None is one rate at any range."""
    if full_rate_km is None or range_km <= full_rate_km:
        return rate_bps
    return rate_bps * (full_rate_km / range_km) ** 2


def rates_at_bps(
    rate_bps: npt.NDArray[np.float64], full_rate_km: npt.NDArray[np.float64], range_km: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Rates [K] at ranges [K]; an infinite `full_rate_km` [K] is one rate at any range."""
    beyond = range_km > full_rate_km
    falls = np.divide(full_rate_km, range_km, out=np.ones_like(range_km), where=beyond)
    return np.asarray(rate_bps * falls**2)
