"""Which way now, and if there is none, why and until when?

Hop by hop: a node asks for the next hop towards a destination over the links that the plan has up at that
moment, minus the dead links it knows of. The way is the one with the shortest propagation delay, and of
equal ones the one with the smaller node ids, so that all nodes with the same knowledge agree and frames
never circle. Delays are taken once per `BUCKET_S`, in whole microseconds; which links are up is exact, as a
bucket ends at every planned change. A way may lead through ground stations and the ground centre: they are
nodes like any other.

Trees of shortest ways are built from the destination (Dijkstra) and kept in a bounded cache.
"""

import heapq
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from perigrid.errors import Bug
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId

BUCKET_S = 1.0
"""Delays of ways are refreshed this often; a range changes by 15 km a second at most, which is 50 us of
light.
"""

TICK_S = 1e-6
"""Delays are compared in whole ticks, so that rounding errors do not decide between equal ways."""

MAX_TREES = 128
"""Trees kept; 2,800 satellites need 300 kB for one."""

MAX_SNAPSHOTS = 4
"""Moments whose links and delays are kept."""

MAX_ANSWERS = 4096
"""Answers "no path" kept."""

LINKS_SHOWN = 6
"""A reason names at most this many links."""

Tree = dict[NodeId, tuple[NodeId, Link]]
"""For every node that reaches the destination: the next node and the link to it."""

_Edges = dict[NodeId, list[tuple[NodeId, int, Link]]]
_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Hop:
    """The next step: over `link` to `node`, `delay_s` of light away at the time asked about."""

    link: Link
    node: NodeId
    delay_s: float


@dataclass(frozen=True, slots=True)
class Path:
    """A whole way: its nodes from start to end, the links between them, and the light delay over all."""

    nodes: tuple[NodeId, ...]
    links: tuple[Link, ...]
    delay_s: float


@dataclass(frozen=True, slots=True)
class NoPath:
    """Why there is no way, in words, and when the plan says that there will be one with the same dead links.

    `until_s` is None where the horizon comes first. `blocked_by` are the dead links that would open a way
    now.
    """

    reason: str
    until_s: float | None
    blocked_by: tuple[Link, ...]


class Routes:
    """Ways over one contact plan. Not shared between threads."""

    def __init__(self, plan: ContactPlan) -> None:
        self._plan = plan
        self._trees: OrderedDict[Hashable, Tree] = OrderedDict()
        self._snapshots: OrderedDict[Hashable, _Edges] = OrderedDict()
        self._refusals: OrderedDict[Hashable, NoPath] = OrderedDict()

    def next_hop(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link]) -> Hop | NoPath:
        """The next step from `at` towards `to` at sky time t; Bug where t is beyond the plan or `at` is
        `to`.
        """
        if at == to:
            raise Bug(f"Node {at} asked for the next hop to itself: what has arrived is not to be sent on.")
        step = self._tree(to, t_s, dead).get(at)
        if step is None:
            return self._no_path(at, to, t_s, dead)
        node, link = step
        return Hop(link, node, self._plan.state(link, t_s).delay_s)

    def path(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link]) -> Path | NoPath:
        """The whole way from `at` to `to` at sky time t, as if nothing moved meanwhile; Bug where t is beyond
        the plan.
        """
        tree = self._tree(to, t_s, dead)
        if at != to and at not in tree:
            return self._no_path(at, to, t_s, dead)
        nodes, links = [at], []
        while nodes[-1] != to:
            node, link = tree[nodes[-1]]
            nodes.append(node)
            links.append(link)
        return Path(tuple(nodes), tuple(links), sum(self._plan.state(link, t_s).delay_s for link in links))

    def _moment(self, t_s: float) -> tuple[float, int]:
        """Names a stretch of time without planned change, no longer than a bucket, and the time its delays
        are for.
        """
        changes_s = self._plan.changes_s
        number = bisect_right(changes_s, t_s)
        bucket_s = t_s // BUCKET_S * BUCKET_S
        return max(bucket_s, changes_s[number - 1]) if number else bucket_s, number

    def _tree(self, to: NodeId, t_s: float, dead: frozenset[Link]) -> Tree:
        self._plan.check_known(t_s)
        moment = self._moment(t_s)
        edges = _cached(self._snapshots, moment, MAX_SNAPSHOTS, lambda: self._edges(moment[0]))
        return _cached(self._trees, (to, moment, dead), MAX_TREES, lambda: shortest_tree(edges, to, dead))

    def _edges(self, t_s: float) -> _Edges:
        """Links that are up, from both ends, with their weight in ticks."""
        edges: _Edges = {}
        for link, delay_s in self._plan.links_up(t_s):
            # One tick more for every hop: of equal ways the one with fewer hops, and no link that costs
            # nothing.
            ticks = round(delay_s / TICK_S) + 1
            edges.setdefault(link.a, []).append((link.b, ticks, link))
            edges.setdefault(link.b, []).append((link.a, ticks, link))
        return edges

    def _no_path(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link]) -> NoPath:
        key = (at, to, self._moment(t_s)[1], dead, self._plan.horizon_s)
        return _cached(self._refusals, key, MAX_ANSWERS, lambda: self._explain(at, to, t_s, dead))

    def _explain(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link]) -> NoPath:
        up = {link for link, _ in self._plan.links_up(t_s)}
        until_s = self._opens_s(at, to, t_s, dead)
        if to in reachable(at, up):
            blocked_by = self._frontier(at, to, up, dead)
            return NoPath(self._cut_reason(blocked_by), until_s, blocked_by)
        return NoPath(self._planned_reason(at, to, up, until_s), until_s, ())

    def _frontier(self, at: NodeId, to: NodeId, up: set[Link], dead: frozenset[Link]) -> tuple[Link, ...]:
        """The dead links around what `at` or `to` reaches, whichever are fewer: reviving some of them opens a
        way.
        """
        sides = []
        for end in (at, to):
            inside = reachable(end, up - dead)
            sides.append(tuple(sorted(link for link in up & dead if (link.a in inside) != (link.b in inside))))
        return min(sides, key=len)

    def _cut_reason(self, links: tuple[Link, ...]) -> str:
        names = [self._plan.mesh.label(link) for link in links[:LINKS_SHOWN]]
        more = f" and {len(links) - LINKS_SHOWN} more" if len(links) > LINKS_SHOWN else ""
        quantity = {1: "", 2: "both "}.get(len(links), "all ")
        return f"{quantity}cut: {', '.join(names)}{more}"

    def _planned_reason(self, at: NodeId, to: NodeId, up: set[Link], until_s: float | None) -> str:
        mesh = self._plan.mesh
        horizon = f"the plan's horizon at t = {self._plan.horizon_s:.0f} s"
        when = horizon if until_s is None else f"t = {until_s:.1f} s"
        meets_ground = mesh.is_satellite(at) != mesh.is_satellite(to)
        if meets_ground and not any(link.kind == LinkKind.RADIO for link in up):
            return f"no station sees a satellite before {when}"
        if meets_ground:
            satellite = at if mesh.is_satellite(at) else to
            return f"no station sees {mesh.name_of(satellite)} or a satellite that it reaches before {when}"
        return f"no planned links join {mesh.name_of(at)} and {mesh.name_of(to)} before {when}"

    def _opens_s(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link]) -> float | None:
        """The earliest planned change after t at which a way exists, by halving.

        If even all links that are up at any moment of a stretch do not join the two, no moment of it does,
        and the stretch is skipped whole; so only a few of thousands of changes are looked at.
        """
        changes_s = self._plan.changes_s
        stretches = [(bisect_right(changes_s, t_s), len(changes_s))]
        while stretches:
            low, high = stretches.pop()
            if low >= high:
                continue
            links = self._plan.links_up_during(changes_s[low], changes_s[high - 1]) - dead
            if to not in reachable(at, links):
                continue
            if high - low == 1:
                return changes_s[low]
            middle = (low + high) // 2
            stretches += [(middle, high), (low, middle)]
        return None


def shortest_tree(edges: _Edges, to: NodeId, dead: frozenset[Link]) -> Tree:
    """Dijkstra from the destination; of equally short steps the one to the smaller node id is kept."""
    ticks_to: dict[NodeId, int] = {to: 0}
    tree: Tree = {}
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


def reachable(start: NodeId, links: Iterable[Link]) -> set[NodeId]:
    """All nodes that the links join to `start`, itself included."""
    partners: dict[NodeId, list[NodeId]] = {}
    for link in links:
        partners.setdefault(link.a, []).append(link.b)
        partners.setdefault(link.b, []).append(link.a)
    found, border = {start}, [start]
    while border:
        for node in partners.get(border.pop(), ()):
            if node not in found:
                found.add(node)
                border.append(node)
    return found


def _cached(cache: OrderedDict[Hashable, _Answer], key: Hashable, bound: int, make: Callable[[], _Answer]) -> _Answer:
    """The value of that key, made if missing; the one longest unused makes room."""
    value = cache.get(key)
    if value is None:
        value = cache[key] = make()
        if len(cache) > bound:
            cache.popitem(last=False)
    else:
        cache.move_to_end(key)
    return value
