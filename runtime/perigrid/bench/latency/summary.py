"""What does a latency run come to?

`LatencyRun` is what was measured: rows in series, and the world around them. `summarise` makes of it all that report
and comparison state: each repeat by itself, each configuration with its repeats taken together and their A/A spread,
ratios with verdicts, and the break-even between bent pipe and inference in orbit. It is pure, and the same run gives
the same summary.
"""

from __future__ import annotations

import math
import statistics as means
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from perigrid.bench.latency import statistics as stated
from perigrid.bench.latency.break_even import ORBITS, PIPES, BreakEven, of_series
from perigrid.bench.latency.environment import Environment
from perigrid.bench.latency.histogram import histogram_of
from perigrid.bench.latency.instants import Interval, over_instants
from perigrid.bench.latency.rate_search import RateSearch
from perigrid.bench.latency.rows import Arm, Mode, Origin, Row, Series, Stratum, World
from perigrid.bench.latency.schedule import LABEL, RULES, short_of
from perigrid.bench.latency.statistics import Mean, Percentile, Verdict
from perigrid.node.stages import STAGES

SCHEMA = 1
"""Version of the summary's form; it grows when a field changes its meaning or goes."""

MAX_CAUSES = 20
LATE_S = 1e-3
"""A request that the generator sent later than this after its time is counted as late."""

MAX_SHARE_LATE = 0.01
"""Where more of the requests were sent late the summary says so."""

CLOCK_ERROR_S = 2e-4
"""How far a request's stages may be from its latency (0.2 ms) before the summary says that they do not add up."""

MEAN = "mean"
SpanKind = Literal["eclipse", "contact", "fault"]


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """A value that the latencies rest on: its dotted key, kind (assumed, cited, ...), source, and stages it makes."""

    key: str
    value: str
    kind: str
    source: str
    stages: tuple[str, ...] = ()


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Something that lasted while the run did, in emulated seconds of the run's clock; a fault may have no length."""

    kind: SpanKind
    name: str
    start_s: float
    end_s: float


class RatePiece(msgspec.Struct, frozen=True):
    """From an emulated time on the clock went at this rate."""

    at_s: float
    rate: float


class RunFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Which world was measured, and how: enough to repeat it."""

    scenario: str
    digest: str
    phasing: str
    model: str
    seed: int
    started_utc: str
    orbit_period_s: float
    title: str = ""
    command: str = ""
    device: str = ""
    ground_device: str = ""
    orbit_rate: float = 1.0
    rate_setting: str = ""
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()


class LatencyRun(msgspec.Struct, frozen=True, kw_only=True):
    """All of a run. `rate_history` is of the live clock; `searches` are searches for Server's rate by their name."""

    facts: RunFacts
    environment: Environment
    series: tuple[Series, ...]
    spans: tuple[Span, ...] = ()
    rate_history: tuple[RatePiece, ...] = ()
    searches: dict[str, RateSearch] = {}


class StageSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One stage over answered requests, seconds; `assumed` is whether it rests on a value that nobody published."""

    name: str
    mean: Mean
    percentiles: tuple[Percentile, ...]
    most_s: float
    assumed: bool = False


class Lateness(msgspec.Struct, frozen=True, kw_only=True):
    """How late the generator sent, seconds; `late` of `samples` came more than LATE_S after their time."""

    samples: int
    mean_s: float
    most_s: float
    late: int
    percentiles: tuple[Percentile, ...]


class StratumSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The answered requests of one stratum: how many, their median and the longest, seconds."""

    number: int
    start_s: float
    end_s: float
    answered: int
    median_s: float
    most_s: float


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """Requests answered within a bound, of all that were sent: drops are misses."""

    slo_s: float
    within: int
    of: int
    per_s: float


class SeriesSummary(msgspec.Struct, frozen=True, kw_only=True):
    """One series, or one configuration's repeats taken together ("a+b").

    Where several repeats are taken together, `by_stratum` is empty. `requests` were measured, `answered` of them have a
    latency, `warm_up` others only warmed up, and `repeated` took more than one attempt. `stratum_low_s` and
    `stratum_high_s` are the least and greatest of the strata's medians; `instants` is where the mean and the stated
    percentiles would lie at other instants of the orbit. `unexplained_s` is the most by which a
    request's stages differ from its latency. `mlperf_s` is MLPerf's early-stopping estimate of its scenario's
    percentile, `short_of` what its rules ask for beyond this run. `histogram` has pairs of (highest value, count).
    """

    name: str
    repeat: str
    world: World
    arm: Arm
    origin: Origin
    mode: Mode
    valid: bool
    share_late: float
    strata: tuple[Stratum, ...]
    requests: int
    answered: int
    warm_up: int
    repeated: int
    outcomes: dict[str, int]
    causes: dict[str, int]
    mean: Mean
    percentiles: tuple[Percentile, ...]
    least_s: float | None
    most_s: float | None
    by_stratum: tuple[StratumSummary, ...]
    stratum_low_s: float | None
    stratum_high_s: float | None
    instants: dict[str, Interval]
    stages: tuple[StageSummary, ...]
    unexplained_s: float
    lateness: Lateness
    goodput: Goodput | None
    offered_per_s: float | None
    answered_items_per_s: float
    items: int
    bytes_up: int
    bytes_down: int
    desk_wait: Mean
    cpu: Mean
    mlperf_s: float | None
    short_of: tuple[str, ...]
    histogram: tuple[tuple[float, int], ...]

    @property
    def key(self) -> str:
        """Name and repeat."""
        return f"{self.name}/{self.repeat}"

    def statistic(self, name: str) -> Percentile | Mean:
        """The mean, or a percentile by its label."""
        if name == MEAN:
            return self.mean
        return next(one for one in self.percentiles if one.label == name)

    def compared(self, name: str, other: SeriesSummary) -> Percentile | Mean:
        """A statistic with the interval that holds against another series: at the same instants its own, else that of
        other instants. The bare model stands at no place of an orbit.
        """
        found = self.statistic(name)
        if Arm.BARE in (self.arm, other.arm) or set(self.strata) == set(other.strata):
            return found
        ends = self.instants.get(name)
        # Without any interval over instants nothing is known of other ones.
        low_s, high_s = (None, None) if ends is None else (ends.low_s, ends.high_s)
        return msgspec.structs.replace(found, low_s=low_s, high_s=high_s)


class Configuration(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration: its repeats together, and by how much they differ (`spreads`: statistic -> share)."""

    whole: SeriesSummary
    repeats: tuple[str, ...]
    spreads: dict[str, float]

    @property
    def group(self) -> tuple[Mode, Origin]:
        """What was asked: MLPerf's scenario, and from where."""
        return self.whole.mode, self.whole.origin


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """`one` over `other` in one statistic, with the bounds that their intervals allow and both A/A spreads."""

    one: str
    other: str
    statistic: str
    value: float
    low: float | None
    high: float | None
    spread: float | None
    verdict: Verdict
    reason: str


class BareCheck(msgspec.Struct, frozen=True, kw_only=True):
    """The bare model's median before and after the rest of the run, seconds, and their spread."""

    name: str
    before_s: float
    after_s: float
    spread: float


class NamedBreakEven(msgspec.Struct, frozen=True, kw_only=True):
    """A break-even between two configurations; `verdict` is of the arm in orbit, by the means of all their requests."""

    pipe: str
    orbit: str
    even: BreakEven
    verdict: Verdict


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What `summary.json` holds. `complaints` are what a reader has to know before any number."""

    schema: int
    label: str
    facts: RunFacts
    environment: Environment
    valid: bool
    complaints: tuple[str, ...]
    series: tuple[SeriesSummary, ...]
    configurations: tuple[Configuration, ...]
    ratios: tuple[Ratio, ...]
    bare: tuple[BareCheck, ...]
    break_evens: tuple[NamedBreakEven, ...]
    spans: tuple[Span, ...]
    rate_history: tuple[RatePiece, ...]
    searches: dict[str, RateSearch]

    def configuration(self, name: str) -> Configuration:
        """The configuration of that name."""
        return next(one for one in self.configurations if one.whole.name == name)


def summarise(run: LatencyRun) -> Summary:
    """All that is stated of a run."""
    assumed = frozenset(stage for a in run.facts.assumptions if a.kind == "assumed" for stage in a.stages)
    singles = tuple(_summary_of(series, assumed) for series in run.series)
    repeats: dict[str, list[Series]] = {}
    for series in run.series:
        repeats.setdefault(series.name, []).append(series)
    configurations = tuple(
        _configuration(name, together, [one for one in singles if one.name == name], assumed)
        for name, together in repeats.items()
    )
    ratios = tuple(_ratios(configurations))
    return Summary(
        schema=SCHEMA,
        label=LABEL,
        facts=run.facts,
        environment=run.environment,
        valid=all(series.valid for series in run.series),
        complaints=tuple(_complaints(configurations)),
        series=singles,
        configurations=configurations,
        ratios=ratios,
        bare=tuple(_bare_checks(configurations, singles)),
        break_evens=tuple(_break_evens(configurations, repeats, ratios)),
        spans=run.spans,
        rate_history=run.rate_history,
        searches=run.searches,
    )


def _configuration(
    name: str, together: Sequence[Series], singles: Sequence[SeriesSummary], assumed: frozenset[str]
) -> Configuration:
    first = together[0]
    whole = singles[0]
    if len(together) > 1:
        pooled = msgspec.structs.replace(
            first,
            repeat="+".join(series.repeat for series in together),
            rows=tuple(row for series in together for row in series.rows),
            strata=tuple(stratum for series in together for stratum in series.strata),
            valid=all(series.valid for series in together),
            share_late=max(series.share_late for series in together),
        )
        whole = _summary_of(pooled, assumed)
    spreads = {}
    for statistic in (MEAN, *(one.label for one in whole.percentiles)) if len(singles) > 1 else ():
        values = [one.statistic(statistic).value_s for one in singles]
        # A percentile that takes both repeats to be stated has no spread; then its verdict is UNDECIDED.
        spread = stated.relative_spread(
            min((v for v in values if v is not None), default=None) if None not in values else None,
            max((v for v in values if v is not None), default=None) if None not in values else None,
        )
        if spread is not None and math.isfinite(spread):
            spreads[statistic] = spread
    return Configuration(whole=whole, repeats=tuple(series.repeat for series in together), spreads=spreads)


def _summary_of(series: Series, assumed: frozenset[str]) -> SeriesSummary:
    measured = [row for row in series.rows if not row.warm_up]
    answered = [row for row in measured if row.outcome == "ok"]
    latencies = sorted(row.latency_s for row in answered)
    percentiles = stated.percentiles(latencies)
    groups = _grouped(answered)
    medians = [means.median(values) for values in groups.values()]
    rule = RULES[series.mode]
    lasted_s = math.fsum(stratum.end_s - stratum.start_s for stratum in series.strata)
    items = sum(row.items for row in answered)
    return SeriesSummary(
        name=series.name,
        repeat=series.repeat,
        world=series.world,
        arm=series.arm,
        origin=series.origin,
        mode=series.mode,
        valid=series.valid,
        share_late=series.share_late,
        strata=series.strata,
        requests=len(measured),
        answered=len(answered),
        warm_up=len(series.rows) - len(measured),
        repeated=sum(row.attempt > 1 for row in measured),
        outcomes=dict(Counter(row.outcome for row in measured).most_common()),
        causes=dict(Counter(row.cause for row in measured if row.cause).most_common(MAX_CAUSES)),
        mean=stated.mean(latencies),
        percentiles=percentiles,
        least_s=latencies[0] if latencies else None,
        most_s=latencies[-1] if latencies else None,
        by_stratum=tuple(_by_stratum(series.strata, groups)) if "+" not in series.repeat else (),
        stratum_low_s=min(medians, default=None),
        stratum_high_s=max(medians, default=None),
        instants=over_instants(groups, {p.label: p.share for p in percentiles if p.value_s is not None}, MEAN),
        stages=_stages(answered, _assumed_of(series, assumed)),
        unexplained_s=max((abs(row.latency_s - math.fsum(row.stages.values())) for row in answered), default=0.0),
        lateness=_lateness(measured),
        goodput=_goodput(series.slo_s, measured, lasted_s),
        offered_per_s=series.offered_per_s,
        answered_items_per_s=items / lasted_s if lasted_s > 0 else 0.0,
        items=items,
        bytes_up=sum(row.bytes_up for row in measured),
        bytes_down=sum(row.bytes_down for row in measured),
        desk_wait=stated.mean([row.desk_wait_s for row in answered]),
        cpu=stated.mean([row.cpu_s for row in answered]),
        mlperf_s=None if rule.share is None else stated.stopping_estimate(latencies, rule.share),
        short_of=short_of(rule, series),
        histogram=tuple(histogram_of(latencies).pairs()),
    )


def _assumed_of(series: Series, assumed: frozenset[str]) -> frozenset[str]:
    """The bare model runs on this machine, not on the computer that a scenario assumes."""
    return frozenset() if series.arm == Arm.BARE else assumed


def _grouped(answered: Iterable[Row]) -> dict[int, list[float]]:
    """Latencies by stratum."""
    groups: dict[int, list[float]] = {}
    for row in answered:
        groups.setdefault(row.stratum, []).append(row.latency_s)
    return groups


def _by_stratum(strata: Iterable[Stratum], groups: Mapping[int, Sequence[float]]) -> Iterable[StratumSummary]:
    for stratum in strata:
        values = groups.get(stratum.number)
        if values:
            yield StratumSummary(
                number=stratum.number,
                start_s=stratum.start_s,
                end_s=stratum.end_s,
                answered=len(values),
                median_s=means.median(values),
                most_s=max(values),
            )


def _stages(answered: Sequence[Row], assumed: frozenset[str]) -> tuple[StageSummary, ...]:
    """All stages in which any request spent time, in the order of its way."""
    found = []
    for name in STAGES:
        values = [row.stages.get(name, 0.0) for row in answered]
        if any(values):
            found.append(
                StageSummary(
                    name=name,
                    mean=stated.mean(values),
                    percentiles=stated.percentiles(values),
                    most_s=max(values),
                    assumed=name in assumed,
                )
            )
    return tuple(found)


def _lateness(measured: Sequence[Row]) -> Lateness:
    late_s = [row.sent_s - row.intended_s for row in measured]
    return Lateness(
        samples=len(late_s),
        mean_s=math.fsum(late_s) / len(late_s) if late_s else 0.0,
        most_s=max(late_s, default=0.0),
        late=sum(one > LATE_S for one in late_s),
        percentiles=stated.percentiles(late_s),
    )


def _goodput(slo_s: float | None, measured: Sequence[Row], lasted_s: float) -> Goodput | None:
    if slo_s is None:
        return None
    within = sum(row.outcome == "ok" and row.latency_s <= slo_s for row in measured)
    return Goodput(slo_s=slo_s, within=within, of=len(measured), per_s=within / lasted_s if lasted_s > 0 else 0.0)


def _ratios(configurations: Sequence[Configuration]) -> Iterable[Ratio]:
    """Each arm over what it is held against, of the same scenario and origin."""
    for one in configurations:
        for other in configurations:
            if is_reference(one.whole, other.whole, configurations):
                names = (MEAN, *(percentile.label for percentile in one.whole.percentiles))
                yield from (found for name in names if (found := ratio_of(one, other, name)) is not None)


def is_reference(one: SeriesSummary, other: SeriesSummary, configurations: Sequence[Configuration]) -> bool:
    """Whether `other` is what `one` is held against: the bare model, a bent pipe of the same scenario, origin, world,
    or, of what was measured live, the same in virtual time.
    """
    if other.arm == Arm.BARE:
        return one.arm != Arm.BARE and other.name == bare_of(one, configurations)
    alike = (one.mode, one.origin) == (other.mode, other.origin)
    if one.world != other.world:
        return alike and one.arm == other.arm and (one.world, other.world) == (World.LIVE, World.SIM)
    return alike and one.arm in ORBITS and other.arm in PIPES


def bare_of(one: SeriesSummary, configurations: Sequence[Configuration]) -> str | None:
    """The bare configuration that is nearest to a series: of its scenario and origin, or its scenario, or any."""
    bare = [c.whole for c in configurations if c.whole.arm == Arm.BARE]
    bare.sort(key=lambda w: (w.mode != one.mode, w.origin != one.origin))
    return bare[0].name if bare else None


def ratio_of(one: Configuration, other: Configuration, statistic: str) -> Ratio | None:
    """One statistic of two configurations; None where one of them does not have it."""
    ours, theirs = one.whole.compared(statistic, other.whole), other.whole.compared(statistic, one.whole)
    if ours.value_s is None or not theirs.value_s:
        return None
    spreads = [one.spreads.get(statistic), other.spreads.get(statistic)]
    decision = stated.decide(ours, theirs, spreads, one.whole.valid and other.whole.valid)
    low, high = stated.ratio_bounds(ours, theirs)
    known = [spread for spread in spreads if spread is not None]
    return Ratio(
        one=one.whole.name,
        other=other.whole.name,
        statistic=statistic,
        value=ours.value_s / theirs.value_s,
        low=low,
        high=high,
        spread=max(known) if len(known) == len(spreads) else None,
        verdict=decision.verdict,
        reason=decision.reason,
    )


def _bare_checks(configurations: Sequence[Configuration], singles: Sequence[SeriesSummary]) -> Iterable[BareCheck]:
    for configuration in configurations:
        repeats = [one for one in singles if one.name == configuration.whole.name]
        if configuration.whole.arm == Arm.BARE and len(repeats) > 1:
            before_s, after_s = repeats[0].statistic("p50").value_s, repeats[-1].statistic("p50").value_s
            if before_s is not None and after_s is not None:
                spread = stated.relative_spread(before_s, after_s) or 0.0
                yield BareCheck(name=configuration.whole.name, before_s=before_s, after_s=after_s, spread=spread)


def _break_evens(
    configurations: Sequence[Configuration], repeats: Mapping[str, Sequence[Series]], ratios: Sequence[Ratio]
) -> Iterable[NamedBreakEven]:
    verdicts = {(ratio.one, ratio.other): ratio.verdict for ratio in ratios if ratio.statistic == MEAN}
    wholes = [configuration.whole for configuration in configurations]
    for pipe in (one for one in wholes if one.arm in PIPES):
        for orbit in (one for one in wholes if one.arm in ORBITS):
            if (pipe.mode, pipe.origin, pipe.world) == (orbit.mode, orbit.origin, orbit.world):
                even = of_series(repeats[pipe.name], repeats[orbit.name])
                if even is not None:
                    verdict = verdicts.get((orbit.name, pipe.name), Verdict.UNDECIDED)
                    yield NamedBreakEven(pipe=pipe.name, orbit=orbit.name, even=even, verdict=verdict)


def _complaints(configurations: Sequence[Configuration]) -> Iterable[str]:
    wholes = [configuration.whole for configuration in configurations]
    for whole in wholes:
        if not whole.valid:
            yield (
                f"INVALID FOR LATENCY: {whole.name}: the desk did not keep the orbit's time "
                f"({100 * whole.share_late:.3g} % late)."
            )
    once = [one.whole.name for one in configurations if len(one.repeats) < 2]
    if once:
        yield f"Not measured twice, so that nothing about them is decided: {', '.join(once)}."
    for whole in wholes:
        if whole.unexplained_s > CLOCK_ERROR_S and whole.arm != Arm.BARE:
            yield f"{whole.name}: a request's stages differ from its latency by {1e3 * whole.unexplained_s:.3g} ms."
        if whole.lateness.late > MAX_SHARE_LATE * max(1, whole.lateness.samples):
            yield (
                f"{whole.name}: the generator sent {whole.lateness.late:,} of {whole.lateness.samples:,} requests more "
                f"than {1e3 * LATE_S:g} ms late, up to {1e3 * whole.lateness.most_s:.3g} ms."
            )
    unanswered = sum(whole.requests - whole.answered for whole in wholes)
    if unanswered:
        of = sum(whole.requests for whole in wholes)
        yield f"{unanswered:,} of {of:,} requests have no answer; they are counted by their causes, and in no latency."
