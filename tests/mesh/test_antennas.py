"""Does an antenna serve one satellite at a time, in the order that its policy asks for?"""

from itertools import pairwise

import msgspec
import numpy as np
import pytest

from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.planning.antennas import Antennas
from perigrid.mesh.planning.services import ACQUIRED_S, Service, acquired
from perigrid.mesh.topology import LinkKind
from perigrid.scenario.model import Clock, GroundLink, Lasers, Station
from tests.mesh.worlds import planned, shell, world

PLANES = shell(planes=6, sats_per_plane=20, raan_spread_deg=180.0, phasing=0.5, topology="grid")
SITE = Station(name="Site", latitude_deg=70.0, longitude_deg=20.0, min_elevation_deg=5.0)


def served(policy: str, passes: list[tuple[float, float, int]], count: int = 1) -> list[tuple[int, float, float]]:
    """Who is served from when to when, by one station; a satellite stands as high as its number."""
    antennas = Antennas(0, count, policy, 0.0, lambda satellites, _: [float(one) for one in satellites])  # type: ignore[arg-type]
    return [(one.a, one.start_s, one.end_s) for one in antennas.serve(passes)]


def radio_spans(plan: ContactPlan) -> list[tuple[float, float, int, int]]:
    """(start, end, satellite, station) of every radio contact."""
    table = plan.contacts(0.0, plan.horizon_s)
    rows = np.flatnonzero(table.kind == LinkKind.RADIO)
    return sorted(
        (float(table.start_s[row]), float(table.end_s[row]), int(table.ends[row, 0]), int(table.ends[row, 1]))
        for row in rows
    )


def most_at_once(spans: list[tuple[float, float, int, int]]) -> int:
    """The greatest number of spans that overlap."""
    edges = sorted([(start_s, 1) for start_s, *_ in spans] + [(end_s, -1) for _, end_s, *_ in spans])
    return int(np.max(np.cumsum([step for _, step in edges])))


def test_an_antenna_serves_until_the_satellite_sets_and_then_takes_the_next() -> None:
    passes = [(0.0, 100.0, 1), (10.0, 150.0, 2), (20.0, 90.0, 3), (200.0, 300.0, 4)]
    assert served("longest_backlog", passes) == [(1, 0.0, 100.0), (2, 100.0, 150.0), (4, 200.0, 300.0)]
    assert served("longest_backlog", passes, count=2) == [(1, 0.0, 100.0), (2, 10.0, 150.0), (4, 200.0, 300.0)]
    assert served("longest_backlog", passes, count=3)[2] == (3, 20.0, 90.0)


def test_policies_choose_differently_among_those_in_sight() -> None:
    # While 5 is served until 100, 2 (served before), 4 and 7 rise.
    passes = [(0.0, 10.0, 2), (10.0, 100.0, 5), (20.0, 400.0, 4), (30.0, 300.0, 7), (40.0, 200.0, 2)]
    first = {policy: served(policy, passes)[2][0] for policy in ("longest_backlog", "round_robin", "highest_elevation")}
    # 4 and 7 were never served, and 4 stays longer; 7 follows 5; 7 is the highest.
    assert first == {"longest_backlog": 4, "round_robin": 7, "highest_elevation": 7}
    after = [(0.0, 50.0, 7), (5.0, 400.0, 9), (5.0, 300.0, 3)]
    assert served("round_robin", after)[1][0] == 9
    assert served("highest_elevation", [(0.0, 50.0, 1), (5.0, 400.0, 3), (5.0, 300.0, 9)])[1][0] == 9


def test_no_pass_is_served_twice_and_none_overlaps_on_one_antenna() -> None:
    chance = np.random.default_rng(5)
    for count in (1, 2, 3):
        starts = chance.uniform(0, 3000, 60)
        passes = [
            (float(s), float(s + d), n % 25)
            for n, (s, d) in enumerate(zip(starts, chance.uniform(5, 600, 60), strict=True))
        ]
        spans = [
            (start_s, end_s, satellite, 0) for satellite, start_s, end_s in served("longest_backlog", passes, count)
        ]
        assert most_at_once(spans) == count
        assert all(any(s <= start and end == e and a == one for s, e, one in passes) for start, end, a, _ in spans)


@pytest.mark.parametrize("policy", ["longest_backlog", "round_robin", "highest_elevation"])
def test_a_station_with_an_antenna_has_one_link_at_a_time_over_hours(policy: str) -> None:
    link = GroundLink(rate_bps=1e8, acquire_s=20.0, policy=policy)  # type: ignore[arg-type]
    plans = {
        count: planned(
            world(PLANES, stations=(msgspec.structs.replace(SITE, antennas=count),), ground_link=link), hours=3
        )
        for count in (1, 2, None)
    }
    spans = {count: radio_spans(plan) for count, plan in plans.items()}
    assert most_at_once(spans[1]) == 1
    assert most_at_once(spans[2]) == 2
    assert most_at_once(spans[None]) > 2
    everyone = {(satellite, station): [] for _, _, satellite, station in spans[None]}
    for start_s, end_s, satellite, station in spans[None]:
        everyone[satellite, station].append((start_s, end_s))
    for start_s, end_s, satellite, station in spans[1]:
        # Whoever is served is in sight, and was long enough to be acquired.
        assert any(low <= start_s and end_s <= high for low, high in everyone[satellite, station])
    busy_s = sum(end_s - start_s for start_s, end_s, *_ in spans[1])
    assert busy_s > 0.6 * plans[1].horizon_s


def test_a_service_over_the_edge_of_an_hour_is_not_acquired_again() -> None:
    now = [Service(1, 0, 3600.0, 3700.0), Service(2, 0, 3600.0, 3700.0), Service(1, 0, 3650.0, 3700.0)]
    up, seeking = acquired(now, {(1, 0): ACQUIRED_S}, 15.0, 3600.0, 7200.0)
    assert [one.start_s for one in up] == [3600.0, 3615.0, 3665.0] and not seeking
    assert acquired([Service(1, 0, 0.0, 9.0)], {}, 15.0, 0.0, 3600.0) == ([Service(1, 0, 0.0, 9.0)], [])
    assert acquired([Service(1, 0, 3600.0, 3610.0)], {}, 15.0, 3600.0, 7200.0) == ([], [])


def test_an_acquisition_over_the_edge_of_an_hour_goes_on() -> None:
    late = Service(1, 0, 3590.0, 3600.0)
    assert acquired([late], {}, 15.0, 0.0, 3600.0) == ([], [late])
    # Ten of its fifteen seconds are over; where an hour is shorter than that, it goes on over several.
    goes_on = Service(1, 0, 3600.0, 3700.0)
    assert acquired([goes_on], {(1, 0): 3590.0}, 15.0, 3600.0, 7200.0)[0] == [goes_on._replace(start_s=3605.0)]
    short = Service(1, 0, 3600.0, 3603.6)
    assert acquired([short], {(1, 0): 3590.0}, 15.0, 3600.0, 3603.6) == ([], [late._replace(end_s=3603.6)])


@pytest.mark.parametrize("orbit_rate", [1.0, 200.0, 500.0])
def test_where_the_sky_turns_fast_antennas_and_lasers_still_acquire(orbit_rate: float) -> None:
    # At 500 an hour of orbits lasts 7.2 s, less than an acquisition.
    high = shell(planes=3, sats_per_plane=8, raan_spread_deg=360.0, phasing=0.5, altitude_km=20_000.0)
    roaming = msgspec.structs.replace(high, topology="nearest")
    scenario = world(
        roaming,
        stations=(msgspec.structs.replace(SITE, antennas=1),),
        ground_link=GroundLink(rate_bps=1e6, acquire_s=15.0),
        lasers=Lasers(rate_bps=1e9, acquire_s=15.0, terminals=2),
        clock=Clock(orbit_rate=orbit_rate),
    )
    plan = planned(scenario, hours=30)
    table = plan.contacts(0.0, plan.horizon_s)
    later = table.start_s > 0.0
    assert later[table.kind == LinkKind.RADIO].any() and later[table.kind == LinkKind.LASER].any()
    spans = radio_spans(plan)
    assert most_at_once(spans) == 1
    # Between two services of one antenna lies an acquisition, no less, and no more where someone is always in sight.
    waits_s = [after[0] - before[1] for before, after in pairwise(spans)]
    assert min(waits_s) == pytest.approx(15.0, abs=0.1)
    passes = [(0.0, 50.0, 1), (0.0, 90.0, 2), (0.0, 70.0, 3)]
    antennas = Antennas(0, 2, "longest_backlog", 0.0, lambda satellites, _: [0.0 for _ in satellites])
    assert [(one.a, one.start_s) for one in antennas.serve(passes, {1})] == [(1, 0.0), (2, 0.0), (3, 50.0)]
