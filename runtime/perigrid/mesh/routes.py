"""Which way now, and if there is none, why and until when?

Hop by hop: a node asks for the next hop towards a destination over the links that the plan has up at that
moment, minus the dead links it knows of. The way is the one with the shortest propagation delay, and of
equal ones the one with the smaller node ids, so that all nodes with the same knowledge agree and frames
never circle. Delays are taken once per `BUCKET_S`, in whole microseconds; which links are up is exact, as a
bucket ends at every planned change. A way may lead through ground stations and the ground centre: they are
nodes like any other.

Trees of shortest ways are built from the destination (`shortest.py`) and kept in a bounded cache. Beside the
shortest way there are k ways without a common link (`disjoint.py`), and the way that has something there first when
it may wait on board for contacts that are yet to come (`earliest.py`).
"""

import math
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from perigrid.errors import Bug
from perigrid.mesh.disjoint import MAX_WAYS, disjoint_ways
from perigrid.mesh.earliest import ContactGraph, Transfer, planned_contacts
from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.shortest import LARGE_NODES, Network, Tree, shortest_tree
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

MAX_GRAPHS = 4
"""Windows of the plan whose contacts are kept indexed for searches."""

FIRST_WINDOW_SEGMENTS = 2
"""Segments that are searched first for the earliest arrival; then twice as many, and so on to the horizon."""

LINKS_SHOWN = 6
"""A reason names at most this many links."""

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


@dataclass(frozen=True, slots=True)
class Alternatives:
    """Ways that share no link, shortest first, together of the least delay that so many can have.

    Where there are fewer than were asked for, `reason` says why and `cut` are the links of a smallest cut: as many as
    there are ways, and every way takes one of them. `missing` is the answer where there is none at all.
    """

    paths: tuple[Path, ...]
    cut: tuple[Link, ...] = ()
    reason: str = ""
    missing: NoPath | None = None


@dataclass(frozen=True, slots=True)
class Arrival:
    """When something is there that may wait for contacts on its way, and hop by hop how it gets there."""

    arrival_s: float
    transfers: tuple[Transfer, ...]


class Routes:
    """Ways over one contact plan. Not shared between threads."""

    def __init__(self, plan: ContactPlan) -> None:
        self._plan = plan
        self._large = plan.mesh.node_count >= LARGE_NODES
        self._trees: OrderedDict[Hashable, Tree] = OrderedDict()
        self._snapshots: OrderedDict[Hashable, _Edges] = OrderedDict()
        self._networks: OrderedDict[Hashable, Network] = OrderedDict()
        self._graphs: OrderedDict[Hashable, ContactGraph] = OrderedDict()
        self._openings: OrderedDict[Hashable, tuple[float, float | None]] = OrderedDict()
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
        nodes, links = [at], []
        while nodes[-1] != to:
            step = tree.get(nodes[-1])
            if step is None:
                return self._no_path(at, to, t_s, dead)
            nodes.append(step[0])
            links.append(step[1])
        return self._path(tuple(nodes), tuple(links), t_s)

    def disjoint(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link], k: int) -> Alternatives:
        """Up to k ways from `at` to `to` at sky time t that share no link; Bug where t is beyond the plan, `at` is
        `to` or k is not positive.
        """
        if at == to or k < 1:
            raise Bug(f"{k} ways from node {at} to node {to} were asked for: there are ways between two nodes only.")
        self._plan.check_known(t_s)
        found = disjoint_ways(self._snapshot(self._moment(t_s)), at, to, dead, k)
        paths = tuple(self._path(way.nodes, way.links, t_s) for way in found.ways)
        if not paths:
            missing = self._no_path(at, to, t_s, dead)
            return Alternatives((), missing.blocked_by, missing.reason, missing)
        if len(paths) >= min(k, MAX_WAYS):
            return Alternatives(paths)
        return Alternatives(paths, found.cut, self._bottleneck(at, to, len(paths), found.cut))

    def arrival(
        self, at: NodeId, to: NodeId, t_s: float, volume_bytes: float, dead: frozenset[Link]
    ) -> Arrival | NoPath:
        """When `volume_bytes` that `at` has at sky time t are whole at `to` at the earliest, waiting for contacts
        where that helps; Bug where t is beyond the plan or the volume is negative.

        The plan is searched in windows that double, so that what leaves soon is found soon.
        """
        self._plan.check_known(t_s)
        if volume_bytes < 0:
            raise Bug(f"{volume_bytes} bytes cannot be sent: a volume is not negative.")
        if at == to:
            return Arrival(t_s, ())
        first = self._plan.number_of(t_s)
        segments = min(FIRST_WINDOW_SEGMENTS, self._plan.segment_count - first)
        while True:
            graph = self._graph(first, first + segments)
            window_end_s = self._plan.starts_s(first + segments)
            found = graph.arrivals(at, t_s, volume_bytes, dead=dead, to=to)
            whole = first + segments >= self._plan.segment_count
            arrival_s = found.arrival_s.get(to)
            # Whatever leaves in a contact beyond the window is there after the window's end.
            if arrival_s is not None and (whole or arrival_s <= window_end_s):
                return Arrival(arrival_s, found.transfers(to))
            if whole:
                return self._no_arrival(graph, at, to, t_s, volume_bytes, dead)
            segments = min(2 * segments, self._plan.segment_count - first)

    def _path(self, nodes: tuple[NodeId, ...], links: tuple[Link, ...], t_s: float) -> Path:
        return Path(nodes, links, sum(self._plan.state(link, t_s).delay_s for link in links))

    def _moment(self, t_s: float) -> tuple[float, int]:
        """Names a stretch of time without planned change, no longer than a bucket, and the time its delays
        are for.
        """
        changes_s = self._plan.changes_s
        number = bisect_right(changes_s, t_s)
        bucket_s = t_s // BUCKET_S * BUCKET_S
        return max(bucket_s, changes_s[number - 1] if number else self._plan.start_s), number

    def _tree(self, to: NodeId, t_s: float, dead: frozenset[Link]) -> Tree:
        self._plan.check_known(t_s)
        moment = self._moment(t_s)
        return _cached(self._trees, (to, moment, dead), MAX_TREES, lambda: self._grown(to, moment, dead))

    def _grown(self, to: NodeId, moment: tuple[float, int], dead: frozenset[Link]) -> Tree:
        if self._large:
            make = partial(self._network, moment[0], dead)
            return _cached(self._networks, (moment, dead), MAX_SNAPSHOTS, make).tree(to)
        return shortest_tree(self._snapshot(moment), to, dead)

    def _network(self, t_s: float, dead: frozenset[Link]) -> Network:
        edges = self._plan.edges_at(t_s)
        # As in `_edges`, one tick more for every hop.
        ticks = np.rint(edges.delay_s / TICK_S).astype(np.int64) + 1
        return Network.without(self._plan.mesh.node_count, edges.links, edges.ends, ticks, dead)

    def _snapshot(self, moment: tuple[float, int]) -> _Edges:
        return _cached(self._snapshots, moment, MAX_SNAPSHOTS, lambda: self._edges(moment[0]))

    def _graph(self, first: int, last: int) -> ContactGraph:
        """The contacts of segments [first, last); a longer plan may know more of the last one's contacts."""
        make = partial(planned_contacts, self._plan, self._plan.starts_s(first), self._plan.starts_s(last))
        return _cached(self._graphs, (first, last, self._plan.horizon_s), MAX_GRAPHS, make)

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
        until_s = self._opening_s(at, to, t_s, dead)
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
        quantity = {1: "", 2: "both "}.get(len(links), "all ")
        return f"{quantity}cut: {self._listed(links)}"

    def _listed(self, links: tuple[Link, ...]) -> str:
        names = [self._plan.mesh.label(link) for link in links[:LINKS_SHOWN]]
        more = f" and {len(links) - LINKS_SHOWN} more" if len(links) > LINKS_SHOWN else ""
        return ", ".join(names) + more

    def _bottleneck(self, at: NodeId, to: NodeId, count: int, cut: tuple[Link, ...]) -> str:
        mesh = self._plan.mesh
        ways = f"{count} ways" if count > 1 else "way"
        names = self._listed(cut)
        return f"only {ways} without a common link from {mesh.name_of(at)} to {mesh.name_of(to)}: each takes {names}"

    def _no_arrival(
        self, graph: ContactGraph, at: NodeId, to: NodeId, t_s: float, volume_bytes: float, dead: frozenset[Link]
    ) -> NoPath:
        """Why nothing arrives before the horizon: contacts too short, links cut, or no contacts at all."""
        mesh = self._plan.mesh
        horizon = f"the plan's horizon at t = {self._plan.horizon_s:.0f} s"
        names = f"from {mesh.name_of(at)} to {mesh.name_of(to)}"
        got = graph.arrivals(at, t_s, volume_bytes, dead=dead).arrival_s
        if to in graph.arrivals(at, t_s, 0.0, dead=dead, to=to).arrival_s:
            room, row = max(
                (graph.room_bytes((row, sender), got[sender]), row)
                for row, link in enumerate(graph.links)
                for sender in (link.a, link.b)
                if sender in got and link.other(sender) not in got and link not in dead
            )
            link = graph.links[row]
            return NoPath(
                f"{volume_bytes:.0f} bytes fit into no sequence of contacts {names} before {horizon}: the roomiest "
                f"that is left carries {room:.0f} bytes over {mesh.label(link)}, until t = {graph.end_s[row]:.1f} s",
                None,
                (),
            )
        if dead and to in graph.arrivals(at, t_s, volume_bytes, to=to).arrival_s:
            leaving = {link for link in graph.links if link in dead and (link.a in got) != (link.b in got)}
            blocked_by = tuple(sorted(leaving))
            return NoPath(f"{self._cut_reason(blocked_by)}; nothing gets round them before {horizon}", None, blocked_by)
        return NoPath(f"no sequence of planned contacts leads {names} before {horizon}", None, ())

    def _planned_reason(self, at: NodeId, to: NodeId, up: set[Link], until_s: float | None) -> str:
        mesh = self._plan.mesh
        horizon = f"the plan's horizon at t = {self._plan.horizon_s:.0f} s"
        when = horizon if until_s is None else f"t = {until_s:.1f} s"
        meets_ground = mesh.is_satellite(at) != mesh.is_satellite(to)
        if meets_ground and not mesh.fibres:
            # Stations that are not joined on the ground have to see for themselves.
            satellite, station = (at, to) if mesh.is_satellite(at) else (to, at)
            return (
                f"{mesh.name_of(station)} sees neither {mesh.name_of(satellite)} nor a satellite that it reaches "
                f"before {when}"
            )
        if meets_ground and not any(link.kind == LinkKind.RADIO for link in up):
            return f"no station sees a satellite before {when}"
        if meets_ground:
            satellite = at if mesh.is_satellite(at) else to
            return f"no station sees {mesh.name_of(satellite)} or a satellite that it reaches before {when}"
        seen = {link.b for link in up if link.kind == LinkKind.RADIO}
        blind = [mesh.name_of(end) for end in (at, to) if mesh.is_station(end) and end not in seen]
        if blind and not mesh.fibres:
            return f"no satellite is served by {' nor by '.join(blind)} before {when}"
        return f"no planned links join {mesh.name_of(at)} and {mesh.name_of(to)} before {when}"

    def _opening_s(self, at: NodeId, to: NodeId, t_s: float, dead: frozenset[Link]) -> float | None:
        """As `_opens_s`, which is asked once for all the time until then."""
        key = (at, to, dead, self._plan.horizon_s)
        asked_s, until_s = self._openings.get(key, (math.inf, None))
        if not asked_s <= t_s < (math.inf if until_s is None else until_s):
            self._openings.pop(key, None)
            make = partial(self._opens_s, at, to, t_s, dead)
            until_s = _cached(self._openings, key, MAX_ANSWERS, lambda: (t_s, make()))[1]
        return until_s

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
