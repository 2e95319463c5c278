"""From when to when do two nodes see each other?

Margins (`geometry.py`) are sampled every `STEP_S` of the orbits' time; where their sign changes, the moment is
found by bisection to 0.01 s. What begins and ends between two samples is missed on purpose: it would be too short
to acquire.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.mesh.planning.geometry import Geometry, Indices
from perigrid.sky.frames import Floats

STEP_S = 10
"""Spacing of the samples, seconds of the orbits' time."""

CHUNK_STEPS = 32
"""Steps that are worked on at once, so that 4,408 satellites need tens of megabytes and not a gigabyte."""

BISECTIONS = 9
"""Halvings of a step: 10 s / 2^9 leaves a bracket of 0.02 s, whose middle is off by 0.01 s at most."""

Margin = Callable[[Indices, Floats], Floats]
"""Margins [K] of pairs [K, 2] at their own times [K]."""


@dataclass(frozen=True, slots=True, eq=False)
class Sights:
    """K stretches of time in which pairs see each other, sorted by pair and start.

    `row` [K] counts the pairs; `start_s` and `end_s` [K] are sky times. `began` [K] says that a stretch was under
    way when the looking started, so that its true start is not known.
    """

    row: Indices
    start_s: Floats
    end_s: Floats
    began: npt.NDArray[np.bool_]

    def within(self, low_s: float, high_s: float) -> "Sights":
        """The stretches that overlap (low_s, high_s), cut to it; those that were cut at its start have begun."""
        kept = (self.start_s < high_s) & (self.end_s > low_s)
        start_s = self.start_s[kept]
        return Sights(
            self.row[kept],
            np.maximum(start_s, low_s),
            np.minimum(self.end_s[kept], high_s),
            self.began[kept] | (start_s < low_s),
        )


def sample_times(low_s: float, high_s: float, orbit_rate: float) -> Floats:
    """Times [T] from low to high, both included, at most `STEP_S` of the orbits apart."""
    steps = max(1, int(np.ceil((high_s - low_s) * orbit_rate / STEP_S - 1e-9)))
    return np.linspace(low_s, high_s, steps + 1)


def laser_sights(geometry: Geometry, pairs: Indices, low_s: float, high_s: float) -> Sights:
    """When pairs [P, 2] of satellites see each other within a window."""
    t_s = sample_times(low_s, high_s, geometry.orbit_rate)
    margin = np.empty((len(pairs), len(t_s)))
    for start in range(0, len(t_s) if len(pairs) else 0, CHUNK_STEPS):
        chunk = slice(start, start + CHUNK_STEPS)
        positions = geometry.positions_eci_km(t_s[chunk])
        margin[:, chunk] = geometry.laser_margin(pairs, positions[:, pairs[:, 0]], positions[:, pairs[:, 1]]).T
    return find_sights(pairs, margin, t_s, geometry.laser_margin_at)


def radio_sights(geometry: Geometry, low_s: float, high_s: float) -> tuple[Indices, Sights]:
    """Pairs [P, 2] of satellite and station that see each other within a window, sorted, and when they do."""
    t_s = sample_times(low_s, high_s, geometry.orbit_rate)
    chunks = [slice(start, start + CHUNK_STEPS) for start in range(0, len(t_s), CHUNK_STEPS)]
    seen = np.zeros((len(geometry.fleet), len(geometry.sites)), np.bool_)
    if len(geometry.sites):
        for chunk in chunks:
            seen |= geometry.seen(geometry.positions_ecef_km(t_s[chunk])).any(axis=0)
    pairs = np.argwhere(seen)
    margin = np.empty((len(pairs), len(t_s)))
    for chunk in chunks if len(pairs) else ():
        positions = geometry.positions_ecef_km(t_s[chunk])[:, pairs[:, 0]]
        margin[:, chunk] = geometry.radio_margin(pairs, positions).T
    return pairs, find_sights(pairs, margin, t_s, geometry.radio_margin_at)


def find_sights(pairs: Indices, margin: Floats, t_s: Floats, margin_at: Margin) -> Sights:
    """Stretches in which the margins [P, T], sampled at `t_s` [T], are positive; `margin_at` is in between."""
    up = margin > 0.0
    rows, steps = np.nonzero(up[:, 1:] != up[:, :-1])
    rising = up[rows, steps + 1]
    edges_s = bisect(pairs[rows], t_s[steps], t_s[steps + 1], rising, margin_at)

    # Within a row rises and sets alternate, so sorting both by (row, time) pairs each rise with its set.
    always, still = np.nonzero(up[:, 0])[0], np.nonzero(up[:, -1])[0]
    start_rows = np.concatenate([always, rows[rising]])
    starts_s = np.concatenate([np.full(len(always), t_s[0]), edges_s[rising]])
    end_rows = np.concatenate([rows[~rising], still])
    ends_s = np.concatenate([edges_s[~rising], np.full(len(still), t_s[-1])])
    by_start, by_end = np.lexsort((starts_s, start_rows)), np.lexsort((ends_s, end_rows))
    return Sights(start_rows[by_start], starts_s[by_start], ends_s[by_end], (by_start < len(always)))


def bisect(pairs: Indices, low_s: Floats, high_s: Floats, rising: npt.NDArray[np.bool_], margin_at: Margin) -> Floats:
    """When, between `low_s` and `high_s` [K], the margins of pairs [K, 2] change their sign."""
    if not len(pairs):
        return low_s
    for _ in range(BISECTIONS):
        middle_s = (low_s + high_s) / 2
        after = (margin_at(pairs, middle_s) > 0.0) == rising
        low_s, high_s = np.where(after, low_s, middle_s), np.where(after, middle_s, high_s)
    return (low_s + high_s) / 2
