"""When is which link up, how far does it reach, and how fast is it?

The contact plan is what real missions upload: every planned contact, hour by hour. It is computed from the
scenario (`contacts.py`), kept in segments that all processes map (`segment.py`), and never changes during a
run; faults are an overlay that nodes learn. Asking beyond the horizon is a bug of the caller, who has to
add a segment first: to answer with the last known state would be a lie.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from perigrid.errors import Bug, ScenarioError
from perigrid.mesh.contacts import compute_segment
from perigrid.mesh.segment import PLAN_VERSION, SEGMENT_S, STEP_S, STEPS, Segment
from perigrid.mesh.topology import Link, LinkKind, Mesh
from perigrid.scenario.model import Scenario
from perigrid.sky.frames import great_circle_km
from perigrid.units import FIBRE_KM_S, LIGHT_KM_S, NodeId

__all__ = [
    "PLAN_VERSION",
    "SEGMENT_S",
    "STEP_S",
    "ContactPlan",
    "ContactReport",
    "LinkState",
    "Segment",
    "compute_segment",
    "ground_contact",
]

MAX_SEGMENTS = 24 * 366
"""A plan holds a year at most."""


class LinkState(NamedTuple):
    """A link at one moment: `rate_bps` is 0 while it is down.

    A satellite and a station that do not meet within the hour have no known range: `range_km` and `delay_s`
    are infinite, so that nothing sent by mistake ever arrives.
    """

    up: bool
    range_km: float
    rate_bps: float
    delay_s: float


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
    """One link over all segments: the times at which it changes (the first one is a rise) and its range
    samples.
    """

    __slots__ = ("edges_s", "ranges_km")

    def __init__(self, edges_s: list[float], ranges_km: list[memoryview | None]) -> None:
        self.edges_s = edges_s
        self.ranges_km = ranges_km


class _Hour:
    """A segment with its rows named by links: lasers first, then the radio pairs."""

    def __init__(self, segment: Segment, lasers: tuple[Link, ...]) -> None:
        self.segment = segment
        pairs = segment.radio_pairs.tolist()
        self.radio = [Link(NodeId(satellite), NodeId(station), LinkKind.RADIO) for satellite, station in pairs]
        self.radio_rows = {link: row for row, link in enumerate(self.radio)}
        self.links: tuple[Link, ...] = (*lasers, *self.radio)
        laser_rows = np.repeat(np.arange(len(lasers)), np.diff(segment.laser_offsets))
        radio_rows = np.repeat(np.arange(len(pairs)), np.diff(segment.radio_offsets)) + len(lasers)
        self.rows = np.concatenate([laser_rows, radio_rows])
        self.intervals = np.concatenate([segment.laser_intervals, segment.radio_intervals])
        # A contact that reaches the segment's edge has no end here, so that it still counts as up on the
        # horizon.
        self.intervals[self.intervals[:, 1] == segment.end_s, 1] = math.inf

    def rows_up_during(self, low_s: float, high_s: float) -> npt.NDArray[np.int64]:
        """Rows of the links that are up at some moment of [low_s, high_s]."""
        within = (self.intervals[:, 0] <= high_s) & (self.intervals[:, 1] > low_s)
        return np.unique(self.rows[within])

    def ranges_km(self, rows: npt.NDArray[np.int64], t_s: float) -> npt.NDArray[np.float64]:
        """Ranges of rows at t, interpolated."""
        step = min(int((t_s - self.segment.start_s) / STEP_S), STEPS - 1)
        share = (t_s - self.segment.start_s) / STEP_S - step
        lasers = len(self.segment.laser_range_km)
        samples = np.concatenate(
            [
                self.segment.laser_range_km[rows[rows < lasers], step : step + 2],
                self.segment.radio_range_km[rows[rows >= lasers] - lasers, step : step + 2],
            ]
        ).astype(np.float64)
        return np.asarray(samples[:, 0] + (samples[:, 1] - samples[:, 0]) * share)

    def links_at_edge(self, column: int) -> set[Link]:
        """Links that are up at the segment's first moment (column 0) or up to its last (column 1)."""
        edge_s = (self.segment.start_s, math.inf)[column]
        rows = self.rows[self.intervals[:, column] == edge_s]
        return {self.links[row] for row in rows.tolist()}


class ContactPlan:
    """All planned contacts of a scenario up to the horizon, which grows by an hour with each segment
    added.
    """

    def __init__(self, scenario: Scenario, mesh: Mesh) -> None:
        self.mesh = mesh
        self._digest = scenario.digest()
        self._rates_bps = {
            LinkKind.LASER: scenario.lasers.rate_bps,
            LinkKind.RADIO: scenario.ground_link.rate_bps,
            LinkKind.FIBRE: scenario.backbone.rate_bps,
        }
        self._laser_rows = {link: row for row, link in enumerate(mesh.lasers)}
        self._fibres = _fibre_states(scenario, mesh)
        self._hours: list[_Hour] = []
        self._tracks: dict[Link, _Track] = {}
        self._changes_s: list[float] = []
        self._contacts_s: list[float] = []
        self._links: tuple[Link, ...] = (*mesh.lasers, *mesh.fibres)
        self._links_of: dict[NodeId, tuple[Link, ...]] = {}
        self._index_links()

    @property
    def horizon_s(self) -> float:
        """Sky time up to which the plan is known; 0 before the first segment."""
        return float(len(self._hours) * SEGMENT_S)

    @property
    def links(self) -> tuple[Link, ...]:
        """Lasers, fibres, and the radio pairs that meet within the horizon."""
        return self._links

    @property
    def changes_s(self) -> list[float]:
        """Sky times, ascending, at which any link changes; not to be modified."""
        return self._changes_s

    def links_of(self, node: NodeId) -> tuple[Link, ...]:
        """The links with that node at one end."""
        return self._links_of.get(node, ())

    def add(self, segment: Segment) -> None:
        """Lengthen the plan by its next hour; ScenarioError where the segment belongs elsewhere."""
        if segment.digest != self._digest:
            raise ScenarioError(
                f"Segment {segment.index} of the contact plan is of scenario {segment.digest[:12]}, "
                f"this run has scenario {self._digest[:12]}: remove the plan's files and compute them again."
            )
        if segment.index != len(self._hours) or segment.index >= MAX_SEGMENTS:
            raise ScenarioError(
                f"Segment {segment.index} does not continue a contact plan of {len(self._hours)} hours "
                f"(at most {MAX_SEGMENTS}): add the segments in order, starting with 0."
            )
        if len(segment.laser_range_km) != len(self.mesh.lasers):
            raise ScenarioError(
                f"Segment {segment.index} has {len(segment.laser_range_km)} lasers where the scenario has "
                f"{len(self.mesh.lasers)}: compute it again with this version of perigrid."
            )
        hour = _Hour(segment, self.mesh.lasers)
        self._changes_s.extend(self._changes_of(hour))
        self._hours.append(hour)
        self._tracks.clear()
        self._merge_contacts(segment)
        self._index_links()

    def state(self, link: Link, t_s: float) -> LinkState:
        """The link at sky time t; Bug where t is outside of [0, horizon] or there is no such link."""
        if link.kind == LinkKind.FIBRE:
            return self._fibre(link)
        track = self._tracks.get(link) or self._track(link)
        position = t_s / STEP_S
        if 0.0 <= t_s < len(track.ranges_km) * SEGMENT_S:
            hour, step = divmod(int(position), STEPS)
        else:
            hour, step = self._last_sample(t_s)
        ranges_km = track.ranges_km[hour]
        if ranges_km is None:
            return _UNKNOWN
        share = position - (hour * STEPS + step)
        near_km: float = ranges_km[step]
        range_km = near_km + (ranges_km[step + 1] - near_km) * share
        up = bisect_right(track.edges_s, t_s) % 2 == 1
        return LinkState(up, range_km, self._rates_bps[link.kind] if up else 0.0, range_km / LIGHT_KM_S)

    def next_change(self, link: Link, t_s: float) -> float:
        """The first sky time after t at which the link goes up or down; infinite where the horizon comes
        first.
        """
        if link.kind == LinkKind.FIBRE:
            self._fibre(link)
            return math.inf
        edges_s = (self._tracks.get(link) or self._track(link)).edges_s
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
        hour = self._hour(t_s)
        rows = hour.rows_up_during(t_s, t_s)
        delays_s = (hour.ranges_km(rows, t_s) / LIGHT_KM_S).tolist()
        found = [(hour.links[row], delay_s) for row, delay_s in zip(rows.tolist(), delays_s, strict=True)]
        return found + [(link, state.delay_s) for link, state in self._fibres.items()]

    def links_up_during(self, low_s: float, high_s: float) -> set[Link]:
        """All links that are up at some moment of [low_s, high_s], fibres included."""
        found = set(self._fibres)
        self.check_known(low_s)
        self.check_known(high_s)
        first, last = int(low_s // SEGMENT_S), min(int(high_s // SEGMENT_S), len(self._hours) - 1)
        for number in range(first, last + 1):
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
        if not 0.0 <= t_s <= self.horizon_s or not self._hours:
            raise Bug(
                f"The contact plan was asked about t = {t_s} s and is known from 0 to {self.horizon_s:g} s: "
                "add the segment first."
            )

    def _hour(self, t_s: float) -> _Hour:
        """The hour that a time falls into; the horizon itself belongs to the last."""
        self.check_known(t_s)
        return self._hours[min(int(t_s // SEGMENT_S), len(self._hours) - 1)]

    def _last_sample(self, t_s: float) -> tuple[int, int]:
        """Hour and step of the horizon itself; any other time that comes here is outside of the plan."""
        self.check_known(t_s)
        return len(self._hours) - 1, STEPS - 1

    def _fibre(self, link: Link) -> LinkState:
        state = self._fibres.get(link)
        if state is None:
            raise Bug(f"{tuple(link)} is not a fibre of this mesh: links come from Mesh.link_between.")
        return state

    def _track(self, link: Link) -> _Track:
        """Collect one link's contacts and samples from all segments; contacts across an edge become one."""
        if link.kind == LinkKind.LASER and link not in self._laser_rows:
            raise Bug(f"{tuple(link)} is not a laser of this mesh: links come from Mesh.link_between.")
        edges_s: list[float] = []
        ranges_km: list[memoryview | None] = []
        for hour in self._hours:
            segment = hour.segment
            if link.kind == LinkKind.LASER:
                row: int | None = self._laser_rows[link]
                offsets, intervals, samples = (
                    segment.laser_offsets,
                    segment.laser_intervals,
                    segment.laser_range_km,
                )
            else:
                row = hour.radio_rows.get(link)
                offsets, intervals, samples = (
                    segment.radio_offsets,
                    segment.radio_intervals,
                    segment.radio_range_km,
                )
            if row is None:
                ranges_km.append(None)
                continue
            ranges_km.append(memoryview(samples[row]))
            for start_s, end_s in intervals[offsets[row] : offsets[row + 1]].tolist():
                _extend(edges_s, start_s, end_s)
        if edges_s and edges_s[-1] == self.horizon_s:
            edges_s.pop()
        track = self._tracks[link] = _Track(edges_s, ranges_km)
        return track

    def _changes_of(self, hour: _Hour) -> Iterator[float]:
        """Times at which links change in the coming hour, its first moment included and its last left
        open.
        """
        before = self._hours[-1].links_at_edge(1) if self._hours else set()
        if before != hour.links_at_edge(0) and self._hours:
            yield hour.segment.start_s
        edges_s = hour.intervals.ravel()
        inside = (edges_s > hour.segment.start_s) & (edges_s < hour.segment.end_s)
        yield from np.unique(edges_s[inside]).tolist()

    def _merge_contacts(self, segment: Segment) -> None:
        for start_s, end_s in sorted(segment.radio_intervals.tolist()):
            if self._contacts_s and start_s <= self._contacts_s[-1]:
                self._contacts_s[-1] = max(self._contacts_s[-1], end_s)
            else:
                self._contacts_s += [start_s, end_s]

    def _index_links(self) -> None:
        fresh = set(self._hours[-1].radio).difference(self._links) if self._hours else set()
        self._links = (*self._links, *sorted(fresh))
        by_node: dict[NodeId, list[Link]] = {}
        for link in self._links:
            by_node.setdefault(link.a, []).append(link)
            by_node.setdefault(link.b, []).append(link)
        self._links_of = {node: tuple(links) for node, links in by_node.items()}


_UNKNOWN = LinkState(up=False, range_km=math.inf, rate_bps=0.0, delay_s=math.inf)


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
        states[link] = LinkState(True, length_km, scenario.backbone.rate_bps, length_km / FIBRE_KM_S)
    return states
