"""Is one latency run faster than another, and is that more than chance?

Each configuration that both have is compared statistic by statistic. The second is FASTER or SLOWER than the first only
where they differ by at least twice the larger A/A spread of the two runs and their intervals do not overlap; else it is
UNDECIDED, and INVALID where a desk did not keep the orbit's time. Where the two runs have other instants of the orbit,
the intervals are those of other instants (`latency/instants.py`), which are wider: with one seed more can be decided.
What else differs (world, machine, software) is said first: a verdict across two worlds is none about one change.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import msgspec

from perigrid.bench.latency import statistics as stated
from perigrid.bench.latency.results import read_summary
from perigrid.bench.latency.statistics import Mean, Percentile, Verdict
from perigrid.bench.latency.summary import MEAN, Configuration, Summary
from perigrid.errors import CorruptFile, MissingFile, UsageError
from perigrid.report.words import seconds

FACTS = ("scenario", "digest", "phasing", "model", "device", "ground_device", "orbit_rate", "seed")
"""What of the world has to be the same; the seed sets the requests' times."""

DASH = "-"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of one configuration in both runs, seconds; `ratio` is the second over the first."""

    series: str
    statistic: str
    first: Percentile | Mean
    second: Percentile | Mean
    ratio: float | None
    low: float | None
    high: float | None
    first_spread: float | None
    second_spread: float | None
    verdict: Verdict
    reason: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two runs. `differences` are of the world and the machine; `only_first` and `only_second` are configurations that
    the other run does not have.
    """

    first: str
    second: str
    differences: tuple[str, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    lines: tuple[Line, ...]


def compare(first: Summary, second: Summary, names: tuple[str, str] = ("first", "second")) -> Comparison:
    """Hold the second run against the first."""
    ours = {one.whole.name: one for one in first.configurations}
    theirs = {one.whole.name: one for one in second.configurations}
    both = [name for name in ours if name in theirs]
    return Comparison(
        first=names[0],
        second=names[1],
        differences=tuple(_differences(first, second, [(ours[name], theirs[name]) for name in both])),
        only_first=tuple(name for name in ours if name not in theirs),
        only_second=tuple(name for name in theirs if name not in ours),
        lines=tuple(line for name in both for line in _lines(ours[name], theirs[name])),
    )


def text_of(found: Comparison) -> list[str]:
    """The comparison for a reader: first what else differs, then a line a statistic."""
    lines = [f"first {found.first}, second {found.second}; a verdict is of the second"]
    lines += [f"DIFFERENT {difference}" for difference in found.differences]
    lines += [f"only in the first: {name}" for name in found.only_first]
    lines += [f"only in the second: {name}" for name in found.only_second]
    if not found.lines:
        return [*lines, "the two runs have no configuration in common"]
    table = [("series", "", "first", "second", "second/first", "A/A spread", "verdict", "")]
    for line in found.lines:
        spreads = ", ".join(_percent(spread) for spread in (line.first_spread, line.second_spread))
        ratio = DASH if line.ratio is None else f"{line.ratio:.4g}{_bounds(line)}"
        values = (_value(line.first), _value(line.second))
        table.append((line.series, line.statistic, *values, ratio, spreads, line.verdict.value, line.reason))
    widths = [max(len(row[place]) for row in table) for place in range(len(table[0]))]
    return lines + ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]


def main(arguments: list[str]) -> int:
    """`perigrid bench compare RUN RUN`: 0 whatever the verdict; UsageError for a folder that holds no latency run."""
    parser = argparse.ArgumentParser(prog="perigrid bench compare", description=__doc__)
    parser.add_argument("first", type=Path, help="folder of a latency run")
    parser.add_argument("second", type=Path, help="folder of the run that is held against it")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    chosen = parser.parse_args(arguments)
    first, second = _read(chosen.first), _read(chosen.second)
    found = compare(first, second, (str(chosen.first), str(chosen.second)))
    if chosen.json:
        print(msgspec.json.encode(found).decode())
    else:
        print("\n".join(text_of(found)))
    return 0


def _read(folder: Path) -> Summary:
    try:
        return read_summary(folder)
    except (MissingFile, CorruptFile) as error:
        raise UsageError(str(error)) from error


def _differences(first: Summary, second: Summary, both: Iterable[tuple[Configuration, Configuration]]) -> Iterable[str]:
    for name in FACTS:
        one, other = getattr(first.facts, name), getattr(second.facts, name)
        if one != other:
            yield f"{name.replace('_', ' ')}: {one or 'none'} and {other or 'none'}"
    values = {a.key: a.value for a in first.facts.assumptions}
    others = {a.key: a.value for a in second.facts.assumptions}
    for key in sorted(values.keys() | others.keys()):
        if values.get(key) != others.get(key):
            yield f"{key}: {values.get(key, 'not said')} and {others.get(key, 'not said')}"
    yield from first.environment.differences(second.environment)
    for one, other in both:
        for field in ("world", "arm", "origin", "mode", "offered_per_s"):
            ours, theirs = getattr(one.whole, field), getattr(other.whole, field)
            if ours != theirs:
                yield f"{one.whole.name}, {field.removesuffix('_per_s')}: {ours} and {theirs}"


def _lines(ours: Configuration, theirs: Configuration) -> Iterable[Line]:
    for statistic in (MEAN, *(one.label for one in ours.whole.percentiles)):
        first, second = ours.whole.compared(statistic, theirs.whole), theirs.whole.compared(statistic, ours.whole)
        if first.value_s is None and second.value_s is None:
            continue
        spreads = (ours.spreads.get(statistic), theirs.spreads.get(statistic))
        decision = stated.decide(second, first, spreads, ours.whole.valid and theirs.whole.valid)
        low, high = stated.ratio_bounds(second, first)
        yield Line(
            series=ours.whole.name,
            statistic=statistic,
            first=first,
            second=second,
            ratio=second.value_s / first.value_s if second.value_s is not None and first.value_s else None,
            low=low,
            high=high,
            first_spread=spreads[0],
            second_spread=spreads[1],
            verdict=decision.verdict,
            reason=decision.reason,
        )


def _value(one: Percentile | Mean) -> str:
    if one.value_s is None:
        return f"needs {one.needed:,}" if isinstance(one, Percentile) else DASH
    if one.low_s is None or one.high_s is None:
        return seconds(one.value_s)
    return f"{seconds(one.value_s)} ({seconds(one.low_s)} to {seconds(one.high_s)})"


def _bounds(line: Line) -> str:
    return "" if line.low is None or line.high is None else f" ({line.low:.4g} to {line.high:.4g})"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g} %"
