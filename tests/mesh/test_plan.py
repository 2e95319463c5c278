"""Does the plan say what the sky says, to the figures it promises?"""

import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from perigrid.errors import Bug, CorruptFile, ScenarioError
from perigrid.mesh.plan import ContactPlan, Segment, compute_segment, ground_contact
from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.segment import MAGIC, PLAN_VERSION, SEGMENT_S
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Lasers, Scenario
from perigrid.scenario.presets import preset_scenario
from perigrid.sky.frames import earth_angle_rad, eci_to_ecef, sidereal_angle_rad
from perigrid.sky.stations import Sites, elevation_deg, topocentric
from perigrid.sky.walker import Walker
from perigrid.units import EARTH_RADIUS_KM, FIBRE_KM_S, LIGHT_KM_S, NodeId
from tests.mesh.worlds import SANYA, SVALBARD, planned, shell, world
from tests.scenario.shipped import PRESETS

STAR = shell(planes=4, sats_per_plane=12, raan_spread_deg=180.0, phasing=0.5, topology="grid")


def places(scenario: Scenario, t_s: float) -> np.ndarray:
    """ECEF positions [N, 3] of all satellites at t."""
    t = np.array([t_s])
    turned = earth_angle_rad(sidereal_angle_rad(scenario.epoch), t)
    return eci_to_ecef(Walker.from_shells(scenario.shells).positions_eci_km(t), turned)[0]


def closest_approach_km(one: np.ndarray, two: np.ndarray) -> float:
    """Height of the lowest of ten thousand points on the line between two satellites."""
    shares = np.linspace(0, 1, 10_001)[:, None]
    return float(np.linalg.norm(one + (two - one) * shares, axis=1).min()) - EARTH_RADIUS_KM


# The last hour of a day checks that segments far from the epoch are as good as the first.
@pytest.mark.parametrize("hour", [0, 23])
def test_radio_contacts_are_when_the_satellite_is_high_enough(hour: int) -> None:
    scenario = world(shell())
    mesh = Mesh(scenario)
    segment = compute_segment(scenario, mesh, hour)
    sites = Sites.from_stations(scenario.stations)
    assert len(segment.pairs) > segment.lasers
    offsets = segment.offsets
    for row, (satellite, station) in enumerate(segment.pairs.tolist()):
        if row < segment.lasers:
            continue
        for start_s, end_s in segment.intervals[offsets[row] : offsets[row + 1]]:
            for edge_s, sign in ((start_s, 1), (end_s, -1)):
                if edge_s in (segment.start_s, segment.end_s):
                    continue
                heights = [
                    elevation_deg(places(scenario, edge_s + sign * shift_s), sites)[satellite, station - 12]
                    for shift_s in (-0.05, 0.05)
                ]
                assert heights[0] < 10 < heights[1]


def test_state_agrees_with_the_sky_at_any_moment() -> None:
    scenario = world(shell())
    plan = planned(scenario, 2)
    sites = Sites.from_stations(scenario.stations)
    for t_s in np.random.default_rng(1).uniform(0, 7200, 200).tolist():
        positions = places(scenario, t_s)
        heights = elevation_deg(positions, sites)
        for link in plan.links:
            state = plan.state(link, t_s)
            assert state.rate_bps == (
                {LinkKind.LASER: 100e9, LinkKind.RADIO: 160e6, LinkKind.FIBRE: 10e9}[link.kind] * state.up
            )
            if link.kind == LinkKind.RADIO:
                assert state.up == (heights[link.a, link.b - 12] > 10)
                place = sites.position_km[link.b - 12]
                if state.up:
                    assert state.range_km == pytest.approx(np.linalg.norm(positions[link.a] - place), abs=1.5)
            elif link.kind == LinkKind.LASER:
                apart_km = np.linalg.norm(positions[link.a] - positions[link.b])
                assert state.up
                assert state.range_km == pytest.approx(apart_km, abs=0.001)
                assert state.delay_s == pytest.approx(apart_km / LIGHT_KM_S, abs=1e-8)


def test_every_contact_of_the_sky_is_in_the_plan() -> None:
    scenario = world(shell())
    plan = planned(scenario)
    sites = Sites.from_stations(scenario.stations)
    for t_s in range(5, 3600, 60):
        high = np.argwhere(elevation_deg(places(scenario, float(t_s)), sites) > 10)
        expected = {Link(NodeId(sat), NodeId(12 + site), LinkKind.RADIO) for sat, site in high.tolist()}
        up = {link for link, _ in plan.links_up(float(t_s)) if link.kind == LinkKind.RADIO}
        assert up == expected
        assert expected <= set(plan.links)


def test_lasers_go_down_where_the_earth_is_in_the_way() -> None:
    # Eight satellites at 535 km are too far apart: the ring needs nine.
    for satellites, closes in ((8, False), (9, True)):
        plan = planned(world(shell(sats_per_plane=satellites)))
        assert {plan.state(link, 50.0).up for link in plan.mesh.lasers} == {closes}


@pytest.mark.parametrize(
    ("altitude_km", "limit_km"),
    [(500, 4733.4), (550, 5016.6), (630, 5443.0), (780, 6174.6), (1015, 7197.5), (1200, 7929.9)],
)
def test_the_longest_laser_is_the_known_one(altitude_km: float, limit_km: float) -> None:
    scenario = world(shell(sats_per_plane=2))
    geometry = Geometry.of(scenario, Mesh(scenario))
    radius_km = EARTH_RADIUS_KM + altitude_km
    for range_km, clear in ((limit_km - 0.2, True), (limit_km + 0.2, False)):
        half = math.asin(range_km / 2 / radius_km)
        one, two = (radius_km * np.array([[math.cos(sign * half), math.sin(sign * half), 0.0]]) for sign in (1, -1))
        margin = geometry.laser_margin(np.array([[0, 1]]), one, two)
        assert (margin[0] > 0) == clear


def test_crossing_lasers_obey_sight_range_cutoff_and_acquisition() -> None:
    lasers = Lasers(rate_bps=1e9, acquire_s=25.0, max_range_km=4000.0)
    scenario = world(shell(**{**fields(STAR), "polar_cutoff_deg": 70.0}), lasers=lasers)
    plan = planned(scenario, 2)

    def geometric(link: Link, t_s: float) -> bool:
        one, two = (places(scenario, t_s)[node] for node in (link.a, link.b))
        latitude = max(abs(math.degrees(math.asin(place[2] / np.linalg.norm(place)))) for place in (one, two))
        allowed = link not in plan.mesh.crossing or latitude < 70
        return bool(allowed and np.linalg.norm(one - two) < 4000 and closest_approach_km(one, two) > 80 + 1e-3)

    checked = 0
    for link in sorted(plan.mesh.crossing)[::5]:
        for t_s in range(100, 7200, 400):
            margin_s = min(abs(change - t_s) for change in [*changes(plan, link), math.inf])
            if margin_s < 0.1:
                continue
            since = all(geometric(link, t_s - back_s) for back_s in np.arange(0.0, 25.0, 4.9))
            assert plan.state(link, t_s).up == since
            checked += 1
    assert checked > 100


def fields(of: object) -> dict[str, object]:
    """A struct's fields by name."""
    return {name: getattr(of, name) for name in of.__struct_fields__}  # type: ignore[attr-defined]


def changes(plan: ContactPlan, link: Link) -> list[float]:
    """All planned changes of a link."""
    found, t_s = [], 0.0
    while (t_s := plan.next_change(link, t_s)) < math.inf:
        found.append(t_s)
    return found


def test_changes_alternate_and_the_plan_knows_them_all() -> None:
    plan = planned(world(STAR), 3)
    everyone = set()
    for link in plan.links:
        up = plan.state(link, 0.0).up
        for t_s in changes(plan, link):
            assert plan.state(link, t_s - 1e-6).up == up
            up = not up
            assert plan.state(link, t_s).up == up
            everyone.add(t_s)
    assert sorted(everyone) == plan.changes_s
    assert plan.next_change_any(0.0) == min(everyone)
    assert plan.next_change_any(plan.horizon_s) == math.inf


def test_contacts_across_an_hour_are_one() -> None:
    plan = planned(world(STAR), 3)
    assert not {3600.0, 7200.0, 10800.0} & set(plan.changes_s)
    across = [link for link in plan.links if link.kind == LinkKind.RADIO and plan.state(link, 3600.0).up]
    assert across
    for link in across:
        assert plan.state(link, 3599.99).up
        assert plan.state(link, 3600.0).range_km == pytest.approx(plan.state(link, 3599.99).range_km, abs=0.2)


def test_one_view_of_all_links_agrees_with_each() -> None:
    plan = planned(world(STAR), 2)
    for t_s in (0.0, 17.3, 3599.999, 3600.0, 5000.0, 7200.0):
        expected = {link: plan.state(link, t_s).delay_s for link in plan.links if plan.state(link, t_s).up}
        found = dict(plan.links_up(t_s))
        assert set(found) == set(expected)
        assert all(found[link] == pytest.approx(expected[link], abs=1e-9) for link in found)
        assert plan.links_up_during(t_s, t_s) >= set(found) or t_s == plan.horizon_s


def test_links_of_a_stretch_are_those_of_its_moments() -> None:
    plan = planned(world(STAR), 2)
    moments = [3300.0, *(change for change in plan.changes_s if 3300 < change <= 3900)]
    union = {link for t_s in moments for link, _ in plan.links_up(t_s)}
    assert plan.links_up_during(3300.0, 3900.0) == union


def test_links_of_nodes() -> None:
    plan = planned(world(shell()))
    assert [plan.mesh.label(link) for link in plan.links_of(plan.mesh.ground)] == [
        "Svalbard - ground",
        "Sanya - ground",
    ]
    assert {link.kind for link in plan.links_of(NodeId(12))} == {LinkKind.FIBRE, LinkKind.RADIO}
    assert all(NodeId(3) in link[:2] for link in plan.links_of(NodeId(3)))


def test_fibres_are_as_long_as_the_backbone_says() -> None:
    plan = planned(world(shell()))
    at_centre, far = (plan.state(link, 0.0) for link in plan.mesh.fibres)
    assert (at_centre.up, at_centre.range_km, at_centre.delay_s) == (True, 0.0, 0.0)
    north, south, between = np.radians([SVALBARD.latitude_deg, SANYA.latitude_deg, 109.31 - 15.41])
    cosine = math.sin(north) * math.sin(south) + math.cos(north) * math.cos(south) * math.cos(between)
    assert far.range_km == pytest.approx(6371.0088 * math.acos(cosine) * 1.3)
    assert far.delay_s == pytest.approx(far.range_km / FIBRE_KM_S)
    assert plan.next_change(plan.mesh.fibres[0], 0.0) == math.inf


def test_ground_contact_is_the_union_of_all_radio_contacts() -> None:
    plan = planned(world(shell(raan_deg=200.0), stations=(SVALBARD,)), 12)
    radio = [link for link in plan.links if link.kind == LinkKind.RADIO]
    seen = set()
    for t_s in np.arange(0, 12 * 3600, 97.0).tolist():
        report = ground_contact(plan, t_s)
        assert report.now == any(plan.state(link, t_s).up for link in radio)
        edge_s = report.until_s if report.now else report.next_s
        assert (report.next_s if report.now else report.until_s) is None
        if edge_s is not None:
            assert edge_s > t_s
            assert any(plan.state(link, edge_s).up for link in radio) != report.now
        seen.add(report.now)
    assert seen == {True, False}
    assert report.horizon_s == 12 * 3600


def test_a_segment_survives_its_bytes_without_a_copy() -> None:
    scenario = world(STAR)
    mesh = Mesh(scenario)
    segment = compute_segment(scenario, mesh, 1)
    segment = replace(segment, seeking=np.array([[0, 7], [1, 48]], np.int32), since_s=np.array([3590.0, 3599.5]))
    data = bytearray(segment.to_bytes())
    read = Segment.from_buffer(memoryview(data))
    assert (read.digest, read.index) == (scenario.digest(), 1)
    assert read.lasers == segment.lasers
    for name in ("pairs", "squared_km2", "offsets", "intervals", "seeking", "since_s"):
        assert np.array_equal(getattr(read, name), getattr(segment, name))
        assert np.shares_memory(getattr(read, name), np.frombuffer(data, np.uint8))
    assert read.to_bytes() == bytes(data)


def test_the_same_segment_is_computed_every_time() -> None:
    scenario = world(STAR)
    assert (
        compute_segment(scenario, Mesh(scenario), 3).to_bytes()
        == compute_segment(scenario, Mesh(scenario), 3).to_bytes()
    )


@pytest.mark.parametrize("satellites", [1, 2, 3])
def test_worlds_of_few_satellites(satellites: int) -> None:
    scenario = world(shell(sats_per_plane=satellites))
    mesh = Mesh(scenario)
    segment = Segment.from_buffer(compute_segment(scenario, mesh, 0).to_bytes())
    plan = ContactPlan(scenario, mesh)
    plan.add(segment)
    assert len(plan.links) == 2 + len(segment.pairs)
    assert {link for link, _ in plan.links_up(0.0)} >= set(mesh.fibres)


def test_foreign_bytes_are_refused_with_a_reason() -> None:
    scenario = world(shell())
    mesh = Mesh(scenario)
    data = compute_segment(scenario, mesh, 0).to_bytes()
    with pytest.raises(CorruptFile, match="not a segment"):
        Segment.from_buffer(b"hello")
    with pytest.raises(CorruptFile, match=r"has \d+ bytes"):
        Segment.from_buffer(data[:-8])
    newer = data[: len(MAGIC)] + bytes([PLAN_VERSION + 1]) + data[len(MAGIC) + 1 :]
    with pytest.raises(ScenarioError, match=f"version {PLAN_VERSION + 1}"):
        Segment.from_buffer(newer)


def test_no_cut_and_no_changed_bit_of_a_segment_goes_unseen() -> None:
    scenario = world(shell())
    data = compute_segment(scenario, Mesh(scenario), 0).to_bytes()
    for length in (*range(100), len(data) - 1):
        with pytest.raises(CorruptFile):
            Segment.from_buffer(data[:length])
    chance = np.random.default_rng(11)
    for at in (*range(100), *chance.integers(100, len(data), 200).tolist()):
        changed = bytearray(data)
        changed[at] ^= 1 << int(chance.integers(8))
        with pytest.raises((CorruptFile, ScenarioError)):
            Segment.from_buffer(changed)


def test_segments_of_other_scenarios_or_out_of_order_are_refused() -> None:
    scenario = world(shell())
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    other = world(shell(altitude_km=540.0))
    with pytest.raises(ScenarioError, match="of scenario"):
        plan.add(compute_segment(other, Mesh(other), 0))
    with pytest.raises(ScenarioError, match="in order"):
        plan.add(compute_segment(scenario, mesh, 1))


@pytest.mark.parametrize("t_s", [-1.0, 3600.001, math.nan, math.inf])
def test_beyond_the_horizon_there_is_no_answer(t_s: float) -> None:
    plan = planned(world(shell()))
    for ask in (
        lambda: plan.state(plan.mesh.lasers[0], t_s),
        lambda: plan.links_up(t_s),
        lambda: plan.states(np.array([[0, 1]]), np.array([t_s])),
        lambda: plan.contacts(0.0, t_s),
        lambda: ground_contact(plan, t_s),
    ):
        with pytest.raises(Bug, match="known from 0 to 3600 s"):
            ask()


def test_a_link_that_cannot_be_is_a_bug_and_one_that_never_meets_is_down() -> None:
    plan = planned(world(shell(inclination_deg=10.0), stations=(SVALBARD,)))
    with pytest.raises(Bug, match="no link of this mesh"):
        plan.state(Link(NodeId(0), NodeId(5), LinkKind.LASER), 0.0)
    with pytest.raises(Bug, match="not a fibre"):
        plan.state(Link(NodeId(0), NodeId(13), LinkKind.FIBRE), 0.0)
    never = plan.state(plan.mesh.link_between(NodeId(0), NodeId(12)), 100.0)
    assert (never.up, never.rate_bps, never.delay_s) == (False, 0.0, math.inf)
    assert ground_contact(plan, 0.0).next_s is None


def test_a_skyline_hides_what_is_behind_it() -> None:
    # The eastern half of the sky is walled up to 60 degrees.
    walled = msgspec.structs.replace(
        SVALBARD, name="Walled", mask_deg=((0.0, 0.0), (0.1, 60.0), (179.9, 60.0), (180.0, 0.0), (359.9, 0.0))
    )
    scenario = world(shell(), stations=(SVALBARD, walled))
    plan = planned(scenario, hours=6)
    sites = Sites.from_stations(scenario.stations)
    hidden = 0
    for t_s in range(0, 6 * 3600, 40):
        azimuth, height, _ = topocentric(places(scenario, float(t_s)), sites)
        for satellite in range(12):
            links = [plan.mesh.link_between(NodeId(satellite), NodeId(12 + number)) for number in (0, 1)]
            free, behind = (plan.state(link, float(t_s)).up for link in links)
            east = 0.5 < azimuth[satellite, 0] < 179.5
            west = 180.5 < azimuth[satellite, 0] < 359.5
            if free and (east or west):
                assert behind == (west or height[satellite, 0] > 60.0)
                hidden += not behind
            assert free or not behind
    assert hidden > 20


def test_three_body_has_the_ground_from_the_start() -> None:
    plan = planned(preset_scenario("three-body-12", PRESETS))
    report = ground_contact(plan, 0.0)
    assert report.now
    assert report.until_s is None or report.until_s > 8 * 60
    assert all(plan.state(link, t_s).up for link in plan.mesh.lasers for t_s in (0.0, 1800.0))


@pytest.mark.parametrize("name", ["kuiper-270", "iridium-next", "spacex-ai1", "three-body-2800", "starlink-gen1"])
def test_presets_can_be_planned_and_reach_the_ground(name: str) -> None:
    plan = planned(preset_scenario(name, PRESETS))
    assert plan.horizon_s == SEGMENT_S
    assert ground_contact(plan, 0.0).now
