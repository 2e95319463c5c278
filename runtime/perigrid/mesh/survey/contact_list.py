"""Which contacts does a plan hold between two moments, and what is each worth?

A row a contact: how far apart its ends are at the least and at the most, how fast it is then, and how much it could
carry, all within the window. Ranges are sampled and the least one is the vertex of the parabola through the three
lowest squares of the range, which bend least; volumes are trapezoids over the samples.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from perigrid.mesh.plan import ContactPlan
from perigrid.mesh.rates import Rates
from perigrid.mesh.topology import LinkKind, Mesh
from perigrid.scenario.model import Scenario

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SAMPLE_S = 60.0
"""Samples of a long contact are no further apart, seconds of the orbits' time."""

FEWEST_SAMPLES = 25
"""Every contact has at least so many, a short pass one in half a minute."""

CHUNK_SAMPLES = 1_000_000
"""Samples that are worked on at once, some 100 MB."""


@dataclass(frozen=True, slots=True, eq=False)
class ContactTable:
    """K contacts as columns, sorted by start. Times are sky time, cut to the window; `began` and `goes_on` [K] say
    that a contact was under way at the window's start, or still is at its end.

    `rate_bps` is from `a` to `b` (of a ground link the downlink's) at the least range, `far_rate_bps` at the largest,
    `back_bps` from `b` to `a` at the least; `volume_bytes` is what `a` could send.
    """

    a: Indices
    b: Indices
    kind: Indices
    start_s: Floats
    end_s: Floats
    began: npt.NDArray[np.bool_]
    goes_on: npt.NDArray[np.bool_]
    least_km: Floats
    most_km: Floats
    rate_bps: Floats
    far_rate_bps: Floats
    back_bps: Floats
    volume_bytes: Floats

    def __len__(self) -> int:
        return len(self.a)

    def of(self, rows: npt.NDArray[np.generic]) -> "ContactTable":
        """The contacts of some rows, as a mask or as indices."""
        return ContactTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def contact_table(
    scenario: Scenario, plan: ContactPlan, low_s: float, high_s: float, kinds: frozenset[LinkKind]
) -> ContactTable:
    """Contacts of some kinds (lasers and ground links) that overlap a window of a plan, in the plan's own times."""
    found = plan.contacts(low_s, high_s)
    wanted = np.isin(found.kind, [int(kind) for kind in kinds if kind != LinkKind.FIBRE])
    wanted &= (found.start_s < high_s) & (found.end_s > low_s)
    ends, kind = found.ends[wanted], found.kind[wanted]
    start_s, end_s = found.start_s[wanted], found.end_s[wanted]
    # One that starts with the window may have begun before what is known.
    began, goes_on = start_s <= low_s, end_s > high_s
    # A contact that lasts to the plan's horizon has no end there that anyone knows.
    goes_on |= (end_s >= plan.horizon_s) & (high_s >= plan.horizon_s)
    start_s, end_s = np.maximum(start_s, low_s), np.minimum(end_s, high_s)
    least, most, volume = _ranges(scenario, plan, ends, start_s, end_s)
    rates = Rates(scenario, plan.mesh)
    near_bps, back_bps = rates.of(ends, least)
    far_bps, _ = rates.of(ends, most)
    return ContactTable(
        a=ends[:, 0],
        b=ends[:, 1],
        kind=kind,
        start_s=start_s,
        end_s=end_s,
        began=began,
        goes_on=goes_on,
        least_km=least,
        most_km=most,
        rate_bps=near_bps,
        far_rate_bps=far_bps,
        back_bps=back_bps,
        volume_bytes=volume,
    )


def kind_name(scenario: Scenario, mesh: Mesh, kind: int, node: int) -> str:
    """A link's kind in words; one whose second end `node` is an optical station is no radio."""
    if kind != LinkKind.RADIO:
        return LinkKind(kind).name.lower()
    return scenario.stations[node - mesh.satellite_count].kind


def _ranges(
    scenario: Scenario, plan: ContactPlan, ends: Indices, start_s: Floats, end_s: Floats
) -> tuple[Floats, Floats, Floats]:
    """Least and largest range [K], km, and the bytes [K] that the first end could send."""
    rates = Rates(scenario, plan.mesh)
    least, most, volume = (np.empty(len(ends)) for _ in range(3))
    for rows, count in _batches((end_s - start_s) * scenario.clock.orbit_rate):
        share = np.linspace(0.0, 1.0, count)
        t_s = start_s[rows, None] + (end_s - start_s)[rows, None] * share
        pairs = np.repeat(ends[rows], count, axis=0)
        # The last sample lies where the contact ends, which may belong to the next hour: its range is the same.
        ranges = _known(plan.states(pairs, t_s.ravel()).range_km.reshape(t_s.shape))
        least[rows] = np.sqrt(_vertex(ranges**2))
        most[rows] = ranges.max(axis=1)
        forth_bps, _ = rates.of(pairs, ranges.ravel())
        volume[rows] = np.trapezoid(forth_bps.reshape(t_s.shape), t_s, axis=1) / 8
    return least, most, volume


def _batches(durations_s: Floats) -> Iterator[tuple[Indices, int]]:
    """Rows with as many samples each, few enough to be worked on at once."""
    needed = np.maximum(FEWEST_SAMPLES, np.ceil(durations_s / SAMPLE_S).astype(np.int64) + 1)
    # Whole multiples, so that rows of about the same length go together.
    needed = -(-needed // FEWEST_SAMPLES) * FEWEST_SAMPLES
    for count in np.unique(needed).tolist():
        rows = np.flatnonzero(needed == count)
        size = max(1, CHUNK_SAMPLES // count)
        for first in range(0, len(rows), size):
            yield rows[first : first + size], count


def _known(ranges: Floats) -> Floats:
    """Ranges [K, n] where an end that fell into an hour without that pair takes its neighbour's range."""
    lost = ~np.isfinite(ranges)
    if lost.any():
        ranges[lost[:, -1], -1] = ranges[lost[:, -1], -2]
        ranges[lost[:, 0], 0] = ranges[lost[:, 0], 1]
    return ranges


def _vertex(squares: Floats) -> Floats:
    """The least value of curves [K, n] sampled at equal steps: the vertex of the parabola around the lowest sample."""
    rows = np.arange(len(squares))
    lowest = squares.argmin(axis=1)
    inner = np.clip(lowest, 1, squares.shape[1] - 2)
    before, here, after = (squares[rows, inner + step] for step in (-1, 0, 1))
    bend = before - 2 * here + after
    rise = (after - before) / 2
    vertex = here - np.divide(rise**2, 2 * bend, out=np.zeros_like(here), where=bend > 0)
    inside = (lowest == inner) & (bend > 0)
    return np.asarray(np.maximum(np.where(inside, np.minimum(vertex, here), squares[rows, lowest]), 0.0))
