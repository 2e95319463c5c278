"""What may be said about latencies from so many requests?

**Percentiles** are order statistics: the nearest rank, no interpolation. Their interval is one of order statistics too:
the ranks l and u with P(B < l) and P(B >= u) at most (1 - CONFIDENCE) / 2 each, B the binomial number of values
below the percentile (exact; Hahn and Meeker, Statistical Intervals, 5.2). It takes no shape of the distribution for
granted, but independent requests; requests at one instant of an orbit share a geometry, so the interval is that of
the instants that were measured. What other instants would give is in `instants.py`.

**How many it takes.** A percentile above the median is stated where at least TAIL_SAMPLES values are expected beyond
it: n (1 - p) >= 100, so 10,000 for p99, 2,000 for p95, 1,000 for p90. The median is stated where its interval is
finite, from six values on.

**Verdicts.** The same configuration is measured twice (A/A). The spread of a statistic is how far the two are apart as
a share of the smaller. A ratio of two configurations is decided only where it differs from 1 by at least SPREAD_FACTOR
times the larger spread of the two, and where their intervals do not overlap. Else, and where nothing was measured
twice, it is UNDECIDED; where a run did not keep the orbit's time, INVALID.

Errors are counted and never averaged; all latencies are those of answered requests, counted from the moment at which
they were to be sent.
"""

from __future__ import annotations

import bisect
import enum
import math
from collections.abc import Sequence

import msgspec
import numpy as np
from scipy.special import bdtr, betainc

from perigrid.errors import Bug

CONFIDENCE = 0.95
TAIL_SAMPLES = 100
SHARES = (0.5, 0.9, 0.95, 0.99, 0.999)
"""The percentiles that are stated, where there are enough values."""

SPREAD_FACTOR = 2.0

STOPPING_CONFIDENCE = 0.99
"""MLPerf's c; its tolerance d is 0 (inference_rules.adoc, appendix Early Stopping Criterion)."""


class Percentile(msgspec.Struct, frozen=True, kw_only=True):
    """One percentile of `samples` values, seconds.

    `value_s` is None where there are fewer than `needed`; `low_s` and `high_s` are None where the interval has no such
    end.
    """

    share: float
    samples: int
    needed: int
    value_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None

    @property
    def label(self) -> str:
        """As people write it: p50, p99.9."""
        return label_of(self.share)


class Mean(msgspec.Struct, frozen=True, kw_only=True):
    """A mean over `samples` values with its normal interval (value -+ 1.96 standard errors), seconds."""

    samples: int
    value_s: float | None = None
    low_s: float | None = None
    high_s: float | None = None


class Verdict(enum.StrEnum):
    """What a ratio says of the first of two configurations."""

    FASTER = "FASTER"
    SLOWER = "SLOWER"
    UNDECIDED = "UNDECIDED"
    INVALID = "INVALID"


class Decision(msgspec.Struct, frozen=True):
    """A verdict and its reason in a few words."""

    verdict: Verdict
    reason: str


def label_of(share: float) -> str:
    """A percentile's name: p50, p99.9."""
    return f"p{100 * share:.6g}"


def needed_for(share: float) -> int:
    """How many values a percentile takes to be stated."""
    if share <= 0.5:
        return math.ceil(math.log2(2 / (1 - CONFIDENCE)))
    return math.ceil(round(TAIL_SAMPLES / (1 - share), 6))


def percentile(sorted_s: Sequence[float], share: float) -> Percentile:
    """A percentile of ascending values, with its interval; without a value where there are too few."""
    samples, needed = len(sorted_s), needed_for(share)
    if samples < needed:
        return Percentile(share=share, samples=samples, needed=needed)
    rank = nearest_rank(samples, share)
    low, high = interval_ranks(samples, share)
    return Percentile(
        share=share,
        samples=samples,
        needed=needed,
        value_s=sorted_s[rank - 1],
        low_s=None if low is None else sorted_s[low - 1],
        high_s=None if high is None else sorted_s[high - 1],
    )


def percentiles(values_s: Sequence[float]) -> tuple[Percentile, ...]:
    """All percentiles of SHARES."""
    ordered = sorted(values_s)
    return tuple(percentile(ordered, share) for share in SHARES)


def nearest_rank(samples: int, share: float) -> int:
    """The rank, from 1, of the least value that at least `share` of the values do not exceed."""
    return min(samples, max(1, math.ceil(share * samples - 1e-9)))


def interval_ranks(samples: int, share: float, confidence: float = CONFIDENCE) -> tuple[int | None, int | None]:
    """Ranks, from 1, of the values between which the true percentile lies; None where no value reaches so far."""
    tail = (1 - confidence) / 2
    # P(B <= k) grows with k: the greatest l with P(B <= l - 1) <= tail, and the least u with P(B <= u - 1) >= 1 - tail.
    below = bisect.bisect_right(range(samples), tail, key=lambda k: float(bdtr(k, samples, share)))
    above = bisect.bisect_left(range(samples), 1 - tail, key=lambda k: float(bdtr(k, samples, share)))
    return (below if below >= 1 else None, above + 1 if above < samples else None)


def mean(values_s: Sequence[float]) -> Mean:
    """The mean with its normal interval; without one of fewer than two values."""
    samples = len(values_s)
    if samples == 0:
        return Mean(samples=0)
    value_s = math.fsum(values_s) / samples
    if samples == 1:
        return Mean(samples=1, value_s=value_s)
    error_s = 1.96 * float(np.std(np.asarray(values_s), ddof=1)) / math.sqrt(samples)
    return Mean(samples=samples, value_s=value_s, low_s=value_s - error_s, high_s=value_s + error_s)


def relative_spread(one: float | None, other: float | None) -> float | None:
    """How far the same thing measured twice is apart, as a share of the smaller; None where one was not measured."""
    if one is None or other is None:
        return None
    smaller = min(abs(one), abs(other))
    if smaller == 0.0:
        return 0.0 if one == other else math.inf
    return abs(one - other) / smaller


def decide(
    one: Percentile | Mean, other: Percentile | Mean, spreads: Sequence[float | None], valid: bool = True
) -> Decision:
    """What the ratio of two values says; `spreads` are the A/A spreads of the two configurations."""
    if not valid:
        return Decision(Verdict.INVALID, "the desk did not keep the orbit's time")
    if one.value_s is None or other.value_s is None:
        return Decision(Verdict.UNDECIDED, "too few requests")
    if not spreads or any(spread is None for spread in spreads):
        return Decision(Verdict.UNDECIDED, "no A/A spread: not measured twice, or too few in each repeat")
    if one.value_s == other.value_s:
        return Decision(Verdict.UNDECIDED, "equal")
    apart = relative_spread(one.value_s, other.value_s) or 0.0
    spread = max(spread for spread in spreads if spread is not None)
    if apart < SPREAD_FACTOR * spread:
        told = f"apart by {_apart(apart)}, under {SPREAD_FACTOR:g} times the A/A spread of {100 * spread:.3g} %"
        return Decision(Verdict.UNDECIDED, told)
    if _overlap(one, other):
        return Decision(Verdict.UNDECIDED, "the intervals overlap")
    told = f"apart by {_apart(apart)}, A/A spread {100 * spread:.3g} %"
    return Decision(Verdict.FASTER if one.value_s < other.value_s else Verdict.SLOWER, told)


def ratio_bounds(one: Percentile | Mean, other: Percentile | Mean) -> tuple[float | None, float | None]:
    """The least and the greatest ratio that the two intervals allow: wider than an interval of the ratio's own."""
    low = one.low_s / other.high_s if one.low_s is not None and other.high_s else None
    high = one.high_s / other.low_s if one.high_s is not None and other.low_s and other.low_s > 0 else None
    return low, high


def stopping_estimate(sorted_s: Sequence[float], share: float) -> float | None:
    """MLPerf's early-stopping estimate of a percentile, seconds, of ascending latencies; None of too few.

    The greatest latency that is left when all but one of the latencies that may lie over the percentile are discarded:
    64 queries are the fewest for p90, 662 for p99 (inference_rules.adoc, appendix Early Stopping Criterion).
    """
    over = allowed_over(len(sorted_s), share)
    return None if over < 1 else sorted_s[len(sorted_s) - over]


def allowed_over(queries: int, share: float) -> int:
    """The most queries over a percentile's bound, of so many, that still show the bound to be kept; 0 of too few."""

    def shown(over: int) -> bool:
        under = queries - over
        return under >= 1 and float(betainc(under, over + 1, share)) <= 1 - STOPPING_CONFIDENCE

    if not shown(1):
        return 0
    # The more are over, the weaker is what the rest shows, so a search by halves finds the last that is enough.
    return bisect.bisect_left(range(1, queries), True, key=lambda over: not shown(over))


def as_percentile(one: Sequence[Percentile], share: float) -> Percentile:
    """The percentile of that share."""
    for entry in one:
        if math.isclose(entry.share, share):
            return entry
    raise Bug(f"there is no {label_of(share)} among {[entry.label for entry in one]}; ask for one of SHARES.")


def _apart(share: float) -> str:
    """A distance as a share of the smaller, for a reader."""
    return f"{100 * share:.3g} %" if share < 10 else f"{share + 1:,.0f} times"


def _overlap(one: Percentile | Mean, other: Percentile | Mean) -> bool:
    """Whether two intervals have a value in common; one without an end reaches as far as there is."""
    one_low, one_high = _ends(one)
    other_low, other_high = _ends(other)
    return one_low <= other_high and other_low <= one_high


def _ends(one: Percentile | Mean) -> tuple[float, float]:
    return (
        -math.inf if one.low_s is None else one.low_s,
        math.inf if one.high_s is None else one.high_s,
    )
