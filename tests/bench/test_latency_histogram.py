"""Is the histogram the HDR histogram that others know, and exact to a thousandth?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perigrid.bench.latency.histogram import HIGHEST_S, UNIT_S, histogram_from, histogram_of
from perigrid.errors import Bug

SECONDS = st.floats(0.0, HIGHEST_S, allow_nan=False)


def test_buckets_and_percentiles_are_those_of_the_original() -> None:
    from hdrh.histogram import HdrHistogram

    values = np.random.default_rng(3).lognormal(-2, 2.5, 5000)
    theirs = HdrHistogram(1, int(HIGHEST_S / UNIT_S), 3)
    for value in values:
        theirs.record_value(round(value / UNIT_S))
    ours = histogram_of(values)
    recorded = [(one.value_iterated_to, one.count_at_value_iterated_to) for one in theirs.get_recorded_iterator()]
    assert [(round(value_s / UNIT_S), count) for value_s, count in ours.pairs()] == recorded
    for share in (0.0, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0):
        wanted = theirs.get_value_at_percentile(100 * share)
        assert theirs.get_highest_equivalent_value(wanted) == round(ours.percentile_s(share) / UNIT_S)


@given(st.lists(SECONDS, min_size=1, max_size=50))
def test_a_value_is_known_to_a_thousandth_and_kept_by_its_pairs(values: list[float]) -> None:
    histogram = histogram_of(values)
    assert histogram.total == len(values)
    assert histogram_from(histogram.pairs()) == histogram
    for share in (0.1, 0.5, 1.0):
        exact = float(np.percentile(values, 100 * share, method="inverted_cdf"))
        assert histogram.percentile_s(share) == pytest.approx(exact, rel=1e-3, abs=UNIT_S)


@given(st.lists(SECONDS, max_size=30), st.lists(SECONDS, max_size=30))
def test_two_histograms_are_that_of_all_values(one: list[float], other: list[float]) -> None:
    assert histogram_of(one).merged(histogram_of(other)) == histogram_of([*one, *other])


def test_the_curve_rises_to_all_values() -> None:
    curve = histogram_of([0.1, 0.2, 0.2, 0.4]).curve()
    assert [share for _, share in curve] == [0.25, 0.75, 1.0]
    assert [value for value, _ in curve] == pytest.approx([0.1, 0.2, 0.4], rel=1e-3)


def test_what_is_out_of_range_is_counted_at_its_end_and_nothing_has_no_percentile() -> None:
    assert histogram_of([-1.0, 2 * HIGHEST_S]) == histogram_of([0.0, HIGHEST_S])
    with pytest.raises(Bug, match="empty"):
        histogram_of([]).percentile_s(0.5)
