"""When is which link up, how far does it reach, and how fast is it?

The contact plan is what real missions upload: every planned contact, hour by hour. It is computed from the
scenario (`planning/contacts.py`), kept in segments that all processes map (`segment.py`), and never changes during a
run; faults are an overlay that nodes learn. Asking beyond the horizon is a bug of the caller, who has to
add a segment first: to answer with the last known state would be a lie.
"""

import math
import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perigrid.errors import Bug, ScenarioError
from perigrid.mesh.hour import Contacts, Hour, joined
from perigrid.mesh.planning.contacts import compute_segment
from perigrid.mesh.rates import Rates, rate_at_bps
from perigrid.mesh.segment import KNOT_S, PLAN_VERSION, SEGMENT_S, STEPS, Segment, segment_start_s
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Scenario
from perigrid.sky.frames import great_circle_km
from perigrid.units import FIBRE_KM_S, LIGHT_KM_S, NodeId

__all__ = [
    "PLAN_VERSION",
    "SEGMENT_S",
    "ContactPlan",
    "ContactReport",
    "Contacts",
    "Edges",
    "LinkState",
    "Segment",
    "States",
    "compute_segment",
    "ground_contact",
]

_four_knots = struct.Struct("<4f").unpack_from
_new_state = tuple.__new__
"""Makes a named tuple without its constructor, in a third of the time."""

MAX_SEGMENTS = 24 * 366
"""A plan holds a year at most."""


class LinkState(NamedTuple):
    """A link at one moment: `rate_bps` from `a` to `b` and `back_bps` from `b` to `a`, both 0 while it is down.

    Between a satellite (`a`) and a station (`b`) that is the downlink's and the uplink's rate. Two nodes that do
    not meet within the hour have no known range: `range_km` and `delay_s` are infinite, so that nothing sent by
    mistake ever arrives.
    """

    up: bool
    range_km: float
    rate_bps: float
    delay_s: float
    back_bps: float

    def seen_from(self, link: Link, node: NodeId) -> "LinkState":
        """The same with `rate_bps` as the rate of what `node` sends, and `back_bps` of what it receives."""
        return self if node == link.a else self._replace(rate_bps=self.back_bps, back_bps=self.rate_bps)


@dataclass(frozen=True, slots=True, eq=False)
class States:
    """K links at K moments: `up` [K], `range_km` [K], `rate_bps` and `back_bps` [K], as in `LinkState`."""

    up: npt.NDArray[np.bool_]
    range_km: npt.NDArray[np.float64]
    rate_bps: npt.NDArray[np.float64]
    back_bps: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Edges:
    """The E links that are up at one moment: `links`, their `ends` [E, 2] and `delay_s` [E]."""

    links: tuple[Link, ...]
    ends: npt.NDArray[np.int64]
    delay_s: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ContactReport:
    """Whether any satellite and any station are in radio contact.

    In contact, `until_s` is when the last overlapping contact ends; out of it, `next_s` is when the next
    one starts. Either is None where the plan's `horizon_s` comes first. All are sky times.
    """

    now: bool
    until_s: float | None
    next_s: float | None
    horizon_s: float


class _Track:
    """One link over all segments: the times at which it changes (the first one is a rise), its knots, and its rates
    there and back up to a range.
    """

    __slots__ = ("back_bps", "edges_s", "full_rate_km", "knots_km2", "rate_bps")

    def __init__(
        self, edges_s: list[float], knots_km2: list[memoryview | None], rates: tuple[float, float, float]
    ) -> None:
        self.edges_s = edges_s
        self.knots_km2 = knots_km2
        self.rate_bps, self.back_bps, self.full_rate_km = rates


class ContactPlan:
    """All planned contacts of a scenario from hour `first` (0 starts at the epoch) up to the horizon, which grows by an
    hour with each segment added.
    """

    def __init__(self, scenario: Scenario, mesh: Mesh, first: int = 0) -> None:
        self.mesh = mesh
        self._digest = scenario.digest()
        self._orbit_rate = scenario.clock.orbit_rate
        self._first = first
        self.start_s = segment_start_s(first, self._orbit_rate)
        """Sky time from which on the plan is known."""
        self._segment_s = SEGMENT_S / scenario.clock.orbit_rate
        self._knot_s = KNOT_S / scenario.clock.orbit_rate
        self._rates = Rates(scenario, mesh)
        self._fibres = _fibre_states(scenario, mesh)
        self._hours: list[Hour] = []
        self._tracks: dict[Link, _Track] = {}
        self._changes_s: list[float] = []
        self._contacts_s: list[float] = []
        self._links: tuple[Link, ...] = (*mesh.lasers, *mesh.fibres)
        self._links_of: dict[NodeId, tuple[Link, ...]] = {}
        self._index_links()

    @property
    def horizon_s(self) -> float:
        """Sky time up to which the plan is known; that of its start before the first segment."""
        return segment_start_s(self.segment_count, self._orbit_rate)

    @property
    def segment_count(self) -> int:
        """Segments from the epoch to the horizon; the next one to add has this index."""
        return self._first + len(self._hours)

    @property
    def segment_s(self) -> float:
        """Length of a segment, seconds of sky time."""
        return self._segment_s

    @property
    def links(self) -> tuple[Link, ...]:
        """Lasers, fibres, and the radio pairs that meet within the horizon."""
        return self._links

    @property
    def changes_s(self) -> list[float]:
        """Sky times, ascending, at which any link changes; not to be modified."""
        return self._changes_s

    def starts_s(self, number: int) -> float:
        """Sky time at which a segment starts; its number times `segment_s` may be a bit off, and beyond the horizon."""
        return segment_start_s(number, self._orbit_rate)

    def number_of(self, t_s: float) -> int:
        """Number of the segment that a sky time falls into; the horizon belongs to the last. Bug beyond the plan."""
        self.check_known(t_s)
        return self._first + self._number(t_s)

    def links_of(self, node: NodeId) -> tuple[Link, ...]:
        """The links with that node at one end."""
        return self._links_of.get(node, ())

    def last_segment(self) -> Segment | None:
        """The segment that was added last."""
        return self._hours[-1].segment if self._hours else None

    def add(self, segment: Segment) -> None:
        """Lengthen the plan by its next hour; ScenarioError where the segment belongs elsewhere."""
        if segment.digest != self._digest:
            raise ScenarioError(
                f"Segment {segment.index} of the contact plan is of scenario {segment.digest[:12]}, "
                f"this run has scenario {self._digest[:12]}: remove the plan's files and compute them again."
            )
        if segment.index != self.segment_count or segment.index >= MAX_SEGMENTS:
            raise ScenarioError(
                f"Segment {segment.index} does not continue a contact plan of {self.segment_count} hours "
                f"(at most {MAX_SEGMENTS}): add the segments in order, starting with {self._first}."
            )
        hour = Hour(segment)
        self._changes_s.extend(self._changes_of(hour))
        self._hours.append(hour)
        self._tracks.clear()
        self._merge_contacts(segment)
        self._index_links()

    def state(self, link: Link, t_s: float) -> LinkState:
        """The link at sky time t; Bug where t is outside of [0, horizon] or there is no such link."""
        # Nodes ask this several times for every frame, so it is written out: `states` says the same of many links.
        if link.kind is LinkKind.FIBRE:
            return self._fibre(link)
        track = self._tracks.get(link) or self._track(link)
        position = (t_s - self.start_s) / self._knot_s
        if 0.0 <= position < len(track.knots_km2) * STEPS:
            index = int(position)
            hour, step = divmod(index, STEPS)
        else:
            hour, step = self._last_knot(t_s)
            index = hour * STEPS + step
        knots_km2 = track.knots_km2[hour]
        if knots_km2 is None:
            return _UNKNOWN
        u = position - index
        before, here, after, later = _four_knots(knots_km2, 4 * step)
        bend, twist = (before - 2 * here + after) / 2, (later - before + 3 * (here - after)) / 6
        squared_km2 = here + u * (after - here + (u - 1) * (bend + (u + 1) * twist))
        range_km = math.sqrt(squared_km2) if squared_km2 > 0.0 else 0.0
        if not bisect_right(track.edges_s, t_s) & 1:
            return _new_state(LinkState, (False, range_km, 0.0, range_km / LIGHT_KM_S, 0.0))
        rate_bps, back_bps = track.rate_bps, track.back_bps
        if range_km > track.full_rate_km:
            falls = (track.full_rate_km / range_km) ** 2
            rate_bps, back_bps = rate_bps * falls, back_bps * falls
        return _new_state(LinkState, (True, range_km, rate_bps, range_km / LIGHT_KM_S, back_bps))

    def states(self, ends: npt.NDArray[np.int64], t_s: npt.NDArray[np.float64]) -> States:
        """Lasers and ground links between nodes [K, 2], the smaller id first, each at its own sky time [K].

        Links that do not meet within the hour are down and infinitely long. Bug for a time beyond the plan.
        """
        if len(t_s):
            self.check_known(float(t_s.min()))
            self.check_known(float(t_s.max()))
        up = np.zeros(len(t_s), np.bool_)
        range_km = np.full(len(t_s), np.inf)
        starts_s = np.array([hour.start_s for hour in self._hours])
        numbers = np.searchsorted(starts_s, t_s, side="right") - 1
        for number in np.unique(numbers).tolist():
            hour, mine = self._hours[number], np.flatnonzero(numbers == number)
            rows = hour.rows_of(ends[mine])
            mine, rows = mine[rows >= 0], rows[rows >= 0]
            up[mine] = hour.up(rows, t_s[mine])
            range_km[mine] = hour.ranges_km(rows, t_s[mine])
        rate_bps, back_bps = self._rates.of(ends, range_km)
        return States(up, range_km, np.where(up, rate_bps, 0.0), np.where(up, back_bps, 0.0))

    def line_rate_bps(self, link: Link, sender: NodeId, t_s: float) -> float:
        """The rate at which a node sends over a link at sky time t, up or not: what leaves while it is down is lost.

        Where two nodes do not meet within the hour that is the rate at close range.
        """
        if link.kind == LinkKind.FIBRE:
            return self._fibre(link).rate_bps
        range_km = self.state(link, t_s).range_km
        there_bps, back_bps, full_rate_km = self._rates.whole(link)
        rate_bps = there_bps if sender == link.a else back_bps
        return rate_at_bps(rate_bps, full_rate_km, range_km) if math.isfinite(range_km) else rate_bps

    def acquire_s(self, link: Link) -> float:
        """What acquiring a link anew takes, seconds."""
        return self._rates.acquire_s(link)

    def delay_s(self, link: Link, t_s: float) -> float:
        """Light delay of a link at sky time t, up or not; infinite where the two do not meet within the hour.

        The same as `state` says, without looking at the link's other hours: for who asks once of each of many links.
        """
        if link.kind is LinkKind.FIBRE:
            return self._fibre(link).delay_s
        hour = self._hour(t_s)
        row = hour.row_of.get(link)
        return math.inf if row is None else hour.range_km(row, t_s) / LIGHT_KM_S

    def fades(self, link: Link) -> bool:
        """Whether the link's rate falls with its range."""
        return link.kind != LinkKind.FIBRE and math.isfinite(self._rates.whole(link)[2])

    def loss(self, link: Link) -> float:
        """The probability that a frame is lost on a link that is up."""
        return self._rates.loss(link)

    def next_change(self, link: Link, t_s: float) -> float:
        """The first sky time after t at which the link goes up or down; infinite where the horizon comes
        first.
        """
        if link.kind == LinkKind.FIBRE:
            self._fibre(link)
            return math.inf
        edges_s = self._known_track(link).edges_s
        index = bisect_right(edges_s, t_s)
        return edges_s[index] if index < len(edges_s) else math.inf

    def next_change_any(self, t_s: float) -> float:
        """The first sky time after t at which any link goes up or down; infinite where the horizon comes
        first.
        """
        index = bisect_right(self._changes_s, t_s)
        return self._changes_s[index] if index < len(self._changes_s) else math.inf

    def links_up(self, t_s: float) -> list[tuple[Link, float]]:
        """All links that are up at t, fibres included, with their delays in seconds."""
        edges = self.edges_at(t_s)
        return list(zip(edges.links, edges.delay_s.tolist(), strict=True))

    def edges_at(self, t_s: float) -> Edges:
        """All links that are up at t, fibres included, as arrays."""
        hour = self._hour(t_s)
        rows = hour.rows_up_during(t_s, t_s)
        fibres = list(self._fibres)
        ends = np.array([(link.a, link.b) for link in fibres], np.int64).reshape(-1, 2)
        delays_s = [state.delay_s for state in self._fibres.values()]
        return Edges(
            tuple([hour.links[row] for row in rows.tolist()] + fibres),
            np.concatenate([hour.ends[rows], ends]),
            np.concatenate([hour.ranges_km(rows, t_s) / LIGHT_KM_S, delays_s]),
        )

    def contacts(self, low_s: float, high_s: float) -> Contacts:
        """Contacts that overlap [low_s, high_s]; a contact that lasts over the edges of hours is one.

        Those that reach beyond the hours that the window touches are cut at their edges. Fibres are not among them.
        """
        self.check_known(low_s)
        self.check_known(high_s)
        first, last = self._number(low_s), self._number(high_s)
        return joined([hour.contacts() for hour in self._hours[first : last + 1]], low_s, high_s)

    def links_up_during(self, low_s: float, high_s: float) -> set[Link]:
        """All links that are up at some moment of [low_s, high_s], fibres included."""
        found = set(self._fibres)
        self.check_known(low_s)
        self.check_known(high_s)
        for number in range(self._number(low_s), self._number(high_s) + 1):
            hour = self._hours[number]
            found.update(hour.links[row] for row in hour.rows_up_during(low_s, high_s).tolist())
        return found

    def ground_edges(self) -> list[float]:
        """Sky times at which radio contact of anyone with the ground starts and ends, in turn, starting
        with a start.

        Overlapping contacts count as one; one that reaches the horizon has no end yet. Not to be modified.
        """
        open_end = bool(self._contacts_s) and self._contacts_s[-1] == self.horizon_s
        return self._contacts_s[:-1] if open_end else self._contacts_s

    def check_known(self, t_s: float) -> None:
        """Raise Bug for a time that the plan says nothing about."""
        if not self.start_s <= t_s <= self.horizon_s or not self._hours:
            raise Bug(
                f"The contact plan was asked about t = {t_s} s and is known from {self.start_s:g} to "
                f"{self.horizon_s:g} s: add the segment first."
            )

    def _hour(self, t_s: float) -> Hour:
        """The hour that a time falls into; the horizon itself belongs to the last."""
        self.check_known(t_s)
        return self._hours[self._number(t_s)]

    def _number(self, t_s: float) -> int:
        number = min(int((t_s - self.start_s) // self._segment_s), len(self._hours) - 1)
        # The division may be off by a bit at the very start of an hour.
        if number + 1 < len(self._hours) and t_s >= self._hours[number + 1].start_s:
            return number + 1
        return number - 1 if number and t_s < self._hours[number].start_s else number

    def _last_knot(self, t_s: float) -> tuple[int, int]:
        """Hour and step of the horizon itself; any other time that comes here is outside of the plan."""
        self.check_known(t_s)
        return len(self._hours) - 1, STEPS - 1

    def _fibre(self, link: Link) -> LinkState:
        state = self._fibres.get(link)
        if state is None:
            raise Bug(f"{tuple(link)} is not a fibre of this mesh: links come from Mesh.link_between.")
        return state

    def _known_track(self, link: Link) -> _Track:
        return self._tracks.get(link) or self._track(link)

    def _track(self, link: Link) -> _Track:
        """Collect one link's contacts and knots from all segments; contacts across an edge become one."""
        edges_s: list[float] = []
        knots_km2: list[memoryview | None] = []
        met = False
        for hour in self._hours:
            row = hour.row_of.get(link)
            if row is None:
                knots_km2.append(None)
                continue
            met = True
            segment = hour.segment
            knots_km2.append(memoryview(segment.squared_km2[row]).cast("B"))
            for start_s, end_s in segment.intervals[segment.offsets[row] : segment.offsets[row + 1]].tolist():
                _extend(edges_s, start_s, end_s)
        if not met and not self.mesh.can_be(link):
            raise Bug(f"{tuple(link)} is no link of this mesh: links come from Mesh.link_between.")
        if edges_s and edges_s[-1] == self.horizon_s:
            edges_s.pop()
        track = self._tracks[link] = _Track(edges_s, knots_km2, self._rates.whole(link))
        return track

    def _changes_of(self, hour: Hour) -> Iterator[float]:
        """Times at which links change in the coming hour, its first moment included and its last left
        open.
        """
        before = self._hours[-1].links_at_edge(1) if self._hours else set()
        if before != hour.links_at_edge(0) and self._hours:
            yield hour.start_s
        edges_s = hour.intervals.ravel()
        inside = (edges_s > hour.start_s) & (edges_s < hour.segment.end_s)
        yield from np.unique(edges_s[inside]).tolist()

    def _merge_contacts(self, segment: Segment) -> None:
        for start_s, end_s in sorted(segment.intervals[segment.offsets[segment.lasers] :].tolist()):
            if self._contacts_s and start_s <= self._contacts_s[-1]:
                self._contacts_s[-1] = max(self._contacts_s[-1], end_s)
            else:
                self._contacts_s += [start_s, end_s]

    def _index_links(self) -> None:
        fresh = set(self._hours[-1].links).difference(self._links) if self._hours else set()
        self._links = (*self._links, *sorted(fresh))
        by_node: dict[NodeId, list[Link]] = {}
        for link in self._links:
            by_node.setdefault(link.a, []).append(link)
            by_node.setdefault(link.b, []).append(link)
        self._links_of = {node: tuple(links) for node, links in by_node.items()}


_UNKNOWN = LinkState(up=False, range_km=math.inf, rate_bps=0.0, delay_s=math.inf, back_bps=0.0)


def ground_contact(plan: ContactPlan, t_s: float) -> ContactReport:
    """Whether any satellite and any station are in radio contact at t, and until or from when."""
    plan.check_known(t_s)
    edges_s = plan.ground_edges()
    index = bisect_right(edges_s, t_s)
    following_s = edges_s[index] if index < len(edges_s) else None
    now = index % 2 == 1
    return ContactReport(now, following_s if now else None, None if now else following_s, plan.horizon_s)


def _extend(edges_s: list[float], start_s: float, end_s: float) -> None:
    """Append a contact, or lengthen the last one where it ended at the same moment."""
    if edges_s and edges_s[-1] == start_s:
        edges_s[-1] = end_s
    else:
        edges_s += [start_s, end_s]


def _fibre_states(scenario: Scenario, mesh: Mesh) -> dict[Link, LinkState]:
    """The constant state of every fibre: length is the great circle times the backbone's factor."""
    places = {station.name: (station.latitude_deg, station.longitude_deg) for station in scenario.stations}
    if not places:
        return {}
    centre = places[scenario.backbone.centre_station or scenario.stations[0].name]
    states = {}
    for link in mesh.fibres:
        length_km = great_circle_km(places[mesh.name_of(link.a)], centre) * scenario.backbone.factor
        rate_bps = scenario.backbone.rate_bps
        states[link] = LinkState(True, length_km, rate_bps, length_km / FIBRE_KM_S, rate_bps)
    return states
