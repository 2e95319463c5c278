"""Does the interval over instants hold what other instants would give, where requests share their instant?"""

from __future__ import annotations

import numpy as np
import pytest

from perigrid.bench.latency.histogram import histogram_of
from perigrid.bench.latency.instants import DRAWS, MIN_INSTANTS, SEED, over_instants
from perigrid.bench.latency.statistics import interval_ranks, percentile

SHARES = {"p50": 0.5, "p90": 0.9}


def orbit(seed: int, instants: int = 20, requests: int = 60) -> dict[int, list[float]]:
    """Latencies by stratum: an effect of the instant, and a smaller one of each request."""
    random = np.random.default_rng(seed)
    effects = random.exponential(1.0, instants)
    return {n: (effects[n] * random.lognormal(0.0, 0.05, requests)).tolist() for n in range(instants)}


def test_it_holds_the_truth_where_the_interval_of_requests_does_not() -> None:
    """The mean over all instants is 1.00125, the median of the exponential is ln 2."""
    over, own = [], []
    for seed in range(80):
        groups = orbit(seed)
        found = over_instants(groups, SHARES, "mean")
        over.append(found["mean"].low_s <= np.exp(0.05**2 / 2) <= found["mean"].high_s)
        middle = percentile(sorted(value for values in groups.values() for value in values), 0.5)
        assert middle.low_s is not None and middle.high_s is not None
        own.append(middle.low_s <= np.log(2) <= middle.high_s)
    assert np.mean(over) > 0.82
    assert np.mean(own) < 0.5
    assert interval_ranks(1200, 0.5)[0] is not None


def test_it_is_the_bootstrap_that_draws_strata() -> None:
    groups = orbit(3)
    found = over_instants(groups, SHARES, "mean")
    weights = np.random.default_rng(SEED).multinomial(20, np.full(20, 1 / 20), DRAWS)
    means, medians = [], []
    for draw in weights:
        values = np.concatenate([np.repeat(groups[n], times) for n, times in enumerate(draw)])
        means.append(values.mean())
        medians.append(np.percentile(values, 50, method="inverted_cdf"))
    assert [found["mean"].low_s, found["mean"].high_s] == pytest.approx(np.quantile(means, (0.025, 0.975)))
    wanted = np.quantile(medians, (0.025, 0.975), method="nearest")
    assert [found["p50"].low_s, found["p50"].high_s] == pytest.approx(wanted, rel=2e-3)
    assert found["p50"].high_s < found["p90"].high_s


def test_strata_that_are_alike_have_a_narrow_one() -> None:
    values = np.random.default_rng(1).lognormal(0.0, 0.2, (20, 500))
    found = over_instants({n: values[n].tolist() for n in range(20)}, SHARES, "mean")
    assert found["mean"].high_s - found["mean"].low_s < 0.02
    whole = histogram_of(values.ravel())
    assert found["p50"].low_s <= whole.percentile_s(0.5) <= found["p50"].high_s


def test_few_strata_have_none_and_the_same_ones_the_same() -> None:
    assert over_instants(orbit(1, MIN_INSTANTS - 1), SHARES, "mean") == {}
    assert over_instants(orbit(1), SHARES, "mean") == over_instants(orbit(1), SHARES, "mean")
