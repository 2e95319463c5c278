"""Is the highest rate that keeps its bound found, confirmed, and never claimed without that?"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
import pytest
from scipy import stats

from perigrid.bench.latency.rate_search import MAX_RUNS, search, share_interval, trial_of
from perigrid.bench.latency.rows import Arm, Row, Series
from perigrid.errors import UsageError
from tests.bench.latency_runs import Wish, made_run

SLO_S = 1.0
TEMPLATE = made_run(Wish(arms=(Arm.IN_ORBIT,), repeats=("a",)))
SERIES = TEMPLATE.series[0]
ROW = next(row for row in SERIES.rows if not row.warm_up)


def series_of(latencies: list[float], dropped: int = 0, valid: bool = True) -> Series:
    """A series with such latencies, and so many requests without an answer; warm-up does not count."""
    rows: list[Row] = [msgspec.structs.replace(ROW, outcome="ok", latency_s=latency) for latency in latencies]
    rows += [msgspec.structs.replace(ROW, outcome="dropped", latency_s=0.0)] * dropped
    rows.append(msgspec.structs.replace(ROW, warm_up=True, outcome="failed"))
    return msgspec.structs.replace(SERIES, rows=tuple(rows), valid=valid)


def threshold(limit_per_s: float, asked: list[float]) -> Callable[[float], Series]:
    """A system that keeps the bound up to a rate."""

    def run(rate_per_s: float) -> Series:
        asked.append(rate_per_s)
        return series_of([0.5 if rate_per_s <= limit_per_s else 2.0] * 200)

    return run


@pytest.mark.parametrize("limit_per_s", [1.0, 3.3, 17.0, 63.9])
def test_the_rate_is_found_to_a_step(limit_per_s: float) -> None:
    asked: list[float] = []
    found = search(threshold(limit_per_s, asked), SLO_S, 1.0, 64.0)
    assert found.rate_per_s is not None
    assert found.rate_per_s <= limit_per_s < found.rate_per_s * 1.05 * (1 + 1e-9)
    assert found.confirmed and asked[-1] == found.rate_per_s
    assert [trial.rate_per_s for trial in found.trials] == asked
    assert len(asked) <= MAX_RUNS


def test_a_single_server_queue_is_found_by_its_theory() -> None:
    """M/M/1: the share within t is 1 - exp(-(mu - lambda) t); at 0.99 in 1 s and mu = 20 that is lambda = 15.39."""
    random = np.random.default_rng(2)

    def run(rate_per_s: float) -> Series:
        arrivals = np.cumsum(random.exponential(1 / rate_per_s, 20_000))
        service = random.exponential(1 / 20.0, 20_000)
        ends, end = [], 0.0
        for arrived_s, lasts_s in zip(arrivals.tolist(), service.tolist(), strict=True):
            end = max(end, arrived_s) + lasts_s
            ends.append(end - arrived_s)
        return series_of(ends)

    found = search(run, SLO_S, 2.0, 40.0, step=0.02)
    assert found.rate_per_s == pytest.approx(20 + np.log(0.01), rel=0.06)


def test_the_top_is_enough() -> None:
    found = search(threshold(1e9, []), SLO_S, 1.0, 10.0)
    assert (found.rate_per_s, found.confirmed) == (10.0, True)
    assert "highest rate that was asked for" in found.ending


def test_not_even_the_lowest() -> None:
    found = search(threshold(0.5, []), SLO_S, 1.0, 10.0)
    assert (found.rate_per_s, found.confirmed, len(found.trials)) == (None, False, 1)


def test_a_rate_that_is_kept_once_only_is_not_claimed() -> None:
    seen: dict[float, int] = {}

    def run(rate_per_s: float) -> Series:
        seen[rate_per_s] = seen.get(rate_per_s, 0) + 1
        kept = rate_per_s <= 4.0 and not (rate_per_s > 3.9 and seen[rate_per_s] > 1)
        return series_of([0.5 if kept else 2.0] * 100)

    found = search(run, SLO_S, 1.0, 64.0)
    assert found.rate_per_s is not None and found.rate_per_s < 3.9
    assert found.confirmed and "a step below" in found.ending


def test_runs_are_bounded() -> None:
    asked: list[float] = []
    found = search(threshold(17.0, asked), SLO_S, 1.0, 1e6, max_runs=6)
    assert len(asked) == 6
    assert found.rate_per_s == 16.0 and not found.confirmed and "6 runs" in found.ending


def test_an_invalid_run_ends_it() -> None:
    def run(rate_per_s: float) -> Series:
        return series_of([0.5] * 100, valid=rate_per_s < 4.0)

    found = search(run, SLO_S, 1.0, 64.0)
    assert (found.rate_per_s, found.confirmed) == (2.0, False)
    assert found.ending.startswith("INVALID at 4")


def test_drops_are_misses_and_warm_up_is_none() -> None:
    assert trial_of(series_of([0.5] * 99, dropped=1), 1.0, SLO_S).kept
    missed = trial_of(series_of([0.5] * 98, dropped=2), 1.0, SLO_S)
    assert (missed.kept, missed.misses, missed.requests) == (False, 2, 100)
    assert not trial_of(series_of([]), 1.0, SLO_S).kept
    assert not missed.sure
    assert trial_of(series_of([0.5] * 1000), 1.0, SLO_S).sure
    assert trial_of(series_of([0.5] * 50, dropped=50), 1.0, SLO_S).sure


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (10, 10), (7, 10), (990, 1000)])
def test_the_share_has_its_exact_interval(hits: int, of: int) -> None:
    wanted = stats.binomtest(hits, of).proportion_ci(0.95, "exact")
    assert share_interval(hits, of) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@pytest.mark.parametrize(("lowest", "highest", "slo_s"), [(0.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 2.0, 0.0)])
def test_bounds_that_cannot_be_are_refused(lowest: float, highest: float, slo_s: float) -> None:
    with pytest.raises(UsageError, match="give 0 < lowest"):
        search(threshold(1.0, []), slo_s, lowest, highest)
