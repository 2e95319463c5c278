"""Where do free lasers point that may choose?

Satellites of a group with the topology `nearest` look for partners every `LOOK_S`: pairs in view are taken in the
order of their distance (of equals the smaller ids) while both have a terminal free, and are held until they lose
sight of each other, as every new pointing costs slew and acquisition. The nearest neighbours found so need not join
the whole group: what holds together is for the analysis to say.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from perigrid.mesh.planning.geometry import Geometry, Indices
from perigrid.mesh.planning.services import Service
from perigrid.mesh.planning.sight import STEP_S
from perigrid.sky.frames import Floats
from perigrid.sky.spans import TOLERANCE_S, bisect

LOOK_S = 60
"""Free terminals look for a partner this often, seconds of the orbits' time."""

CANDIDATES = 16
"""A satellite considers at most this many of the others, the nearest ones."""


def nearest_services(
    geometry: Geometry,
    members: Indices,
    free: Indices,
    held: Indices,
    barred: Indices,
    window_s: tuple[float, float],
) -> list[Service]:
    """Services among the satellites `members` [M], sorted, that have `free` [M] terminals to point, over an hour.

    `held` [H, 2] are pairs of satellites that point at each other as the hour starts; `barred` [B, 2], the smaller
    first, those that have a laser of their own, and need no other.
    """
    pointing = _Pointing(geometry, members, free, np.searchsorted(members, held), window_s[0])
    pointing.bar(np.searchsorted(members, barred))
    return list(pointing.over(*window_s))


class _Pointing:
    """The pairs that a group holds, as it goes from look to look."""

    def __init__(self, geometry: Geometry, members: Indices, free: Indices, held: Indices, now_s: float) -> None:
        self._geometry = geometry
        self._members = members
        self._free = free - np.bincount(held.ravel(), minlength=len(members))
        self._pairs = held
        """Held pairs, as indices into the members."""
        self._since_s = np.full(len(held), now_s)
        self._barred: set[tuple[int, ...]] = set()

    def bar(self, pairs: Indices) -> None:
        """Never take these pairs of members."""
        self._barred.update(map(tuple, pairs.tolist()))

    def over(self, low_s: float, high_s: float) -> Iterator[Service]:
        step_s = STEP_S / self._geometry.orbit_rate
        looks = max(1, round((high_s - low_s) * self._geometry.orbit_rate / LOOK_S))
        for start_s, end_s in pairwise(np.linspace(low_s, high_s, looks + 1).tolist()):
            t_s = np.linspace(start_s, end_s, max(1, round((end_s - start_s) / step_s)) + 1)
            positions = self._geometry.positions_eci_km(t_s)[:, self._members]
            self._take(positions[0], start_s)
            yield from self._lost(positions, t_s)
        yield from self._services(np.arange(len(self._pairs)), np.full(len(self._pairs), high_s))

    def _take(self, positions: Floats, now_s: float) -> None:
        """Let free terminals take the nearest partners in view."""
        candidates = self._candidates(positions)
        one, two = positions[candidates[:, 0]], positions[candidates[:, 1]]
        margin = self._geometry.laser_margin(self._members[candidates], one, two)
        squared_km2 = np.sum((one - two) ** 2, axis=-1)
        order = np.lexsort((candidates[:, 1], candidates[:, 0], squared_km2))
        held = self._barred | set(map(tuple, self._pairs.tolist()))
        taken = []
        for a, b in candidates[order[margin[order] > 0.0]].tolist():
            if self._free[a] > 0 and self._free[b] > 0 and (a, b) not in held:
                self._free[[a, b]] -= 1
                taken.append((a, b))
        self._pairs = np.concatenate([self._pairs, np.array(taken, np.int64).reshape(-1, 2)])
        self._since_s = np.concatenate([self._since_s, np.full(len(taken), now_s)])

    def _candidates(self, positions: Floats) -> Indices:
        """Pairs [C, 2] of members, the smaller index first, that are among each other's nearest."""
        # Slow to import, and needed by this topology alone.
        from scipy.spatial import cKDTree

        seekers = np.flatnonzero(self._free > 0)
        if len(seekers) < 2:
            return np.empty((0, 2), np.int64)
        nearest = min(CANDIDATES + 1, len(seekers))
        _, found = cKDTree(positions[seekers]).query(positions[seekers], nearest)
        one, two = np.repeat(seekers, nearest), seekers[found.ravel()]
        pairs = np.stack([np.minimum(one, two), np.maximum(one, two)], axis=1)
        return np.asarray(np.unique(pairs[one != two], axis=0))

    def _lost(self, positions: Floats, t_s: Floats) -> Iterator[Service]:
        """Give up the pairs that lose sight of each other at any of the times [T]."""
        members = self._members[self._pairs]
        margin = self._geometry.laser_margin(members, positions[:, self._pairs[:, 0]], positions[:, self._pairs[:, 1]])
        blind = margin <= 0.0
        lost = np.flatnonzero(blind.any(axis=0))
        if not len(lost):
            return
        first = np.maximum(1, blind[:, lost].argmax(axis=0))
        falling = np.zeros(len(lost), np.bool_)
        ends_s = bisect(
            lambda rows, t_s: self._geometry.laser_margin_at(members[rows], t_s),
            lost,
            t_s[first - 1],
            t_s[first],
            falling,
            TOLERANCE_S / self._geometry.orbit_rate,
        )
        yield from self._services(lost, ends_s)
        np.add.at(self._free, self._pairs[lost].ravel(), 1)
        kept = np.ones(len(self._pairs), np.bool_)
        kept[lost] = False
        self._pairs, self._since_s = self._pairs[kept], self._since_s[kept]

    def _services(self, rows: Indices, ends_s: Floats) -> Iterator[Service]:
        pairs = self._members[self._pairs[rows]].tolist()
        for (a, b), start_s, end_s in zip(pairs, self._since_s[rows].tolist(), ends_s.tolist(), strict=True):
            yield Service(a, b, start_s, end_s)
