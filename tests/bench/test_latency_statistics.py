"""Are percentiles, their intervals and verdicts what statistics says, by other means?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from perigrid.bench.latency import statistics as stated
from perigrid.bench.latency.statistics import Mean, Percentile, Verdict

SHARES = (0.5, 0.9, 0.95, 0.99)


@given(st.lists(st.floats(0, 1e4), min_size=6, max_size=60), st.sampled_from([0.1, 0.5, 0.9, 0.99, 1.0]))
def test_the_nearest_rank_is_numpys_inverted_distribution(values: list[float], share: float) -> None:
    ours = sorted(values)[stated.nearest_rank(len(values), share) - 1]
    assert ours == np.percentile(values, 100 * share, method="inverted_cdf")


@settings(deadline=None)
@given(st.integers(1, 3000), st.sampled_from(SHARES))
def test_the_interval_is_the_narrowest_of_its_kind_by_scipys_binomial(samples: int, share: float) -> None:
    low, high = stated.interval_ranks(samples, share)
    below = stats.binom(samples, share)
    if low is None:
        assert below.cdf(0) > 0.025
    else:
        assert below.cdf(low - 1) <= 0.025 + 1e-12
        assert below.cdf(low) > 0.025 - 1e-12
    if high is None:
        assert below.cdf(samples - 1) < 0.975
    else:
        assert below.cdf(high - 1) >= 0.975 - 1e-12
        assert high == 1 or below.cdf(high - 2) < 0.975 + 1e-12


def test_the_interval_of_few_values_by_counting() -> None:
    """Ten values, the median: P(rank 2 <= B < 9) of all 1,024 ways to lie below or above."""
    assert stated.interval_ranks(10, 0.5) == (2, 9)
    ways = sum(math.comb(10, k) for k in range(2, 9)) / 1024
    assert 0.95 <= ways < 0.98


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(0.5, 200), (0.9, 1000), (0.95, 2000)]))
def test_the_interval_covers_the_truth_as_often_as_it_says(seed: int, case: tuple[float, int]) -> None:
    share, samples = case
    draws = np.sort(np.random.default_rng(seed).exponential(1.0, (600, samples)), axis=1)
    low, high = stated.interval_ranks(samples, share)
    assert low is not None and high is not None
    truth = -math.log(1 - share)
    covered = np.mean((draws[:, low - 1] <= truth) & (truth <= draws[:, high - 1]))
    # 600 trials of a chance of at least 0.95: under 0.91 comes once in 20,000 times.
    assert covered >= 0.91


@pytest.mark.parametrize(("share", "needed"), [(0.5, 6), (0.9, 1000), (0.95, 2000), (0.99, 10_000), (0.999, 100_000)])
def test_a_percentile_is_stated_from_so_many_values_on(share: float, needed: int) -> None:
    assert stated.needed_for(share) == needed
    few = stated.percentile([1.0] * (needed - 1), share)
    assert (few.value_s, few.low_s, few.high_s, few.needed) == (None, None, None, needed)
    enough = stated.percentile([float(n) for n in range(needed)], share)
    assert enough.value_s is not None and enough.low_s is not None and enough.high_s is not None
    assert enough.low_s <= enough.value_s <= enough.high_s


def test_labels_are_as_people_write_them() -> None:
    assert [one.label for one in stated.percentiles([1.0])] == ["p50", "p90", "p95", "p99", "p99.9"]


def test_a_mean_is_scipys() -> None:
    values = np.random.default_rng(1).normal(3.0, 1.0, 4000)
    ours = stated.mean(values.tolist())
    low, high = stats.norm.interval(0.95, values.mean(), stats.sem(values))
    assert (ours.value_s, ours.low_s, ours.high_s) == pytest.approx((values.mean(), low, high), rel=1e-4)
    assert stated.mean([]) == Mean(samples=0)
    assert stated.mean([2.0]) == Mean(samples=1, value_s=2.0)


@pytest.mark.parametrize(("share", "fewest"), [(0.9, 64), (0.99, 662)])
def test_mlperfs_early_stopping_begins_where_loadgen_says(share: float, fewest: int) -> None:
    assert stated.stopping_estimate([1.0] * (fewest - 1), share) is None
    assert stated.stopping_estimate([float(n) for n in range(fewest)], share) == fewest - 1


@settings(max_examples=30, deadline=None)
@given(st.integers(64, 30_000), st.sampled_from([0.9, 0.99]))
def test_mlperfs_early_stopping_by_the_binomial(queries: int, share: float) -> None:
    over = stated.allowed_over(queries, share)
    # The rules: the chance of at most t over the bound, where the share over it is 1 - p, is at most 1 - c.
    chance = stats.binom(queries, 1 - share).cdf
    assert over == 0 or chance(over) <= 0.01 + 1e-12
    assert chance(over + 1) > 0.01 - 1e-12


def value(value_s: float | None, width: float = 0.001) -> Percentile:
    ends = (None, None) if value_s is None else (value_s * (1 - width), value_s * (1 + width))
    return Percentile(share=0.5, samples=100, needed=6, value_s=value_s, low_s=ends[0], high_s=ends[1])


@pytest.mark.parametrize(
    ("one", "other", "spreads", "valid", "verdict"),
    [
        (value(1.0), value(1.5), (0.01, 0.02), True, Verdict.FASTER),
        (value(1.5), value(1.0), (0.01, 0.02), True, Verdict.SLOWER),
        (value(1.0), value(1.039), (0.01, 0.02), True, Verdict.UNDECIDED),
        (value(1.0), value(1.041), (0.01, 0.02), True, Verdict.FASTER),
        (value(1.0, 0.3), value(1.5, 0.3), (0.01, 0.02), True, Verdict.UNDECIDED),
        (value(1.0), value(1.5), (0.01, None), True, Verdict.UNDECIDED),
        (value(1.0), value(1.5), (), True, Verdict.UNDECIDED),
        (value(None), value(1.5), (0.01, 0.02), True, Verdict.UNDECIDED),
        (value(1.0), value(1.0), (0.0, 0.0), True, Verdict.UNDECIDED),
        (value(1.0), value(1.5), (0.01, 0.02), False, Verdict.INVALID),
    ],
)
def test_a_ratio_is_decided_only_beyond_twice_the_spread(
    one: Percentile, other: Percentile, spreads: Sequence[float | None], valid: bool, verdict: Verdict
) -> None:
    decision = stated.decide(one, other, spreads, valid)
    assert decision.verdict == verdict
    assert decision.reason


def test_an_interval_without_an_end_decides_nothing() -> None:
    open_ended = Percentile(share=0.5, samples=6, needed=6, value_s=1.0)
    assert stated.decide(open_ended, value(9.0), (0.0, 0.0)).verdict == Verdict.UNDECIDED


def test_the_same_thing_measured_twice_is_decided_seldom() -> None:
    """A/A of 300 pairs of equal configurations: the verdict is another than UNDECIDED in few of a hundred."""
    random = np.random.default_rng(11)
    decided = 0
    for _ in range(300):
        groups = [np.sort(random.lognormal(0, 0.3, 400)).tolist() for _ in range(4)]
        medians = [stated.percentile(group, 0.5) for group in groups]
        spreads = [
            stated.relative_spread(medians[0].value_s, medians[1].value_s),
            stated.relative_spread(medians[2].value_s, medians[3].value_s),
        ]
        whole = [stated.percentile(sorted(groups[i] + groups[i + 1]), 0.5) for i in (0, 2)]
        decided += stated.decide(whole[0], whole[1], spreads).verdict != Verdict.UNDECIDED
    assert decided <= 6


@given(st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_a_spread_is_symmetric_and_of_the_smaller(one: float, other: float) -> None:
    spread = stated.relative_spread(one, other)
    assert spread == stated.relative_spread(other, one)
    assert spread == pytest.approx(max(one, other) / min(one, other) - 1, abs=1e-9, rel=1e-6)
    assert stated.relative_spread(None, one) is None


def test_bounds_of_a_ratio_hold_the_ratio() -> None:
    low, high = stated.ratio_bounds(value(2.0, 0.1), value(1.0, 0.1))
    assert (low, high) == pytest.approx((1.8 / 1.1, 2.2 / 0.9))
    assert stated.ratio_bounds(Percentile(share=0.5, samples=1, needed=6), value(1.0)) == (None, None)
