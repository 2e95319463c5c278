"""Do passes begin, culminate and end when skyfield says so, and are contacts as long as the reference figures?"""

import numpy as np
import pytest
from skyfield.api import wgs84

from perigrid.scenario.model import Elements, Shell, Station
from perigrid.sky.fleet import Fleet
from perigrid.sky.frames import Floats, earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.passes import Passes, any_contact_share, contact_share, longest_gap_s, passes
from perigrid.sky.sgp4 import Catalogued
from perigrid.sky.stations import Sites, topocentric, visible
from perigrid.sky.walker import Walker
from tests.sky.outside import EPOCH, moments, objects, seconds_of, witnesses

DAY_S = 86_400.0
ANGLE_RAD = sidereal_angle_rad(EPOCH)
RING = Shell(name="ring", altitude_km=535.0, inclination_deg=97.54, planes=1, sats_per_plane=12, raan_spread_deg=0.0)


def station(north: float, east: float, least: float = 10.0, mask: tuple[tuple[float, float], ...] = ()) -> Station:
    """A station by its place."""
    name = f"{north:g} {east:g}"
    return Station(name=name, latitude_deg=north, longitude_deg=east, min_elevation_deg=least, mask_deg=mask)


def catalogued(elements: tuple[Elements, ...]) -> Fleet:
    """A fleet of catalogued objects alone."""
    return Fleet(Walker.from_shells([]), Catalogued.of(elements, EPOCH))


@pytest.mark.parametrize("least_deg", [0.0, 10.0, 60.0])
def test_passes_agree_with_skyfield_to_a_second(least_deg: float) -> None:
    elements = objects(10, seed=31)
    chance = np.random.default_rng(32)
    stations = [station(float(chance.uniform(-80, 80)), float(chance.uniform(-180, 180)), least_deg) for _ in range(4)]
    end_s = 1.5 * DAY_S
    found = passes(catalogued(elements), Sites.from_stations(stations), ANGLE_RAD, 0.0, end_s)
    compared = 0
    window = moments(np.array([0.0, end_s]))
    for number, witness in enumerate(witnesses(elements)):
        for where, one in enumerate(stations):
            place = wgs84.latlon(one.latitude_deg, one.longitude_deg)
            times, events = witness.find_events(place, window[0], window[1], altitude_degrees=least_deg)
            theirs = seconds_of(times)
            mine = [this for this in found if (this.satellite, this.station) == (number, where)]
            rises = [this.rise_s for this in mine if not this.cut_start]
            sets = [this.set_s for this in mine if not this.cut_end]
            assert rises == pytest.approx(theirs[events == 0].tolist(), abs=1.0)
            assert sets == pytest.approx(theirs[events == 2].tolist(), abs=1.0)
            for this in mine:
                if this.cut_start or this.cut_end:
                    continue
                peak = theirs[(events == 1) & (theirs >= this.rise_s - 1) & (theirs <= this.set_s + 1)]
                assert this.culmination_s == pytest.approx(peak[0], abs=1.0)
                altitude, azimuth, distance = (witness - place).at(moments(np.array([this.culmination_s]))).altaz()
                assert this.max_elevation_deg == pytest.approx(altitude.degrees[0], abs=1e-3)
                assert this.range_km == pytest.approx(distance.km[0], abs=0.02)
                if this.max_elevation_deg < 85:
                    assert this.culmination_azimuth_deg == pytest.approx(azimuth.degrees[0], abs=0.01)
                rise = (witness - place).at(moments(np.array([this.rise_s]))).altaz()
                assert rise[0].degrees[0] == pytest.approx(least_deg, abs=0.01)
                assert this.rise_azimuth_deg == pytest.approx(rise[1].degrees[0], abs=0.05)
                compared += 1
    assert compared > {0.0: 250, 10.0: 120, 60.0: 8}[least_deg]


def test_passes_shorter_than_a_step_are_found() -> None:
    # A satellite in the plane of the equator comes to 90 degrees over a station there; 88.5 degrees and more last 8 s.
    flat = Shell(name="flat", altitude_km=500.0, inclination_deg=0.0, planes=1, sats_per_plane=3)
    fleet = Fleet(Walker.from_shells([flat]))
    low = passes(fleet, Sites.from_stations([station(0.0, 20.0, 10.0)]), ANGLE_RAD, 0.0, DAY_S)
    high = passes(fleet, Sites.from_stations([station(0.0, 20.0, 88.5)]), ANGLE_RAD, 0.0, DAY_S)
    assert len(high) > 35 and len(low) - len(high) in (0, 1)
    assert (high.set_s - high.rise_s < 10).all() and (high.set_s - high.rise_s > 1).all()
    assert high.max_elevation_deg[1:-1] == pytest.approx(90.0, abs=0.01)


def test_a_short_pass_is_as_long_as_geometry_says() -> None:
    flat = Shell(name="flat", altitude_km=500.0, inclination_deg=0.0, planes=1, sats_per_plane=1)
    walker = Walker.from_shells([flat])
    rate = float(walker.phase_rate_rad_s[0] + walker.node_rate_rad_s[0]) - 7.2921159e-5
    for least in (5.0, 40.0, 80.0):
        found = passes(Fleet(walker), Sites.from_stations([station(0.0, 120.0, least)]), 0.0, 0.0, DAY_S / 2)
        radius, ground = 6378.137 + 500.0, 6378.137
        half = np.pi / 2 - np.radians(least) - np.arcsin(ground * np.cos(np.radians(least)) / radius)
        whole = ~(found.cut_start | found.cut_end)
        assert (found.set_s - found.rise_s)[whole] == pytest.approx(2 * half / rate, abs=0.02)
        assert (found.culmination_s - found.rise_s)[whole] == pytest.approx(half / rate, abs=0.02)


def test_passes_under_way_at_the_ends_are_cut_and_say_so() -> None:
    fleet = Fleet(Walker.from_shells([RING]))
    sites = Sites.from_stations([station(78.23, 15.41)])
    whole = next(one for one in passes(fleet, sites, 0.0, 0.0, DAY_S) if one.rise_s > 100 and not one.cut_end)
    middle_s = (whole.rise_s + whole.set_s) / 2
    early = [one for one in passes(fleet, sites, 0.0, middle_s - 1000, middle_s) if one.satellite == whole.satellite]
    late = [one for one in passes(fleet, sites, 0.0, middle_s, middle_s + 1000) if one.satellite == whole.satellite]
    assert (early[-1].set_s, early[-1].cut_end, early[-1].cut_start) == (middle_s, True, False)
    assert (late[0].rise_s, late[0].cut_start, late[0].cut_end) == (middle_s, True, False)
    assert early[-1].rise_s == pytest.approx(whole.rise_s, abs=0.02)
    assert late[0].set_s == pytest.approx(whole.set_s, abs=0.02)


def test_a_geostationary_satellite_is_one_long_pass() -> None:
    still = objects(1, seed=1)[0]
    fixed = {name: getattr(still, name) for name in still.__struct_fields__} | {
        "mean_motion_rev_day": 1.0027,
        "eccentricity": 0.0003,
        "inclination_deg": 0.5,
        "bstar": 0.0,
    }
    fleet = catalogued((Elements(**fixed),))
    everywhere = Sites.from_stations([station(0.0, float(east)) for east in range(-180, 180, 30)])
    found = passes(fleet, everywhere, ANGLE_RAD, 0.0, DAY_S)
    assert 4 <= len(found) <= 6
    assert (found.cut_start & found.cut_end).all()
    assert contact_share(found, 1, 0.0, DAY_S) == pytest.approx([1.0])
    assert longest_gap_s(found, 1, 0.0, DAY_S) == pytest.approx([0.0])


def test_some_satellites_have_the_passes_that_they_have_among_all() -> None:
    fleet = Fleet(Walker.from_shells([RING]))
    sites = Sites.from_stations([station(40.0, 10.0), station(-30.0, 100.0)])
    every = [one for one in passes(fleet, sites, 0.0, 0.0, DAY_S / 2) if one.satellite in (3, 8)]
    some = list(passes(fleet, sites, 0.0, 0.0, DAY_S / 2, satellites=np.array([8, 3])))
    assert [(one.satellite, one.station) for one in some] == [(one.satellite, one.station) for one in every]
    assert [one.rise_s for one in some] == pytest.approx([one.rise_s for one in every], abs=1e-6)
    assert len(passes(fleet, Sites.from_stations([]), 0.0, 0.0, DAY_S)) == 0


# Conditions: circular orbit, 535 km, 97.54 deg, twelve satellites evenly on one plane with RAAN 0, Greenwich on the x
# axis at t = 0, J2 secular rates, WGS84 sites, 10 degrees above the ellipsoid's horizon, three days. An independent
# script that samples every 10 s gave the figures; the longest gap is that of satellite 0 between two contacts.
@pytest.mark.parametrize(
    ("places", "each", "any_of_12", "gap_min"),
    [
        ([(78.23, 15.41)], 0.0522, 0.6256, 574),
        ([(40.45, 116.86), (39.50, 75.93), (18.31, 109.31)], 0.0383, 0.3689, 499),
    ],
)
def test_contact_shares_and_gaps_of_the_ring(
    places: list[tuple[float, float]], each: float, any_of_12: float, gap_min: float
) -> None:
    fleet, sites = Fleet(Walker.from_shells([RING])), Sites.from_stations([station(*place) for place in places])
    found = passes(fleet, sites, 0.0, 0.0, 3 * DAY_S)
    assert contact_share(found, 12, 0.0, 3 * DAY_S).mean() == pytest.approx(each, rel=0.02)
    assert any_contact_share(found, 0.0, 3 * DAY_S) == pytest.approx(any_of_12, rel=0.02)
    assert longest_gap_s(found, 12, 0.0, 3 * DAY_S)[0] / 60 == pytest.approx(gap_min, rel=0.02)


def made_up(*spans: tuple[int, int, float, float]) -> Passes:
    """Passes of satellites over stations from rise to set, with nothing else in them."""
    table = np.array(spans, np.float64).reshape(-1, 4)
    rest = [np.zeros(len(table))] * 5
    flags = [np.zeros(len(table), np.bool_)] * 2
    satellite, where = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64)
    return Passes(satellite, where, table[:, 2], table[:, 2], table[:, 3], *rest, *flags)


def test_overlapping_contacts_count_once_and_waits_at_the_ends_count() -> None:
    found = made_up((0, 0, 10.0, 30.0), (0, 1, 20.0, 25.0), (0, 2, 30.0, 40.0), (2, 0, 90.0, 100.0))
    assert contact_share(found, 3, 0.0, 100.0) == pytest.approx([0.3, 0.0, 0.1])
    assert longest_gap_s(found, 3, 0.0, 100.0) == pytest.approx([60.0, 100.0, 90.0])
    assert any_contact_share(found, 0.0, 100.0) == pytest.approx(0.4)


def test_a_mask_hides_what_is_behind_it() -> None:
    # A wall of 50 degrees to the north, a window down to 10 in the south, straight lines between.
    wall = ((0.0, 50.0), (90.0, 50.0), (100.0, 5.0), (260.0, 5.0), (270.0, 50.0))
    fleet = Fleet(Walker.from_shells([RING]))
    masked, free = station(45.0, 10.0, 10.0, wall), station(45.0, 10.0, 10.0)
    sites = Sites.from_stations([free, masked])
    t_s = np.arange(0.0, DAY_S, 20.0)
    ecef: Floats = eci_to_ecef(fleet.positions_eci_km(t_s), earth_angle_rad(0.0, t_s))
    azimuth, elevation, _ = topocentric(ecef, sites)
    skyline = np.array([np.interp(one % 360.0, [*range(361)], [height(deg) for deg in range(361)]) for one in azimuth])
    seen = visible(ecef, sites)
    assert (seen[..., 0] == (elevation[..., 0] >= 10.0)).all()
    assert (seen[..., 1] == (elevation[..., 1] >= np.maximum(skyline[..., 1], 10.0))).all()
    assert 0.2 < seen[..., 1].sum() / seen[..., 0].sum() < 0.9

    found = passes(fleet, sites, 0.0, 0.0, DAY_S)
    for where in (0, 1):
        inside = np.zeros(seen.shape[:2], np.bool_)
        for one in found:
            if one.station == where:
                inside[(t_s >= one.rise_s) & (t_s < one.set_s), one.satellite] = True
        assert (inside != seen[..., where]).sum() <= 1
    assert (found.max_elevation_deg[found.station == 1] >= 10.0).all()


def height(azimuth: float) -> float:
    """The wall's skyline, written out."""
    if azimuth <= 90 or azimuth >= 270:
        return 50.0
    return max(5.0, 50.0 - 4.5 * (azimuth - 90)) if azimuth < 180 else max(5.0, 50.0 - 4.5 * (270 - azimuth))
