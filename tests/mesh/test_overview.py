"""Is a constellation described as the literature does, and are its neighbours, its width and its contact right?"""

from __future__ import annotations

import heapq
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.survey.coverage import ALL_STATIONS, coverage, longest_gap, step_for
from perigrid.mesh.survey.extent import parts_of
from perigrid.mesh.survey.overview import between_groups, groups_of, islands, neighbours, notation, pattern, shell_view
from perigrid.mesh.topology import LinkKind, Mesh
from perigrid.scenario.model import LaserPair, Scenario, Shell
from tests.mesh.worlds import SANYA, SVALBARD, planned, shell, world

GRID = {"planes": 6, "sats_per_plane": 11, "altitude_km": 780.0, "inclination_deg": 86.4, "topology": "grid"}


def geometry_of(scenario: Scenario) -> tuple[Geometry, Mesh]:
    mesh = Mesh(scenario)
    return Geometry.of(scenario, mesh), mesh


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "97.54:12/1/0"),
        ({"planes": 72, "sats_per_plane": 22, "inclination_deg": 53.0, "phasing": 0.5}, "53:1584/72/36"),
        ({"planes": 72, "sats_per_plane": 22, "inclination_deg": 53.0, "phasing": 39 / 72}, "53:1584/72/39"),
        ({"planes": 6, "sats_per_plane": 11, "inclination_deg": 86.4, "phasing": 2 / 6}, "86.4:66/6/2"),
        ({"planes": 5, "sats_per_plane": 4, "inclination_deg": 50.0, "phasing": 0.5}, "50:20/5/2.5"),
        ({"planes": 4, "sats_per_plane": 4, "inclination_deg": 50.0, "phasing": 0.9999999999}, "50:16/4/0"),
    ],
)
def test_a_shell_is_named_in_walkers_notation(changes: dict[str, object], expected: str) -> None:
    assert notation(shell(**changes)) == expected


@pytest.mark.parametrize(
    ("spread_deg", "planes", "words"),
    [(360.0, 6, "Walker delta"), (180.0, 6, "Walker star"), (8.0, 6, "planes over 8 deg"), (360.0, 1, "one plane")],
)
def test_the_spread_of_planes_has_a_name(spread_deg: float, planes: int, words: str) -> None:
    assert pattern(shell(raan_spread_deg=spread_deg, planes=planes)) == words


def test_the_ring_of_twelve() -> None:
    scenario = world(shell())
    geometry, mesh = geometry_of(scenario)
    (group,) = groups_of(scenario)
    (found,) = neighbours(geometry, mesh, group, 0.0)
    assert found.planned == 12 and found.allowed == 1.0
    assert found.range_km is not None and found.delay_ms is not None
    # The chord of 30 degrees, 2 r sin 15.
    chord_km = 2 * (6378.137 + 535.0) * np.sin(np.radians(15.0))
    assert found.range_km.lowest == pytest.approx(chord_km, abs=1e-6) == found.range_km.highest
    assert found.delay_ms.median == pytest.approx(11.94, abs=0.01)
    (part,) = parts_of(planned(scenario).edges_at(0.0), groups_of(scenario))
    assert (part.satellites, part.hops, part.measured_from) == (12, 6, 12)
    assert part.delay_ms == pytest.approx(6 * chord_km / 299.792458, abs=0.01)
    assert shell_view(group).period_min.median == pytest.approx(95.4, abs=0.2)


def test_the_width_of_a_star_is_that_of_a_plain_search() -> None:
    scenario = world(shell(**GRID, raan_spread_deg=180.0, phasing=0.5, polar_cutoff_deg=68.0))
    edges = planned(scenario).edges_at(600.0)
    (part, *rest) = parts_of(edges, groups_of(scenario))
    around: dict[int, list[tuple[int, float]]] = {}
    for link, (a, b), delay_s in zip(edges.links, edges.ends.tolist(), edges.delay_s.tolist(), strict=True):
        if link.kind == LinkKind.LASER:
            around.setdefault(a, []).append((b, delay_s))
            around.setdefault(b, []).append((a, delay_s))
    far = [reached(around, source) for source in around]
    assert not rest and part.satellites == len(around) == 66
    assert part.delay_ms == pytest.approx(1e3 * max(max(delay.values()) for delay, _ in far), rel=1e-12)
    assert part.hops == max(max(hops.values()) for _, hops in far)


def reached(around: dict[int, list[tuple[int, float]]], source: int) -> tuple[dict[int, float], dict[int, int]]:
    """Least delay and least hops to every node, by heap and by waves."""
    delay, heap = {}, [(0.0, source)]
    while heap:
        so_far, node = heapq.heappop(heap)
        if node not in delay:
            delay[node] = so_far
            for other, more in around[node]:
                heapq.heappush(heap, (so_far + more, other))
    hops, wave = {source: 0}, [source]
    while wave:
        wave = sorted({other for node in wave for other, _ in around[node]} - hops.keys())
        hops.update(dict.fromkeys(wave, max(hops.values()) + 1))
    return delay, hops


def test_a_star_has_a_seam_and_polar_gaps() -> None:
    scenario = world(shell(**GRID, raan_spread_deg=180.0, phasing=0.5, polar_cutoff_deg=68.0))
    geometry, mesh = geometry_of(scenario)
    inside, across = neighbours(geometry, mesh, groups_of(scenario)[0], 0.0)
    assert (inside.planned, across.planned) == (66, 55)
    # A circular orbit of 86.4 degrees is below 68 degrees of latitude for asin(sin 68 / sin 86.4) of every quarter; a
    # laser needs both ends there, half a slot apart.
    below = np.degrees(np.arcsin(np.sin(np.radians(68.0)) / np.sin(np.radians(86.4)))) / 90.0
    apart = 360.0 / 11 / 2 / 90.0
    assert across.allowed == pytest.approx(below - apart / 2, abs=0.02)


def test_shells_without_a_laser_between_them_are_islands() -> None:
    two = (shell(), shell(name="other", altitude_km=600.0))
    assert islands(world(*two), Mesh(world(*two))) == (("ring",), ("other",))
    joined = world(*two, laser_pairs=(LaserPair(a="sat-01", b="sat-13"),))
    geometry, mesh = geometry_of(joined)
    assert islands(joined, mesh) == (("ring", "other"),)
    between = between_groups(geometry, mesh, joined, 0.0)
    assert between is not None and between.planned == 1
    assert between_groups(*geometry_of(world(*two)), world(*two), 0.0) is None


def test_contact_with_the_ground_is_that_of_the_reference() -> None:
    # Conditions: 12-ring, 535 km, 97.54 degrees, node at Greenwich at t = 0, three days, 10 degrees of elevation. What
    # the node's longitude is changes the share by far less than the tolerance.
    found = coverage(*with_geometry(world(shell(), stations=(SVALBARD,))), 0.0, 72.0)
    assert found[0].satellite_share == pytest.approx(0.052, rel=0.02)
    assert len(found) == 1


def test_all_stations_together_are_one_more_line() -> None:
    scenario = world(shell(), stations=(SVALBARD, SANYA))
    one, two, both = coverage(*with_geometry(scenario), 0.0, 24.0)
    assert both.station == ALL_STATIONS
    assert max(one.satellite_share, two.satellite_share) <= both.satellite_share
    assert both.satellite_share <= one.satellite_share + two.satellite_share + 1e-12
    assert both.any_gap.longest_s <= min(one.any_gap.longest_s, two.any_gap.longest_s)
    assert coverage(*with_geometry(world(shell(), stations=())), 0.0, 1.0) == ()


def with_geometry(scenario: Scenario) -> tuple[Scenario, Geometry]:
    return scenario, geometry_of(scenario)[0]


def test_a_mask_takes_contact_away() -> None:
    import msgspec

    walled = msgspec.structs.replace(SVALBARD, mask_deg=((0.0, 60.0), (180.0, 60.0)))
    (free,) = coverage(*with_geometry(world(shell(), stations=(SVALBARD,))), 0.0, 6.0)
    (less,) = coverage(*with_geometry(world(shell(), stations=(walled,))), 0.0, 6.0)
    assert 0.0 < less.satellite_share < free.satellite_share / 4


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=40))
def test_the_longest_gap_is_that_of_a_plain_count(rows: list[list[bool]]) -> None:
    seen = np.array(rows)
    longest = 0
    for column in seen.T.tolist():
        ups = [-1, *(step for step, up in enumerate(column) if up), len(column)]
        longest = max(longest, *(after - before - 1 for before, after in pairwise(ups)))
    found = longest_gap(seen, 10.0)
    assert found.longest_s == longest * 10.0
    if not seen.any():
        assert found.at_least


def test_a_gap_at_the_window_s_edge_is_a_lower_bound() -> None:
    inner = longest_gap(np.array([[True, False, False, True, False]]).T, 5.0)
    outer = longest_gap(np.array([[True, False, True, False, False]]).T, 5.0)
    assert (inner.longest_s, inner.at_least) == (10.0, False)
    assert (outer.longest_s, outer.at_least) == (10.0, True)
    assert longest_gap(np.ones((4, 2), np.bool_), 5.0).longest_s == 0.0


def test_large_constellations_are_sampled_more_sparsely() -> None:
    assert step_for(12, 24.0) == 10.0
    assert 10.0 < step_for(4_408, 24.0) <= 120.0
    assert step_for(4_408, 168.0) == 180.0


def test_ltan_needs_no_epoch_for_a_period() -> None:
    by_node = Shell(
        name="sso", altitude_km=535.0, inclination_deg=97.54, planes=1, sats_per_plane=12, raan_spread_deg=0.0
    )
    by_time = Shell(
        name="sso",
        altitude_km=535.0,
        inclination_deg=97.54,
        planes=1,
        sats_per_plane=12,
        raan_spread_deg=0.0,
        ltan_h=9.5,
    )
    one, two = (shell_view(groups_of(world(each))[0]) for each in (by_node, by_time))
    assert one == two
