"""When does a link fail that the plan has up, by no one's doing?

Laser terminals lose each other: pointing is disturbed, and the link is gone until it has been acquired again.
Clouds close optical ground stations. Neither can be planned, so neither is in the contact plan: what is lost is lost
without warning, and nodes learn of it as they learn of any fault. Both are drawn from the scenario's seed, so that
one scenario always has the same bad moments.

Lasers. A terminal is out `acquisitions_per_day` times a day on average, for so long that it holds its link for the
share `availability` of the time, acquisition included: with 99 % and 29.6 a day, 29 s. The share `burst_share` of its
outages comes in bursts that strike all terminals of a satellite together, `BURST_OUTAGES` on average at intervals of
about `BURST_GAP_S`; the others come singly, at any time. Durations are exponential. How outages cluster is
unpublished: both constants are assumed. A link has a terminal at either end and is up while both are. Far below 99 %
outages overlap, and a terminal holds a little more than it was asked to (90 % become 90.5 %).

Optical stations. Open and closed times are exponential (an alternating renewal process), `closure_s` long on average
when closed. Real clouds last longer and come in seasons; neighbouring stations share their weather, which is left out.

Times are sky time, so a sky that turns faster does not fail more often.
"""

from bisect import bisect_right

import numpy as np

from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Scenario
from perigrid.units import NodeId

DAY_S = 86_400.0
"""Outages of lasers are drawn by the day, so that any day can be had without those before it."""

BURST_OUTAGES = 5.0
"""Outages of one terminal in a burst, on average; assumed."""

BURST_GAP_S = 60.0
"""Time between the outages of a burst, on average; assumed."""

MAX_DAYS_KEPT = 4096
"""Days of single satellites, and of single links, that are remembered; the one made longest ago makes room."""

_LASER, _WEATHER = 1, 2
"""Streams of the seed."""


class Outages:
    """The unplanned outages of a scenario's links. Not shared between threads."""

    def __init__(self, scenario: Scenario, mesh: Mesh) -> None:
        self._mesh = mesh
        self._seed = scenario.seed
        lasers = scenario.lasers
        self._a_day = lasers.acquisitions_per_day if lasers.availability < 1.0 else 0.0
        self._burst_share = lasers.burst_share
        lost_s = DAY_S * (1.0 - lasers.availability) / lasers.acquisitions_per_day
        # An outage ends when the link is acquired again, which whoever lost it does by itself.
        self._dark_s = max(0.0, lost_s - lasers.acquire_s)
        self._acquire_s = lasers.acquire_s
        self._terminals = max(
            mesh.terminals, max((len(mesh.laser_neighbours(n)) for n in mesh.satellite_ids), default=0)
        )
        self._stations = {
            node: station
            for node, station in zip(mesh.station_ids, scenario.stations, strict=True)
            if station.kind == "optical" and station.availability < 1.0
        }
        self._days: dict[tuple[NodeId, int], list[list[tuple[float, float]]]] = {}
        self._closures: dict[NodeId, _Closures] = {}
        self._links: dict[tuple[Link, int], list[float]] = {}

    def __bool__(self) -> bool:
        """Whether any link can fail unplanned."""
        return self._a_day > 0.0 or bool(self._stations)

    def is_out(self, link: Link, t_s: float) -> bool:
        """Whether the link carries no light at sky time t, whatever the plan says."""
        return bisect_right(self._edges_s(link, t_s), t_s) % 2 == 1

    def next_change_s(self, link: Link, t_s: float) -> float:
        """The first sky time after t at which an outage begins or ends, at most two days on; else infinite."""
        for later_s in (t_s, t_s + DAY_S):
            edges_s = self._edges_s(link, later_s)
            index = bisect_right(edges_s, t_s)
            if index < len(edges_s):
                return edges_s[index]
        return np.inf if not self._can_fail(link) else t_s + DAY_S

    def of_terminal(self, satellite: NodeId, terminal: int, day: int) -> list[tuple[float, float]]:
        """When a terminal is dark, in sky time: the outages that begin on that day, in order, apart."""
        return self._day(satellite, day)[terminal % self._terminals]

    def _can_fail(self, link: Link) -> bool:
        return (link.kind == LinkKind.LASER and self._a_day > 0.0) or link.b in self._stations

    def _edges_s(self, link: Link, t_s: float) -> list[float]:
        """Starts and ends of outages, in turn, around t: at least to the end of its day."""
        if link.kind == LinkKind.RADIO and link.b in self._stations:
            closures = self._closures.get(link.b)
            if closures is None:
                station = self._stations[link.b]
                closures = self._closures[link.b] = _Closures(
                    [self._seed, _WEATHER, link.b], station.availability, station.closure_s
                )
            return closures.until(t_s + DAY_S)
        if link.kind != LinkKind.LASER or self._a_day <= 0.0:
            return []
        day = int(t_s // DAY_S)
        edges_s = self._links.get((link, day))
        if edges_s is None:
            if len(self._links) >= MAX_DAYS_KEPT:
                del self._links[next(iter(self._links))]
            edges_s = self._links[link, day] = self._edges_of_day(link, day)
        return edges_s

    def _edges_of_day(self, link: Link, day: int) -> list[float]:
        spans: list[tuple[float, float]] = []
        for satellite, partner in ((link.a, link.b), (link.b, link.a)):
            terminal = self._terminal(satellite, partner)
            for number in (day - 1, day):
                spans += self.of_terminal(satellite, terminal, number)
        return [edge_s for span in merged(spans) for edge_s in span]

    def _terminal(self, satellite: NodeId, partner: NodeId) -> int:
        """Which of its terminals a satellite points at a partner; one that roams uses the same for the same."""
        neighbours = self._mesh.laser_neighbours(satellite)
        return neighbours.index(partner) if partner in neighbours else partner % self._terminals

    def _day(self, satellite: NodeId, day: int) -> list[list[tuple[float, float]]]:
        found = self._days.get((satellite, day))
        if found is None:
            if len(self._days) >= MAX_DAYS_KEPT:
                del self._days[next(iter(self._days))]
            found = self._days[satellite, day] = self._drawn(satellite, day)
        return found

    def _drawn(self, satellite: NodeId, day: int) -> list[list[tuple[float, float]]]:
        """The outages of all terminals of a satellite that begin on one day."""
        # The day before the epoch has a part in it too: what began then may last.
        draw = np.random.default_rng([self._seed, _LASER, satellite, day + 1])
        bursts_s = draw.uniform(0.0, DAY_S, draw.poisson(self._a_day * self._burst_share / BURST_OUTAGES))
        terminals = []
        for _ in range(self._terminals):
            singles_s = draw.uniform(0.0, DAY_S, draw.poisson(self._a_day * (1.0 - self._burst_share)))
            spans = [(start_s, start_s + draw.exponential(self._dark_s)) for start_s in singles_s.tolist()]
            for start_s in bursts_s.tolist():
                for _ in range(draw.poisson(BURST_OUTAGES)):
                    start_s += draw.exponential(BURST_GAP_S)
                    end_s = start_s + draw.exponential(self._dark_s)
                    spans.append((start_s, end_s))
                    # The next one can come once the link has been acquired again.
                    start_s = end_s + self._acquire_s
            terminals.append([(day * DAY_S + start_s, day * DAY_S + end_s) for start_s, end_s in merged(spans)])
        return terminals


class _Closures:
    """When clouds close one station: drawn in order from the epoch on, as far as anyone has asked."""

    def __init__(self, seed: list[int], availability: float, closure_s: float) -> None:
        self._draw = np.random.default_rng(seed)
        self._mean_s = (closure_s * availability / (1.0 - availability), closure_s)
        self._edges_s: list[float] = []
        self._drawn_s = 0.0
        # Exponential times have no memory, so the state at the epoch is all that has to be drawn first.
        self._closed = bool(self._draw.uniform() >= availability)
        if self._closed:
            self._edges_s.append(0.0)

    def until(self, t_s: float) -> list[float]:
        while self._drawn_s <= t_s:
            self._drawn_s += self._draw.exponential(self._mean_s[self._closed])
            self._edges_s.append(self._drawn_s)
            self._closed = not self._closed
        return self._edges_s


def merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans in order, those that touch joined."""
    found: list[tuple[float, float]] = []
    for start_s, end_s in sorted(spans):
        if found and start_s <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end_s))
        else:
            found.append((start_s, end_s))
    return found
