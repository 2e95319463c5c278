"""Do the plain and the large implementation give the same trees, and networkx's distances?"""

import sys
from subprocess import run

import networkx
import numpy as np
import pytest

from perigrid.mesh.routes import Path, Routes
from perigrid.mesh.shortest import LARGE_NODES, Edges, Network, shortest_tree
from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId
from tests.mesh.worlds import planned, shell, world

Weights = dict[Link, int]


def random_links(seed: int) -> tuple[int, Weights]:
    """A sparse graph with many equal ways."""
    random = np.random.default_rng(seed)
    count = int(random.integers(2, 40))
    pairs = {tuple(sorted(pair)) for pair in random.integers(0, count, (3 * count, 2)).tolist() if pair[0] != pair[1]}
    links = sorted(Link(NodeId(a), NodeId(b), LinkKind.LASER) for a, b in pairs)
    return count, {link: int(random.integers(1, 5)) for link in links}


def edges_of(weights: Weights) -> Edges:
    """The links from both ends."""
    edges: dict[NodeId, list[tuple[NodeId, int, Link]]] = {}
    for link, ticks in weights.items():
        edges.setdefault(link.a, []).append((link.b, ticks, link))
        edges.setdefault(link.b, []).append((link.a, ticks, link))
    return edges


def network_of(count: int, weights: Weights, dead: frozenset[Link]) -> Network:
    """The links as arrays."""
    ends = np.array([(link.a, link.b) for link in weights], np.int64).reshape(-1, 2)
    return Network.without(count, tuple(weights), ends, np.array(list(weights.values()), np.int64), dead)


@pytest.mark.parametrize("seed", range(60))
def test_both_give_the_same_trees_and_networkx_the_same_distances(seed: int) -> None:
    count, weights = random_links(seed)
    random = np.random.default_rng(seed + 1000)
    dead = frozenset(link for link in weights if random.random() < 0.15)
    graph = networkx.Graph()
    graph.add_nodes_from(range(count))
    graph.add_weighted_edges_from((link.a, link.b, ticks) for link, ticks in weights.items() if link not in dead)
    network = network_of(count, weights, dead)
    for to in map(NodeId, range(count)):
        plain, large = shortest_tree(edges_of(weights), to, dead), network.tree(to)
        assert {node: large.get(NodeId(node)) for node in range(count)} == {
            node: plain.get(NodeId(node)) for node in range(count)
        }
        expected = networkx.single_source_dijkstra_path_length(graph, to)
        assert network.ticks_to(to).tolist() == [expected.get(node, np.inf) for node in range(count)]
        for node, (following, link) in plain.items():
            assert expected[node] == expected[following] + weights[link]
            nearer = [
                other for other in graph[node] if expected[other] + graph[node][other]["weight"] == expected[node]
            ]
            assert following == min(nearer)


def test_a_large_mesh_is_routed_like_a_small_one() -> None:
    planes = 26
    plan = planned(
        world(shell(planes=planes, sats_per_plane=20, inclination_deg=53.0, raan_spread_deg=360.0, topology="grid"))
    )
    assert plan.mesh.node_count >= LARGE_NODES
    large, plain = Routes(plan), Routes(plan)
    plain._large = False
    random = np.random.default_rng(3)
    for _ in range(12):
        at, to = map(NodeId, random.integers(0, plan.mesh.node_count, 2).tolist())
        dead = frozenset(plan.mesh.lasers[row] for row in random.integers(0, len(plan.mesh.lasers), 40).tolist())
        t_s = float(random.uniform(0, 3600))
        assert large.path(at, to, t_s, dead) == plain.path(at, to, t_s, dead)
        assert isinstance(large.path(at, to, t_s, dead), Path)


def test_a_small_mesh_never_imports_scipy() -> None:
    code = (
        "import sys\n"
        "from perigrid.mesh.routes import Routes\n"
        "from perigrid.units import NodeId\n"
        "from tests.mesh.worlds import planned, shell, world\n"
        "Routes(planned(world(shell()))).path(NodeId(0), NodeId(6), 0.0, frozenset())\n"
        "assert not any(name.split('.')[0] == 'scipy' for name in sys.modules)\n"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
