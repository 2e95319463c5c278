"""How far off would a figure be at other instants of the orbit?

Requests of one stratum share a geometry, so a thousand of them are not a thousand samples of the orbit. The interval of
order statistics says how well a figure is known at the instants that were measured; this one says how well it is known
of the orbit: strata are drawn with replacement DRAWS times, and each figure is taken of each draw (the cluster
bootstrap; Davison and Hinkley, Bootstrap Methods and their Application, 3.8). Strata lie one in each part of the orbit,
which is better than drawing them freely, so the interval is rather too wide. With few strata it is a little too narrow;
below MIN_INSTANTS there is none.

Values are counted in the buckets of the HDR histogram: a draw is then one product of matrices, whatever the number of
requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np

from perigrid.bench.latency.histogram import highest_s, histogram_of
from perigrid.bench.latency.statistics import CONFIDENCE

DRAWS = 500
MIN_INSTANTS = 10
SEED = 20_260_320
"""The draws are the same for each summary, so that the same run has the same one."""


class Interval(msgspec.Struct, frozen=True):
    """Where a figure lies, seconds."""

    low_s: float
    high_s: float


def over_instants(groups: Mapping[int, Sequence[float]], shares: Mapping[str, float], mean: str) -> dict[str, Interval]:
    """The interval of each percentile of `shares` (label -> share) and, under the name `mean`, of the mean.

    `groups` has latencies in seconds by stratum; nothing for fewer strata than MIN_INSTANTS.
    """
    if len(groups) < MIN_INSTANTS:
        return {}
    histograms = [histogram_of(values) for values in groups.values()]
    lowest = np.unique(np.concatenate([one.lowest_units for one in histograms]))
    counts = np.zeros((len(histograms), len(lowest)))
    for row, one in enumerate(histograms):
        counts[row, np.searchsorted(lowest, one.lowest_units)] = one.counts
    sums_s = np.array([float(np.sum(np.asarray(values))) for values in groups.values()])
    weights = np.random.default_rng(SEED).multinomial(len(groups), np.full(len(groups), 1 / len(groups)), DRAWS)
    cumulated = np.cumsum(weights @ counts, axis=1)
    totals = cumulated[:, -1]
    tail = (1 - CONFIDENCE) / 2
    means = (weights @ sums_s) / totals
    found = {mean: Interval(*np.quantile(means, (tail, 1 - tail)).tolist())}
    for label, share in shares.items():
        ranks = np.maximum(1.0, np.ceil(share * totals - 1e-9))
        places = np.sum(cumulated < ranks[:, None], axis=1)
        low, high = np.quantile(places, (tail, 1 - tail), method="nearest").astype(int).tolist()
        found[label] = Interval(highest_s(int(lowest[low])), highest_s(int(lowest[high])))
    return found
