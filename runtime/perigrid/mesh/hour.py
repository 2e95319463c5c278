"""Which links of one hour are up, and how long are they?

A segment of the contact plan with its rows named by links, and searched by arrays.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.mesh.segment import KNOT_S, KNOTS, STEPS, Segment, squared_at
from perigrid.mesh.topology import Link, LinkKind
from perigrid.units import NodeId

_four_knots = struct.Struct("<4f").unpack_from

PAIR_BASE = 1 << 32
"""More than any node id, so that two ids make one number."""


@dataclass(frozen=True, slots=True, eq=False)
class Contacts:
    """K planned contacts, sorted by start and ends: `ends` [K, 2], `kind` [K], sky times `start_s`, `end_s` [K]."""

    ends: npt.NDArray[np.int64]
    kind: npt.NDArray[np.int64]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]


class Hour:
    """A segment with its rows named by links."""

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.start_s, self.knot_s = segment.start_s, KNOT_S / segment.orbit_rate
        # A view of no bytes cannot be cast.
        self._knots = segment.squared_km2.ravel().data.cast("B") if segment.squared_km2.size else memoryview(b"")
        self.ends = segment.pairs.astype(np.int64)
        kinds = [LinkKind.LASER] * segment.lasers + [LinkKind.RADIO] * (len(self.ends) - segment.lasers)
        pairs = segment.pairs.tolist()
        self.links = [Link(NodeId(a), NodeId(b), kind) for (a, b), kind in zip(pairs, kinds, strict=True)]
        self.row_of = {link: row for row, link in enumerate(self.links)}
        self.rows = np.repeat(np.arange(len(pairs)), np.diff(segment.offsets))
        self.intervals = np.array(segment.intervals)
        # A contact that reaches the segment's edge has no end here, so that it still counts as up on the
        # horizon.
        self.intervals[self.intervals[:, 1] == segment.end_s, 1] = math.inf
        # Rows and starts as one ascending number each, so that one search finds the interval of any row and time.
        self.width_s = segment.end_s - self.start_s + 1.0
        self.keys = self.rows * self.width_s + (self.intervals[:, 0] - self.start_s)
        order = np.argsort(self.ends[:, 0] * PAIR_BASE + self.ends[:, 1])
        self.pair_order, self.pair_keys = order, (self.ends[:, 0] * PAIR_BASE + self.ends[:, 1])[order]

    def rows_up_during(self, low_s: float, high_s: float) -> npt.NDArray[np.int64]:
        """Rows of the links that are up at some moment of [low_s, high_s]."""
        within = (self.intervals[:, 0] <= high_s) & (self.intervals[:, 1] > low_s)
        return np.unique(self.rows[within])

    def rows_of(self, ends: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Rows [K] of pairs [K, 2], the smaller id first; -1 where the hour has none."""
        keys = ends[:, 0] * PAIR_BASE + ends[:, 1]
        places = np.minimum(np.searchsorted(self.pair_keys, keys), max(0, len(self.pair_keys) - 1))
        if not len(self.pair_keys):
            return np.full(len(keys), -1)
        return np.where(self.pair_keys[places] == keys, self.pair_order[places], -1)

    def up(self, rows: npt.NDArray[np.int64], t_s: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Whether links of rows [K] are up at times [K] of this hour."""
        found = np.searchsorted(self.keys, rows * self.width_s + (t_s - self.start_s), side="right") - 1
        last = np.maximum(found, 0)
        if not len(self.keys):
            return np.zeros(len(rows), np.bool_)
        return np.asarray((found >= 0) & (self.rows[last] == rows) & (self.intervals[last, 1] > t_s))

    def ranges_km(self, rows: npt.NDArray[np.int64], t_s: npt.NDArray[np.float64] | float) -> npt.NDArray[np.float64]:
        """Ranges of rows [K] at one time or at [K] times of this hour."""
        position = (np.asarray(t_s, np.float64) - self.start_s) / self.knot_s
        step = np.clip(position.astype(np.int64), 0, STEPS - 1)
        columns = np.atleast_1d(step)[:, None] + np.arange(4)
        knots = self.segment.squared_km2[rows[:, None], columns].astype(np.float64)
        return np.asarray(np.sqrt(np.maximum(squared_at(knots, np.asarray(position - step)), 0.0)))

    def contacts(self) -> Contacts:
        """The hour's contacts, in the order of its rows, cut at its edges."""
        kind = np.where(self.rows < self.segment.lasers, int(LinkKind.LASER), int(LinkKind.RADIO))
        times = self.segment.intervals
        return Contacts(self.ends[self.rows], kind, times[:, 0], times[:, 1])

    def range_km(self, row: int, t_s: float) -> float:
        """The range of a row at one time of this hour."""
        position = (t_s - self.start_s) / self.knot_s
        step = min(max(int(position), 0), STEPS - 1)
        u = position - step
        before, here, after, later = _four_knots(self._knots, 4 * (row * KNOTS + step))
        bend, twist = (before - 2 * here + after) / 2, (later - before + 3 * (here - after)) / 6
        return math.sqrt(max(here + u * (after - here + (u - 1) * (bend + (u + 1) * twist)), 0.0))

    def links_at_edge(self, column: int) -> set[Link]:
        """Links that are up at the segment's first moment (column 0) or up to its last (column 1)."""
        edge_s = (self.start_s, math.inf)[column]
        rows = self.rows[self.intervals[:, column] == edge_s]
        return {self.links[row] for row in rows.tolist()}


def joined(hours: list[Contacts], low_s: float, high_s: float) -> Contacts:
    """The contacts of consecutive hours that overlap [low_s, high_s], those that touch made one."""
    ends = np.concatenate([hour.ends for hour in hours])
    kind = np.concatenate([hour.kind for hour in hours])
    start_s = np.concatenate([hour.start_s for hour in hours])
    end_s = np.concatenate([hour.end_s for hour in hours])
    order = np.lexsort((start_s, ends[:, 1], ends[:, 0]))
    ends, kind, start_s, end_s = ends[order], kind[order], start_s[order], end_s[order]
    new = np.ones(len(order), np.bool_)
    new[1:] = (ends[1:] != ends[:-1]).any(axis=1) | (start_s[1:] > end_s[:-1])
    heads = np.flatnonzero(new)
    tails = np.append(heads[1:], len(order))[: len(heads)] - 1
    ends, kind, start_s, end_s = ends[heads], kind[heads], start_s[heads], end_s[tails]
    kept = np.flatnonzero((start_s <= high_s) & (end_s > low_s))
    kept = kept[np.lexsort((ends[kept, 1], ends[kept, 0], start_s[kept]))]
    return Contacts(ends[kept], kind[kept], start_s[kept], end_s[kept])
