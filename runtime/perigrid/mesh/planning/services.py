"""Which of those in sight does a terminal point at, and from when can it talk?

A service is a stretch of time in which two ends point at each other. Before it carries anything both have to slew and
find each other: acquisition is taken off its start. What was being served at the epoch counts as acquired.

Whoever has fewer terminals than partners in sight chooses, and goes on with what it holds at the end of an hour in
the next one; that does not have to be acquired again, and what is being acquired on the edge of two hours goes on being
acquired.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np

from perigrid.mesh.planning.geometry import Indices
from perigrid.sky.frames import Floats


class Service(NamedTuple):
    """Nodes `a` and `b` (indices, as its maker counts them) point at each other from `start_s` to `end_s`."""

    a: int
    b: int
    start_s: float
    end_s: float


ACQUIRED_S = -np.inf
"""Since when those point at each other that have been acquired before."""


def acquired(
    services: Iterable[Service], held: Mapping[tuple[int, int], float], acquire_s: float, low_s: float, high_s: float
) -> tuple[list[Service], list[Service]]:
    """The services of an hour, each from when it is acquired; and those that are still being acquired as it ends at
    `high_s`, from when they began. What is never acquired is left out.

    `held` are the pairs (a, b) that went on from the hour before, with since when they point at each other. At the
    epoch all are acquired.
    """
    found, seeking = [], []
    for one in services:
        since_s = one.start_s
        if one.start_s == low_s:
            since_s = ACQUIRED_S if low_s == 0.0 else held.get((one.a, one.b), low_s)
        start_s = max(one.start_s, since_s + acquire_s)
        if start_s < one.end_s:
            found.append(one._replace(start_s=start_s))
        elif one.end_s == high_s:
            seeking.append(one._replace(start_s=since_s))
    return found, seeking


def rows_of(services: list[Service]) -> tuple[Indices, Indices, Floats]:
    """Pairs [P, 2] of services, sorted, with offsets [P + 1] and intervals [K, 2], as in a segment."""
    keys = np.array([(one.a, one.b) for one in services], np.int64).reshape(-1, 2)
    times = np.array([(one.start_s, one.end_s) for one in services]).reshape(-1, 2)
    order = np.lexsort((times[:, 0], keys[:, 1], keys[:, 0]))
    pairs, rows = np.unique(keys[order], axis=0, return_inverse=True)
    return pairs, offsets_of(rows.ravel(), len(pairs)), times[order]


def offsets_of(rows: Indices, count: int) -> Indices:
    """Offsets [count + 1] of sorted row numbers [K]."""
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int64)
