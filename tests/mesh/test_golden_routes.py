"""Do ways have the delays that are known from elsewhere?

Three sources, under the conditions stated with each: medians over Starlink's shell 1 by phasing, from a plain script
with SGP4 (medians and not maxima, which move by 6 % with the Earth's model); round trips over Kuiper's 630 km shell
under the conditions of Hypatia (Kassing et al., IMC 2020); and a ring of twelve, where geometry says it all.
"""

import math

import numpy as np
import pytest

from perigrid.bench.cities import CITIES
from perigrid.bench.sky_step import Constellation, SkyStep
from perigrid.mesh.routes import Path, Routes
from perigrid.mesh.sweep import Sweep
from perigrid.mesh.topology import Link, LinkKind
from perigrid.sky.frames import eci_to_ecef, geodetic_site
from perigrid.sky.walker import Walker
from perigrid.units import EARTH_RADIUS_KM, EARTH_RATE_RAD_S, LIGHT_KM_S, NodeId
from tests.mesh.worlds import planned, shell, world

PLACES = tuple((city.latitude_deg, city.longitude_deg) for city in CITIES)


@pytest.mark.parametrize(("phasing", "median_ms"), [(0, 33.53), (1, 34.43), (None, 39.85)])
@pytest.mark.parametrize("sgp4", [False, True])
def test_starlink_shell_1_between_a_hundred_cities(phasing: int | None, median_ms: float, sgp4: bool) -> None:
    # 72 x 22 at 550 km and 53 degrees, t = 0, a sphere of 6371 km, 25 degrees of elevation.
    step = SkyStep(Constellation(PLACES, phasing=phasing), sgp4).at(0.0)
    one_way_km = step.between_km[np.triu_indices(len(PLACES), 1)]
    assert np.isfinite(one_way_km).all()
    assert np.median(one_way_km) / LIGHT_KM_S * 1e3 == pytest.approx(median_ms, rel=0.01)


KUIPER_PLANES = KUIPER_SLOTS = 34
WGS72_KM, WGS72_MU_KM3_S2, KUIPER_KM = 6378.135, 398600.8, 630.0
SITES = {
    "Manila": (14.5958, 120.9772),
    "Dalian": (38.91222, 121.60222),
    "Istanbul": (41.0136, 28.955),
    "Nairobi": (-1.283253, 36.817245),
}


def kuiper_round_trips_ms() -> dict[tuple[str, str], list[float]]:
    """Two pairs over 200 s: 34 x 34 at 51.9 degrees and 14.80 revolutions a day, odd planes half a slot ahead; +Grid
    above 80 km; ground links within the cone of 30 degrees; sidereal angle 99.9678 degrees at t = 0; no way through a
    third site.
    """
    motion_rad_s = 14.80 * 2 * math.pi / 86_400
    radius_km = (WGS72_MU_KM3_S2 / motion_rad_s**2) ** (1 / 3)
    kuiper = shell(
        altitude_km=radius_km - EARTH_RADIUS_KM,
        inclination_deg=51.9,
        planes=KUIPER_PLANES,
        sats_per_plane=KUIPER_SLOTS,
        raan_deg=0.0,
        raan_spread_deg=360.0,
        phasing=0.5,
    )
    times_s = np.arange(200.0)
    angles = math.radians(99.9678) + EARTH_RATE_RAD_S * times_s
    positions = eci_to_ecef(Walker.from_shells([kuiper]).positions_eci_km(times_s), angles)
    sites_km = np.array([geodetic_site(*place).position_km for place in SITES.values()])
    count = KUIPER_PLANES * KUIPER_SLOTS
    plane, slot = np.divmod(np.arange(count), KUIPER_SLOTS)
    a = np.tile(np.arange(count), 2)
    ahead = plane * KUIPER_SLOTS + (slot + 1) % KUIPER_SLOTS
    b = np.concatenate([ahead, (plane + 1) % KUIPER_PLANES * KUIPER_SLOTS + slot])
    longest_km = 2 * math.sqrt((WGS72_KM + KUIPER_KM) ** 2 - (WGS72_KM + 80) ** 2)
    cone_km = math.hypot(KUIPER_KM, KUIPER_KM / math.tan(math.radians(30)))
    # Manila and Istanbul send, Dalian and Nairobi receive.
    sweep = Sweep(count + 4, np.array([count + 1, count + 3]))
    found: dict[tuple[str, str], list[float]] = {("Manila", "Dalian"): [], ("Istanbul", "Nairobi"): []}
    for moment in positions:
        laser_km = np.linalg.norm(moment[a] - moment[b], axis=1)
        slant_km = np.linalg.norm(moment[:, None] - sites_km, axis=2)
        up = laser_km <= longest_km
        satellite, site = np.nonzero(slant_km <= cone_km)
        near_km, receives = slant_km[satellite, site], site % 2 == 1
        tails = [a[up], b[up], satellite[receives], count + site[~receives]]
        heads = [b[up], a[up], count + site[receives], satellite[~receives]]
        weights = [laser_km[up], laser_km[up], near_km[receives], near_km[~receives]]
        reach = sweep.advance(*(np.concatenate(parts) for parts in (tails, heads, weights)))
        for number, trips in enumerate(found.values()):
            trips.append(2e3 / LIGHT_KM_S * float(reach.length[count + 2 * number, number]))
    return found


def test_kuiper_630_as_hypatia_has_it() -> None:
    trips = kuiper_round_trips_ms()
    manila, istanbul = trips["Manila", "Dalian"], trips["Istanbul", "Nairobi"]
    assert (min(manila), max(manila)) == (pytest.approx(25.3, rel=0.01), pytest.approx(48.2, rel=0.01))
    assert (min(istanbul), max(istanbul)) == (pytest.approx(46.9, rel=0.01), pytest.approx(69.5, rel=0.01))


def test_a_ring_of_twelve() -> None:
    plan = planned(world(shell()))
    routes = Routes(plan)
    lasers_only = frozenset(link for link in plan.links if link.kind != LinkKind.LASER)
    opposite = routes.path(NodeId(0), NodeId(6), 0.0, lasers_only)
    assert isinstance(opposite, Path)
    assert len(opposite.links) == 6
    assert opposite.delay_s == pytest.approx(71.6e-3, abs=5e-5)
    assert plan.state(opposite.links[0], 0.0).range_km == pytest.approx(3579, abs=0.5)
    # Past a lost satellite there is no chord: its neighbours are farther from each other than the Earth lets them see.
    lost = lasers_only | {link for link in plan.links_of(NodeId(3)) if link.kind == LinkKind.LASER}
    around = routes.path(NodeId(2), NodeId(4), 0.0, lost)
    assert isinstance(around, Path)
    assert len(around.links) == 10
    assert Link(NodeId(2), NodeId(4), LinkKind.LASER) not in plan.links
