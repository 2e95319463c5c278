"""Are the ways towards many destinations the shortest, whatever was asked before?"""

import networkx
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from perigrid.errors import Bug
from perigrid.mesh.sweep import NO_STEP, Reach, Sweep

Arcs = tuple[np.ndarray, np.ndarray, np.ndarray]


def arcs_of(weights: dict[tuple[int, int], float], kind: type = float) -> Arcs:
    """Arcs as arrays."""
    ends = np.array(list(weights), np.int64).reshape(-1, 2)
    return ends[:, 0], ends[:, 1], np.array(list(weights.values()), kind).astype(np.float64)


def check(reach: Reach, arcs: Arcs, nodes: int, targets: list[int]) -> None:
    """Lengths are networkx's, and each step is the smallest of the best ones."""
    tails, heads, weights = arcs
    graph = networkx.DiGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_weighted_edges_from(zip(heads.tolist(), tails.tolist(), weights.tolist(), strict=True))
    for column, target in enumerate(targets):
        expected = networkx.single_source_dijkstra_path_length(graph, target)
        for node in range(nodes):
            assert reach.length[node, column] == expected.get(node, np.inf)
            best = [
                int(head)
                for tail, head, weight in zip(tails, heads, weights, strict=True)
                if tail == node and head in expected and node in expected and weight + expected[head] == expected[node]
            ]
            if node == target or not best:
                assert reach.step[node, column] == NO_STEP
            else:
                assert reach.step[node, column] == min(best)


GRAPHS = st.integers(1, 7).flatmap(
    lambda count: st.tuples(
        st.just(count),
        st.lists(
            st.dictionaries(
                st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda ends: ends[0] != ends[1]),
                st.integers(1, 4),
                max_size=16,
            ),
            min_size=1,
            max_size=4,
        ),
        st.lists(st.integers(0, count - 1), min_size=1, max_size=count, unique=True),
    )
)


ONE_WAY = {(0, 1): 1, (1, 0): 1, (2, 1): 1, (2, 3): 1, (2, 4): 1, (3, 0): 3, (3, 1): 1, (4, 0): 1}
"""Here one look at all arcs makes pairs shorter more often than there are pairs."""


@given(GRAPHS)
@example((5, [ONE_WAY], [0]))
@example((3, [{(1, 2): 2, (1, 0): 1, (0, 2): 1}], [2]))
@settings(max_examples=150, deadline=None)
def test_any_moments_after_each_other_give_what_networkx_gives(
    drawn: tuple[int, list[dict[tuple[int, int], int]], list[int]],
) -> None:
    nodes, moments, targets = drawn
    sweep = Sweep(nodes, np.array(targets))
    for weights in moments:
        arcs = arcs_of(weights, int)
        check(sweep.advance(*arcs), arcs, nodes, targets)


def moving_grid(moment: int, planes: int = 7, slots: int = 9) -> Arcs:
    """A closed grid of satellites with ground nodes behind them, whose weights drift and whose links come and go."""
    random = np.random.default_rng(moment // 3)
    count = planes * slots
    plane, slot = np.divmod(np.arange(count), slots)
    a = np.concatenate([np.arange(count)] * 2)
    b = np.concatenate([plane * slots + (slot + 1) % slots, (plane + 1) % planes * slots + slot])
    laser = 900 + 400 * np.sin(0.03 * moment + 0.7 * a) ** 2 + 0.1 * b
    up = random.random(len(a)) > 0.05
    a, b, laser = a[up], b[up], laser[up]
    ground = np.arange(12)
    seen, stations = np.nonzero((np.arange(count)[:, None] * 5 + moment * (ground + 1)) % 97 < 9)
    slant = 600 + 40 * np.cos(seen + 0.1 * moment)
    # Ways end at stations 0 to 7 and may pass through the others.
    down = (np.concatenate([a, b, seen]), np.concatenate([b, a, count + stations]), [laser, laser, slant])
    passing = stations >= 8
    tails = np.concatenate([down[0], count + stations[passing]])
    heads = np.concatenate([down[1], seen[passing]])
    return tails, heads, np.concatenate([*down[2], slant[passing]])


def test_lengths_have_the_bits_of_dijkstra_over_many_moments() -> None:
    nodes, targets = 7 * 9 + 12, np.array([63, 64, 66, 70, 71, 74, 3])
    sweep = Sweep(nodes, targets)
    for moment in range(40):
        tails, heads, weights = moving_grid(moment)
        reach = sweep.advance(tails, heads, weights)
        expected = dijkstra(csr_matrix((weights, (heads, tails)), shape=(nodes, nodes)), indices=targets)
        assert np.array_equal(reach.length.T, expected)
        again = Sweep(nodes, targets).advance(tails, heads, weights)
        assert np.array_equal(reach.step, again.step)


def test_answers_stay_what_they_are() -> None:
    arcs = arcs_of({(0, 1): 2.0, (1, 2): 3.0})
    sweep = Sweep(3, np.array([2]))
    first = sweep.advance(*arcs)
    sweep.advance(*arcs_of({(0, 1): 20.0, (1, 2): 30.0}))
    assert first.length[:, 0].tolist() == [5.0, 3.0, 0.0]
    assert first.step[:, 0].tolist() == [1, 2, NO_STEP]


def test_weights_of_very_different_size_are_right_too() -> None:
    weights = {(node, node + 1): 10.0 ** (node % 9 - 4) for node in range(40)}
    weights |= {(head, tail): weight for (tail, head), weight in weights.items()}
    arcs, targets = arcs_of(weights), [0, 40]
    sweep = Sweep(41, np.array(targets))
    for _ in range(3):
        check(sweep.advance(*arcs), arcs, 41, targets)


def test_no_arcs_leave_everybody_alone() -> None:
    sweep = Sweep(3, np.array([1]))
    for weights in ({}, {(0, 1): 1.0}, {}):
        reach = sweep.advance(*arcs_of(weights))
        assert reach.length[:, 0].tolist() == [1.0 if weights else np.inf, 0.0, np.inf]


@pytest.mark.parametrize("weight", [0.0, -1.0, np.inf, np.nan])
def test_weights_that_are_none_are_refused(weight: float) -> None:
    with pytest.raises(Bug, match="positive"):
        Sweep(2, np.array([0])).advance(*arcs_of({(1, 0): weight}))
