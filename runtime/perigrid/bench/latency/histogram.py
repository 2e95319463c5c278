"""How are a million latencies kept in a few hundred numbers, with the same relative exactness at each size?

An HDR histogram (Gil Tene, hdrhistogram.org): values are counted in units of `UNIT_S`; buckets double in width each
time their values double, and each half of the range from one power of two to the next has 1,024 of them, so that a
value is known to one part in a thousand (three significant figures), and exactly below 2,048 units. Layout and
equivalent values are those of the original with three figures and a lowest value of one unit, so that other tools read
the same numbers from `pairs`. Percentiles that a verdict rests on come from the values themselves (`statistics.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from perigrid.errors import Bug

UNIT_S = 1e-7
"""The finest value: 100 ns, under which no clock here is exact."""

SUB_BUCKET_BITS = 11
"""2,048 values below the first bucket that is wider than one unit: three significant figures."""

HIGHEST_S = 1e6
"""Eleven days; what lasted longer is counted there."""


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counted values: `lowest_units` [K], ascending, are the least values of the buckets in use, `counts` [K]."""

    lowest_units: tuple[int, ...]
    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """How many values were counted."""
        return sum(self.counts)

    def pairs(self) -> list[tuple[float, int]]:
        """The buckets in use as (highest value in seconds that counts as the same, count)."""
        return [(highest_s(units), count) for units, count in zip(self.lowest_units, self.counts, strict=True)]

    def merged(self, other: Histogram) -> Histogram:
        """Both histograms' values in one."""
        counts = dict(zip(self.lowest_units, self.counts, strict=True))
        for units, count in zip(other.lowest_units, other.counts, strict=True):
            counts[units] = counts.get(units, 0) + count
        keys = tuple(sorted(counts))
        return Histogram(keys, tuple(counts[key] for key in keys))

    def percentile_s(self, share: float) -> float:
        """The highest value that counts as the same as the nearest-rank percentile, seconds; there must be a value."""
        if not self.counts:
            raise Bug("an empty histogram has no percentiles; ask for its total first.")
        cumulated = np.cumsum(self.counts)
        rank = min(self.total, max(1, int(np.ceil(share * self.total - 1e-9))))
        return highest_s(self.lowest_units[int(np.searchsorted(cumulated, rank))])

    def curve(self) -> list[tuple[float, float]]:
        """The cumulated distribution as (value in seconds, share of values at or below it), ascending."""
        total, running, points = self.total, 0, []
        for value_s, count in self.pairs():
            running += count
            points.append((value_s, running / total))
        return points


def histogram_of(values_s: Iterable[float]) -> Histogram:
    """Count values in seconds; negative ones count as none, those over HIGHEST_S as that."""
    values = np.fromiter(values_s, np.float64)
    units = np.rint(np.clip(values, 0.0, HIGHEST_S) / UNIT_S).astype(np.int64)
    lowest, counts = np.unique(_lowest_units(units), return_counts=True)
    return Histogram(tuple(lowest.tolist()), tuple(counts.tolist()))


def histogram_from(pairs: Sequence[tuple[float, int]]) -> Histogram:
    """The histogram that `pairs` came from."""
    highest = np.array([value_s for value_s, _ in pairs], np.float64)
    lowest = _lowest_units(np.rint(highest / UNIT_S).astype(np.int64))
    return Histogram(tuple(lowest.tolist()), tuple(count for _, count in pairs))


def highest_s(lowest_units: int) -> float:
    """The highest value in seconds that is counted with the least one of a bucket."""
    return (lowest_units + (1 << _shift(lowest_units)) - 1) * UNIT_S


def _shift(units: int) -> int:
    """How many of the low bits a value's bucket does not tell apart."""
    return max(0, units.bit_length() - SUB_BUCKET_BITS)


def _lowest_units(units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    # frexp gives the bit length: values stay far below 2 ** 53, where float64 is exact.
    bits = np.frexp(units.astype(np.float64))[1]
    shift = np.maximum(0, bits - SUB_BUCKET_BITS).astype(np.int64)
    return np.asarray((units >> shift) << shift, np.int64)
