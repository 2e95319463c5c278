"""Which k ways have no link in common, and are together the shortest such?

Successive shortest ways over what earlier ways leave: a later way may run against an earlier one over the same link,
which takes that link out of both (Suurballe and Tarjan, Networks 14, 1984; Bhandari, Survivable Networks, 1999). With
potentials, weights stay non-negative and plain Dijkstra does (Edmonds and Karp, J. ACM 19, 1972). After j rounds the
sum of the weights is the least of any j disjoint ways. Where no further way is left, the links that lead out of what
is still reached are a smallest cut, as many as there are ways (Menger, Fundamenta Mathematicae 10, 1927).

The ways share no link; they may share a node. The search starts at the destination, so that the first way is the one
that hop-by-hop routing takes too (`shortest.py`), equal ways included.
"""

import heapq
from dataclasses import dataclass

from perigrid.mesh.shortest import Edges
from perigrid.mesh.topology import Link
from perigrid.units import NodeId

MAX_WAYS = 64
"""No node has more links than this that somebody would want ways over."""

_Flow = dict[Link, NodeId]
"""The links that the ways run over, each with the end that is nearer to the destination along the way."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way: its nodes from start to end, the links between them, and its weight."""

    nodes: tuple[NodeId, ...]
    links: tuple[Link, ...]
    ticks: int


@dataclass(frozen=True, slots=True)
class Ways:
    """Ways without a common link, lightest first; `cut` are the links that allow no more of them, if that is so."""

    ways: tuple[Way, ...]
    cut: tuple[Link, ...]


def disjoint_ways(edges: Edges, at: NodeId, to: NodeId, dead: frozenset[Link], count: int) -> Ways:
    """Up to `count` ways between two different nodes, of least weight together."""
    flow: _Flow = {}
    potential: dict[NodeId, int] = {}
    for _ in range(min(count, MAX_WAYS)):
        ticks, parents = _search(edges, at, to, dead, flow, potential)
        if at not in ticks:
            inside = ticks.keys()
            leaving = {link for node in inside for other, _, link in edges.get(node, ()) if other not in inside}
            return Ways(_unravelled(edges, at, to, flow), tuple(sorted(leaving - dead)))
        # Nodes farther away than the start keep their potential: only differences count.
        for node, distance in ticks.items():
            if distance < ticks[at]:
                potential[node] = potential.get(node, 0) + distance - ticks[at]
        _add(flow, parents, at, to)
    return Ways(_unravelled(edges, at, to, flow), ())


def _search(
    edges: Edges, at: NodeId, to: NodeId, dead: frozenset[Link], flow: _Flow, potential: dict[NodeId, int]
) -> tuple[dict[NodeId, int], dict[NodeId, tuple[NodeId, Link]]]:
    """Reduced weights from `to` to all nodes at most as far as `at`, and the steps there, over what `flow` leaves."""
    ticks = {to: 0}
    parents: dict[NodeId, tuple[NodeId, Link]] = {}
    settled: dict[NodeId, int] = {}
    heap = [(0, to)]
    while heap:
        distance, node = heapq.heappop(heap)
        if node in settled:
            continue
        settled[node] = distance
        if node == at:
            break
        height = potential.get(node, 0)
        for other, weight, link in edges.get(node, ()):
            if other in settled or link in dead:
                continue
            nearer = flow.get(link)
            if nearer == node:
                continue
            cost = weight if nearer is None else -weight
            found = distance + cost + height - potential.get(other, 0)
            known = ticks.get(other)
            if known is None or found < known:
                ticks[other], parents[other] = found, (node, link)
                heapq.heappush(heap, (found, other))
            elif found == known and node < parents[other][0]:
                parents[other] = (node, link)
    return settled, parents


def _add(flow: _Flow, parents: dict[NodeId, tuple[NodeId, Link]], at: NodeId, to: NodeId) -> None:
    """Take the found way into the flow; where it runs against an earlier one, both leave the link."""
    node = at
    while node != to:
        nearer, link = parents[node]
        if link in flow:
            del flow[link]
        else:
            flow[link] = nearer
        node = nearer


def _unravelled(edges: Edges, at: NodeId, to: NodeId, flow: _Flow) -> tuple[Way, ...]:
    """The flow as single ways, lightest first; where ways meet in a node, the smaller next id goes on first."""
    weights = {link: ticks for node in edges for _, ticks, link in edges[node] if link in flow}
    steps: dict[NodeId, list[tuple[NodeId, Link]]] = {}
    for link, nearer in flow.items():
        steps.setdefault(link.other(nearer), []).append((nearer, link))
    for choices in steps.values():
        choices.sort(reverse=True)
    ways = []
    while steps.get(at):
        nodes, links = [at], []
        while nodes[-1] != to:
            node, link = steps[nodes[-1]].pop()
            nodes.append(node)
            links.append(link)
        ways.append(Way(tuple(nodes), tuple(links), sum(weights[link] for link in links)))
    return tuple(sorted(ways, key=lambda way: (way.ticks, len(way.links), way.nodes)))
