"""How far is one node from all others, and which is everybody's next step towards it?

Weights are whole ticks, so that sums are exact and equal ways are equal. Of equal ways the one whose next node has
the smaller id is taken, by everybody alike: frames that follow such trees hop by hop never circle, as every hop
brings them nearer by at least one tick.

Two implementations give the same trees, `shortest_tree` in plain Python and `Network` with scipy's Dijkstra. A small
mesh is done with the first before the second has looked at its arguments, and never imports scipy (160 ms, 35 MB);
from `LARGE_NODES` on the second is several times faster. What was measured stands in docs/decisions/0011.
"""

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from perigrid.mesh.topology import Link
from perigrid.units import NodeId

LARGE_NODES = 512
"""Meshes of so many nodes take scipy; below it, plain Python is as fast and needs nothing."""

Step = tuple[NodeId, Link]
"""The next node and the link to it."""

Edges = Mapping[NodeId, list[tuple[NodeId, int, Link]]]
"""What each node is linked to: the other end, the weight in ticks, the link."""


class Tree(Protocol):
    """Next steps towards one destination."""

    def get(self, node: NodeId, /) -> Step | None:
        """The step that a node takes; None at the destination and where there is no way."""


def preload(node_count: int) -> None:
    """Import what a mesh of so many nodes will need, for a process whose forks are to share it."""
    if node_count >= LARGE_NODES:
        import scipy.sparse.csgraph  # noqa: F401


def shortest_tree(edges: Edges, to: NodeId, dead: frozenset[Link]) -> dict[NodeId, Step]:
    """Dijkstra (Numerische Mathematik 1, 1959) from the destination; of equal steps the one to the smaller id.

    Has an entry for every node that reaches the destination, but for itself.
    """
    ticks_to: dict[NodeId, int] = {to: 0}
    tree: dict[NodeId, Step] = {}
    settled: set[NodeId] = set()
    heap: list[tuple[int, NodeId]] = [(0, to)]
    while heap:
        ticks, node = heapq.heappop(heap)
        if node in settled:
            continue
        settled.add(node)
        for other, weight, link in edges.get(node, ()):
            if other in settled or link in dead:
                continue
            known, found = ticks_to.get(other), ticks + weight
            if known is None or found < known:
                ticks_to[other] = found
                tree[other] = (node, link)
                heapq.heappush(heap, (found, other))
            elif found == known and node < tree[other][0]:
                tree[other] = (node, link)
    return tree


class Network:
    """Links with whole weights as arrays, for many trees over the same links."""

    def __init__(
        self, node_count: int, links: tuple[Link, ...], ends: npt.NDArray[np.int64], ticks: npt.NDArray[np.int64]
    ) -> None:
        """Takes E links with their `ends` [E, 2] and weights `ticks` [E]; no two join the same nodes."""
        # Rows of neighbours in ascending order, so that the first that fits is the one with the smallest id.
        tails, heads = np.concatenate([ends[:, 0], ends[:, 1]]), np.concatenate([ends[:, 1], ends[:, 0]])
        order = np.argsort(tails * node_count + heads)
        self._node_count = node_count
        self._links = links
        self._rows = order % max(1, len(links))
        self._heads = heads[order]
        self._ticks = ticks[self._rows].astype(np.float64)
        self._first = np.concatenate([[0], np.cumsum(np.bincount(tails, minlength=node_count))])
        self._matrix: Any = None

    @classmethod
    def without(
        cls,
        node_count: int,
        links: tuple[Link, ...],
        ends: npt.NDArray[np.int64],
        ticks: npt.NDArray[np.int64],
        dead: Iterable[Link],
    ) -> "Network":
        """The same without some links."""
        gone = {(link.a, link.b) for link in dead}
        if not gone:
            return cls(node_count, links, ends, ticks)
        keys = np.array([a * node_count + b for a, b in gone])
        kept = np.flatnonzero(~np.isin(ends[:, 0] * node_count + ends[:, 1], keys))
        return cls(node_count, tuple([links[row] for row in kept.tolist()]), ends[kept], ticks[kept])

    def ticks_to(self, to: NodeId) -> npt.NDArray[np.float64]:
        """Whole ticks [N] from every node to one; infinite where there is no way."""
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import dijkstra

        if self._matrix is None:
            shape = (self._node_count, self._node_count)
            self._matrix = csr_matrix((self._ticks, self._heads, self._first), shape=shape)
        return np.asarray(dijkstra(self._matrix, indices=to))

    def tree(self, to: NodeId) -> "LargeTree":
        """Next steps towards one node."""
        return LargeTree(self, self.ticks_to(to), {})

    def step(self, node: NodeId, ticks_to: npt.NDArray[np.float64]) -> Step | None:
        """The step of one node where `ticks_to` [N] are everybody's ticks to the destination."""
        own = ticks_to[node]
        if not 0.0 < own < np.inf:
            return None
        row = slice(self._first[node], self._first[node + 1])
        heads = self._heads[row]
        place = int((self._ticks[row] + ticks_to[heads] == own).argmax())
        return NodeId(int(heads[place])), self._links[self._rows[row][place]]


@dataclass(frozen=True, slots=True, eq=False)
class LargeTree:
    """A tree of which only the distances are kept; steps are found when they are asked for, and remembered."""

    network: Network
    ticks: npt.NDArray[np.float64]
    steps: dict[NodeId, Step | None]

    def get(self, node: NodeId, /) -> Step | None:
        """The step that a node takes; None at the destination and where there is no way."""
        try:
            return self.steps[node]
        except KeyError:
            found = self.steps[node] = self.network.step(node, self.ticks)
            return found
