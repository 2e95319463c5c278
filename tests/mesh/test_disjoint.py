"""Are k ways without a common link the lightest there are, and is the cut a smallest one?"""

import itertools

import networkx
import numpy as np
import pytest

from perigrid.errors import Bug
from perigrid.mesh.disjoint import Ways, disjoint_ways
from perigrid.mesh.routes import Path, Routes
from perigrid.mesh.shortest import shortest_tree
from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId
from tests.mesh.test_shortest import Weights, edges_of, random_links
from tests.mesh.worlds import SVALBARD, planned, shell, world

NONE: frozenset[Link] = frozenset()
GRID = planned(world(shell(planes=12, sats_per_plane=12, inclination_deg=53.0, raan_spread_deg=360.0, topology="grid")))


def check_ways(found: Ways, weights: Weights, at: int, to: int, dead: frozenset[Link]) -> None:
    """Each way leads there over links that live, without going anywhere twice, and no two share a link."""
    used: set[Link] = set()
    for way in found.ways:
        assert (way.nodes[0], way.nodes[-1]) == (at, to)
        assert len(set(way.nodes)) == len(way.nodes)
        for link, pair in zip(way.links, itertools.pairwise(way.nodes), strict=True):
            assert {link.a, link.b} == set(pair)
            assert link not in used | dead
            used.add(link)
        assert way.ticks == sum(weights[link] for link in way.links)
    assert [way.ticks for way in found.ways] == sorted(way.ticks for way in found.ways)


def lightest(weights: Weights, at: int, to: int, count: int) -> int | None:
    """The least weight of so many ways, by networkx's network simplex over a directed graph with unit capacities.

    An arc each way stands for a link: a flow of least weight never uses both.
    """
    graph = networkx.DiGraph()
    graph.add_nodes_from([at, to])
    for link, ticks in weights.items():
        graph.add_edge(link.a, link.b, weight=ticks, capacity=1)
        graph.add_edge(link.b, link.a, weight=ticks, capacity=1)
    graph.nodes[at]["demand"], graph.nodes[to]["demand"] = -count, count
    try:
        return int(networkx.min_cost_flow_cost(graph))
    except networkx.NetworkXUnfeasible:
        return None


@pytest.mark.parametrize("seed", range(80))
def test_ways_are_the_lightest_and_cuts_the_smallest(seed: int) -> None:
    count, weights = random_links(seed)
    random = np.random.default_rng(seed + 500)
    dead = frozenset(link for link in weights if random.random() < 0.1)
    alive = {link: ticks for link, ticks in weights.items() if link not in dead}
    at, to = random.choice(count, 2, replace=False).tolist()
    edges = edges_of(weights)
    for wanted in range(1, 6):
        found = disjoint_ways(edges, NodeId(at), NodeId(to), dead, wanted)
        check_ways(found, weights, at, to, dead)
        if len(found.ways):
            assert sum(way.ticks for way in found.ways) == lightest(alive, at, to, len(found.ways))
        if len(found.ways) == wanted:
            assert found.cut == ()
            continue
        assert lightest(alive, at, to, len(found.ways) + 1) is None
        assert len(found.cut) == len(found.ways)
        assert set(found.cut) <= set(alive)
        graph = networkx.Graph([(link.a, link.b) for link in alive if link not in found.cut])
        graph.add_nodes_from([at, to])
        assert not networkx.has_path(graph, at, to)


@pytest.mark.parametrize("seed", range(30))
def test_one_way_is_the_one_that_hops_take(seed: int) -> None:
    count, weights = random_links(seed)
    edges = edges_of(weights)
    for at, to in itertools.permutations(map(NodeId, range(min(count, 6))), 2):
        tree = shortest_tree(edges, to, NONE)
        nodes = [at]
        while nodes[-1] != to and nodes[-1] in tree:
            nodes.append(tree[nodes[-1]][0])
        ways = disjoint_ways(edges, at, to, NONE, 1).ways
        assert [way.nodes for way in ways] == ([tuple(nodes)] if nodes[-1] == to else [])


def test_a_grid_has_four_ways_and_says_which_links_allow_no_fifth() -> None:
    routes, at, to = Routes(GRID), NodeId(0), NodeId(77)
    found = routes.disjoint(at, to, 10.0, frozenset(GRID.mesh.fibres), 4)
    assert len(found.paths) == 4
    assert (found.cut, found.reason, found.missing) == ((), "", None)
    first = routes.path(at, to, 10.0, frozenset(GRID.mesh.fibres))
    assert isinstance(first, Path)
    assert found.paths[0].delay_s >= first.delay_s
    assert routes.disjoint(at, to, 10.0, frozenset(GRID.mesh.fibres), 1).paths == (first,)
    dead = frozenset(GRID.mesh.fibres) | {
        link for link in GRID.links_of(at) if link.kind == LinkKind.RADIO or link.b == 1
    }
    fewer = routes.disjoint(at, to, 10.0, dead, 4)
    assert len(fewer.paths) == 3
    assert set(fewer.cut) == set(GRID.links_of(at)) - dead
    assert fewer.reason.startswith(
        "only 3 ways without a common link from sat-001 to sat-078: each takes sat-001 - sat-012"
    )


def test_no_way_at_all_is_explained_as_ever() -> None:
    plan = planned(world(shell(inclination_deg=10.0), stations=(SVALBARD,)))
    routes = Routes(plan)
    found = routes.disjoint(NodeId(0), plan.mesh.ground, 0.0, NONE, 2)
    assert found.paths == ()
    assert found.missing == routes.path(NodeId(0), plan.mesh.ground, 0.0, NONE)
    assert found.missing is not None
    assert found.reason == found.missing.reason


@pytest.mark.parametrize(("at", "to", "count"), [(3, 3, 2), (0, 1, 0)])
def test_questions_without_sense_are_refused(at: int, to: int, count: int) -> None:
    with pytest.raises(Bug, match="two nodes only"):
        Routes(GRID).disjoint(NodeId(at), NodeId(to), 0.0, NONE, count)
