"""When is something there at the earliest, if it may wait on board for contacts that are yet to come?

Contact-graph routing (CCSDS 734.3-B-1, Schedule-Aware Bundle Routing; Araniti et al., IEEE Communications Magazine
53(3), 2015): Dijkstra over nodes by arrival time, where a hop is a contact, a stretch of time in which one node can
send to another. From a node that has the data at time t, over a contact from `start_s` to `end_s`:

    first bit out    not before t, not before the contact's start, and not before the bytes are out that are booked
                     ahead in this direction (they leave from the contact's start, or from the moment asked about)
    last bit out     when the contact's rate has carried the volume; at `end_s` at the latest, or the contact does
                     not do: what does not fit is not split over contacts
    arrival          the last bit's departure and the light delay at that moment

A node sends on what it has whole (store and forward). A later departure never arrives earlier - rates are positive and
a range shrinks by far less than light flies - so settling nodes in the order of their arrival is exact. Within one
contact the rate may change: it is known at evenly spaced moments, and between two of them the bytes flow evenly. A
contact may be a pass of minutes or a laser that stays up for a day while its range comes and goes with each orbit, so
these moments are spaced by time, `RATE_STEP_S`, and not by the contact's length.

Which booked bytes leave when is not modelled beyond their sum, as in the standard's backlog: a booking that could only
start late in a contact is counted from the contact's start.
"""

import heapq
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from perigrid.mesh.plan import SEGMENT_S, ContactPlan
from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId

Floats = npt.NDArray[np.float64]

RATE_STEP_S = 5.0
"""A contact's rate is taken at least this often, seconds of the orbits' time. It bends most where a low orbit comes
into the range of the whole rate: what flows in a second is within 2 % of what would, and over a minute within 0.1 %.
"""

MAX_CURVES = 256
"""Contacts whose bytes by time are kept; one that lasts a day needs 800 kB."""

Way = tuple[int, NodeId]
"""A contact, by its number, and who sends over it."""

Volumes = Mapping[Way, float]
"""Bytes by contact and sender."""

NOTHING: Volumes = {}


@dataclass(frozen=True, slots=True)
class Transfer:
    """One hop: over `link` from `sender` to `receiver` in contact number `contact`, which lasts until `until_s`.

    `start_s` is when the first bit leaves, `end_s` when the last one does, `arrival_s` when that one is there.
    """

    contact: int
    link: Link
    sender: NodeId
    receiver: NodeId
    start_s: float
    end_s: float
    arrival_s: float
    until_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """When everybody has it: `arrival_s` by node, the source included; nodes that never do are left out."""

    source: NodeId
    arrival_s: dict[NodeId, float]
    _hops: dict[NodeId, Transfer] = field(repr=False)

    def transfers(self, to: NodeId) -> tuple[Transfer, ...]:
        """The hops from the source to a node that is reached, in order; none for the source itself."""
        hops = []
        node = to
        while node != self.source:
            hops.append(self._hops[node])
            node = hops[-1].sender
        return tuple(reversed(hops))


class ContactGraph:
    """K contacts indexed for searches: who can send to whom, and when.

    `rates_bps` [K, 2] are the rates there (from the link's `a`) and back. Where they change within a contact, `fading`
    [K] is set and `sampled(number)` gives them [2, M] at M evenly spaced moments, its edges included; it is asked for
    the contacts that a search comes to. `delay_s(link, t_s)` is the light delay at a moment of one of the link's
    contacts. Contacts of one link do not overlap; an end may be infinite where the rate does not change.
    """

    def __init__(
        self,
        links: list[Link],
        start_s: Floats,
        end_s: Floats,
        rates_bps: Floats,
        delay_s: Callable[[Link, float], float],
        fading: npt.NDArray[np.bool_] | None = None,
        sampled: Callable[[int], Floats] | None = None,
    ) -> None:
        self.links = links
        self.start_s: list[float] = start_s.tolist()
        self.end_s: list[float] = end_s.tolist()
        self._delay_s = delay_s
        # One rate stands for a contact whose rate does not change; the others have their bytes by time.
        self._bytes_s: list[list[float]] = (rates_bps / 8).tolist()
        self._fading = [False] * len(links) if fading is None else fading.tolist()
        self._sampled = sampled
        self._curves: OrderedDict[int, tuple[_Curve, _Curve]] = OrderedDict()
        self._onward: dict[NodeId, dict[NodeId, list[int]]] = {}
        for row in np.argsort(start_s, kind="stable").tolist():
            link = links[row]
            self._onward.setdefault(link.a, {}).setdefault(link.b, []).append(row)
            self._onward.setdefault(link.b, {}).setdefault(link.a, []).append(row)

    def __len__(self) -> int:
        return len(self.links)

    def room_bytes(self, way: Way, from_s: float, booked: Volumes = NOTHING) -> float:
        """What a contact can still carry of what is there at `from_s`, besides what is booked."""
        row, sender = way
        start_s = max(from_s, self.start_s[row])
        if start_s >= self.end_s[row]:
            return 0.0
        side = int(sender != self.links[row].a)
        curve = self._curve(row, side)
        whole = (
            (self.end_s[row] - start_s) * self._bytes_s[row][side]
            if curve is None
            else curve.bytes_at(self.end_s[row]) - curve.bytes_at(start_s)
        )
        return max(0.0, whole - booked.get(way, 0.0))

    def arrivals(
        self,
        source: NodeId,
        start_s: float,
        volume_bytes: float,
        *,
        dead: frozenset[Link] = frozenset(),
        booked: Volumes = NOTHING,
        limits: Volumes = NOTHING,
        to: NodeId | None = None,
    ) -> Arrivals:
        """When every node has `volume_bytes` that the source has at `start_s`; with `to`, only as far as needed.

        `booked` are bytes that leave before, `limits` what a contact may carry in all, both by contact and sender;
        `dead` links carry nothing. Of two hops that are there at the same moment the smaller sender's is taken.
        """
        best: dict[NodeId, float] = {source: start_s}
        hops: dict[NodeId, Transfer] = {}
        settled: dict[NodeId, float] = {}
        heap = [(start_s, source)]
        while heap:
            now_s, node = heapq.heappop(heap)
            if node in settled:
                continue
            settled[node] = now_s
            if node == to:
                break
            for other, rows in self._onward.get(node, {}).items():
                if other in settled or self.links[rows[0]] in dead:
                    continue
                known_s = best.get(other, math.inf)
                for row in rows:
                    if self.start_s[row] >= known_s:
                        break
                    if self.end_s[row] <= now_s:
                        continue
                    way = (row, node)
                    ahead = booked.get(way, 0.0)
                    if way in limits and ahead + volume_bytes > limits[way]:
                        continue
                    sent = self._sent(row, node, start_s, now_s, ahead, volume_bytes)
                    if sent is None or sent[1] >= known_s:
                        continue
                    arrival_s = sent[1] + self._delay_s(self.links[row], self._inside(row, sent[1]))
                    same = arrival_s == known_s and node < hops[other].sender
                    if arrival_s < known_s or same:
                        known_s = best[other] = arrival_s
                        hops[other] = Transfer(
                            row, self.links[row], node, other, sent[0], sent[1], arrival_s, self.end_s[row]
                        )
                        heapq.heappush(heap, (arrival_s, other))
        return Arrivals(source, settled, {node: hop for node, hop in hops.items() if node in settled})

    def _sent(
        self, row: int, sender: NodeId, asked_s: float, now_s: float, ahead: float, volume: float
    ) -> tuple[float, float] | None:
        """When the first and the last bit leave; None where that is not within the contact."""
        opens_s, closes_s = self.start_s[row], self.end_s[row]
        side = int(sender != self.links[row].a)
        curve = self._curve(row, side)
        if curve is None:
            bytes_s = self._bytes_s[row][side]
            if bytes_s <= 0.0:
                return None
            begin_s = max(now_s, opens_s, max(opens_s, asked_s) + ahead / bytes_s)
            end_s = begin_s + volume / bytes_s
            return (begin_s, end_s) if end_s <= closes_s else None
        gone = max(curve.bytes_at(max(now_s, opens_s)), curve.bytes_at(max(asked_s, opens_s)) + ahead)
        begin, end = curve.time_of(gone), curve.time_of(gone + volume)
        return None if end is None or begin is None else (max(begin, now_s), end)

    def _curve(self, row: int, side: int) -> "_Curve | None":
        """The bytes by time of a contact whose rate changes; None where it does not."""
        if not self._fading[row] or self._sampled is None:
            return None
        both = self._curves.get(row)
        if both is None:
            times_s = self.start_s[row], self.end_s[row]
            there_bps, back_bps = self._sampled(row)
            both = self._curves[row] = _curve(*times_s, there_bps), _curve(*times_s, back_bps)
            if len(self._curves) > MAX_CURVES:
                self._curves.popitem(last=False)
        return both[side]

    def _inside(self, row: int, t_s: float) -> float:
        """A moment of the contact: its very end belongs to what comes after it."""
        return min(t_s, math.nextafter(self.end_s[row], -math.inf)) if math.isfinite(self.end_s[row]) else t_s


@dataclass(frozen=True, slots=True, eq=False)
class _Curve:
    """Bytes that a contact can have sent by when, straight between its moments."""

    times_s: Floats
    sums: Floats

    def bytes_at(self, t_s: float) -> float:
        """Bytes up to a moment of the contact."""
        return _between(self.times_s, self.sums, t_s)

    def time_of(self, total: float) -> float | None:
        """When so many bytes are out; None where the contact ends before."""
        return None if total > self.sums[-1] else _between(self.sums, self.times_s, total)


def _between(known: Floats, values: Floats, at: float) -> float:
    place = min(max(int(known.searchsorted(at, side="right")) - 1, 0), len(known) - 2)
    before, after = float(known[place]), float(known[place + 1])
    share = (at - before) / (after - before) if after > before else 1.0
    low, high = float(values[place]), float(values[place + 1])
    return low + min(max(share, 0.0), 1.0) * (high - low)


def _curve(start_s: float, end_s: float, rates_bps: Floats) -> _Curve:
    times_s = np.linspace(start_s, end_s, len(rates_bps))
    steps = (rates_bps[1:] + rates_bps[:-1]) / 16 * np.diff(times_s)
    return _Curve(times_s, np.concatenate([[0.0], np.cumsum(steps)]))


def planned_contacts(plan: ContactPlan, low_s: float, high_s: float) -> ContactGraph:
    """The contacts of a plan that overlap [low_s, high_s], and its fibres, which never end.

    Contacts that reach beyond the hours of the window are cut at the edges of these hours.
    """
    found = plan.contacts(low_s, high_s)
    fibres = [link for link in plan.links if link.kind == LinkKind.FIBRE]
    links = [
        Link(NodeId(a), NodeId(b), LinkKind(kind))
        for (a, b), kind in zip(found.ends.tolist(), found.kind.tolist(), strict=True)
    ]
    start_s = np.concatenate([found.start_s, np.full(len(fibres), low_s)])
    end_s = np.concatenate([found.end_s, np.full(len(fibres), np.inf)])
    states = plan.states(found.ends, found.start_s)
    rates_bps = np.column_stack([states.rate_bps, states.back_bps])
    fixed = [plan.state(link, low_s) for link in fibres]
    rates_bps = np.concatenate([rates_bps, np.array([(s.rate_bps, s.back_bps) for s in fixed]).reshape(-1, 2)])
    step_s = RATE_STEP_S * plan.segment_s / SEGMENT_S

    def sampled(row: int) -> Floats:
        # The last sample lies just before the end, which may belong to an hour in which the two do not meet.
        last_s = math.nextafter(end_s[row], -math.inf)
        count = max(2, math.ceil((end_s[row] - start_s[row]) / step_s) + 1)
        t_s = np.clip(np.linspace(start_s[row], last_s, count), start_s[row], last_s)
        fine = plan.states(np.repeat(found.ends[row : row + 1], count, axis=0), t_s)
        return np.stack([fine.rate_bps, fine.back_bps])

    fading = np.array([plan.fades(link) for link in links + fibres], np.bool_)
    return ContactGraph(links + fibres, start_s, end_s, rates_bps, plan.delay_s, fading, sampled)
