"""Does the summary state what the rows say, apart from what is no latency?"""

from __future__ import annotations

import math
import statistics
from dataclasses import replace

import msgspec
import pytest

from perigrid.bench.latency.rows import Arm, Origin
from perigrid.bench.latency.statistics import Verdict
from perigrid.bench.latency.summary import LatencyRun, Summary, summarise
from perigrid.node.stages import STAGES
from tests.bench.latency_runs import Wish, made_run

SMALL = Wish(arms=(Arm.BENT_PIPE, Arm.IN_ORBIT, Arm.BARE), origins=(Origin.BOARD,), rate_per_s=15.0)


@pytest.fixture(scope="module")
def run() -> LatencyRun:
    """Three arms, twice each."""
    return made_run(SMALL)


@pytest.fixture(scope="module")
def summary(run: LatencyRun) -> Summary:
    """What it comes to."""
    return summarise(run)


def test_each_repeat_is_what_its_rows_say(run: LatencyRun, summary: Summary) -> None:
    for series, stated in zip(run.series, summary.series, strict=True):
        measured = [row for row in series.rows if not row.warm_up]
        answered = [row.latency_s for row in measured if row.outcome == "ok"]
        assert (stated.requests, stated.answered) == (len(measured), len(answered))
        assert stated.warm_up == len(series.rows) - len(measured) > 0
        assert stated.mean.value_s == pytest.approx(statistics.fmean(answered))
        assert stated.statistic("p50").value_s == sorted(answered)[math.ceil(len(answered) / 2) - 1]
        assert (stated.least_s, stated.most_s) == (min(answered), max(answered))
        assert sum(stated.outcomes.values()) == len(measured)
        assert sum(count for _, count in stated.histogram) == len(answered)
        assert stated.bytes_down == sum(row.bytes_down for row in measured)


def test_stage_means_add_up_to_the_mean(summary: Summary) -> None:
    for stated in summary.series:
        assert math.fsum(stage.mean.value_s or 0.0 for stage in stated.stages) == pytest.approx(stated.mean.value_s)
        assert stated.unexplained_s < 1e-9
        names = [stage.name for stage in stated.stages]
        assert names == [name for name in STAGES if name in names]


def test_errors_are_counted_and_in_no_latency(run: LatencyRun) -> None:
    broken = [
        msgspec.structs.replace(
            series,
            rows=tuple(
                msgspec.structs.replace(row, latency_s=1e9, outcome="failed", cause="gone")
                if row.number % 3 == 0
                else row
                for row in series.rows
            ),
        )
        for series in run.series
    ]
    found = summarise(msgspec.structs.replace(run, series=tuple(broken)))
    for stated in found.series:
        assert stated.most_s is not None and stated.most_s < 1e8
        assert stated.outcomes["failed"] >= stated.requests // 4
        assert stated.causes["gone"] == stated.outcomes["failed"]
        assert stated.goodput is not None and stated.goodput.of == stated.requests
        assert stated.goodput.within <= stated.answered
    assert any("have no answer" in complaint for complaint in found.complaints)


def test_repeats_together_carry_percentiles_that_one_does_not(summary: Summary) -> None:
    whole = summary.configuration("server board in-orbit")
    assert whole.repeats == ("a", "b")
    assert whole.whole.answered == sum(one.answered for one in summary.series if one.name == whole.whole.name)
    assert whole.whole.statistic("p95").value_s is not None
    assert "p95" not in whole.spreads and {"mean", "p50", "p90"} <= set(whole.spreads)
    single = [one.statistic("p50").value_s for one in summary.series if one.name == whole.whole.name]
    assert whole.spreads["p50"] == pytest.approx(max(single) / min(single) - 1)  # type: ignore[type-var]


def test_ratios_are_over_bare_and_over_the_pipe(summary: Summary) -> None:
    pairs = {(ratio.one, ratio.other) for ratio in summary.ratios}
    orbit, pipe = "server board in-orbit", "server board bent-pipe"
    assert pairs == {(orbit, "bare"), (pipe, "bare"), (orbit, pipe)}
    by = {(r.one, r.other, r.statistic): r for r in summary.ratios}
    assert by[orbit, pipe, "mean"].verdict == Verdict.FASTER
    assert by[orbit, "bare", "mean"].verdict == Verdict.SLOWER
    assert by[orbit, "bare", "p95"].verdict == Verdict.UNDECIDED
    mean = by[orbit, "bare", "mean"]
    assert mean.low is not None and mean.high is not None and mean.low < mean.value < mean.high
    [check] = summary.bare
    assert check.spread == pytest.approx(abs(check.after_s - check.before_s) / min(check.after_s, check.before_s))


def test_a_difference_under_twice_the_spread_is_undecided() -> None:
    found = summarise(made_run(changed(drift=4.0)))
    assert {r.verdict for r in found.ratios if r.statistic == "mean"} == {
        Verdict.UNDECIDED,
        Verdict.FASTER,
        Verdict.SLOWER,
    }
    assert next(r for r in found.ratios if r.other == "bare" and "in-orbit" in r.one).verdict == Verdict.UNDECIDED


def test_each_world_is_held_against_itself_and_live_against_virtual_time() -> None:
    found = summarise(made_run(changed(also_virtual=(Arm.IN_ORBIT,))))
    orbit, virtual, pipe = "server board in-orbit", "server board in-orbit sim", "server board bent-pipe"
    pairs = {(ratio.one, ratio.other) for ratio in found.ratios}
    assert pairs == {(orbit, "bare"), (virtual, "bare"), (pipe, "bare"), (orbit, pipe), (orbit, virtual)}
    agreement = next(r for r in found.ratios if (r.one, r.other, r.statistic) == (orbit, virtual, "mean"))
    assert agreement.value == pytest.approx(1 / 0.98)
    assert [(one.pipe, one.orbit) for one in found.break_evens] == [(pipe, orbit)]


def test_what_was_measured_once_decides_nothing() -> None:
    found = summarise(made_run(changed(repeats=("a",))))
    assert {ratio.verdict for ratio in found.ratios} == {Verdict.UNDECIDED}
    assert any("Not measured twice" in complaint for complaint in found.complaints)
    assert found.bare == ()


def test_an_invalid_series_is_said_first_and_decides_nothing() -> None:
    found = summarise(made_run(changed(invalid=("server board in-orbit",))))
    assert not found.valid
    assert found.complaints[0].startswith("INVALID FOR LATENCY: server board in-orbit")
    verdicts = {r.verdict for r in found.ratios if "server board in-orbit" in (r.one, r.other)}
    assert verdicts == {Verdict.INVALID}
    assert [one.even.valid for one in found.break_evens] == [False]


def test_stages_that_do_not_add_up_and_a_late_generator_are_said(run: LatencyRun) -> None:
    series = run.series[0]
    rows = tuple(
        msgspec.structs.replace(row, latency_s=row.latency_s + 0.001, sent_s=row.sent_s + 0.01) for row in series.rows
    )
    found = summarise(msgspec.structs.replace(run, series=(msgspec.structs.replace(series, rows=rows),)))
    assert found.series[0].unexplained_s == pytest.approx(0.001)
    assert any("stages differ from its latency by 1 ms" in complaint for complaint in found.complaints)
    assert any("more than 1 ms late" in complaint for complaint in found.complaints)
    assert found.series[0].lateness.late == found.series[0].requests


def test_what_rests_on_assumed_values_is_marked(summary: Summary) -> None:
    marked = {(one.arm, stage.name) for one in summary.series for stage in one.stages if stage.assumed}
    assert marked == {(Arm.IN_ORBIT, "inference")}


def test_a_run_in_which_nothing_was_answered_has_a_summary() -> None:
    found = summarise(made_run(changed(failing=1.0)))
    dead = found.configuration("server board in-orbit").whole
    assert (dead.answered, dead.mean.value_s, dead.stages, dead.histogram) == (0, None, (), ())
    assert found.break_evens == ()


def test_the_same_run_has_the_same_summary(run: LatencyRun, summary: Summary) -> None:
    assert summarise(run) == summary
    assert summarise(made_run(SMALL)) == summary


def changed(**changes: object) -> Wish:
    """The small run, changed."""
    return replace(SMALL, **changes)  # type: ignore[arg-type]
