"""Which is the highest rate of Server that keeps its bound?

A rate is kept where at least SHARE of its requests are answered within the bound; dropped, failed and refused ones are
misses. The search doubles the rate from the lowest until one is not kept, halves the gap between the two (in
proportion) until it is at most `step`, and then runs the rate found again; where that fails it goes one step down, as
MLPerf's rules have it, and confirms that. It ends there, or after `max_runs` runs, and says which.

One run is one sample: how sure a trial is stands beside it as the interval of the share that was kept.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from scipy.special import betaincinv

from perigrid.bench.latency.rows import Series
from perigrid.bench.latency.statistics import CONFIDENCE
from perigrid.errors import UsageError

SHARE = 0.99
"""Server's share of queries within the bound (inference_rules.adoc, section Scenarios)."""

STEP = 0.05
MAX_RUNS = 16
CONFIRMATIONS = 1


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One run at a rate. `share_low` and `share_high` are the exact binomial interval of the share kept (Clopper and
    Pearson); `sure` is whether it lies on one side of what is asked for.
    """

    rate_per_s: float
    requests: int
    misses: int
    kept: bool
    valid: bool
    share_low: float
    share_high: float
    sure: bool


class RateSearch(msgspec.Struct, frozen=True, kw_only=True):
    """What a search came to: `rate_per_s` is None where not even the lowest rate was kept; `ending` says how it ended.

    `confirmed` is whether the rate was kept again in CONFIRMATIONS further runs.
    """

    slo_s: float
    share: float
    rate_per_s: float | None
    confirmed: bool
    ending: str
    trials: tuple[Trial, ...]


def search(
    run: Callable[[float], Series],
    slo_s: float,
    lowest_per_s: float,
    highest_per_s: float,
    share: float = SHARE,
    step: float = STEP,
    max_runs: int = MAX_RUNS,
) -> RateSearch:
    """The highest rate between the two, to `step` of itself, that keeps `slo_s`; `run` measures one rate.

    UsageError for bounds that cannot be. A series that is INVALID ends the search, as its misses are the desk's.
    """
    if not (0 < lowest_per_s <= highest_per_s and slo_s > 0 and 0 < step < 1 and 0 < share < 1 and max_runs >= 1):
        raise UsageError(
            f"no rate between {lowest_per_s:g} and {highest_per_s:g} a second can be sought for a bound of {slo_s:g} s "
            f"in steps of {step:g}; give 0 < lowest <= highest, a bound above 0 and a step between 0 and 1."
        )
    return _Search(run, slo_s, share, step, max_runs).outcome(lowest_per_s, highest_per_s)


def trial_of(series: Series, rate_per_s: float, slo_s: float, share: float = SHARE) -> Trial:
    """What one run says of a rate."""
    measured = [row for row in series.rows if not row.warm_up]
    within = sum(row.outcome == "ok" and row.latency_s <= slo_s for row in measured)
    requests = len(measured)
    low, high = share_interval(within, requests)
    kept = requests > 0 and within >= share * requests - 1e-9
    return Trial(
        rate_per_s=rate_per_s,
        requests=requests,
        misses=requests - within,
        kept=kept,
        valid=series.valid,
        share_low=low,
        share_high=high,
        sure=low >= share if kept else high < share,
    )


def share_interval(hits: int, of: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact interval of a share of which `hits` of `of` were seen (Clopper and Pearson, 1934)."""
    tail = (1 - confidence) / 2
    low = float(betaincinv(hits, of - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, of - hits, 1 - tail)) if hits < of else 1.0
    return low, high


class _Enough(Exception):
    """No further run may be made; the argument says why."""


class _Search:
    """The search's state: the trials so far."""

    def __init__(self, run: Callable[[float], Series], slo_s: float, share: float, step: float, max_runs: int) -> None:
        self._run, self._slo_s, self._share, self._step, self._max_runs = run, slo_s, share, step, max_runs
        self._trials: list[Trial] = []

    def outcome(self, lowest_per_s: float, highest_per_s: float) -> RateSearch:
        try:
            found = self._found(lowest_per_s, highest_per_s)
            return self._told(*found)
        except _Enough as reason:
            kept = {t.rate_per_s for t in self._trials if t.kept and t.valid} - {
                t.rate_per_s for t in self._trials if not t.kept
            }
            return self._told(max(kept, default=None), False, str(reason))

    def _found(self, lowest_per_s: float, highest_per_s: float) -> tuple[float | None, bool, str]:
        if not self._keeps(lowest_per_s):
            return None, False, "not even the lowest rate kept the bound"
        kept, failed = lowest_per_s, None
        while failed is None and kept < highest_per_s:
            rate = min(2 * kept, highest_per_s)
            if self._keeps(rate):
                kept = rate
            else:
                failed = rate
        while failed is not None and failed > kept * (1 + self._step):
            rate = (kept * failed) ** 0.5
            if self._keeps(rate):
                kept = rate
            else:
                failed = rate
        return self._confirmed(kept, lowest_per_s, failed is None)

    def _confirmed(self, rate: float, lowest_per_s: float, at_the_top: bool) -> tuple[float | None, bool, str]:
        ending = "the highest rate that was asked for kept the bound" if at_the_top else "found and confirmed"
        while not all(self._keeps(rate) for _ in range(CONFIRMATIONS)):
            rate *= 1 - self._step
            ending = "found a step below the first that was found, and confirmed"
            if rate < lowest_per_s:
                return None, False, "no rate kept the bound twice"
        return rate, True, ending

    def _keeps(self, rate_per_s: float) -> bool:
        if len(self._trials) >= self._max_runs:
            raise _Enough(f"{self._max_runs} runs were not enough; the highest rate that kept the bound so far")
        trial = trial_of(self._run(rate_per_s), rate_per_s, self._slo_s, self._share)
        self._trials.append(trial)
        if not trial.valid:
            raise _Enough(
                f"INVALID at {rate_per_s:.4g} a second: the desk did not keep the orbit's time; the highest rate below"
            )
        return trial.kept

    def _told(self, rate: float | None, confirmed: bool, ending: str) -> RateSearch:
        return RateSearch(
            slo_s=self._slo_s,
            share=self._share,
            rate_per_s=rate,
            confirmed=confirmed,
            ending=ending,
            trials=tuple(self._trials),
        )
