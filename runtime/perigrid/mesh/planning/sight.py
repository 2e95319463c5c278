"""From when to when do two nodes see each other?

Margins (`geometry.py`) are looked at every `STEP_S` of the orbits' time, and the moments in which they change their
sign are found to 0.01 s of it (`sky/spans.py`).
"""

from collections.abc import Callable

import numpy as np

from perigrid.mesh.planning.geometry import Geometry, Indices
from perigrid.sky.frames import Floats
from perigrid.sky.spans import TOLERANCE_S, Spans, positive_spans

STEP_S = 10
"""Spacing of the samples, seconds of the orbits' time."""

CHUNK_STEPS = 32
"""Steps that are worked on at once, so that 4,408 satellites need tens of megabytes and not a gigabyte."""


def laser_sights(geometry: Geometry, pairs: Indices, low_s: float, high_s: float) -> Spans:
    """When pairs [P, 2] of satellites see each other within a window; rows count the pairs."""

    def margins(t_s: Floats) -> Floats:
        positions = geometry.positions_eci_km(t_s)
        return geometry.laser_margin(pairs, positions[:, pairs[:, 0]], positions[:, pairs[:, 1]])

    return positive_spans(
        lambda t_s: _chunked(margins, t_s, len(pairs)),
        lambda rows, t_s: geometry.laser_margin_at(pairs[rows], t_s),
        len(pairs),
        low_s,
        high_s,
        STEP_S / geometry.orbit_rate,
        TOLERANCE_S / geometry.orbit_rate,
    )


def radio_sights(geometry: Geometry, low_s: float, high_s: float) -> tuple[Indices, Spans]:
    """Pairs [P, 2] of satellite and station that see each other within a window, sorted, and when they do."""
    step_s = STEP_S / geometry.orbit_rate
    seen = np.zeros((len(geometry.fleet), len(geometry.sites)), np.bool_)
    looks_s = np.arange(low_s, high_s + step_s, step_s)
    for start in range(0, len(looks_s) if seen.size else 0, CHUNK_STEPS):
        seen |= geometry.seen(geometry.positions_ecef_km(looks_s[start : start + CHUNK_STEPS])).any(axis=0)
    pairs = np.argwhere(seen)

    def margins(t_s: Floats) -> Floats:
        return geometry.radio_margin(pairs, geometry.positions_ecef_km(t_s)[:, pairs[:, 0]])

    return pairs, positive_spans(
        lambda t_s: _chunked(margins, t_s, len(pairs)),
        lambda rows, t_s: geometry.radio_margin_at(pairs[rows], t_s),
        len(pairs),
        low_s,
        high_s,
        step_s,
        TOLERANCE_S / geometry.orbit_rate,
    )


def _chunked(margins: Callable[[Floats], Floats], t_s: Floats, rows: int) -> Floats:
    """Margins [T, R] at times [T], some of which are worked on at once."""
    found = np.empty((len(t_s), rows))
    for start in range(0, len(t_s) if rows else 0, CHUNK_STEPS):
        found[start : start + CHUNK_STEPS] = margins(t_s[start : start + CHUNK_STEPS])
    return found
