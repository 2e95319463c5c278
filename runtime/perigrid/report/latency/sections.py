"""What does the page state in words and tables?

The head with what has to be known before any number, the percentiles of each configuration, the ratios with their
verdicts, how it was measured, what it rests on, and how to do it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from perigrid.bench.latency.rate_search import RateSearch
from perigrid.bench.latency.rows import Arm
from perigrid.bench.latency.schedule import MIN_STRATA, RULES
from perigrid.bench.latency.statistics import CONFIDENCE, SPREAD_FACTOR, Verdict, label_of
from perigrid.bench.latency.summary import LATE_S, MEAN, Configuration, NamedBreakEven, Ratio, SeriesSummary, Summary
from perigrid.report.latency.versus import finding, pipe_wins
from perigrid.report.latency.words import (
    ARM_MEANINGS,
    ARM_NAMES,
    DASH,
    WORLD_MEANINGS,
    WORLD_NAMES,
    between,
    cells,
    dagger,
    frame,
    group_title,
    head_row,
    is_assumed,
    line_style,
    percent,
    stated,
    swatch,
    validity_badge,
    verdict_badge,
    world_badge,
)
from perigrid.report.markup import Html, join, tag
from perigrid.report.outcome import amount
from perigrid.report.words import count, linked, seconds

MAX_CAUSES = 10


def head(summary: Summary) -> Html:
    """Whether it counts, what was found, and what is to be known before any number."""
    worlds = sorted({c.whole.world for c in summary.configurations})
    told = "; ".join(f"{WORLD_NAMES[world]}: {WORLD_MEANINGS[world]}" for world in worlds)
    undecided = sum(ratio.verdict == Verdict.UNDECIDED for ratio in summary.ratios)
    decided = f"{undecided:,} of {count(len(summary.ratios), 'ratio')} UNDECIDED" if summary.ratios else ""
    parts: list[str] = [
        tag("p", validity_badge(summary.valid), " ", _ratio_badge(undecided, decided), class_="verdict"),
        tag("p", f"{summary.label}. Worlds of the numbers: {told}.", class_="note"),
    ]
    graves = [c for c in summary.complaints if c.startswith("INVALID")]
    others = [c for c in summary.complaints if not c.startswith("INVALID")]
    items = [tag("li", c, class_="complaint grave") for c in graves]
    items += [tag("li", c, class_="complaint") for c in others]
    if items:
        parts.append(tag("ul", *items, class_="complaints"))
    return join([*parts, _findings(summary)])


def _ratio_badge(undecided: int, text: str) -> Html:
    return tag("strong", text, class_=f"badge {'unsure' if undecided else 'neutral'}") if text else Html("")


def _findings(summary: Summary) -> Html:
    """Break-evens group by group: those that the bent pipe wins, and inference in orbit against the own pass."""
    parts: list[Html] = []
    for key in dict.fromkeys(c.group for c in summary.configurations):
        evens = [one for one in summary.break_evens if summary.configuration(one.pipe).group == key]
        plain = [one for one in evens if (one.even.pipe, one.even.orbit) == (Arm.BENT_PIPE, Arm.IN_ORBIT)]
        chosen = dict.fromkeys([*(_key(one) for one in evens if pipe_wins(one)), *map(_key, plain)])
        found = [finding(one) for name in chosen for one in evens if _key(one) == name]
        if found:
            parts += [tag("p", tag("b", group_title(*key)), class_="group"), tag("ul", *found, class_="findings")]
    return join(parts)


def _key(one: NamedBreakEven) -> str:
    return f"{one.pipe}/{one.orbit}"


def percentile_table(group: Sequence[Configuration], names: Mapping[str, str]) -> Html:
    """Mean and percentiles of a group's arms, repeats together, each with its interval and its A/A spread."""
    stated_ones = {one.label for c in group for one in c.whole.percentiles if one.value_s is not None}
    labels = [one.label for one in group[0].whole.percentiles if one.label in stated_ones]
    missing = [one for one in group[0].whole.percentiles if one.label not in stated_ones]
    heads = ("arm", "answered of sent", MEAN, *labels, "medians of strata", "A/A of p50")
    wholes = [one.whole for one in group]
    body = [_percentile_row(one, names[one.whole.name], line_style(one.whole, wholes), labels) for one in group]
    note = (
        f"Answered requests, from the intended send; below each its {100 * CONFIDENCE:g} % interval; {DASH} where "
        "there are too few requests. Below the strata's medians: where p50 would lie at other instants of the orbit"
    )
    table = tag("table", tag("caption", note), head_row(heads), tag("tbody", *body), class_="arms-table")
    needed = ", ".join(f"{one.label} takes {one.needed:,}" for one in missing)
    few = tag("p", f"Too few answered requests for more: {needed}.", class_="note") if missing else ""
    return join([frame(table, "Percentiles of all arms"), few, _errors(group, names), _goodput(group, names)])


def _percentile_row(one: Configuration, name: str, style: str, labels: Sequence[str]) -> Html:
    whole, assumed = one.whole, is_assumed(one.whole)
    strata: str = DASH
    if whole.stratum_low_s is not None and whole.stratum_high_s is not None:
        strata = between(seconds(whole.stratum_low_s), seconds(whole.stratum_high_s))
    ends = whole.instants.get("p50")
    if ends is not None and whole.arm != Arm.BARE:
        strata = join([strata, tag("small", f"p50 {between(seconds(ends.low_s), seconds(ends.high_s))}")])
    invalid = join([" ", verdict_badge(Verdict.INVALID)]) if not whole.valid else Html("")
    return tag(
        "tr",
        tag("th", swatch(style), name, " ", world_badge(whole.world), invalid, scope="row"),
        cells(
            [
                f"{whole.answered:,} of {whole.requests:,}",
                stated(whole.mean, assumed),
                *(stated(whole.statistic(label), assumed) for label in labels),
                strata,
                join([percent(one.spreads.get("p50")), tag("small", "mean ", percent(one.spreads.get(MEAN)))]),
            ]
        ),
    )


def _errors(group: Sequence[Configuration], names: Mapping[str, str]) -> Html:
    """What has no answer, apart from all latencies."""
    items = []
    for one in group:
        bad = {name: number for name, number in one.whole.outcomes.items() if name != "ok"}
        if bad:
            told = ", ".join(f"{number:,} {name}" for name, number in bad.items())
            causes = "; ".join(f"{cause} ({number:,})" for cause, number in list(one.whole.causes.items())[:MAX_CAUSES])
            items.append(tag("li", tag("b", names[one.whole.name]), f": {told}", f". {causes}" if causes else ""))
    if not items:
        return Html("")
    return join([tag("p", "No answer, and so no latency:", class_="note"), tag("ul", *items)])


def _goodput(group: Sequence[Configuration], names: Mapping[str, str]) -> Html:
    body = []
    for one in group:
        good = one.whole.goodput
        offered = DASH if one.whole.offered_per_s is None else f"{one.whole.offered_per_s:.4g} /s"
        within = DASH if good is None else f"{good.within:,} of {good.of:,} within {seconds(good.slo_s)}"
        share = DASH if good is None or not good.of else percent(good.within / good.of)
        goodput = DASH if good is None else f"{good.per_s:.4g} /s"
        mlperf = DASH if one.whole.mlperf_s is None else seconds(one.whole.mlperf_s)
        numbers = [offered, f"{one.whole.answered_items_per_s:.4g} /s", within, share, goodput, mlperf]
        body.append(tag("tr", tag("th", names[one.whole.name], scope="row"), cells(numbers)))
    rule = RULES[group[0].whole.mode]
    metric = "" if rule.share is None else f" ({label_of(rule.share)})"
    heads = (
        "arm",
        "offered",
        "samples answered",
        "in the bound, drops are misses",
        "share",
        "goodput",
        f"MLPerf-style{metric}",
    )
    caption = tag("caption", "Throughput, the bound, and MLPerf's early-stopping estimate of its scenario's percentile")
    short: dict[str, list[str]] = {}
    for one in group:
        for text in one.whole.short_of:
            short.setdefault(text, []).append(names[one.whole.name])
    told = [f"{text} ({'all' if len(who) == len(group) else ', '.join(who)})" for text, who in short.items()]
    table = frame(tag("table", caption, head_row(heads), tag("tbody", *body)), "Throughput and bound")
    note = f"Short of MLPerf's rules for {rule.name}: {'; '.join(told)}." if told else ""
    inside = [table, tag("p", note, class_="note") if note else ""]
    return tag("details", tag("summary", "Throughput, bound and MLPerf's rules"), *inside)


def ratio_table(ratios: Sequence[Ratio], summary: Summary, names: Mapping[str, str]) -> Html:
    """Ratios with their bounds, the A/A spread, bare before and after, and what they decide."""
    if not ratios:
        return tag("p", "Nothing here was held against another arm.", class_="note")
    heads = ("arm", "over", "statistic", "ratio", "A/A spread", "bare before, after", "verdict")
    body = [_ratio_row(ratio, summary, names) for ratio in ratios]
    note = (
        f"Ratios of latencies, with the bounds that both intervals allow. UNDECIDED under {SPREAD_FACTOR:g} times the "
        "A/A spread, where the intervals overlap, or where nothing was measured twice"
    )
    return frame(tag("table", tag("caption", note), head_row(heads, 3, 1), tag("tbody", *body)), "Ratios", tall=True)


def _ratio_row(ratio: Ratio, summary: Summary, names: Mapping[str, str]) -> Html:
    one, other = summary.configuration(ratio.one).whole, summary.configuration(ratio.other).whole
    bounds = ""
    if ratio.low is not None or ratio.high is not None:
        low = "…" if ratio.low is None else _number(ratio.low)
        bounds = tag("small", low, DASH, "…" if ratio.high is None else _number(ratio.high))
    check = summary.bare[0] if summary.bare else None
    bare = DASH if check is None else join([seconds(check.before_s), ", ", seconds(check.after_s)])
    number = join([_number(ratio.value), dagger(is_assumed(one) or is_assumed(other)), bounds])
    return tag(
        "tr",
        tag("th", names.get(ratio.one, ratio.one), " ", world_badge(one.world), scope="row"),
        tag("td", names.get(ratio.other, ratio.other), " ", world_badge(other.world)),
        tag("td", ratio.statistic),
        cells([number, percent(ratio.spread), bare]),
        tag("td", verdict_badge(ratio.verdict), tag("small", ratio.reason), class_="verdict"),
    )


def _number(ratio: float) -> str:
    """A ratio for a reader: one under a hundredth as a part of one."""
    if 0 < ratio < 0.01:
        return f"1/{1 / ratio:,.0f}"
    return f"{ratio:,.0f}" if ratio >= 1000 else f"{ratio:.4g}"


def searches(found: Mapping[str, RateSearch]) -> Html:
    """The searches for the highest rate that meets its bound, trial by trial."""
    parts: list[str] = []
    for name, one in found.items():
        rate = "no rate" if one.rate_per_s is None else f"{one.rate_per_s:.4g} requests a second"
        sure = "confirmed" if one.confirmed else "not confirmed"
        parts.append(
            tag(
                "p",
                tag("b", f"{name}: {rate}"),
                f" keep {100 * one.share:g} % within {seconds(one.slo_s)} ({sure}; {one.ending}).",
            )
        )
        body = [
            tag(
                "tr",
                tag("th", f"{t.rate_per_s:.4g} /s", scope="row", class_="number"),
                cells([f"{t.requests:,}", f"{t.misses:,}", f"{percent(t.share_low)} {DASH} {percent(t.share_high)}"]),
                tag("td", "" if t.valid else verdict_badge(Verdict.INVALID), "kept" if t.kept else "not kept"),
            )
            for t in one.trials
        ]
        heads = ("rate", "requests", "misses", "share kept, interval", "verdict")
        caption = tag("caption", f"Trials of {name}, in order")
        parts.append(frame(tag("table", caption, head_row(heads, 0, 1), tag("tbody", *body)), f"Trials of {name}"))
    return join(parts)


def measured(summary: Summary) -> Html:
    """How it was measured: strata, warm-up, the generator's lateness, the desk's own work."""
    lateness = ("late by, mean", "p99", "most", f"later than {seconds(LATE_S)}")
    heads = ("series", "requests", "warm-up", "strata", *lateness, "desk wait", "CPU", "tried again")
    body = [_measured_row(one) for one in summary.series]
    caption = tag("caption", "The generator's own lateness, and this desk's work, which is no part of a latency")
    few = [one.name for one in summary.series if one.arm != Arm.BARE and len(one.strata) < MIN_STRATA]
    parts = [frame(tag("table", caption, head_row(heads), tag("tbody", *body)), "How it was measured")]
    if few:
        parts.append(
            tag(
                "p",
                f"Fewer than {MIN_STRATA} instants of the orbit: {', '.join(sorted(set(few)))}.",
                class_="complaint",
            )
        )
    return join(parts)


def _measured_row(one: SeriesSummary) -> Html:
    late = one.lateness
    ninety_nine = next(p for p in late.percentiles if p.label == "p99")
    numbers = [
        f"{one.requests:,}",
        f"{one.warm_up:,}",
        f"{len(one.strata):,}",
        seconds(late.mean_s),
        DASH if ninety_nine.value_s is None else seconds(ninety_nine.value_s),
        seconds(late.most_s),
        f"{late.late:,}",
        DASH if one.desk_wait.value_s is None else seconds(one.desk_wait.value_s),
        DASH if one.cpu.value_s is None else seconds(one.cpu.value_s),
        f"{one.repeated:,}",
    ]
    invalid = join([" ", verdict_badge(Verdict.INVALID)]) if not one.valid else Html("")
    return tag("tr", tag("th", one.key, " ", world_badge(one.world), invalid, scope="row"), cells(numbers))


def arms_list(summary: Summary) -> Html:
    """What each arm does, with its line."""
    used = [arm for arm in Arm if any(c.whole.arm == arm for c in summary.configurations)]
    items = [
        tag("li", swatch(arm.value), tag("span", tag("b", ARM_NAMES[arm]), ": ", ARM_MEANINGS[arm])) for arm in used
    ]
    return tag("ul", *items, class_="legend column")


def world_facts(summary: Summary) -> Html:
    """Scenario, machine and assumptions."""
    facts, machine = summary.facts, summary.environment
    rows = [
        ("scenario", facts.title or facts.scenario),
        ("digest", tag("code", facts.digest, class_="digest")),
        ("phasing", facts.phasing),
        ("model", facts.model),
        ("computer on board", facts.device),
        ("computer on the ground", facts.ground_device),
        ("seed", str(facts.seed)),
        ("orbit", f"{seconds(facts.orbit_period_s)}, orbit rate {facts.orbit_rate:g}"),
        ("clock's rate", facts.rate_setting),
        ("started", facts.started_utc),
        ("processor", f"{machine.processor}, {count(machine.cores, 'core')}, {amount(machine.memory_bytes)}"),
        ("system", f"{machine.system}, {machine.python}{', in a virtual machine' if machine.hypervisor else ''}"),
        ("governor of its cores", machine.governor or "not known"),
        ("load average at the start", ", ".join(f"{load:.2f}" for load in machine.load)),
        ("versions", _settings(machine.versions)),
        ("threads", _settings(machine.threads)),
        ("allocator", _settings(machine.allocator)),
    ]
    body = [tag("tr", tag("th", name, scope="row"), tag("td", text)) for name, text in rows if text]
    parts: list[str] = [tag("table", tag("caption", "World and machine"), tag("tbody", *body), class_="facts")]
    parts += [tag("p", note, class_="note") for note in facts.notes]
    return join([*parts, *_assumptions(summary)])


def _assumptions(summary: Summary) -> Iterator[Html]:
    if not summary.facts.assumptions:
        return
    body = [
        tag(
            "tr",
            tag("th", tag("code", a.key), dagger(a.kind == "assumed" and bool(a.stages)), scope="row"),
            tag("td", a.value),
            tag("td", a.kind),
            tag("td", linked(a.source)),
            tag("td", ", ".join(stage.replace("_", " ") for stage in a.stages) or DASH),
        )
        for a in summary.facts.assumptions
    ]
    caption = tag("caption", "What the latencies rest on; † marks what nobody published, here and beside the numbers")
    head = head_row(("value of", "value", "kind", "source", "stages"), 5)
    yield frame(tag("table", caption, head, tag("tbody", *body)), "What the latencies rest on")


def again(summary: Summary) -> Html:
    """How to do it again, and how to hold two runs against each other."""
    command = summary.facts.command or "perigrid bench latency"
    return join(
        [
            tag("pre", tag("code", command), tabindex="0"),
            tag(
                "p",
                "Beside this page lie summary.json, which states the same for machines, and requests.csv, a row a "
                "request. Two runs are held against each other by ",
                tag("code", "perigrid bench compare RUN RUN"),
                ".",
            ),
        ]
    )


def _settings(settings: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items() if value) or "nothing set"
