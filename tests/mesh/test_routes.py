"""Is the way the shortest there is, and if there is none, is the reason true?"""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perigrid.errors import Bug
from perigrid.mesh.plan import ContactPlan, compute_segment
from perigrid.mesh.routes import MAX_TREES, Arrival, Hop, NoPath, Path, Routes, reachable
from perigrid.mesh.shortest import shortest_tree
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.units import NodeId
from tests.mesh.worlds import SANYA, SVALBARD, planned, shell, world

NONE: frozenset[Link] = frozenset()
RING = planned(world(shell()), 2)
STAR = planned(world(shell(planes=3, sats_per_plane=10, raan_spread_deg=180.0, phasing=0.5, topology="grid")), 2)
AWAY = planned(world(shell(raan_deg=200.0), stations=(SVALBARD,)), 12)


def cut(plan: ContactPlan, *names: tuple[str, str]) -> frozenset[Link]:
    """Links by the names of their ends."""
    mesh = plan.mesh
    return frozenset(mesh.link_between(mesh.id_of(a), mesh.id_of(b)) for a, b in names)


@given(
    st.integers(2, 6).flatmap(
        lambda count: st.lists(
            st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.integers(1, 4)), max_size=12
        )
    )
)
def test_trees_are_the_shortest_of_all_simple_ways(listed: list[tuple[int, int, int]]) -> None:
    weights = {tuple(sorted(ends)): weight for *ends, weight in listed if ends[0] != ends[1]}
    edges: dict[NodeId, list[tuple[NodeId, int, Link]]] = {}
    for (a, b), weight in weights.items():
        link = Link(NodeId(a), NodeId(b), LinkKind.LASER)
        edges.setdefault(link.a, []).append((link.b, weight, link))
        edges.setdefault(link.b, []).append((link.a, weight, link))
    tree = shortest_tree(edges, NodeId(0), NONE)
    for start in range(1, 6):
        rest = set(range(1, 6)) - {start}
        orders = (order for between in range(5) for order in itertools.permutations(rest, between))
        every = [(start, *order, 0) for order in orders]
        ways = [way for way in every if all(tuple(sorted(pair)) in weights for pair in itertools.pairwise(way))]
        lengths = {way: sum(weights[tuple(sorted(p))] for p in itertools.pairwise(way)) for way in ways}
        if not ways:
            assert start not in tree
            continue
        found = [NodeId(start)]
        while found[-1] != 0:
            found.append(tree[found[-1]][0])
        shortest = min(lengths.values())
        assert lengths[tuple(found)] == shortest
        assert tuple(found) == min(way for way, length in lengths.items() if length == shortest)


@given(
    st.integers(0, 32),
    st.integers(0, 32),
    st.floats(0, 7200),
    st.sets(st.sampled_from(STAR.links), max_size=25),
)
@settings(max_examples=60)
def test_hops_lead_there_over_links_that_are_up(at: int, to: int, t_s: float, dead: set[Link]) -> None:
    routes, avoided = Routes(STAR), frozenset(dead)
    path = routes.path(NodeId(at), NodeId(to), t_s, avoided)
    up = {link for link in STAR.links if STAR.state(link, t_s).up} - dead
    joined = NodeId(to) in reachable(NodeId(at), up)
    assert isinstance(path, Path) == joined
    if isinstance(path, NoPath):
        assert path == routes.next_hop(NodeId(at), NodeId(to), t_s, avoided)
        return
    assert (path.nodes[0], path.nodes[-1]) == (at, to)
    assert set(path.links) <= up
    assert path.delay_s == pytest.approx(sum(STAR.state(link, t_s).delay_s for link in path.links))
    node = NodeId(at)
    for following, link in zip(path.nodes[1:], path.links, strict=True):
        assert routes.next_hop(node, NodeId(to), t_s, avoided) == Hop(link, following, STAR.state(link, t_s).delay_s)
        node = following


def test_the_ring_goes_the_short_way_round_and_the_long_one_after_a_cut() -> None:
    routes = Routes(RING)
    path = routes.path(NodeId(0), NodeId(3), 0.0, NONE)
    assert isinstance(path, Path)
    assert path.nodes == (0, 1, 2, 3)
    assert path.delay_s == pytest.approx(3 * 0.01194, abs=1e-4)
    around = routes.path(NodeId(0), NodeId(3), 0.0, cut(RING, ("sat-02", "sat-03")))
    assert isinstance(around, Path)
    assert around.delay_s <= 9 * 0.01194 + 1e-4
    assert RING.mesh.link_between(NodeId(1), NodeId(2)) not in around.links


def test_equal_ways_are_decided_by_the_smaller_node() -> None:
    # Twice six hops lead to the opposite satellite; a world without stations in sight has no third way.
    plan = planned(world(shell(inclination_deg=10.0), stations=(SVALBARD,)))
    hop = Routes(plan).next_hop(NodeId(3), NodeId(9), 0.0, NONE)
    assert isinstance(hop, Hop)
    assert hop.node == 2


def test_a_way_changes_at_the_very_moment_of_a_planned_change() -> None:
    routes = Routes(STAR)
    ground = STAR.mesh.ground
    for change_s in STAR.changes_s[:40]:
        for t_s in (change_s - 1e-6, change_s, change_s + 1e-6):
            for at in (NodeId(0), NodeId(17)):
                hop = routes.next_hop(at, ground, t_s, NONE)
                assert isinstance(hop, NoPath) or STAR.state(hop.link, t_s).up


def test_two_cuts_are_named_and_never_open_by_themselves() -> None:
    dead = cut(RING, ("sat-03", "sat-04"), ("sat-04", "sat-05"))
    dead |= {link for link in RING.links_of(NodeId(3)) if link.kind == LinkKind.RADIO}
    answer = Routes(RING).next_hop(NodeId(0), NodeId(3), 0.0, frozenset(dead))
    assert isinstance(answer, NoPath)
    assert answer.reason.startswith("both cut: sat-03 - sat-04, sat-04 - sat-05")
    assert answer.until_s is None
    assert answer.blocked_by == tuple(sorted(cut(RING, ("sat-03", "sat-04"), ("sat-04", "sat-05"))))


def test_one_cut_is_named() -> None:
    plan = planned(world(shell(sats_per_plane=12, inclination_deg=10.0, planes=1), stations=(SVALBARD,)))
    dead = frozenset(plan.mesh.fibres)
    answer = Routes(plan).path(NodeId(12), plan.mesh.ground, 0.0, dead)
    assert isinstance(answer, NoPath)
    assert answer.reason == "cut: Svalbard - ground"


def test_many_cuts_are_listed_up_to_a_bound() -> None:
    dead = frozenset(link for link in STAR.links if link.kind != LinkKind.FIBRE)
    answer = Routes(STAR).next_hop(STAR.mesh.ground, NodeId(0), 0.0, dead)
    assert isinstance(answer, NoPath)
    assert answer.reason.startswith(("cut", "both cut", "all cut"))
    assert answer.until_s is None
    assert set(answer.blocked_by) <= dead


def test_without_contact_the_answer_says_until_when() -> None:
    routes, ground = Routes(AWAY), AWAY.mesh.ground
    answer = routes.next_hop(NodeId(0), ground, 0.0, NONE)
    assert isinstance(answer, NoPath)
    first_s = AWAY.ground_edges()[0]
    assert answer.until_s == first_s
    assert answer.reason == f"no station sees a satellite before t = {first_s:.1f} s"
    assert answer.blocked_by == ()
    assert isinstance(routes.next_hop(NodeId(0), ground, first_s, NONE), Hop)


def test_what_was_answered_before_a_contact_is_not_answered_after_it() -> None:
    routes, ground, edges_s = Routes(AWAY), AWAY.mesh.ground, AWAY.ground_edges()
    for start_s, end_s, next_s in zip(edges_s[0::2], edges_s[1::2], edges_s[2::2], strict=False):
        before, after = (routes.next_hop(NodeId(0), ground, t_s, NONE) for t_s in (start_s - 1e-3, end_s))
        assert isinstance(before, NoPath) and before.until_s == start_s
        assert isinstance(after, NoPath) and after.until_s == next_s


def test_a_plan_that_grows_changes_what_was_answered() -> None:
    scenario = world(shell(raan_deg=200.0), stations=(SVALBARD,))
    mesh = Mesh(scenario)
    plan = ContactPlan(scenario, mesh)
    plan.add(compute_segment(scenario, mesh, 0))
    routes, ground = Routes(plan), mesh.ground
    first_s = AWAY.ground_edges()[0]
    while plan.horizon_s <= first_s:
        answer = routes.next_hop(NodeId(0), ground, 0.0, NONE)
        assert isinstance(answer, NoPath) and answer.until_s is None
        assert answer.reason == f"no station sees a satellite before the plan's horizon at t = {plan.horizon_s:.0f} s"
        assert isinstance(routes.arrival(NodeId(0), ground, 0.0, 1e6, NONE), NoPath)
        plan.add(compute_segment(scenario, mesh, plan.segment_count, plan.last_segment()))
    answer = routes.next_hop(NodeId(0), ground, 0.0, NONE)
    assert isinstance(answer, NoPath) and answer.until_s == first_s
    found = routes.arrival(NodeId(0), ground, 0.0, 1e6, NONE)
    assert isinstance(found, Arrival) and found.arrival_s > first_s


@pytest.mark.parametrize("limit", [1, 512])
def test_of_equal_ways_the_one_with_fewer_hops_is_taken_in_meshes_of_any_size(
    monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    # Round a closed ring of 13 lie six hops and seven; on the ground nobody sees a satellite.
    monkeypatch.setattr("perigrid.mesh.routes.LARGE_NODES", limit)
    plan = planned(world(shell(inclination_deg=10.0, sats_per_plane=13), stations=(SVALBARD,)))
    # Light that needs no time leaves nothing to compare but hops.
    monkeypatch.setattr("perigrid.mesh.plan.LIGHT_KM_S", 1e18)
    path = Routes(plan).path(NodeId(0), NodeId(7), 0.0, NONE)
    assert isinstance(path, Path) and path.nodes == (0, 12, 11, 10, 9, 8, 7)


@given(st.integers(0, 32), st.floats(0, 7200), st.sets(st.sampled_from(STAR.links), max_size=25))
@settings(max_examples=25, deadline=None)
def test_large_meshes_take_the_ways_of_small_ones(to: int, t_s: float, dead: set[Link]) -> None:
    small, large = Routes(STAR), Routes(STAR)
    large._large = True
    for at in range(STAR.mesh.node_count):
        ways = [routes.path(NodeId(at), NodeId(to), t_s, frozenset(dead)) for routes in (small, large)]
        assert ways[0] == ways[1]


def test_no_contact_within_the_horizon_is_said_so() -> None:
    plan = planned(world(shell(inclination_deg=10.0), stations=(SVALBARD,)))
    answer = Routes(plan).next_hop(NodeId(0), plan.mesh.ground, 0.0, NONE)
    assert isinstance(answer, NoPath)
    assert answer.until_s is None
    assert answer.reason == "no station sees a satellite before the plan's horizon at t = 3600 s"


def test_a_station_that_is_not_joined_on_the_ground_has_to_see_for_itself() -> None:
    scenario = world(shell(inclination_deg=10.0), stations=(SVALBARD, SANYA))
    mesh = Mesh(scenario, fibre=False)
    plan = ContactPlan(scenario, mesh)
    plan.add(compute_segment(scenario, mesh, 0))
    answer = Routes(plan).path(NodeId(0), mesh.station_ids[0], 0.0, NONE)
    assert isinstance(answer, NoPath)
    horizon = "the plan's horizon at t = 3600 s"
    assert answer.reason == f"Svalbard sees neither sat-01 nor a satellite that it reaches before {horizon}"


def test_satellites_that_no_laser_joins_are_named() -> None:
    plan = planned(
        world(
            shell(sats_per_plane=2, inclination_deg=10.0),
            shell(name="b", sats_per_plane=1),
            stations=(SVALBARD,),
        )
    )
    answer = Routes(plan).path(NodeId(0), NodeId(2), 0.0, NONE)
    assert isinstance(answer, NoPath)
    assert answer.reason == "no planned links join sat-01 and sat-03 before the plan's horizon at t = 3600 s"


@given(st.integers(0, 11), st.integers(0, 11), st.floats(0, 7200), st.sets(st.sampled_from(RING.links)))
@settings(max_examples=60)
def test_until_is_the_first_planned_moment_with_a_way(at: int, to: int, t_s: float, dead: set[Link]) -> None:
    answer = Routes(RING).path(NodeId(at), NodeId(to), t_s, frozenset(dead))
    if not isinstance(answer, NoPath):
        return

    def open_at(moment_s: float) -> bool:
        up = {link for link in RING.links if RING.state(link, moment_s).up} - dead
        return NodeId(to) in reachable(NodeId(at), up)

    moments = [change_s for change_s in RING.changes_s if change_s > t_s]
    assert answer.until_s == next((moment_s for moment_s in moments if open_at(moment_s)), None)
    if answer.blocked_by:
        revived = frozenset(dead - set(answer.blocked_by))
        assert set(answer.blocked_by) <= dead
        nearer = Routes(RING).path(NodeId(at), NodeId(to), t_s, revived)
        assert isinstance(nearer, Path) or nearer.blocked_by


def test_what_is_there_needs_no_way() -> None:
    assert Routes(RING).path(NodeId(4), NodeId(4), 0.0, NONE) == Path((NodeId(4),), (), 0)
    with pytest.raises(Bug, match="itself"):
        Routes(RING).next_hop(NodeId(4), NodeId(4), 0.0, NONE)


@pytest.mark.parametrize("t_s", [-1.0, 7200.1, math.nan])
def test_beyond_the_plan_there_is_no_answer(t_s: float) -> None:
    with pytest.raises(Bug, match="known from 0 to 7200 s"):
        Routes(RING).next_hop(NodeId(0), NodeId(1), t_s, NONE)


def test_answers_do_not_depend_on_what_was_asked_before() -> None:
    used = Routes(STAR)
    for t_s in range(MAX_TREES // 30 + 2):
        for to in range(30):
            used.path(NodeId(31), NodeId(to), float(t_s), NONE)
    for to in range(30):
        assert used.path(NodeId(31), NodeId(to), 3.5, NONE) == Routes(STAR).path(NodeId(31), NodeId(to), 3.5, NONE)
