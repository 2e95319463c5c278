"""What does a latency run say on a terminal?

The complaints first, then a block for each question asked: every arm with its latency and the parts that it is made of,
what was decided between them, and where the bent pipe would be as fast.
"""

from __future__ import annotations

from collections.abc import Iterator

from perigrid.bench.latency.break_even import BreakEven
from perigrid.bench.latency.statistics import Mean, Percentile
from perigrid.bench.latency.summary import Configuration, SeriesSummary, Summary
from perigrid.report.latency.words import ARM_NAMES, STAGE_NAMES, WORLD_NAMES, group_title
from perigrid.report.words import seconds

LEAST_STAGE_S = 5e-5
"""A stage that takes less on average is left out of the line."""

SHOWN = ("p50", "p90", "p99")


def lines(summary: Summary) -> Iterator[str]:
    """The whole, a line at a time."""
    facts = summary.facts
    yield f"{facts.scenario}, model {facts.model}, seed {facts.seed}; {summary.label}"
    for complaint in summary.complaints:
        yield f"! {complaint}"
    for group in dict.fromkeys(one.group for one in summary.configurations):
        yield ""
        yield group_title(*group)
        for one in summary.configurations:
            if one.group == group:
                yield from _configuration(one)
        for ratio in summary.ratios:
            whole = summary.configuration(ratio.one).whole
            if (whole.mode, whole.origin) == group:
                spread = "" if ratio.spread is None else f", A/A {100 * ratio.spread:.1f} %"
                yield (
                    f"    {_title(whole)} over {_title(summary.configuration(ratio.other).whole)}, {ratio.statistic}: "
                    f"{ratio.value:.3g}{spread}: {ratio.verdict} ({ratio.reason})"
                )
        for even in summary.break_evens:
            whole = summary.configuration(even.orbit).whole
            if (whole.mode, whole.origin) == group:
                yield f"    {_even(even.even)}"
    for check in summary.bare:
        yield (
            f"bare before {seconds(check.before_s)}, after {seconds(check.after_s)}, "
            f"spread {100 * check.spread:.1f} %: {check.name}"
        )
    for name, found in summary.searches.items():
        rate = "none" if found.rate_per_s is None else f"{found.rate_per_s:.3g} a second"
        yield f"highest rate of {name} within {seconds(found.slo_s)}: {rate} ({found.ending})"


def _title(whole: SeriesSummary) -> str:
    return f"{ARM_NAMES[whole.arm]} ({WORLD_NAMES[whole.world]})"


def _configuration(one: Configuration) -> Iterator[str]:
    whole = one.whole
    stated = ", ".join(_statistic(whole.statistic(name)) for name in SHOWN if _has(whole, name))
    spread = one.spreads.get("p50")
    again = "" if spread is None else f", A/A {100 * spread:.1f} %"
    valid = "" if whole.valid else "  INVALID FOR LATENCY"
    yield f"  {_title(whole):28} {whole.answered} of {whole.requests} answered; {stated}{again}{valid}"
    if whole.mean.value_s is not None:
        parts = [f"{STAGE_NAMES[s.name]} {seconds(s.mean.value_s or 0.0)}" for s in whole.stages if _counts(s.mean)]
        yield f"      mean {seconds(whole.mean.value_s)} = {' + '.join(parts)}"
        yield f"      {whole.bytes_down / max(1, whole.answered):,.0f} bytes down a request"
    for outcome, count in whole.outcomes.items():
        if outcome != "ok":
            yield f"      {count} {outcome}: {'; '.join(list(whole.causes)[:1])}"


def _counts(mean: Mean) -> bool:
    return mean.value_s is not None and abs(mean.value_s) >= LEAST_STAGE_S


def _has(whole: SeriesSummary, name: str) -> bool:
    return any(one.label == name for one in whole.percentiles)


def _statistic(one: Percentile | Mean) -> str:
    if not isinstance(one, Percentile):
        return ""
    if one.value_s is None:
        return f"{one.label} needs {one.needed:,} requests"
    low = "" if one.low_s is None else seconds(one.low_s)
    high = "" if one.high_s is None else seconds(one.high_s)
    return f"{one.label} {seconds(one.value_s)} [{low}, {high}]"


def _even(even: BreakEven) -> str:
    pipe, orbit = ARM_NAMES[even.pipe], ARM_NAMES[even.orbit]
    if even.wait_s <= 0:
        return f"break-even: {pipe} is never as fast as {orbit}, whatever the contact wait"
    pairs = "" if even.pairs is None else f"; it was for {even.pipe_faster} of {even.pairs} captures"
    return (
        f"break-even: {pipe} is faster than {orbit} while the contact wait is below {seconds(even.wait_s)}{pairs}"
        f" (mean wait {seconds(even.pipe_wait_s)})"
    )
