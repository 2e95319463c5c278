"""Do free lasers point at the nearest in view, within their terminals, and hold on?"""

import msgspec
import numpy as np
import pytest

from perigrid.mesh.planning.geometry import Geometry
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import LaserPair, Scenario
from tests.mesh.worlds import planned, shell, world


def roaming(terminals: int, **changes: object) -> Scenario:
    """A delta whose satellites seek the nearest."""
    free = shell(
        planes=6, sats_per_plane=8, raan_spread_deg=360.0, inclination_deg=53.0, phasing=0.5, topology="nearest"
    )
    scenario = world(free, **changes)
    return msgspec.structs.replace(scenario, lasers=msgspec.structs.replace(scenario.lasers, terminals=terminals))


@pytest.mark.parametrize("terminals", [1, 3])
def test_no_satellite_points_more_lasers_than_it_has_and_all_that_are_up_are_in_view(terminals: int) -> None:
    scenario = roaming(terminals)
    plan = planned(scenario, hours=2)
    geometry = Geometry.of(scenario, plan.mesh)
    for t_s in (0.0, 1234.5, 3599.0, 3600.0, 5555.5):
        lasers = [link for link, _ in plan.links_up(t_s) if link.kind == LinkKind.LASER]
        assert len(lasers) > 12
        used = np.bincount([end for link in lasers for end in (link.a, link.b)], minlength=48)
        assert used.max() <= terminals
        pairs = np.array([(link.a, link.b) for link in lasers])
        assert (geometry.laser_margin_at(pairs, np.full(len(pairs), t_s)) > 0).all()


def test_the_first_pairs_are_the_nearest() -> None:
    scenario = roaming(1)
    plan = planned(scenario)
    positions = Geometry.of(scenario, plan.mesh).positions_eci_km(np.array([0.0]))[0]
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1) + np.diag(np.full(48, np.inf))
    up = {(link.a, link.b) for link, _ in plan.links_up(0.0) if link.kind == LinkKind.LASER}
    # Whoever is nobody's partner has everyone nearer than its partner taken.
    partner = {a: b for pair in up for a, b in (pair, pair[::-1])}
    for a, b in up:
        for other in np.flatnonzero(apart[a] < apart[a, b] - 1.0).tolist():
            assert apart[other, partner[other]] <= apart[other, a] + 1e-6


def test_links_roam_within_their_group_and_their_ends_can_be_asked_about() -> None:
    plan = planned(roaming(2), hours=2)
    lasers = {link for link in plan.links if link.kind == LinkKind.LASER}
    assert len(lasers) > 60
    assert plan.mesh.lasers == ()
    some = min(lasers)
    assert plan.mesh.link_between(some.a, some.b) == some
    never = next(
        link
        for b in range(1, 48)
        if (link := Link(plan.mesh.satellite_ids[0], plan.mesh.satellite_ids[b], LinkKind.LASER)) not in lasers
    )
    assert not plan.state(never, 10.0).up
    for link in lasers:
        assert plan.mesh.planes[link.a] >= 0
        assert plan.next_change(link, 0.0) > 0.0


def test_a_new_pointing_costs_acquisition() -> None:
    plan = planned(roaming(2), hours=2)
    table = plan.contacts(0.0, plan.horizon_s)
    lasers = table.kind == LinkKind.LASER
    later = lasers & (table.start_s > 0.0)
    assert later.sum() > 20
    # Free terminals look around at whole minutes, and what they then take is up 15 s later.
    assert np.allclose(table.start_s[later] % 60.0, 15.0)


def test_explicit_lasers_join_shells_and_take_terminals_from_the_roaming() -> None:
    ring = shell(name="ring")
    free = shell(name="free", planes=2, raan_spread_deg=360.0, topology="nearest", altitude_km=600.0)
    scenario = world(ring, free, laser_pairs=(LaserPair(a="sat-01", b="sat-13"), LaserPair(a="sat-20", b="sat-02")))
    scenario = msgspec.structs.replace(scenario, lasers=msgspec.structs.replace(scenario.lasers, terminals=3))
    mesh = Mesh(scenario)
    assert {(link.a, link.b) for link in mesh.lasers} >= {(0, 12), (1, 19)}
    plan = planned(scenario)
    for t_s in (0.0, 1800.0):
        used: dict[int, int] = {}
        for link, _ in plan.links_up(t_s):
            if link.kind == LinkKind.LASER and link.b >= 12 and link.a >= 12:
                used[link.a], used[link.b] = used.get(link.a, 0) + 1, used.get(link.b, 0) + 1
        assert max(used.get(12, 0), used.get(19, 0)) <= 2


def test_an_explicit_laser_is_not_pointed_a_second_time() -> None:
    # In a ring of twelve each sees the two beside it alone, so that free terminals would take these again.
    ring = shell(sats_per_plane=12, topology="nearest")
    scenario = world(ring, laser_pairs=(LaserPair(a="sat-01", b="sat-02"), LaserPair(a="sat-05", b="sat-06")))
    scenario = msgspec.structs.replace(scenario, lasers=msgspec.structs.replace(scenario.lasers, terminals=3))
    plan = planned(scenario, hours=2)
    for t_s in (0.0, 1800.0, 3600.0, 7000.0):
        up = [(link.a, link.b) for link, _ in plan.links_up(t_s) if link.kind == LinkKind.LASER]
        assert {(0, 1), (4, 5)} < set(up)
        assert len(up) == len(set(up)) == 12
