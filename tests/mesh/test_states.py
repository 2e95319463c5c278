"""Do lookups of many links at once say the same as one at a time, and both what the sky says?"""

import math

import msgspec
import numpy as np
import pytest

from perigrid.errors import Bug
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.rates import slowest_ground_bps, slowest_laser_bps
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.elements import read_elements
from perigrid.scenario.model import Catalogue, Clock, GroundLink, LaserPair, Lasers, Station
from perigrid.sky.frames import eci_to_ecef
from perigrid.units import LIGHT_KM_S, NodeId
from tests.mesh.worlds import planned, shell, world
from tests.scenario.element_texts import as_json, message

STAR = shell(planes=4, sats_per_plane=12, raan_spread_deg=180.0, phasing=0.5, topology="grid", polar_cutoff_deg=70.0)
LASERS = Lasers(rate_bps=100e9, acquire_s=15.0, full_rate_km=3000.0)
GROUND = GroundLink(rate_bps=200e6, uplink_bps=2e6, full_rate_km=900.0)


def asked(plan: ContactPlan, count: int) -> tuple[list[Link], np.ndarray]:
    """Random lasers and ground links of a plan at random times."""
    chance = np.random.default_rng(3)
    links = [link for link in plan.links if link.kind != LinkKind.FIBRE]
    chosen = [links[number] for number in chance.integers(0, len(links), count)]
    return chosen, chance.uniform(0.0, plan.horizon_s, count)


def test_arrays_say_what_single_lookups_say() -> None:
    plan = planned(world(STAR, lasers=LASERS, ground_link=GROUND), hours=2)
    links, t_s = asked(plan, 3000)
    states = plan.states(np.array([(link.a, link.b) for link in links]), t_s)
    single = [plan.state(link, moment) for link, moment in zip(links, t_s.tolist(), strict=True)]
    assert states.up.tolist() == [one.up for one in single]
    assert 0.2 < states.up.mean() < 0.9
    known = np.isfinite(states.range_km)
    assert np.allclose(states.range_km[known], np.array([one.range_km for one in single])[known], rtol=1e-12)
    assert all(math.isinf(one.range_km) for one, is_known in zip(single, known, strict=True) if not is_known)
    assert np.allclose(states.rate_bps, [one.rate_bps for one in single], rtol=1e-9)
    assert np.allclose(states.back_bps, [one.back_bps for one in single], rtol=1e-9)
    alone = [plan.delay_s(link, moment) for link, moment in zip(links, t_s.tolist(), strict=True)]
    assert alone == pytest.approx([one.delay_s for one in single], rel=1e-9)
    nobody = plan.states(np.array([[0, 30]]), np.array([5.0]))
    assert not nobody.up[0]
    assert math.isinf(nobody.range_km[0])
    assert len(plan.states(np.empty((0, 2), np.int64), np.empty(0)).up) == 0
    with pytest.raises(Bug, match="known from 0"):
        plan.states(np.array([[0, 1]]), np.array([7201.0]))


def test_ranges_of_orbits_that_meet_head_on_are_as_good_as_is_said() -> None:
    ahead = shell(name="ahead", sats_per_plane=4, inclination_deg=50.0)
    against = shell(name="against", sats_per_plane=4, inclination_deg=130.0, raan_deg=195.0, altitude_km=536.0)
    pairs = tuple(LaserPair(a=f"sat-0{one}", b=f"sat-0{two}") for one in range(1, 5) for two in range(5, 9))
    scenario = world(ahead, against, laser_pairs=pairs)
    plan = planned(scenario)
    geometry = Geometry.of(scenario, plan.mesh)
    t_s = np.arange(0.0, 3600.0)
    positions = geometry.positions_eci_km(t_s)
    nearest_km = np.inf
    for one, two in [(one, two) for one in range(4) for two in range(4, 8)]:
        exact = np.linalg.norm(positions[:, one] - positions[:, two], axis=1)
        got = plan.states(np.repeat([[one, two]], len(t_s), axis=0), t_s).range_km
        assert np.abs(got**2 - exact**2)[exact < 5000.0].max() < 50.0
        assert np.abs(got - exact)[exact > 350.0].max() < 0.07
        nearest_km = min(nearest_km, exact.min())
    assert nearest_km < 20.0


def test_ranges_are_the_skys_to_sixty_metres() -> None:
    scenario = world(shell(planes=2, sats_per_plane=12, raan_spread_deg=360.0, topology="grid", inclination_deg=80.0))
    plan = planned(scenario, hours=2)
    geometry = Geometry.of(scenario, plan.mesh)
    links, t_s = asked(plan, 4000)
    ends = np.array([(link.a, link.b) for link in links])
    laser = np.array([link.kind == LinkKind.LASER for link in links])
    got = plan.states(ends, t_s).range_km
    one = geometry.fleet.positions_of_eci_km(ends[:, 0], t_s)
    two = geometry.fleet.positions_of_eci_km(np.where(laser, ends[:, 1], 0), t_s)
    ecef = eci_to_ecef(one, geometry.earth_angle_rad(t_s))
    site = geometry.sites.position_km[np.where(laser, 0, ends[:, 1] - 24)]
    exact = np.where(laser, np.linalg.norm(one - two, axis=1), np.linalg.norm(ecef - site, axis=1))
    known = np.isfinite(got)
    assert known.mean() > 0.5
    assert np.abs(got - exact)[known].max() < 0.06


def test_rates_fall_with_the_square_of_the_range_and_differ_by_direction() -> None:
    plan = planned(world(STAR, lasers=LASERS, ground_link=GROUND))
    links, t_s = asked(plan, 2000)
    seen = set()
    for link, moment in zip(links, t_s.tolist(), strict=True):
        state = plan.state(link, moment)
        full_km, down, back = (3000.0, 100e9, 100e9) if link.kind == LinkKind.LASER else (900.0, 200e6, 2e6)
        share = min(1.0, (full_km / state.range_km) ** 2)
        if state.up:
            assert state.rate_bps == pytest.approx(down * share)
            assert state.back_bps == pytest.approx(back * share)
            assert state.seen_from(link, link.b).rate_bps == state.back_bps
            assert plan.line_rate_bps(link, link.b, moment) == pytest.approx(back * share)
            seen.add((link.kind, share < 1.0))
        else:
            assert (state.rate_bps, state.back_bps) == (0.0, 0.0)
            assert plan.line_rate_bps(link, link.a, moment) > 0.0
    assert seen >= {(LinkKind.LASER, True), (LinkKind.RADIO, True), (LinkKind.LASER, False)}


def test_the_budget_of_a_pass_spans_ten_decibel() -> None:
    zenith_km = 535.0
    scenario = world(shell(), ground_link=GroundLink(rate_bps=100e6, full_rate_km=zenith_km))
    lowest = slowest_ground_bps(scenario)
    assert 10 * math.log10(100e6 / lowest) == pytest.approx(10.0, abs=0.6)
    assert slowest_laser_bps(world(shell(), lasers=LASERS)) == pytest.approx(100e9 * (3000 / 4933) ** 2, rel=1e-3)


def test_optical_stations_have_a_link_of_their_own() -> None:
    sites = (
        Station(name="Dish", latitude_deg=78.0, longitude_deg=15.0, min_elevation_deg=10.0),
        Station(name="Telescope", latitude_deg=78.0, longitude_deg=15.0, min_elevation_deg=10.0, kind="optical"),
    )
    scenario = world(shell(), stations=sites, optical_link=GroundLink(rate_bps=10e9, acquire_s=30.0, loss=0.1))
    plan = planned(scenario)
    dish, telescope = (plan.mesh.link_between(NodeId(0), NodeId(12 + number)) for number in (0, 1))
    assert (plan.acquire_s(dish), plan.acquire_s(telescope)) == (0.0, 30.0)
    assert (plan.loss(dish), plan.loss(telescope)) == (0.0, 0.1)
    table = plan.contacts(0.0, plan.horizon_s)
    starts = {
        int(b): s
        for (_, b), s in zip(table.ends.tolist(), table.start_s.tolist(), strict=True)
        if s > 0 and b in (12, 13)
    }
    assert starts[13] - starts[12] == pytest.approx(30.0, abs=0.05)
    up_s = next(t for t in np.arange(0.0, 3600.0, 5.0) if plan.state(telescope, t).up)
    assert plan.state(telescope, up_s).rate_bps == 10e9


def test_contacts_are_those_that_single_links_tell() -> None:
    plan = planned(world(STAR), hours=2)
    low_s, high_s = 1000.0, 5000.0
    table = plan.contacts(low_s, high_s)
    assert (np.diff(table.start_s) >= 0).all()
    found = {}
    for (a, b), kind, start_s, end_s in zip(
        table.ends.tolist(), table.kind.tolist(), table.start_s.tolist(), table.end_s.tolist(), strict=True
    ):
        found.setdefault(Link(NodeId(a), NodeId(b), LinkKind(kind)), []).append((start_s, end_s))
    assert set(found) == plan.links_up_during(low_s, high_s) - set(plan.mesh.fibres)
    for link, spans in found.items():
        for start_s, end_s in spans:
            middle = (max(start_s, low_s) + min(end_s, high_s)) / 2
            assert plan.state(link, middle).up
            if start_s > 0:
                assert not plan.state(link, start_s - 0.01).up
            if end_s < plan.horizon_s:
                assert plan.next_change(link, middle) == end_s


def test_a_faster_sky_brings_the_same_contacts_sooner_and_the_same_delays() -> None:
    calm = world(shell(), ground_link=GroundLink(rate_bps=1e8))
    fast = msgspec.structs.replace(calm, clock=Clock(orbit_rate=60.0))
    assert fast.digest() != calm.digest()
    plain, turned = planned(calm, hours=2), planned(fast, hours=2)
    assert turned.horizon_s == 120.0
    one, two = plain.contacts(0.0, 7200.0), turned.contacts(0.0, 120.0)
    radio = one.kind == LinkKind.RADIO
    assert radio.sum() >= 5
    assert np.array_equal(one.ends[radio], two.ends[two.kind == LinkKind.RADIO])
    assert np.allclose(one.start_s[radio], two.start_s[two.kind == LinkKind.RADIO] * 60.0, atol=0.05)
    assert np.allclose(one.end_s[radio], two.end_s[two.kind == LinkKind.RADIO] * 60.0, atol=0.05)
    for link in plain.mesh.lasers:
        assert turned.state(link, 33.0).delay_s == pytest.approx(plain.state(link, 1980.0).delay_s, rel=1e-6)
        assert turned.state(link, 33.0).delay_s == pytest.approx(3579 / LIGHT_KM_S, rel=1e-3)


def test_acquisition_lasts_as_long_under_a_faster_sky() -> None:
    link = GroundLink(rate_bps=1e8, acquire_s=5.0)
    plans = [
        planned(world(shell(), ground_link=each, clock=Clock(orbit_rate=20.0)), hours=3)
        for each in (link, GroundLink(rate_bps=1e8))
    ]
    slow, instant = (plan.contacts(0.0, plan.horizon_s) for plan in plans)
    starts = {
        tuple(pair): start_s
        for pair, start_s in zip(instant.ends.tolist(), instant.start_s.tolist(), strict=True)
        if pair[1] < 14 and start_s > 0
    }
    later = [
        start_s - starts[tuple(pair)]
        for pair, start_s in zip(slow.ends.tolist(), slow.start_s.tolist(), strict=True)
        if tuple(pair) in starts and pair[1] >= 12 and start_s > 5.0
    ]
    assert later
    assert any(late == pytest.approx(5.0, abs=0.01) for late in later)


def test_any_hour_can_be_computed_alone() -> None:
    scenario = world(
        STAR, stations=(Station(name="One", latitude_deg=60.0, longitude_deg=0.0, min_elevation_deg=5.0, antennas=1),)
    )
    from perigrid.mesh.plan import compute_segment

    mesh = Mesh(scenario)
    before = None
    for index in range(4):
        before = compute_segment(scenario, mesh, index, before)
    assert before is not None
    assert compute_segment(scenario, mesh, 3).to_bytes() == before.to_bytes()


def test_the_slowest_rates_are_those_at_the_apogee_of_a_catalogued_satellite() -> None:
    transfer = read_elements(as_json(message(MEAN_MOTION=2.27, ECCENTRICITY=0.73)), "sky.json")
    scenario = world(
        shell(),
        epoch=transfer[0].epoch,
        catalogues=(Catalogue(name="one", file="sky.json", elements=transfer, topology="none"),),
        lasers=LASERS,
        ground_link=GROUND,
    )
    plan = planned(scenario, hours=11)
    t_s = np.arange(0.0, 11 * 3600.0, 60.0)
    radio = plan.states(np.repeat([[12, 13]], len(t_s), axis=0), t_s)
    assert radio.up.any()
    slowest_bps = slowest_ground_bps(scenario)
    assert 0.7 * radio.back_bps[radio.up].min() < slowest_bps < radio.back_bps[radio.up].min()
    assert slowest_laser_bps(scenario) < 100e9 * (3000.0 / 80_000.0) ** 2
